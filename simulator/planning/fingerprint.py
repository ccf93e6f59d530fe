"""Fingerprints: what a result depends on, as a short text that changes whenever it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def package_digest() -> str:
    """A digest of the simulator's code and catalog: the same numbers come only from the same files."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".yaml"}):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint(question: Mapping[str, Any]) -> str:
    """A digest of a question in plain data, of the files that it names, and of the package that answers it."""
    digest = hashlib.sha256(package_digest().encode())
    digest.update(json.dumps(question, sort_keys=True, default=str).encode())
    for path in sorted(_files(question)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _files(node: Any) -> set[Path]:
    """Files named anywhere in the data: traces, model configurations, calibrations."""
    if isinstance(node, Mapping):
        return {path for value in node.values() for path in _files(value)}
    if isinstance(node, list | tuple):
        return {path for value in node for path in _files(value)}
    if isinstance(node, Path) or (isinstance(node, str) and ("/" in node or "." in node) and len(node) < 1024):
        path = Path(node)
        return {path} if _is_file(path) else set()
    return set()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
