"""Capacity: the highest rate a deployment sustains, and the highest at which it keeps its SLO,
found by search over simulations.

The searches see a deployment as a function of the rate, so a test can put a queue with a known
answer in its place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.errors import SimulatorError
from simulator.results.model import Estimate
from simulator.text import number

TOLERANCE = 0.02
MOST_SIMULATIONS = 25
OVERLOAD, _CROWDED = 1.15, 1.1
SLOWER = 0.05


@dataclass(frozen=True, slots=True)
class Flow:
    """What came of one rate: requests/s that arrived and that were completed, with the interval
    from the batches of the run."""

    offered_per_s: float
    completed_per_s: float
    low_per_s: float
    high_per_s: float

    @property
    def grows(self) -> bool:
        """Whether the backlog surely grows: fewer requests leave than come, beyond the noise."""
        return self.high_per_s < self.offered_per_s

    def keeps_up(self, tolerance: float) -> bool:
        """Whether growth by more than `tolerance` of the rate can be excluded."""
        return self.low_per_s > self.offered_per_s * (1 - tolerance)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether one rate meets the SLO, and whether that is beyond the noise of the run."""

    rate_per_s: float
    met: bool
    surely_met: bool
    surely_missed: bool


class NoQueueingPoint(SimulatorError):
    """The requests at hand show no rate at which the backlog grows."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a deployment turns from keeping up to a backlog that grows: the rate, requests/s, and
    its interval.

    `recovers_below`: once there is a backlog it is only worked off below this rate, requests/s, as
    a server with a backlog is slower by more than SLOWER; None where it is not, so that it recovers
    wherever it keeps up.
    """

    value: float
    low: float
    high: float | None
    recovers_below: float | None = None

    def times(self, replicas: float) -> Turn:
        """The queueing point of this many replicas, each with one like this."""
        found = (self.value, self.low, self.high, self.recovers_below)
        value, low, high, recovers = (None if rate is None else rate * replicas for rate in found)
        assert value is not None and low is not None
        return Turn(value, low, high, recovers)

    def within(self, most: float) -> Turn:
        """The turn of a deployment before which something takes in no more than `most`
        requests/s."""
        high = most if self.high is None else min(self.high, most)
        value = min(self.value, most)
        recovers = (
            self.recovers_below if self.recovers_below and self.recovers_below < value else None
        )
        return Turn(value, min(self.low, most), high if math.isfinite(high) else None, recovers)

    def widened(self, share: float) -> Turn:
        """The turn where the work of a request is itself only known to within a share of it."""
        more = share * self.value
        low = self.value - math.hypot(self.value - self.low, more)
        high = None if self.high is None else self.value + math.hypot(self.high - self.value, more)
        return dataclasses.replace(self, low=max(0.0, low), high=high)

    @property
    def estimate(self) -> Estimate:
        """The rate and its interval."""
        return Estimate(self.value, self.low, self.high)


def queueing_point(
    flow: Callable[[float], Flow],
    guess_per_s: float,
    *,
    check: Callable[[float], Flow] | None = None,
    calm: Callable[[float], Flow] | None = None,
    tolerance: float = TOLERANCE,
    most: int = MOST_SIMULATIONS,
) -> Turn:
    """The highest rate whose backlog does not grow, requests/s, with its interval; at most `most`
    simulations.

    A queue that is never empty completes at its capacity whatever is offered, so one overloaded
    run, found from `guess_per_s` upwards, measures it: what comes at a lower rate it works off. The
    rate just above must bear it out: it may not be seen to keep up. Where it does, the search goes
    on between what kept up and what grew; it stops at the tolerance, or when the noise of a run no
    longer tells which of the two it is. That happens where a server with a backlog is slower than
    one that keeps up, as recomputation after preemptions can make it. Such a server has two rates:
    up to one it keeps up, and below the other it also works a backlog off. The first is the point,
    and the interval begins at the second.

    `flow` starts full and measures the capacity. `check`, `flow` itself unless given, may be
    shorter and start full of requests that came at once; it is asked first, and where it surely
    completes less the interval holds that too. `calm`, `check` unless given, starts below full, as
    service does: it tells what keeps up above what a full server completes. Raises NoQueueingPoint
    when no rate overloads it.
    """
    search = _Search(flow, check or flow, calm, tolerance, most)
    crowded = search.overload(guess_per_s)
    capacity = crowded.completed_per_s
    step = 1 + max(tolerance, (crowded.high_per_s - crowded.low_per_s) / 2 / capacity)
    if search.bears_out(capacity, step):
        low, high = max(search.low, crowded.low_per_s), min(search.high, crowded.high_per_s)
        return search.turn(Turn(capacity, low, high), crowded)
    search.climb()
    search.bisect()
    return search.turn(Turn(search.low, min(search.low, capacity), search.high), crowded)


@dataclass(slots=True)
class _Search:
    """The bracket of a search: `low` kept up or is not known to grow, `high` grew or is not known
    to keep up. `left`: simulations that it may still take. `burst`: what a full server completes in
    the run it was last asked first."""

    flow: Callable[[float], Flow]
    check: Callable[[float], Flow]
    calm: Callable[[float], Flow] | None
    tolerance: float
    left: int
    low: float = 0.0
    high: float = math.inf
    burst: Flow | None = None
    climbing: bool = False

    def turn(self, found: Turn, crowded: Flow) -> Turn:
        """What was found, its interval as wide as servers that start otherwise differ, and where it
        recovers."""
        slowest = crowded
        if self.burst is not None and self.burst.high_per_s < crowded.low_per_s:
            slowest = self.burst
            found = dataclasses.replace(found, low=min(found.low, slowest.low_per_s))
        slower = slowest.high_per_s * (1 + SLOWER) < found.value
        return (
            dataclasses.replace(found, recovers_below=slowest.completed_per_s) if slower else found
        )

    def ask(self, rate: float, *, grows: bool = False) -> Flow:
        """The short run where it shows what is expected, that the rate keeps up or `grows`; else
        the longer one, for a short one may still be filling its batch."""
        seen = self.ask_shorter(rate)
        shown = seen.grows if grows else seen.keeps_up(self.tolerance) and not seen.grows
        return seen if shown or self.check is self.flow or not self.left else self.ask_longer(rate)

    def ask_shorter(self, rate: float) -> Flow:
        self.left -= 1
        return self.check(rate)

    def ask_longer(self, rate: float) -> Flow:
        self.left -= 1
        return self.flow(rate)

    def ask_calm(self, rate: float) -> Flow:
        assert self.calm is not None
        self.left -= 1
        return self.calm(rate)

    def overload(self, guess: float) -> Flow:
        """A run that surely grows, not by more than twice its capacity.

        Where only requests that came at once crowd it by a tenth, it is theirs: a server that
        is not full tells how far it keeps up."""
        rate, further, calm = OVERLOAD * guess, 2.0, 0.0
        while self.left > 0:
            seen = self.ask_shorter(rate)
            nearer = OVERLOAD * seen.completed_per_s
            near = rate <= 2 * seen.completed_per_s or nearer <= 1.2 * calm
            if seen.grows and near and self.check is not self.flow and self.left > 0:
                self.high, self.burst = min(self.high, rate), seen
                crowded = _CROWDED * seen.completed_per_s
                rate = crowded if calm < crowded < rate else rate
                seen = self.ask_longer(rate)
                if self.calm is not None and not seen.grows and rate >= crowded:
                    return self.burst
            if not seen.grows:
                calm = max(calm, rate)
                self.low = max(self.low, rate if seen.keeps_up(self.tolerance) else 0.0)
                rate, further = (
                    min(rate * further, math.sqrt(rate * self.high)),
                    min(further**2, 100.0),
                )
                continue
            self.high = rate
            if near:
                return seen
            rate = nearer
        raise NoQueueingPoint(
            f"no rate up to {number(rate, 4)} requests/s overloads it; is a step free of cost?"
        )

    def bears_out(self, capacity: float, step: float) -> bool:
        """Whether the rate a step above the capacity agrees with it; the bracket moves either
        way."""
        above = capacity * step
        if self.low >= above:
            return False
        if above < self.high and self.left > 0:
            if self.keeps_up_beyond(above, step - 1):
                self.low, self.climbing = above, self.calm is not None
                return False
            self.high = above
        return self.low <= capacity / step

    def keeps_up_beyond(self, rate: float, share: float) -> bool:
        """Whether it is seen to keep up with a rate that is a share above its capacity."""
        if self.calm is None:
            seen = self.ask(rate, grows=True)
            return not seen.grows and seen.keeps_up(share)
        seen = self.ask_calm(rate)
        return not seen.grows and seen.keeps_up(share / 2)

    def climb(self) -> None:
        """Where a server that is not full keeps up above what a full one completes: on to a
        rate at which it does not."""
        if not self.climbing:
            return
        self.high = math.inf
        while self.left > 0 and math.isinf(self.high):
            rate = self.low * _CROWDED
            if self.ask_calm(rate).keeps_up(self.tolerance):
                self.low = rate
            else:
                self.high = rate

    def bisect(self) -> None:
        while self.left > 0 and self.high > self.low * (1 + self.tolerance) ** 2:
            middle = math.sqrt(self.low * self.high) if self.low else self.high / 2
            seen = self.ask_calm(middle) if self.climbing else self.ask(middle)
            if seen.grows:
                self.high = middle
            elif seen.keeps_up(self.tolerance) or not self.low:
                self.low = middle
            else:
                return


def slo_capacity(
    standing: Callable[[float], Standing],
    queueing: Estimate,
    *,
    tried: Sequence[float] = (),
    demand: float | None = None,
    tolerance: float = 0.05,
) -> Estimate | None:
    """The highest rate that meets the SLO, requests/s, with the rates that surely meet and surely
    miss it as interval.

    The queueing point bounds it. `tried` are rates that are asked anyway, such as those of a curve;
    bisection goes on between them. Where none of them surely meets it an idle server is asked, at a
    fiftieth of the queueing point: None when that misses it too. The `demand` is on the side that
    its own run says: where it meets the SLO so do the rates below it, whose shorter runs may miss
    it by chance.
    """
    point = queueing.value
    asked = {*tried, *({demand} if demand else ())}
    seen = {rate: standing(rate) for rate in asked if rate <= point}
    if not any(s.surely_met for s in seen.values()):
        seen[point / 50] = standing(point / 50)
    if demand in seen and seen[demand].met:
        seen = {rate: s for rate, s in seen.items() if rate >= demand}
    low, high = _bracket(seen)
    if low is not None and high is None and low < point:
        seen[point] = standing(point)
        low, high = _bracket(seen)
    if low is None:
        return None
    while high is not None and high > low * (1 + tolerance):
        middle = (low + high) / 2
        seen[middle] = standing(middle)
        low, high = (middle, high) if seen[middle].met else (low, middle)
    surely = [rate for rate, s in seen.items() if s.surely_met and rate <= low]
    never = [rate for rate, s in seen.items() if s.surely_missed and rate > low]
    return Estimate(low, max(surely, default=0.0), min(never, default=queueing.high))


def _bracket(seen: dict[float, Standing]) -> tuple[float | None, float | None]:
    """The last rate that meets the SLO before the first that misses it, and that first one."""
    low: float | None = None
    for rate in sorted(seen):
        if not seen[rate].met:
            return low, rate
        low = rate
    return low, None
