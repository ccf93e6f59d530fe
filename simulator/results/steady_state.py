"""Steadiness: how long a simulation warms up, and whether its backlog settles or grows without bound.

An overloaded queue has no steady-state latency: a longer run would print a larger one. So the verdict comes first,
and from the backlog N(t) alone, the requests that have arrived and not left.

The test. After warm-up the arrivals' span is cut into BATCHES equal parts. With d the mean growth of N over a part and
s the standard deviation of the growths, the backlog grows when d / (s / sqrt(BATCHES)) exceeds a t quantile. For a queue
that is always busy the growths are independent and the test is exact. A queue with room to spare pulls N back, so growths
alternate in sign and the test rejects less often than its level. The worst case is a queue loaded to exactly 1, where N
is a reflected random walk and rejects with twice the one-sided level, P(|Z| > z). So a queue that keeps up is called
overloaded in at most FALSE_ALARM of runs: the one-sided level is half of it. (400 simulated M/M/1 runs at load 1 of 200,
1000 and 4000 requests: 2, 6 and 0 alarms; at load 0.5: none.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import REFUSED, RunRecord
from simulator.latency.error_bands import LoadRegime
from simulator.results.api_server import waiting_s
from simulator.statistics import BATCHES, standard_error, student_t
from simulator.text import number

Floats = NDArray[np.float64]
Steady = Literal["stable", "saturated", "overloaded"]

FALSE_ALARM = 0.01
_T_GROWS = student_t(1 - FALSE_ALARM, BATCHES - 1)
_T_MAY_GROW = student_t(0.90, BATCHES - 1)  # 95 % one-sided
MOSTLY = 0.5
_LEADERS = 0.05
_ALONE = 1.5
_AT_ONCE_S = 1e-9


@dataclass(frozen=True, slots=True)
class Steadiness:
    """The verdict and what it rests on. Drift and its interval (two-sided 99 %) in requests/s; times in seconds from the start.

    `waiting_share`: the share of the measured time in which requests waited for a place. `note`: why a run is too short to tell.
    """

    verdict: Steady
    warmup_s: float
    measured_until_s: float
    drift_per_s: float
    drift_low_per_s: float
    drift_high_per_s: float
    waiting_share: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Drift:
    mean: float
    error: float

    @property
    def grows(self) -> bool:
        return self.mean > _T_GROWS * self.error and self.mean > 0

    @property
    def may_grow(self) -> bool:
        return self.mean > _T_MAY_GROW * self.error and self.mean > 0


def judge(trace: RunRecord, *, open_loop: bool, warmup_s: float | None = None) -> Steadiness:
    """The verdict on a run.

    overloaded: the backlog grows (false alarm at most 1 %). saturated: it does not, but requests wait for a place in more
    than half of the time, or growth cannot be excluded at 95 %. stable: otherwise. A closed loop cannot be overloaded: its
    clients bound its backlog. Of traffic that varies the verdict is on the run as a whole. A run shorter than twice the time
    that requests stay is still filling: there only requests that wait for a place count as backlog.
    """
    warm = warmup_end(trace) if warmup_s is None else warmup_s
    until = last_arrival(trace)
    waiting = _waiting_share(trace, warm, until)
    if not open_loop or until - warm < _AT_ONCE_S:
        verdict: Steady = "saturated" if waiting > MOSTLY else "stable"
        note = "all requests arrive at once: this is a batch, not traffic" if open_loop else ""
        return Steadiness(verdict, warm, until, 0.0, 0.0, 0.0, waiting, note)
    drift, note = _drift(trace, warm, until, "left_s"), _shortness(trace, warm, until)
    overloaded = drift.grows and (not note or _drift(trace, warm, until, "scheduled_s").grows)
    verdict = "overloaded" if overloaded else "saturated" if drift.may_grow or waiting > MOSTLY else "stable"
    half, note = _T_GROWS * drift.error, "" if overloaded else note
    return Steadiness(verdict, warm, until, drift.mean, drift.mean - half, drift.mean + half, waiting, note)


def load_regime(trace: RunRecord, start_s: float = 0.0) -> LoadRegime:
    """How loaded the replicas are from `start_s` on, by which errors are told apart.

    waiting: in most of the busy time some request waits for a place. alone: hardly more than one
    request runs at a time on a replica. loaded: otherwise.
    """
    s = trace.stretches
    length = np.clip(s["end_s"] - np.maximum(s["start_s"], start_s), 0.0, None)
    busy = float(length.sum())
    if busy <= 0:
        return "alone"
    if float(length[s["waiting"] > 0].sum()) > MOSTLY * busy:
        return "waiting"
    return "alone" if float((s["sequences"] * length).sum()) < _ALONE * busy else "loaded"


def warmup_end(trace: RunRecord) -> float:
    """Seconds until the system has filled: the first 5 % of the requests, at least 20, have left; at most half the arrivals."""
    r = trace.requests
    served = np.flatnonzero((r["status"] != REFUSED) & np.isfinite(r["left_s"]))
    if len(served) == 0:
        return 0.0
    leaders = served[np.argsort(r["arrival_s"][served], kind="stable")][: max(20, int(_LEADERS * len(served)))]
    start = float(np.nanmin(r["arrival_s"]))
    return min(float(r["left_s"][leaders].max()), start + (last_arrival(trace) - start) / 2)


def last_arrival(trace: RunRecord) -> float:
    """Seconds from the start to the last arrival of a first turn; 0 without requests. Later turns come while others are answered,
    so they go on to arrive after the load has ceased."""
    arrivals = trace.requests["arrival_s"][trace.requests["follows"] == 0]
    return float(np.nanmax(arrivals)) if np.isfinite(arrivals).any() else 0.0


def backlog(trace: RunRecord, times: Floats, until: Literal["left_s", "scheduled_s"] = "left_s") -> NDArray[np.int64]:
    """Requests that have arrived and not yet left (or not yet been scheduled) at each of `times`; the refused never were."""
    r = trace.requests
    inside = r["status"] != REFUSED
    came, left = np.sort(r["arrival_s"][inside]), np.sort(r[until][inside & np.isfinite(r[until])])
    return np.searchsorted(came, times, side="right") - np.searchsorted(left, times, side="right")


def _drift(trace: RunRecord, start: float, end: float, until: Literal["left_s", "scheduled_s"]) -> _Drift:
    """Growth of the backlog, requests/s, and its standard error from batches."""
    edges = np.linspace(start, end, BATCHES + 1)
    growth = np.diff(backlog(trace, edges, until).astype(np.float64)) / (edges[1] - edges[0])
    return _Drift(float(growth.mean()), standard_error(growth))


def _waiting_share(trace: RunRecord, start: float, end: float) -> float:
    """Share of busy time in [start, end] in which some request waited, in the engine or, where that is longer, for its API
    server; of the whole run where nothing ran in between."""
    s = trace.stretches
    inside = np.clip(np.minimum(s["end_s"], end) - np.maximum(s["start_s"], start), 0.0, None)
    if not inside.sum() > 0:
        start, end, inside = 0.0, np.inf, s["end_s"] - s["start_s"]
    total = float(inside.sum())
    waited = max(float(inside[s["waiting"] > 0].sum()), waiting_s(trace, start, end))
    return min(waited / total, 1.0) if total > 0 else 0.0


def _shortness(trace: RunRecord, warm: float, until: float) -> str:
    r = trace.requests
    stay = r["left_s"] - r["arrival_s"]
    typical = float(np.nanmean(stay)) if np.isfinite(stay).any() else 0.0
    if until - warm >= 2 * typical:
        return ""
    return (
        f"the run is short: requests stay {number(typical)} s and {number(until - warm)} s are measured; "
        "more requests would tell more"
    )
