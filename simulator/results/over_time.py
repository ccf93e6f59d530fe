"""A fleet over time: how many replicas were ready, what was asked and kept, minute by minute, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import FINISHED, LOST, FleetEvent, RunRecord
from simulator.results.slo import Promise, meets_slo
from simulator.results.tables import latencies
from simulator.text import number, share
from simulator.units import HOUR

_BINS, _SHORTEST_S, _BEFORE_S, _FEW = 120, 1.0, 900.0, 3
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moment:
    """One bin of the time that a run took, from `start_s` on.

    `asked_per_s`: requests sent; `ready`, `starting`: mean replicas that took requests, and that did
    not yet; `kept`: the share of the requests sent in it that got an answer within the SLO, or any
    answer where nothing is promised; None where none was sent.
    """

    start_s: float
    asked_per_s: float
    ready: float
    starting: float
    kept: float | None


@dataclass(frozen=True, slots=True)
class OverTime:
    """What became of the replicas of a deployment in one run.

    `replica_hours`: from the start of each, or of the run, to its end, cold starts paid for too.
    `usd` for these, None without a price. `kept`: the share of all requests that got an answer
    within the SLO; `none_ready`: the share of time without a ready replica. `cold_start`: seconds of
    a start by cause. `worst`: the worst bin in words. `swings_s`: the period with which an
    autoscaler goes up and down without end, None where it does not.
    """

    horizon_s: float
    bin_s: float
    moments: tuple[Moment, ...]
    events: tuple[tuple[float, int, str, str], ...]
    replica_hours: float
    usd: float | None
    kept: float
    none_ready: float
    least_ready: int
    most_ready: int
    starts: int
    deaths: int
    lost: int
    sent_again: int
    cold_start: dict[str, float]
    worst: str = ""
    swings_s: float | None = None


def fleet_over_time(
    record: RunRecord,
    promises: Sequence[Promise],
    cold_start: dict[str, float],
    usd_per_replica_hour: float | None,
) -> OverTime:
    """What a run says of a fleet whose replicas come and go."""
    r = record.requests
    ends = np.concatenate([r["left_s"], r["arrival_s"], np.zeros(1)])
    horizon = float(np.nanmax(ends))
    ready, starting = levels(record.events, "ready", horizon), levels(record.events, "starts", horizon)
    good = _kept(record, promises)
    width = max(horizon / _BINS, _SHORTEST_S)
    edges = np.arange(0.0, horizon, width)
    moments = tuple(_moment(record, good, ready, starting, start, width) for start in edges.tolist())
    hours = paid_between(record.events, 0.0, horizon) / HOUR
    sent = np.isfinite(r["arrival_s"])
    return OverTime(
        horizon_s=horizon,
        bin_s=width,
        moments=moments,
        events=tuple((e.when, e.replica, e.what, e.why) for e in record.events),
        replica_hours=hours,
        usd=None if usd_per_replica_hour is None else usd_per_replica_hour * hours,
        kept=float(good[sent].mean()) if sent.any() else 1.0,
        none_ready=_share_at_none(ready, horizon),
        least_ready=int(ready[1].min()),
        most_ready=int(ready[1].max()),
        starts=sum(each.what == "starts" for each in record.events),
        deaths=sum(each.what == "dies" for each in record.events),
        lost=int((r["status"] == LOST).sum()),
        sent_again=record.sent_again,
        cold_start=cold_start,
        worst=_worst(moments, record.events, width),
        swings_s=swings(record.events, horizon),
    )


def levels(events: Sequence[FleetEvent], what: str, horizon: float) -> tuple[Floats, Floats]:
    """How many replicas are ready, or start, as steps: from when, shape (k,), and how many, shape (k,)."""
    changes: dict[float, int] = {0.0: 0}
    state: dict[int, str] = {}
    for event in events:
        before = state.get(event.replica) == what
        state[event.replica] = event.what
        change = (event.what == what) - before
        changes[event.when] = changes.get(event.when, 0) + change
    times = np.array(sorted(changes))
    return times, np.cumsum([changes[time] for time in times.tolist()]).astype(np.float64)


def mean_ready(record: RunRecord, replicas: int) -> float:
    """How many of so many replicas were ready on average until the last request came."""
    if not record.events:
        return float(replicas)
    arrivals = record.requests["arrival_s"]
    end = float(np.nanmax(arrivals)) if np.isfinite(arrivals).any() else 0.0
    return max(_mean(levels(record.events, "ready", end), 0.0, end), 1e-9)


def _mean(steps: tuple[Floats, Floats], start: float, end: float) -> float:
    """The mean of a step function between two times."""
    times, values = steps
    inside = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
    at = values[np.searchsorted(times, inside[:-1], side="right") - 1]
    return float((at * np.diff(inside)).sum() / (end - start)) if end > start else float(at[0])


def _kept(record: RunRecord, promises: Sequence[Promise]) -> NDArray[np.bool_]:
    """Which requests got an answer, within their SLO where one is promised."""
    columns = latencies(record)
    good = record.requests["status"] == FINISHED
    for promise in promises:
        of = slice(None) if promise.of is None else promise.of
        kept = meets_slo(promise.slo, promise.columns(columns))
        good[of] &= kept
    return np.asarray(good, dtype=np.bool_)


def _moment(
    record: RunRecord,
    good: NDArray[np.bool_],
    ready: tuple[Floats, Floats],
    starting: tuple[Floats, Floats],
    start: float,
    width: float,
) -> Moment:
    r = record.requests
    sent = (r["arrival_s"] >= start) & (r["arrival_s"] < start + width)
    return Moment(
        start_s=start,
        asked_per_s=float(sent.sum() / width),
        ready=_mean(ready, start, start + width),
        starting=_mean(starting, start, start + width),
        kept=float(good[sent].mean()) if sent.any() else None,
    )


def paid_between(events: Sequence[FleetEvent], start: float, end: float) -> float:
    """Replica-seconds that were paid for between two times: of each from its start to its end."""
    began: dict[int, float] = {}
    total = 0.0
    for event in events:
        if event.what in ("starts", "ready"):
            began.setdefault(event.replica, event.when)
        elif event.what in ("dies", "gone") and event.replica in began:
            total += _within(began.pop(event.replica), event.when, start, end)
    return total + sum(_within(since, end, start, end) for since in began.values())


def _within(since: float, until: float, start: float, end: float) -> float:
    return max(0.0, min(until, end) - max(since, start))


def _share_at_none(ready: tuple[Floats, Floats], horizon: float) -> float:
    times, values = ready
    lengths = np.diff(np.append(times, max(horizon, times[-1])))
    return float(lengths[values == 0].sum() / horizon) if horizon else 0.0


def _worst(moments: Sequence[Moment], events: Sequence[FleetEvent], width: float) -> str:
    """The bin in which the fewest requests were served well, and what happened shortly before."""
    known = [each for each in moments if each.kept is not None]
    if not known:
        return ""
    worst = min(known, key=lambda each: each.kept or 0.0)
    if worst.kept is None or worst.kept > 0.999:
        return ""
    end = worst.start_s + width
    before = [e for e in events if worst.start_s - _BEFORE_S <= e.when < end and e.when > 0]
    told = [f"replica {e.replica} {e.what} at {clock(e.when)}" for e in before if e.what in ("dies", "drains", "starts")]
    ready = "1 replica was" if worst.ready == 1 else f"{number(worst.ready, 2)} replicas were"
    cause = f"; before it {', '.join(told[-_FEW:])}" if told else f"; {ready} ready"
    asked = f"{number(worst.asked_per_s, 3)} requests/s asked"
    return f"at its worst, {clock(worst.start_s)} to {clock(end)}, {share(worst.kept)} kept, {asked}{cause}"


def clock(seconds: float) -> str:
    """A time of the run: `1:05:30`, hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def swings(events: Sequence[FleetEvent], horizon: float) -> float | None:
    """The mean period of an autoscaler that adds and takes away in turn four times or more, seconds; None if it does not.

    One turn a load that comes and goes; a fleet that is of one mind neither grows nor shrinks.
    """
    turns, last = [], ""
    for event in events:
        direction = {"starts": "up", "drains": "down"}.get(event.what, "")
        if event.why == "autoscaler" and direction and direction != last:
            turns.append(event.when)
            last = direction
    periods = np.diff(turns[::2])
    if len(periods) < 4 or periods.mean() > horizon / 8:
        return None
    return float(periods.mean())
