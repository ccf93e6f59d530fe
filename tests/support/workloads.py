"""Example workload specs, several for every variant, and ways to write small traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from simulator.workload.arrivals.steady import Arrivals
from simulator.workload.lengths.discrete import Lengths
from simulator.workload.workload import Workload

ARRIVALS: tuple[Any, ...] = (
    "4/s",
    {"kind": "gamma", "rate": 4, "burstiness": 0.25},
    {"kind": "gamma", "rate": "240/min", "cv": 0.5},
    {"kind": "weibull", "rate": 4, "cv": 2},
    {"kind": "weibull", "rate": 4, "shape": 2},
    {"kind": "constant", "rate": 4},
    {"kind": "users", "users": 200, "each": "72/h"},
    {"kind": "stages", "stages": [{"rate": 2, "duration": 150}, {"rate": 0, "duration": 50}, {"rate": 8, "duration": 100}]},
    {"kind": "stages", "stages": [{"rate": 2, "duration": 150}, {"rate": 8, "duration": 150}], "cv": 0},
    {"kind": "stages", "rates": [2, 8, 4], "every": "100s"},
    {"kind": "stages", "rates": [2, 8, 4], "every": "100s", "exact": True},
    {"kind": "ramp", "start": 0, "end": 8, "over": 300},
    {"kind": "ramp", "start": 8, "end": 0, "over": 300, "cv": 2},
    {"kind": "ramp", "start": 4, "end": 4, "over": 300},
    {"kind": "diurnal", "peak": 7, "trough": 1, "period": 100},
    {"kind": "diurnal", "peak": 8, "trough": 0, "period": "1h", "peak_at": "10min", "cv": 0.5},
    {"kind": "bursts", "rate": 20, "on": 1, "off": 4},
    {"kind": "bursts", "rate": 12, "idle_rate": 2, "on": 1, "off": 4},
    {"kind": "recorded", "times_s": [0, 0, 0.5, 2, 2.25]},
    {"kind": "all_at_once"},
    {"kind": "closed_loop", "concurrency": 8, "think": "5s"},
)

LENGTHS: tuple[Any, ...] = (
    256,
    {"kind": "uniform", "min": 10, "max": 20},
    {"kind": "lognormal", "mean": 1000, "p95": 3000},
    {"kind": "lognormal", "mean": 300, "std": 300},
    {"kind": "lognormal", "mean": 300, "median": 200, "max": 1000},
    {"kind": "lognormal", "median": 50, "p95": 900, "min": 40, "max": 4000},
    {"kind": "lognormal", "mu": 5, "sigma": 0.5},
    {"kind": "gamma", "mean": 300, "cv": 0.7},
    {"kind": "gamma", "mean": 3000, "cv": 0.05},
    {"kind": "gamma", "mean": 300, "cv": 2, "min": 16, "max": 4096},
    {"kind": "normal", "mean": 1000, "std": 100},
    {"kind": "normal", "mean": 100, "std": 50, "min": 90, "max": 120},
    {"kind": "zipf", "exponent": 1.1, "max": 10000},
    {"kind": "zipf", "exponent": 2.5, "min": 5, "max": 500},
    {"kind": "quantiles", "points": {"p0": 4, "p50": 400, "p95": 2000, "p100": 8000}},
    {"kind": "quantiles", "points": {"p0": 7, "p25": 100, "p75": 100, "p100": 110}, "max": 105},
    {"kind": "empirical", "values": [10, 5, 100], "weights": [1, 2, 3]},
    {"kind": "empirical", "values": [3, 3, 9]},
)


def arrivals(written: Any) -> Arrivals:
    """Arrivals as a scenario would write them."""
    spec: Arrivals = TypeAdapter(Arrivals).validate_python(written)
    return spec


def lengths(written: Any) -> Lengths:
    """Lengths as a scenario would write them."""
    spec: Lengths = TypeAdapter(Lengths).validate_python(written)
    return spec


def workload(**written: Any) -> Workload:
    """A workload as a scenario would write it: 1000 requests of 100 tokens in and 10 out at 4/s where nothing else is said."""
    bare = {"trace", "classes", "dataset"}.isdisjoint(written)
    defaults: dict[str, Any] = {"prompt": 100, "output": 10} if bare else {}
    if "trace" not in written:
        defaults |= {"arrivals": "4/s"} | ({} if "duration" in written else {"requests": 1000})
    spec: Workload = TypeAdapter(Workload).validate_python(defaults | written)
    return spec


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """A text file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_json_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A JSON lines file of these rows."""
    return write_lines(path, [json.dumps(row) for row in rows])
