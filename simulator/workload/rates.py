"""Rates: how many requests a second are meant to come at each time, of traffic whose rate is known in advance."""

from __future__ import annotations

import math

import numpy as np

from simulator.workload.arrivals.steady import Arrivals
from simulator.workload.arrivals.varying import Diurnal, Ramp, Stages
from simulator.workload.requests import Floats
from simulator.workload.workload import Workload

_STEPS = 96
Known = Diurnal | Ramp | Stages


def known_rates(workload: Workload) -> tuple[tuple[float, float], ...] | None:
    """Seconds and requests/s over one period, or from start to end, each rate until the next time.

    None for traffic whose rate does not vary, or is not known before it is drawn (bursts, a trace).

    >>> from simulator.workload.arrivals.varying import Stages
    >>> known_rates(Workload(arrivals=Stages(rates=(1.0, 3.0), every=60.0), prompt=9, output=9))[0::95]
    ((0.0, 1.0), (118.75, 3.0))
    """
    parts = [(c.arrivals, c.mean_turns()) for c in workload.classes if c.arrivals is not None]
    if workload.arrivals is not None:
        parts = [(workload.arrivals, workload.mean_turns())]
    varying = [arrivals for arrivals, _ in parts if isinstance(arrivals, Known)]
    if not varying:
        return None
    span = max(_span(each) for each in varying)
    edges = np.linspace(0.0, span, _STEPS + 1)
    total = sum(turns * _expected(arrivals, edges) for arrivals, turns in parts)
    rates = np.diff(total) / np.diff(edges)
    return tuple((float(t), float(rate)) for t, rate in zip(edges, rates, strict=False))


def _span(arrivals: Known) -> float:
    return arrivals.period if isinstance(arrivals, Diurnal) else arrivals.end_s()


def _expected(arrivals: Arrivals, edges: Floats) -> Floats:
    """Arrivals expected by each time, at the mean rate where it does not vary."""
    if isinstance(arrivals, Known):
        last = arrivals.end_s()
        return np.array([arrivals.expected_by(min(t, last) if math.isfinite(last) else t) for t in edges.tolist()])
    return arrivals.mean_rate() * edges
