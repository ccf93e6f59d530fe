"""The clock: SimPy's environment, with alarms that are set to absolute times and set again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import NORMAL

TRANSFER, FIRST_INSTANCE = 1 << 39, 1 << 40
REPORT, DEADLINE, CHANGE = 1 << 49, 1 << 50, 1 << 51


class Alarm(simpy.Event):
    """An event that runs `action` when the clock reaches it, and can then be set again; setting it anew replaces an earlier time.

    Of the alarms of one instant the one with the smallest `turn` goes first: arrivals by index, transfers of KV, then the
    ends of steps by number of the instance, reports, time-outs, changes of the fleet. What one of them causes at the same instant
    comes next, whatever its turn.
    """

    __slots__ = ("action", "number", "turn", "when")

    def __init__(self, clock: Clock, turn: int, action: Callable[[Any], None]) -> None:
        super().__init__(clock)
        self.turn = turn
        self.when = -1.0
        self.action = action
        self.number = -1


class Clock(simpy.Environment):
    """Time of the simulation, in seconds or in ticks.

    `last_turn` is the largest turn of what made others arrive or leave at `last_at`, the latest such instant. `queue`
    holds what is to come, the next first, as (when, turn, number, alarm). SimPy's own `schedule` takes a delay, and
    now + (then - now) is not always then in floating point; an alarm is set to the time itself. Other events of SimPy may stand
    between the alarms.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last_at, self.last_turn = -1.0, 0
        self.queue: list[Any] = self._queue
        self.next_number = self._eid.__next__

    def set(self, alarm: Alarm, when: float) -> None:
        """Let the alarm go off at `when`."""
        next_number = self.next_number
        alarm.when = when
        alarm.number = number = next_number()
        heappush(self.queue, (when, alarm.turn, number, alarm))

    def cancel(self, alarm: Alarm) -> None:
        """Let the alarm pass in silence."""
        alarm.number = -1

    def work(self, most: int) -> bool:
        """Let at most so many events happen; False if nothing is left. An alarm has no callbacks, no value and cannot fail."""
        queue = self.queue
        for _ in range(most):
            if not queue:
                return False
            self._now, _, number, alarm = heappop(queue)
            if number == alarm.number:
                action = alarm.action
                action(alarm)
        return True

    def schedule(self, event: Any, priority: Any = NORMAL, delay: float = 0) -> None:
        """Let another event of SimPy happen when an alarm in its place goes off."""
        self.set(Alarm(self, priority, partial(self._happen, event)), self._now + delay)

    def _happen(self, event: Any, alarm: Alarm) -> None:
        heappush(self.queue, (alarm.when, alarm.turn, alarm.number, event))
        self.step()

    def reach(self, when: float, turn: int) -> None:
        """Let it be `when`, before which nothing is due: a step ends there, or a time-out, that others may hear of."""
        self._now = when
        if when > self.last_at or turn > self.last_turn:
            self.last_at, self.last_turn = when, turn

    def passed(self, turn: int) -> bool:
        """Whether what happens at this instant follows from something of this or a larger turn."""
        return self.last_turn >= turn and self.last_at == self._now
