"""Kept: rows of a sweep that are finished, in a file that is only ever appended to, so that an
interruption loses nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from simulator import __version__
from simulator.errors import MeasurementError, SimulatorError
from simulator.files import DATA_BYTES, parse_json, read_text
from simulator.results.files import unwritable

FORMAT = 2
_FIRST_VERSION = "0.1.0"  # which did not write what it is
FILE = "points.jsonl"


class FinishedPoints:
    """The finished rows in a folder, by the key of what they depend on; the folder is made with the
    first row that is kept.

    Raises SimulatorError when the folder cannot be written, or was written in another format.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            if why := unwritable(folder):
                raise PermissionError(why)
            if self.path.exists():
                self._read()
        except OSError as problem:
            raise SimulatorError(
                f"cannot write {folder}: {problem.strerror or problem}; choose another place with "
                "--out"
            ) from None

    def keep(self, key: str, row: dict[str, Any]) -> None:
        """Write one finished row; it is on disk when this returns."""
        self.rows[key] = {name: _finite(value) for name, value in row.items()}
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"format": FORMAT, "version": __version__})
        self._append({"key": key, "row": self.rows[key]})

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def _read(self) -> None:
        """Every complete line; one that was cut off when the machine stopped is left out, and its
        point computed again."""
        text = read_text(self.path, SimulatorError, most=DATA_BYTES)
        lines = [_parsed(line) for line in text.split("\n")]
        head = lines[0] if lines else {}
        if head.get("format") != FORMAT:
            raise SimulatorError(
                f"{self.path}: {_of_another(head)}; remove it, or choose another place with --out, "
                "and run again"
            )
        self.rows = {line["key"]: line["row"] for line in lines if _is_row(line)}
        if not text.endswith("\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")


def _finite(value: Any) -> Any:
    """The value as JSON can hold it: None for a number without end."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_row(line: dict[str, Any]) -> bool:
    """Whether a line is a finished row as `keep` writes it: what is not is computed again."""
    row = line.get("row")
    if not isinstance(line.get("key"), str) or not isinstance(row, dict):
        return False
    return not any(isinstance(value, list | dict) for value in row.values())


def _of_another(head: dict[str, Any]) -> str:
    """What is said of a file that does not begin as ours do."""
    if "format" not in head:
        return "not the finished points of a sweep"
    writer = head.get("version", _FIRST_VERSION)
    return (
        f"written by version {writer} in format {head['format']!r}, and this version reads {FORMAT}"
    )


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = parse_json(line, "")
    except MeasurementError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
