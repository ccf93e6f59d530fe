"""Charts of the page, in order. To add one, write a function from a run to a Figure and name it in CHARTS."""

from __future__ import annotations

from collections.abc import Callable

from simulator.report.charts.day import day
from simulator.report.charts.fleet import replicas_over_time
from simulator.report.charts.memory_and_steps import memory, steps
from simulator.report.charts.panels import Figure
from simulator.report.charts.rates import latency, throughput, tradeoffs, what_if
from simulator.report.charts.run import distributions, over_time, workload
from simulator.results.model import RunResult

CHARTS: tuple[Callable[[RunResult], Figure], ...] = (
    replicas_over_time,
    memory,
    throughput,
    latency,
    day,
    distributions,
    over_time,
    steps,
    tradeoffs,
    workload,
    what_if,
)
