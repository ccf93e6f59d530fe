"""Link: KV on its way from one instance to another; transfers share the ports of both ends fairly."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from simulator.engine.clock import TRANSFER, Alarm, Clock


@dataclass(slots=True, eq=False)
class Flow:
    """A transfer between two ports; `left` of it is to come, at `rate`. `arrived` is called when it has."""

    source: Hashable
    sink: Hashable
    left: Any
    arrived: Callable[[Any], None]
    rate: Any = 0


class Link:
    """Ports with a capacity each, in amount per unit of time, and the flows between them.

    Each flow begins `latency` after it was sent. Then the flows share the ports by max-min fairness:
    none could be faster without making one slower that is no faster than it. With `whole` ticks the
    shares are exact fractions and a transfer ends at the first tick at which nothing of it is left.

    A capacity of infinity takes any amount at once.

    Source: D. Bertsekas and R. Gallager, Data Networks, 2nd edition 1992, section 6.5.2 (max-min flow control).
    """

    def __init__(self, clock: Clock, capacities: Mapping[Hashable, float], latency: Any, *, whole: bool = False) -> None:
        self.clock, self.latency, self.whole = clock, latency, whole
        self.capacities = {port: _exact(of) for port, of in capacities.items()} if whole else dict(capacities)
        self.flows: list[Flow] = []
        self.counted_at: Any = 0
        self.alarm = Alarm(clock, TRANSFER, self._end)

    def send(self, source: Hashable, sink: Hashable, amount: Any, at: Any, arrived: Callable[[Any], None]) -> None:
        """Send an amount at a time that is not before now; `arrived` is called with the time when all of it has come."""
        flow = Flow(source, sink, Fraction(amount) if self.whole else amount, arrived)
        self.clock.set(Alarm(self.clock, TRANSFER, partial(self._begin, flow)), at + self.latency)

    def _begin(self, flow: Flow, alarm: Alarm) -> None:
        self._count(alarm.when)
        self.flows.append(flow)
        self._share(alarm.when)

    def _count(self, now: Any) -> None:
        """Take off what has come since the last count."""
        gone = now - self.counted_at
        if gone:
            for flow in self.flows:
                flow.left -= flow.rate * gone
        self.counted_at = now

    def _share(self, now: Any) -> None:
        """Give each flow its share, and find when the next one ends."""
        flows, capacities = self.flows, self.capacities
        self.clock.cancel(self.alarm)
        if not flows:
            return
        if len(flows) == 1:
            (flow,) = flows
            flow.rate = min(capacities[flow.source], capacities[flow.sink])
        else:
            share_out(flows, capacities)
        self.clock.set(self.alarm, now + min(map(self._lasts, flows)))

    def _lasts(self, flow: Flow) -> Any:
        """How long a flow goes on at its rate."""
        if flow.rate == math.inf or flow.left <= 0:
            return 0
        seconds = flow.left / flow.rate
        return math.ceil(seconds) if self.whole else seconds

    def _end(self, alarm: Alarm) -> None:
        """End the flows of which nothing is left."""
        now = alarm.when
        due = [flow for flow in self.flows if self._ends_by(flow, now)]
        self._count(now)
        self.flows = [flow for flow in self.flows if flow not in due]
        self._share(now)
        for flow in due[1:]:
            self.clock.set(Alarm(self.clock, TRANSFER, partial(_arrive, flow)), now)
        due[0].arrived(now)

    def _ends_by(self, flow: Flow, now: Any) -> bool:
        ends: Any = self.counted_at + self._lasts(flow)
        return bool(ends <= now)


def share_out(flows: list[Flow], capacities: Mapping[Hashable, Any]) -> None:
    """Set the rates of flows to their max-min fair shares of the ports: the port with the least for each is shared out first."""
    left: dict[Hashable, Any] = {}
    at: dict[Hashable, dict[Flow, None]] = {}
    for flow in flows:
        for port in (flow.source, flow.sink):
            left[port] = capacities[port]
            at.setdefault(port, {})[flow] = None
    while at:
        port = min(at, key=lambda each: left[each] / len(at[each]))
        rate = left[port] / len(at[port])
        for flow in list(at[port]):
            flow.rate = rate
            for end in (flow.source, flow.sink):
                if rate != math.inf:
                    left[end] -= rate
                del at[end][flow]
                if not at[end]:
                    del at[end]


def _arrive(flow: Flow, alarm: Alarm) -> None:
    flow.arrived(alarm.when)


def _exact(capacity: float) -> Any:
    return capacity if capacity == math.inf else Fraction(capacity)
