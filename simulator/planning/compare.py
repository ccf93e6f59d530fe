"""Comparing: two or more runs side by side, and which differences are larger than the noise of a
run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.errors import SimulatorError
from simulator.results.metrics import METRICS
from simulator.results.model import DeploymentResult, Estimate
from simulator.results.steady_state import last_arrival
from simulator.results.tables import latencies
from simulator.statistics import BATCHES, half_width

Floats = NDArray[np.float64]
_LATENCIES = ("ttft", "tpot", "e2e")
_UNITS = {m.name: m.unit for m in METRICS}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one deployment in every run. Changes are against the first run, in its unit;
    None where either has no value.

    `noise`: what a change must exceed to be more than chance, at 95 %; None where that is not
    known. `unit` as in METRICS.
    """

    deployment: str
    metric: str
    unit: str
    values: tuple[float | None, ...]
    noise: tuple[float | None, ...]

    def change(self, run: int) -> float | None:
        """The run's value less the first run's."""
        first, value = self.values[0], self.values[run]
        return None if first is None or value is None else value - first

    def larger_than_noise(self, run: int) -> bool | None:
        """Whether a change is more than chance; None where there is nothing to tell it by."""
        change, noise = self.change(run), self.noise[run]
        return None if change is None or noise is None else abs(change) > noise


class Compared(Protocol):
    """What can be compared: a run, or a measurement put beside one."""

    @property
    def deployments(self) -> tuple[DeploymentResult, ...]:
        """Its deployments, in order."""
        ...

    def deployment(self, name: str) -> DeploymentResult:
        """A deployment by its name."""
        ...


def compare(runs: Sequence[Compared]) -> tuple[Difference, ...]:
    """The differences of runs against the first, deployment by deployment as `pairs` matches
    them."""
    return tuple(difference for row in pairs(runs) for difference in _differences(row))


def pairs(runs: Sequence[Compared]) -> list[tuple[DeploymentResult, ...]]:
    """The deployments that every run has, by name; where each run has only one, that one whatever
    it is called.

    Raises SimulatorError for fewer than two runs, or runs with nothing in common.
    """
    if len(runs) < 2:
        raise SimulatorError("comparing takes two runs or more")
    if all(len(run.deployments) == 1 for run in runs):
        return [tuple(run.deployments[0] for run in runs)]
    common = _in_common([[d.name for d in run.deployments] for run in runs])
    return [tuple(run.deployment(name) for run in runs) for name in common]


def _in_common(names: Sequence[Sequence[str]]) -> list[str]:
    """The names that are in every list. Raises SimulatorError where none is."""
    common = [name for name in names[0] if all(name in others for others in names[1:])]
    if not common:
        listed = "; ".join(map(", ".join, names))
        raise SimulatorError(f"the runs have no deployment in common: {listed}")
    return common


def _differences(row: Sequence[DeploymentResult]) -> list[Difference]:
    """The differences of one deployment, of which some run has a value."""
    found = [*_of_metrics(row), *_of_estimates(row), *_of_shares(row), *_of_costs(row)]
    return [d for d in found if any(value is not None for value in d.values)]


def _of_metrics(row: Sequence[DeploymentResult]) -> Iterator[Difference]:
    """Metrics, whose noise is in the batches of the runs."""
    for metric, statistic in _STATISTICS.items():
        noise = (_noise(row[0].trace, d.trace, statistic) for d in row[1:])
        yield Difference(row[0].name, metric, _UNITS[metric], _values(row, metric), (0.0, *noise))


def _of_estimates(row: Sequence[DeploymentResult]) -> Iterator[Difference]:
    """Rates that were searched, each with an interval of its own."""
    for name, get in _ESTIMATES.items():
        first, *others = (get(d) for d in row)
        values = tuple(estimate.value if estimate else None for estimate in (first, *others))
        noise = (_spread(first, other) for other in others)
        yield Difference(row[0].name, name, "requests/s", values, (0.0, *noise))


def _of_shares(row: Sequence[DeploymentResult]) -> Iterator[Difference]:
    """Shares of requests, which are counted; where all are 0 there is nothing to say."""
    for metric in _SHARES:
        if any(shares := _values(row, metric)):
            yield Difference(row[0].name, metric, _UNITS[metric], shares, (0.0,) * len(row))


def _of_costs(row: Sequence[DeploymentResult]) -> Iterator[Difference]:
    """Dollars, which have no noise of their own."""
    for name, cost in _COSTS.items():
        yield Difference(row[0].name, name, "$", tuple(cost(d) for d in row), (0.0,) * len(row))


def _values(row: Sequence[DeploymentResult], metric: str) -> tuple[float | None, ...]:
    return tuple((d.metrics or {}).get(metric) for d in row)


def _noise(
    first: RunRecord | None, other: RunRecord | None, statistic: Callable[[RunRecord], Floats]
) -> float | None:
    """95 % half-width of the difference of two runs, from the same statistic of their batches; None
    without their traces.

    Runs of the same requests, at whatever pace, are compared batch by batch: what both have in
    common does not count as noise.
    """
    if first is None or other is None:
        return None
    a, b = statistic(first), statistic(other)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if _same_requests(first, other):
        return half_width(b - a)
    return math.hypot(half_width(a), half_width(b))


def _same_requests(first: RunRecord, other: RunRecord) -> bool:
    return all(
        np.array_equal(first.requests[name], other.requests[name])
        for name in ("prompt_tokens", "output_tokens")
    )


def _latency(name: str, reduce: Callable[[Floats], float], trace: RunRecord) -> Floats:
    """A statistic of a latency in batches of requests, in order of arrival."""
    batches = np.array_split(latencies(trace)[f"{name}_s"], BATCHES)
    return np.array(
        [reduce(kept) if len(kept := batch[np.isfinite(batch)]) else np.nan for batch in batches]
    )


def _rate(column: str | None, trace: RunRecord) -> Floats:
    """Requests, or a column of theirs, finished per second in equal parts of the time up to the
    last arrival."""
    r = trace.requests
    done = np.isfinite(r["finish_s"])
    end = last_arrival(trace) or float(np.nanmax(r["finish_s"], initial=1.0))
    weights = np.ones(int(done.sum())) if column is None else r[column][done].astype(np.float64)
    finished = np.histogram(r["finish_s"][done], bins=BATCHES, range=(0.0, end), weights=weights)[0]
    return finished * BATCHES / end


def _p99(values: Floats) -> float:
    return float(np.percentile(values, 99))


_STATISTICS: dict[str, Callable[[RunRecord], Floats]] = {
    "requests_per_s": partial(_rate, None),
    "output_tokens_per_s": partial(_rate, "output_tokens"),
    **{f"{name}_mean_s": partial(_latency, name, np.mean) for name in _LATENCIES},
    **{f"{name}_p50_s": partial(_latency, name, np.median) for name in _LATENCIES},
    **{f"{name}_p99_s": partial(_latency, name, _p99) for name in _LATENCIES},
}
_ESTIMATES: dict[str, Callable[[DeploymentResult], Estimate | None]] = {
    "queueing_point": lambda d: d.queueing_point,
    "slo_capacity": lambda d: d.slo_capacity,
}
_SHARES = ("unanswered_share",)
_COSTS: dict[str, Callable[[DeploymentResult], float | None]] = {
    "usd_per_hour": lambda d: d.cost.usd_per_hour if d.cost else None,
    "usd_per_million_output_tokens": lambda d: (
        d.cost.usd_per_million_output_tokens if d.cost else None
    ),
}


def _spread(first: Estimate | None, other: Estimate | None) -> float | None:
    """Half-width of the difference of two estimates; None where one has no upper end."""
    if first is None or other is None or first.high is None or other.high is None:
        return None
    return math.hypot(first.high - first.low, other.high - other.low) / 2
