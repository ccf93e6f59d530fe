"""Tokens of text, by a model's own tokenizer.json. Extra `tokenizer`: the library `tokenizers`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from simulator.errors import MeasurementError

Count = Callable[[str], int]


def token_counter(path: Path) -> Count:
    """How many tokens a text has, without special tokens. Raises MeasurementError without the library, or for a file that is no
    tokenizer."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        raise MeasurementError(
            f"{file}: counting tokens takes the library tokenizers: pip install 'inference-sizing-simulator[tokenizer]'"
        ) from None
    if not file.is_file():
        raise MeasurementError(f"{file}: no such tokenizer; give the model's tokenizer.json, or the folder it is in")
    try:
        tokenizer = library.Tokenizer.from_file(str(file))
    except Exception as problem:  # the library raises bare Exception for what it cannot read
        raise MeasurementError(f"{file}: not a tokenizer.json: {str(problem).splitlines()[0]:.120}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
