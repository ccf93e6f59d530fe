"""Readers of serving measurements, each taken by its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simulator.latency.calibration import Calibration
from simulator.validation import serving_closed, serving_open, serving_published, serving_replay
from simulator.validation.measurements import Findings, Reader, Table

READERS: tuple[Reader, ...] = (
    serving_replay.READER,
    serving_open.READER,
    serving_closed.MANY,
    serving_published.READER,
    serving_closed.ONE,
)
_CALIBRATED: dict[str, Callable[[Table, Calibration], Findings]] = {
    serving_replay.READER.name: serving_replay.compare,
    serving_open.READER.name: serving_open.compare,
    serving_closed.MANY.name: serving_closed.compare_many,
    serving_published.READER.name: serving_published.compare,
    serving_closed.ONE.name: serving_closed.compare_one,
}


def readers(calibration: Calibration | None = None) -> tuple[Reader, ...]:
    """The readers; their predictions take a calibration where one is given."""
    if calibration is None:
        return READERS
    return tuple(replace(reader, compare=_with(_CALIBRATED[reader.name], calibration)) for reader in READERS)


def _with(compare: Callable[[Table, Calibration], Findings], calibration: Calibration) -> Callable[[Table], Findings]:
    return lambda table: compare(table, calibration)
