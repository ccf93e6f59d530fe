"""Charts of the page, in order. To add one, write a function from a run to a Figure and name it in CHARTS."""

from __future__ import annotations

from collections.abc import Callable

from simulator.report.budget import memory, steps
from simulator.report.curves import latency, throughput, tradeoffs, what_if
from simulator.report.figures import Figure
from simulator.report.history import distributions, timeline, workload
from simulator.results.outcome import RunResult

CHARTS: tuple[Callable[[RunResult], Figure], ...] = (
    memory,
    throughput,
    latency,
    distributions,
    timeline,
    steps,
    tradeoffs,
    workload,
    what_if,
)
