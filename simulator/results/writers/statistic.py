"""Statistics of one deployment's simulated run, as benchmark tools print them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.engine.record import FINISHED, RunRecord, inter_token_latencies
from simulator.errors import SimulatorError
from simulator.results.model import DeploymentResult
from simulator.results.tables import Floats, latencies

PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """What was seen of the requests that finished; times in seconds, each of shape (finished,), NaN where undefined.

    `itl_s` and `itl_count`: inter-token latencies and how often each came.
    """

    total: int
    arrival_s: Floats
    prompt: Floats
    output: Floats
    times: Mapping[str, Floats]
    itl_s: Floats
    itl_count: Floats
    duration_s: float

    @property
    def finished(self) -> int:
        """Requests that finished."""
        return len(self.prompt)


def statistics_of(d: DeploymentResult) -> RunStatistics:
    """The statistics of a deployment's run. Raises SimulatorError where nothing ran, or no request finished."""
    if d.trace is None:
        raise SimulatorError(f"{d.name}: {d.verdict}; there is no run to write ({d.reason})")
    done = d.trace.requests["status"] == FINISHED
    if not done.any():
        raise SimulatorError(f"{d.name}: no request finished; there is nothing to write")
    return _statistics(d.trace, done)


def _statistics(trace: RunRecord, done: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> RunStatistics:
    r = trace.requests
    gaps, counts = inter_token_latencies(trace)
    return RunStatistics(
        total=len(trace),
        arrival_s=r["arrival_s"][done],
        prompt=r["prompt_tokens"][done].astype(np.float64),
        output=r["output_tokens"][done].astype(np.float64),
        times={name.removesuffix("_s"): column[done] for name, column in latencies(trace).items()},
        itl_s=np.asarray(gaps, dtype=np.float64),
        itl_count=np.asarray(counts, dtype=np.float64),
        duration_s=float(np.nanmax(r["finish_s"][done]) - np.nanmin(r["arrival_s"])),
    )


def summary(values: Floats, weights: Floats | None = None) -> dict[str, float]:
    """Mean, standard deviation, minimum, maximum and percentiles (`p0.1` to `p99.9`) of what is defined."""
    known = np.isfinite(values)
    if not known.any():
        return {}
    values = values[known]
    share = None if weights is None else weights[known]
    mean = float(np.average(values, weights=share))
    found = {"mean": mean, "std": float(np.sqrt(np.average((values - mean) ** 2, weights=share)))}
    found |= {"min": float(values.min()), "max": float(values.max())}
    return found | {f"p{p:g}": _percentile(values, share, p) for p in PERCENTILES}


def _percentile(values: Floats, weights: Floats | None, percent: float) -> float:
    if weights is None:
        return float(np.percentile(values, percent))
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    place = int(np.searchsorted(below, below[-1] * percent / 100))
    return float(values[order][min(place, len(order) - 1)])
