"""Fingerprints: what a result depends on, as a short text that changes whenever it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import simulator


@cache
def package_digest() -> str:
    """A digest of the simulator's code and catalog: the same numbers come only from the same
    files."""
    root = Path(simulator.__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".yaml"}):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint(question: Mapping[str, Any], folder: Path) -> str:
    """A digest of a question in plain data, of the files that it names (from `folder` or here), and
    of the package."""
    digest = hashlib.sha256(package_digest().encode())
    digest.update(json.dumps(question, sort_keys=True, default=str).encode())
    for path in sorted({found for name in _texts(question) for found in _files(name, folder)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _texts(node: Any) -> Iterator[str]:
    """Every text in the data that could be the name of a file."""
    if isinstance(node, str | Path):
        if 0 < len(str(node)) < 1024 and "\n" not in str(node):
            yield str(node)
        return
    within = node.values() if isinstance(node, Mapping) else node
    if isinstance(node, Mapping | list | tuple):
        for value in within:
            yield from _texts(value)


def _files(name: str, folder: Path) -> list[Path]:
    """The file of that name, or the JSON files of a folder of that name, such as a model's."""
    for path in (folder / name, Path(name)):
        if path.is_file():
            return [path]
        if "/" in name and path.is_dir():
            return list(path.glob("*.json"))
    return []
