"""Measurements: CSV files of real runs, and the readers that know some set of columns.

A reader turns a table into comparisons and skipped rows; the first whose columns are all there is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import MeasurementError
from simulator.files import read_csv_rows
from simulator.latency.error_bands import LoadRegime, Setting
from simulator.numbers import MOST, finite_number, integer

if TYPE_CHECKING:
    from simulator.validation.protocols import Bench

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MeasurementTable:
    """One CSV file: its path, its columns in order, and its rows by column; every value stripped text, "" where absent."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def source(self) -> str:
        """The file's name, as reports give it."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measured value beside ours. `row` counts from 1. `stated`: the row states everything the prediction rests on.

    `labels` are engine, model, GPU and dtype, where a table by them is wanted. `setting` and
    `load`: what the error of a predicted latency or rate goes by.
    """

    source: str
    row: int
    metric: str
    measured: float | str
    predicted: float | str
    stated: bool = True
    labels: tuple[str, str, str, str] | None = None
    setting: Setting | None = None
    load: LoadRegime | None = None

    @property
    def error_percent(self) -> float:
        """(predicted - measured) / measured in percent; for words 0 where they agree and 100 where not."""
        if isinstance(self.measured, str) or isinstance(self.predicted, str):
            return 0.0 if self.measured == self.predicted else 100.0
        return 100.0 * (self.predicted - self.measured) / self.measured


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that was left out or is in doubt, and why; row 0 is the whole file."""

    source: str
    row: int
    reason: str


@dataclass(slots=True)
class Findings:
    """What reading files came to. `suspect`: rows that were compared, but whose figures cannot be what the rows say.

    `notes` are one-liners about a file: columns that were not understood.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    suspect: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Take in what another file came to."""
        self.comparisons += other.comparisons
        self.skipped += other.skipped
        self.suspect += other.suspect
        self.notes += other.notes


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads one kind of file: the columns that tell it, and the function that compares its rows.

    Each of `required` is a column's name, or several spellings of it joined by "|".
    """

    name: str
    required: tuple[str, ...]
    compare: Callable[[MeasurementTable, Bench], Findings]

    def missing(self, table: MeasurementTable) -> list[str]:
        """The required columns that the table lacks."""
        present = set(table.columns)
        return [names for names in self.required if present.isdisjoint(names.split("|"))]


def read_measurement_tables(path: Path) -> list[MeasurementTable]:
    """The CSV files at a path: the file itself, or every one in a folder and below, by name.

    Raises MeasurementError where there is none, or one cannot be read.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.csv"))
        if not files:
            raise MeasurementError(f"{path}: no CSV file in this folder")
        return [read_measurement_table(file) for file in files]
    return [read_measurement_table(path)]


def read_measurement_table(path: Path) -> MeasurementTable:
    """One CSV file with a header line. Raises MeasurementError."""
    columns, rows = read_csv_rows(path)
    if not columns:
        raise MeasurementError(f"{path}: the file is empty; its first line must name the columns")
    return MeasurementTable(path, columns, rows)


def choose_reader(table: MeasurementTable, readers: Iterable[Reader]) -> Reader:
    """The first reader whose columns are all there. Raises MeasurementError naming what the nearest one misses."""
    nearest: tuple[int, str] | None = None
    for reader in readers:
        missing = reader.missing(table)
        if not missing:
            return reader
        share = len(missing) * 100 // len(reader.required)
        if nearest is None or share < nearest[0]:
            nearest = share, f"read as {reader.name} it lacks {', '.join(name.replace('|', ' or ') for name in missing)}"
    raise MeasurementError(f"{table.source}: no reader for its columns; {nearest[1] if nearest else 'there are no readers'}")


def number_in(row: Row, *names: str) -> float | None:
    """The first of some columns that holds a number, None where all are blank. Raises MeasurementError for other text."""
    for name in names:
        if text := row.get(name, ""):
            return finite_number(text.replace(",", ""), f"column {name}")
    return None


def whole_in(row: Row, *names: str, least: int = 1, most: int = MOST) -> int | None:
    """The first of some columns that holds a whole number, None where all are blank. Raises MeasurementError for other text."""
    name = next((name for name in names if row.get(name)), None)
    return None if name is None else integer(row[name].replace(",", ""), f"column {name}", least=least, most=most)


def text(row: Row, *names: str) -> str:
    """The first of some columns that is not blank, "" where all are."""
    return next((row[name] for name in names if row.get(name)), "")
