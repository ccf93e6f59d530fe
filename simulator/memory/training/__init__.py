"""Bytes of training on one GPU."""
