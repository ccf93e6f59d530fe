"""Assurance: how sure it is that a real server keeps what the prediction keeps, given error bands
and the sampling of the run.

A server whose steps take f times as long, at a rate r, is the predicted one at the rate f * r with
all its times f times as long: that is exact, and makes a latency near the queueing point far less
sure than a step. So two things can break a limit: the latency's own error, and a step's that takes
the server nearer to its queueing point. The chance that a term is kept is that of the less certain
of the two, and an SLO's that of its least certain term, for what makes one latency longer does so
to the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, inf, log
from typing import Literal

from simulator.latency.error_bands import ErrorBand
from simulator.results.slo import SloCheck

Standing = Literal["meets", "misses", "too close to call", "too few to say"]
SURE, LIKELY = 0.9, 0.7
"""The chances of what is called sure, and likely."""
_LOW, _HIGH = 0.1, 0.9
TAIL = 90.0
"""The percentile from which on a latency has the band of tails."""
_WIDEST = 20.0
_EXACT = ErrorBand(1.0, 1.0, 1.0, "")


@dataclass(frozen=True, slots=True)
class Assurance:
    """How sure it is that a deployment does what is asked.

    `chance`: that it keeps up and keeps its SLO at the demand. `sure_per_s`, `likely_per_s`: the
    highest rates, requests/s, at which that is SURE and LIKELY; `lost_per_s`: the lowest at which
    the contrary is sure. `queueing_low_per_s`, `queueing_high_per_s`: where it starts to queue in
    four of five cases. `needed`: so many requests would tell, where those of the run are too few.
    None where they are not known.
    """

    standing: Standing
    chance: float
    sure_per_s: float | None = None
    likely_per_s: float | None = None
    lost_per_s: float | None = None
    queueing_low_per_s: float | None = None
    queueing_high_per_s: float | None = None
    needed: int = 0


@dataclass(frozen=True, slots=True)
class Behavior:
    """What a deployment is predicted to do at increasing rates: the terms of its SLO, None where
    the queue grows.

    `queueing_per_s`: beyond it no latency is kept, None where it is not known. `bands`: by metric
    as `error_bands.bands` names them.
    """

    points: tuple[tuple[float, tuple[SloCheck, ...] | None], ...]
    queueing_per_s: float | None
    bands: Mapping[str, ErrorBand]

    @property
    def slowness(self) -> ErrorBand:
        """How long a real step takes over the predicted one: what it completes when full,
        inverted."""
        found = self.bands.get("output_tokens_per_s")
        return found.inverse() if found else _EXACT

    def strain(self, term: int, rate: float) -> float:
        """How far a term is strained at any rate: read off between rates that were simulated,
        without bound where it queues."""
        return self.term_at(term, rate)[0]

    def term_at(self, term: int, rate: float) -> tuple[float, float]:
        """The strain of a term at any rate, and its relative standard error by sampling.

        More traffic relieves nothing: where a run at a lower rate came out worse, that counts.
        """
        if self.queueing_per_s is not None and rate >= self.queueing_per_s:
            return inf, 0.0
        found = ((at, c[term].strain, c[term].spread) for at, c in self.points if c is not None and term < len(c))
        rising = accumulate(((at, s, e) for at, s, e in found if s), lambda a, b: b if b[1] >= a[1] else (b[0], *a[1:]))
        known = list(rising)
        before = [point for point in known if point[0] <= rate]
        after = [point for point in known if point[0] > rate]
        if not before or not after:
            return (before[-1:] or after[:1] or [(0.0, inf, 0.0)])[0][1:]
        (low, below, one), (high, above, other) = before[-1], after[0]
        part = (log(rate) - log(low)) / (log(high) - log(low)) if low > 0 else 0.0
        return exp(log(below) + part * (log(above) - log(below))), one + part * (other - one)

    def slower(self, term: int, rate: float, factor: float) -> float:
        """How far a term is strained where every step takes `factor` times as long."""
        return factor * self.strain(term, factor * rate)

    def bears(self, term: int, rate: float) -> float:
        """How many times as long steps may take until the term is strained to its limit."""
        return _where(lambda factor: self.slower(term, rate, factor) <= 1)


def term_band(bands: Mapping[str, ErrorBand], check: SloCheck) -> ErrorBand:
    """The band of the latency that a term limits, or the widest of those of all latencies for
    goodput."""
    tail = (check.percentile or 100 * check.limit) >= TAIL
    names = [check.latency] if check.latency else ["ttft", "tpot", "e2e"]
    found = [bands[name] for each in names if (name := f"{each}_tail" if tail else each) in bands]
    return max(found, key=lambda band: band.high / band.low) if found else _EXACT


def judged(check: SloCheck, behavior: Behavior | None, term: int, rate: float | None, bands: Mapping[str, ErrorBand]) -> SloCheck:
    """A term with where its real value lies and the chance that it is kept; `behavior` at other
    rates, where it is known."""
    if check.strain is None:
        return dataclasses.replace(check, chance=0.0) if check.too_few_answers else check
    own, scale = term_band(bands, check).blurred(check.spread), check.limit if check.latency else None
    ends = [own.quantile(share) * check.strain for share in (_LOW, _HIGH)]
    chance = own.share_below(1 / check.strain)
    if behavior is not None and rate:
        slow = behavior.slowness
        ends[0] = min(ends[0], behavior.slower(term, rate, slow.quantile(_LOW)))
        ends[1] = max(ends[1], behavior.slower(term, rate, slow.quantile(_HIGH)))
        choose = min if check.strain <= 1 else max
        chance = choose(chance, slow.share_below(behavior.bears(term, rate)))
    low, high = (None if scale is None or end == inf else end * scale for end in ends)
    return dataclasses.replace(check, low=low, high=high, chance=chance)


def assurance(
    checks: Sequence[SloCheck], behavior: Behavior | None, demand: float | None, *, keeps_up: bool, answers: bool = True
) -> Assurance:
    """How sure it is that the SLO of judged `checks` is kept at the demand; without an SLO, that
    the deployment keeps up.

    A run that is not predicted to keep up is judged by its behavior at lower rates alone.
    """
    chance = 0.0
    if answers and (keeps_up or behavior):
        at_demand = None if behavior is None or demand is None else kept(behavior, demand)
        own = [check.chance for check in checks if check.chance is not None]
        chance = min([*own, *([] if at_demand is None else [at_demand])], default=1.0) if keeps_up else at_demand or 0.0
    needed = max((check.needed for check in checks if check.too_few), default=0)
    ends: dict[str, float | None] = {}
    if behavior is not None and behavior.queueing_per_s is not None:
        point, slow = behavior.queueing_per_s, behavior.slowness

        def at(rate: float) -> float:
            """The chance at a rate: beyond the demand never more than there."""
            return kept(behavior, rate) if demand is None or rate < demand else min(chance, kept(behavior, rate))

        ends = {
            "sure_per_s": _rate_where(lambda rate: at(rate) >= SURE, point),
            "likely_per_s": _rate_where(lambda rate: at(rate) >= LIKELY, point),
            "lost_per_s": _rate_where(lambda rate: at(rate) > 1 - SURE, point),
            "queueing_low_per_s": point / slow.quantile(_HIGH),
            "queueing_high_per_s": point / slow.quantile(_LOW),
        }
    return Assurance(_standing(chance, needed), chance, needed=needed, **ends)


def kept(behavior: Behavior, rate: float) -> float:
    """The chance that every term is kept at a rate, and the queue does not grow."""
    slow, point = behavior.slowness, behavior.queueing_per_s
    keeps_up = 1.0 if point is None else slow.share_below(point / rate)
    terms = next((checks for _, checks in behavior.points if checks), ())
    return min([keeps_up, *(_kept(behavior, term, check, rate) for term, check in enumerate(terms))])


def _kept(behavior: Behavior, term: int, check: SloCheck, rate: float) -> float:
    strain, error = behavior.term_at(term, rate)
    by_steps = behavior.slowness.share_below(behavior.bears(term, rate))
    if strain == inf:
        return by_steps
    return (min if strain <= 1 else max)(by_steps, term_band(behavior.bands, check).blurred(error).share_below(1 / strain))


def _standing(chance: float, needed: int) -> Standing:
    if chance <= 1 - SURE:
        return "misses"
    if needed:
        return "too few to say"
    return "meets" if chance >= SURE else "too close to call"


def _where(holds: Callable[[float], bool]) -> float:
    """The factor up to which something holds, between a twentieth and twenty times."""
    low, high = 1 / _WIDEST, _WIDEST
    if not holds(low):
        return 0.0
    if holds(high):
        return high
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rate_where(holds: Callable[[float], bool], point: float) -> float | None:
    """The rate up to which something holds, None where it does at none."""
    found = _where(lambda factor: holds(factor * point / 4))
    return found * point / 4 if found > 0 else None
