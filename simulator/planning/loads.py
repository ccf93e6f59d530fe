"""Loads: the scenario's traffic at other rates, for searches and curves, from the same random numbers throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from simulator.planning.capacity import Flow
from simulator.planning.ceiling import Ceiling
from simulator.results.steadiness import judge
from simulator.simulation import Bound, simulate
from simulator.workload.requests import Requests
from simulator.workload.sampling import sample
from simulator.workload.workload import Workload

STATIONARY = frozenset({"poisson", "gamma", "constant"})
_FEWEST, _MOST = 4_000, 40_000
_FILLINGS = 20


def at_rate(workload: Workload, rate_per_s: float, requests: int, seed: int) -> Requests:
    """The traffic at another mean rate, its pattern kept. Where the rate varies over time, its own length is kept too."""
    shaped = workload.at_rate(rate_per_s)
    if shaped.trace is None and shaped.arrivals is not None and shaped.arrivals.kind in STATIONARY:
        shaped = replace(shaped, requests=requests, duration=None)
    return sample(shaped, seed)


def enough_requests(full: Ceiling, copies: int = 1) -> int:
    """How many requests a search simulates: enough to fill the running batch many times, so that filling it weighs little."""
    return int(np.clip(_FILLINGS * full.sequences * copies, _FEWEST, _MOST))


def flows(bound: Bound, workload: Workload, requests: int, seed: int) -> Callable[[float], Flow]:
    """What one replica completes at each rate, as a function of the rate, always of the same requests.

    They come at even distances: whether a queue grows depends on its mean rate alone, and bursts would only blur the answer.
    Conversations keep the pattern of the workload, for their later turns come when the earlier ones are answered.
    """
    one = replace(bound, deployment=replace(bound.deployment, replicas=1, data_parallel_size=1))
    drawn = at_rate(workload, workload.mean_rate() or 1.0, requests, seed)
    if drawn.previous is not None:
        return lambda rate: _flow(one, at_rate(workload, rate, requests, seed))
    many = _repeated(drawn, requests)
    return lambda rate: _flow(one, replace(many, arrival_s=np.arange(len(many)) / rate))


def _repeated(requests: Requests, at_least: int) -> Requests:
    """A short trace over and over. Where prompts share prefixes a repetition would find itself in the cache: then as it is."""
    if len(requests) >= at_least or requests.hashes is not None:
        return requests
    columns = {f.name: getattr(requests, f.name) for f in fields(requests)}
    longer: dict[str, Any] = {name: np.resize(c, at_least) for name, c in columns.items() if isinstance(c, np.ndarray)}
    return replace(requests, **longer)


def _flow(bound: Bound, requests: Requests) -> Flow:
    """Arrivals and completions of a run, counting as a share those that are refused at the door."""
    trace = simulate(bound, requests)
    seen = judge(trace, open_loop=True)
    came = trace.requests["arrival_s"]
    measured = (came >= seen.warmup_s) & (came <= seen.measured_until_s)
    offered = float(measured.sum()) / max(seen.measured_until_s - seen.warmup_s, 1e-12)
    accepted = max(float(np.isfinite(trace.requests["finish_s"]).mean()), 1 / len(requests))
    drifts = (seen.drift_per_s, seen.drift_high_per_s, seen.drift_low_per_s)
    return Flow(offered, *(max(0.0, offered - drift / accepted) for drift in drifts))
