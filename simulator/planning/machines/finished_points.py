"""Kept: rows of a sweep that are finished, in a file that is only ever appended to, so that an interruption loses nothing."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from simulator.errors import SimulatorError

FORMAT = 1
FILE = "points.jsonl"


class FinishedPoints:
    """The finished rows in a folder, by the key of what they depend on; the folder is made with the first row that is kept.

    Raises SimulatorError when the folder cannot be written, or was written in another format.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.rows: dict[str, dict[str, Any]] = {}
        above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        try:
            if not above.is_dir() or not os.access(above, os.W_OK):
                raise PermissionError("no permission to write there" if above.is_dir() else f"{above} is not a directory")
            if self.path.exists():
                self._read()
        except OSError as problem:
            raise SimulatorError(
                f"cannot write {folder}: {problem.strerror or problem}; choose another place with --out"
            ) from None

    def keep(self, key: str, row: dict[str, Any]) -> None:
        """Write one finished row; it is on disk when this returns."""
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        self.rows[key] = plain
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"format": FORMAT})
        self._append({"key": key, "row": plain})

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def _read(self) -> None:
        """Every complete line; one that was cut off when the machine stopped is left out, and its point computed again."""
        text = self.path.read_text("utf-8")
        lines = [_parsed(line) for line in text.split("\n")]
        head = lines[0] if lines else {}
        if head.get("format") != FORMAT:
            raise SimulatorError(
                f"{self.path} is not of this version: format {head.get('format', 'unknown')}, expected {FORMAT}; "
                "choose another place with --out, or remove it"
            )
        self.rows = {line["key"]: line["row"] for line in lines if "key" in line and "row" in line}
        if not text.endswith("\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
