"""How long requests wait for the API server before the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord

Floats = NDArray[np.float64]


def waiting_s(trace: RunRecord, start_s: float, end_s: float = np.inf) -> float:
    """Seconds in [start, end] in which requests waited for an API server, one after the other; summed over instances.

    Chunks of output wait in the same queue, so a request that waits shows that they do. 0 where no API server is simulated.
    """
    r = trace.requests
    if "taken_s" not in r:
        return 0.0
    waited = r["taken_s"] > r["arrival_s"]
    replicas = r["replica"][waited]
    begin, end = (np.clip(r[name][waited], start_s, end_s) for name in ("arrival_s", "taken_s"))
    return sum(_covered(begin[replicas == each], end[replicas == each]) for each in np.unique(replicas))


def _covered(begin: Floats, end: Floats) -> float:
    """The length of the union of intervals."""
    order = np.argsort(begin, kind="stable")
    begin, reached = begin[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[-np.inf], reached[:-1]])
    return float(np.maximum(reached - np.maximum(begin, before), 0.0).sum())
