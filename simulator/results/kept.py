"""Kept: in which stretches of a run the SLO was kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.results.slo import ROUNDING, Bools, Floats, Promise, kept_terms
from simulator.results.tables import latencies


def stretches_kept(record: RunRecord, promises: Sequence[Promise], edges: Floats) -> Floats:
    """Of each stretch between two `edges`, shape (k + 1,), seconds: 1 where those who asked in it kept
    every term of the SLO, 0 where they did not, NaN where nobody asked; shape (k,).

    A request without an answer misses every term. Of few requests as many may miss as the share
    rounds up to: of five at p95 one.
    """
    arrivals, columns = record.requests["arrival_s"], latencies(record)
    stretch = np.searchsorted(edges, arrivals, side="right") - 1
    within = np.isfinite(arrivals) & (stretch >= 0) & (stretch < len(edges) - 1)
    count = len(edges) - 1
    kept = np.full(count, np.nan)
    for promise in promises:
        of = within if promise.of is None else within & promise.of
        for good, need in kept_terms(promise.slo, columns):
            some = _term(stretch[of], good[of], need, count)
            kept = np.where(np.isnan(some), kept, np.minimum(np.nan_to_num(kept, nan=1.0), some))
    return kept


def _term(stretch: NDArray[np.intp], good: Bools, need: float, count: int) -> Floats:
    asked = np.bincount(stretch, minlength=count)
    answered = np.bincount(stretch, weights=good, minlength=count)
    return np.where(asked > 0, answered >= np.floor(need * asked + ROUNDING), np.nan)


def share_kept(kept: Floats) -> float:
    """The share of the stretches in which somebody asked that kept the SLO; 1 where nobody did."""
    asked = kept[np.isfinite(kept)]
    return float(asked.mean()) if len(asked) else 1.0
