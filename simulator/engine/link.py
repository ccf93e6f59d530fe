"""Link: KV on its way from one instance to another; transfers share the ports of both ends fairly."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from simulator.engine.clock import TRANSFER, Alarm, Clock

Arrived = Callable[[Any], None]


@dataclass(slots=True, eq=False)
class Way:
    """The transfers from one port to another, which all go at the same `rate`.

    Each has got `served` since it was 0; `ends` is a heap of what it will be when one ends, by the
    order in which they began, with who is told.
    """

    source: Hashable
    sink: Hashable
    served: Any = 0
    rate: Any = 0
    ends: list[tuple[Any, int, Arrived]] = field(default_factory=list)


class Link:
    """Ports with a capacity each, in amount per unit of time, and the transfers between them.

    Each begins `latency` after it was sent. Then they share the ports by max-min fairness: none
    could be faster without making one slower that is no faster than it. With `whole` ticks the
    shares are exact fractions and a transfer ends at the first tick at which nothing of it is left.

    A capacity of infinity takes any amount at once. `at` and `carried` say what all of them together
    carry from when on.

    Source: D. Bertsekas and R. Gallager, Data Networks, 2nd edition 1992, section 6.5.2 (max-min flow control).
    """

    def __init__(self, clock: Clock, capacities: Mapping[Hashable, float], latency: Any, *, whole: bool = False) -> None:
        self.clock, self.latency, self.whole = clock, latency, whole
        self.capacities = {port: _exact(of) for port, of in capacities.items()} if whole else dict(capacities)
        self.ways: dict[tuple[Hashable, Hashable], Way] = {}
        self.counted_at: Any = 0
        self.numbers = count()
        self.alarm = Alarm(clock, TRANSFER, self._end)
        self.at, self.carried = array("d"), array("d")

    def send(self, source: Hashable, sink: Hashable, amount: Any, at: Any, arrived: Arrived) -> None:
        """Send an amount at a time that is not before now; `arrived` is called with the time when all of it has come."""
        begin = partial(self._begin, source, sink, Fraction(amount) if self.whole else amount, arrived)
        self.clock.set(Alarm(self.clock, TRANSFER, begin), at + self.latency)

    def _begin(self, source: Hashable, sink: Hashable, amount: Any, arrived: Arrived, alarm: Alarm) -> None:
        self._serve(alarm.when)
        way = self.ways.get((source, sink))
        if way is None:
            way = self.ways[source, sink] = Way(source, sink)
        heappush(way.ends, (way.served + amount, next(self.numbers), arrived))
        self._share(alarm.when)

    def _serve(self, now: Any) -> None:
        """Count what has come since the last count."""
        gone = now - self.counted_at
        if gone:
            for way in self.ways.values():
                way.served += way.rate * gone
        self.counted_at = now

    def _share(self, now: Any) -> None:
        """Give each transfer its share, and find when the next one ends."""
        ways, capacities = self.ways, self.capacities
        self.clock.cancel(self.alarm)
        if len(ways) == 1:
            (way,) = ways.values()
            way.rate = min(capacities[way.source], capacities[way.sink]) / len(way.ends)
        elif ways:
            share_out(ways.values(), capacities)
        carried = sum(way.rate * len(way.ends) for way in ways.values())
        self.at.append(now)
        self.carried.append(0.0 if carried == math.inf else carried)
        if ways:
            self.clock.set(self.alarm, now + min(map(self._lasts, ways.values())))

    def _lasts(self, way: Way) -> Any:
        """How long it takes until the next transfer of a way ends."""
        left = way.ends[0][0] - way.served
        if way.rate == math.inf or left <= 0:
            return 0
        seconds = left / way.rate
        return math.ceil(seconds) if self.whole else seconds

    def _end(self, alarm: Alarm) -> None:
        """End the transfers of which nothing is left."""
        now, done = alarm.when, []
        for way in list(self.ways.values()):
            while way.ends and self.counted_at + self._lasts(way) <= now:
                done.append(heappop(way.ends)[1:])
            if not way.ends:
                del self.ways[way.source, way.sink]
        self._serve(now)
        self._share(now)
        done.sort()
        for _, arrived in done[1:]:
            self.clock.set(Alarm(self.clock, TRANSFER, partial(_arrive, arrived)), now)
        done[0][1](now)


def share_out(ways: Iterable[Way], capacities: Mapping[Hashable, Any]) -> None:
    """Set the rates of transfers to their max-min fair shares of the ports: the port with the least for each goes first."""
    left: dict[Hashable, Any] = {}
    at: dict[Hashable, dict[Way, None]] = {}
    many: dict[Hashable, int] = {}
    for way in ways:
        for port in (way.source, way.sink):
            left[port] = capacities[port]
            at.setdefault(port, {})[way] = None
            many[port] = many.get(port, 0) + len(way.ends)
    while at:
        port = min(at, key=lambda each: left[each] / many[each])
        rate = left[port] / many[port]
        for way in list(at[port]):
            way.rate = rate
            for end in (way.source, way.sink):
                many[end] -= len(way.ends)
                if rate != math.inf:
                    left[end] -= rate * len(way.ends)
                del at[end][way]
                if not at[end]:
                    del at[end]


def _arrive(arrived: Arrived, alarm: Alarm) -> None:
    arrived(alarm.when)


def _exact(capacity: float) -> Any:
    return capacity if capacity == math.inf else Fraction(capacity)
