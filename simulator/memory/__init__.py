"""Bytes on one GPU: weights, KV cache, overheads, and whether it fits."""
