"""Clocks: a file's times as seconds since the first, and whether its unit can be what it seems."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from simulator.errors import MeasurementError
from simulator.numbers import LARGEST
from simulator.text import number
from simulator.workload.requests import Floats
from simulator.workload.traces.columns import Layout, plain_name
from simulator.workload.traces.trace_file import TimeUnit, TraceFile

_SECONDS: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DATE = re.compile(r"^\s*\d{4}-\d\d-\d\d[ T]\d")
_EPOCHS: tuple[tuple[float, TimeUnit], ...] = ((1e18, "ns"), (1e15, "us"), (1e12, "ms"), (1e9, "s"))
_SLOWEST, _FASTEST, _ENOUGH = 0.02, 200.0, 20


def seconds_since_first(times: pl.Series, layout: Layout, trace: TraceFile) -> Floats:
    """Seconds after the earliest time, shape (n,); NaN for what is no time.

    Dates are read as such. Numbers are in the unit that was given, that the column's name ends in, that the format has, or
    that their size tells of an epoch; seconds otherwise. Raises MeasurementError when that makes a rate that cannot be and
    another unit would not.
    """
    text = times.drop_nulls().head(1).to_list()
    if text and isinstance(text[0], str) and _DATE.match(text[0]):
        return _from_dates(times, trace)
    if times.dtype.is_temporal():
        return _shifted(times.cast(pl.Datetime("ns")).to_physical().cast(pl.Float64).to_numpy(), 1e-9)
    values = as_numbers(times)
    values = np.where(np.abs(values) <= LARGEST, values, np.nan)
    unit = trace.time_unit or _unit_of_name(layout.arrival or "") or _unit_of_epoch(values) or layout.unit or "s"
    if trace.time_unit is None and layout.unit in (None, "ms"):
        _refuse_impossible(values, unit, trace)
    return _shifted(values, _SECONDS[unit])


def as_numbers(column: pl.Series) -> Floats:
    """A column as numbers, NaN for what is none."""
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        return np.full(len(column), np.nan)
    return column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _from_dates(times: pl.Series, trace: TraceFile) -> Floats:
    """Dates such as `2023-11-16 18:15:46.6805900`, with or without a time zone, which must be the same throughout."""
    text = times.str.strip_chars()
    zones = text.str.extract(r"(Z|[+-]\d\d:?\d\d)$").drop_nulls().unique()
    if len(zones) > 1:
        raise MeasurementError(
            f"{trace.path}: times in several time zones ({', '.join(zones.sort().to_list()[:3])}); write them in one"
        )
    if len(zones) == 1:
        text = text.str.strip_suffix(zones[0])
    clock = text.str.replace("T", " ", literal=True).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    ticks = clock.to_physical()
    first = ticks.min()
    return (
        ((ticks - first).cast(pl.Float64) * 1e-9).fill_null(float("nan")).to_numpy()
        if first is not None
        else np.full(len(times), np.nan)
    )


def _shifted(values: Floats, unit_s: float) -> Floats:
    sound = np.isfinite(values)
    first = values[sound].min() if sound.any() else 0.0
    return np.where(sound, (values - first) * unit_s, np.nan)


def _unit_of_name(name: str) -> TimeUnit | None:
    last = plain_name(name).split("_")[-1]
    return next((unit for unit in _SECONDS if last == unit), None)


def _unit_of_epoch(values: Floats) -> TimeUnit | None:
    """The unit in which the numbers are times since 1970, by their size, for dates after 2001."""
    sound = values[np.isfinite(values)]
    least = sound.min() if len(sound) else 0.0
    return next((unit for size, unit in _EPOCHS if least >= size), None)


def _refuse_impossible(values: Floats, unit: TimeUnit, trace: TraceFile) -> None:
    """Raises MeasurementError when seconds make a trickle of whole numbers that milliseconds make traffic of, or the reverse."""
    sound = values[np.isfinite(values)]
    span = float(np.ptp(sound)) if len(sound) else 0.0
    if len(sound) < _ENOUGH or span == 0:
        return
    rate = {name: (len(sound) - 1) / (span * size) for name, size in _SECONDS.items()}
    other: TimeUnit = "ms" if unit == "s" else "s"
    too_slow = unit == "s" and rate["s"] < _SLOWEST and bool(np.all(sound == np.rint(sound)))
    too_fast = unit == "ms" and rate["ms"] > _FASTEST
    if too_slow or too_fast:
        raise MeasurementError(
            f"{trace.path}: its {len(sound)} requests come {number(rate[unit])} a second if the times are in {unit}, "
            f"{number(rate[other])} if they are in {other}; say time_unit: {unit} or time_unit: {other}"
        )
