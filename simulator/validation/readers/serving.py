"""Readers of serving measurements, each taken by its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simulator.latency.calibration import Calibration
from simulator.validation.measurements import Findings, MeasurementTable, Reader
from simulator.validation.readers import closed_loop, disaggregated, open_loop, published, replay

READERS: tuple[Reader, ...] = (
    replay.READER,
    open_loop.READER,
    disaggregated.READER,
    closed_loop.MANY,
    published.READER,
    closed_loop.ONE,
)
_CALIBRATED: dict[str, Callable[[MeasurementTable, Calibration], Findings]] = {
    replay.READER.name: replay.compare_replay,
    open_loop.READER.name: open_loop.compare_open_loop,
    disaggregated.READER.name: disaggregated.compare_disaggregated,
    closed_loop.MANY.name: closed_loop.compare_many,
    published.READER.name: published.compare_published,
    closed_loop.ONE.name: closed_loop.compare_one,
}


def readers(calibration: Calibration | None = None) -> tuple[Reader, ...]:
    """The readers; their predictions take a calibration where one is given."""
    if calibration is None:
        return READERS
    return tuple(replace(reader, compare=_with(_CALIBRATED[reader.name], calibration)) for reader in READERS)


def _with(
    compare: Callable[[MeasurementTable, Calibration], Findings], calibration: Calibration
) -> Callable[[MeasurementTable], Findings]:
    return lambda table: compare(table, calibration)
