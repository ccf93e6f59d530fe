"""llama.cpp's memory: what a GGUF file's tensors, the cache of its slots and its compute buffer take of a GPU and of the host."""
