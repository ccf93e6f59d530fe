"""A HuggingFace config.json, and the files beside it, read into a Model. What is not understood is refused by name."""

from simulator.catalog.hf_config.reading import build, read

__all__ = ["build", "read"]
