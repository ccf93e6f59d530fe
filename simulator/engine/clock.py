"""The clock: SimPy's environment, with alarms that are set to absolute times and set again."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

import simpy

FIRST_REPLICA, DEADLINE = 1 << 40, 1 << 50


class Alarm(simpy.Event):
    """An event that runs `action` when the clock reaches it, and can then be set again."""

    def __init__(self, clock: Clock, action: Callable[[Any], None]) -> None:
        self.env = clock
        self.actions = [action]
        self._ok = True
        self._value = None


class Clock(simpy.Environment):
    """Time of the simulation, in seconds or in ticks.

    At one instant arrivals come first, by index, then the ends of steps, by number of the replica, then time-outs: the smaller
    priority. What one of them causes at the same instant comes next, whatever its priority; `passed` tells it who had their turn.
    `Environment.schedule` takes a delay, and now + (then - now) is not always then in floating point; an alarm is set to the
    time itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn: tuple[float, int] = (-1.0, 0)

    def set(self, alarm: Alarm, when: float, priority: int) -> None:
        """Let the alarm go off at `when`."""
        alarm.callbacks = alarm.actions
        heappush(self._queue, (when, priority, next(self._eid), alarm))  # type: ignore[misc]

    def cancel(self, alarm: Alarm) -> None:
        """Let the alarm pass in silence. It cannot be set again."""
        alarm.callbacks = alarm.actions = []

    def take_turn(self, priority: int) -> None:
        """Note that everything up to this priority has had its turn at this instant."""
        self._turn = (self._now, priority)

    def passed(self, priority: int) -> bool:
        """Whether something of this or a larger priority has had its turn at this instant."""
        return self._turn[1] >= priority and self._turn[0] == self._now
