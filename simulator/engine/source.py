"""When requests are sent: by the clock, or when earlier ones finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np

from simulator.engine.branches import NOTHING, Branches
from simulator.engine.clock import Alarm, Clock
from simulator.engine.durations import Ticks
from simulator.engine.request import Request
from simulator.errors import SimulatorError
from simulator.spec import Count, NonNegative, Positive, spec
from simulator.workload.requests import Requests

Send = Callable[[Request], None]
_BATCH = 8192


@spec
class OpenLoop:
    """Requests come at their own `arrival_s`, whatever happens to the others. One not finished after `timeout_s` is given up."""

    timeout_s: Positive | None = None

    def feed(self, requests: Requests, branches: Branches, clock: Clock, ticks: Ticks, send: Send) -> Feed:
        """What sends the requests."""
        return OpenFeed(requests, branches, clock, ticks, send)


@spec
class ClosedLoop:
    """`concurrency` users send the requests in order, each the next one `think_s` after its last finished.

    Where `Requests.think_s` is given it is the think time before that request. Benchmark tools at a fixed concurrency think 0 s.
    """

    concurrency: Count
    think_s: NonNegative = 0.0
    timeout_s: Positive | None = None

    def feed(self, requests: Requests, branches: Branches, clock: Clock, ticks: Ticks, send: Send) -> Feed:
        """What sends the requests."""
        return ClosedFeed(requests, branches, clock, ticks, send, self)


Source = OpenLoop | ClosedLoop


class Feed:
    """Makes requests of columns and sends each when its time comes; later turns come after the turn before."""

    def __init__(self, requests: Requests, branches: Branches, clock: Clock, ticks: Ticks, send: Send) -> None:
        self.requests, self.branches, self.clock, self.ticks, self.send = requests, branches, clock, ticks, send
        self.followers: dict[int, list[int]] = {}
        self.first_turns: Iterator[int] | None = None
        if requests.previous is not None:
            for index in np.flatnonzero(requests.previous >= 0).tolist():
                self.followers.setdefault(int(requests.previous[index]), []).append(index)
            self.first_turns = iter(np.flatnonzero(requests.previous < 0).tolist())

    def start(self) -> None:
        """Set the first alarms."""
        raise NotImplementedError

    @property
    def heeds_departures(self) -> bool:
        """Whether what is sent depends on what has left."""
        return bool(self.followers)

    def finished(self, request: Request) -> None:
        """Let what waited for this request come."""
        for follower in self.followers.get(request.index, ()):
            self.send_at(self.clock.now + self._think(follower, 0.0), follower)

    def failed(self, request: Request) -> None:
        """Go on without this request; its later turns are never sent."""

    def send_at(self, when: float, index: int) -> None:
        """Send a request at this time."""
        self.clock.set(Alarm(self.clock, index, lambda _: self.send(self._request(index))), when)

    def _think(self, index: int, otherwise: float) -> float:
        think = self.requests.think_s
        return float(self.ticks(otherwise if think is None else think[index]))

    def _request(self, index: int) -> Request:
        columns = self.requests
        priority = 0 if columns.priority is None else int(columns.priority[index])
        prompt, output = int(columns.prompt_tokens[index]), int(columns.output_tokens[index])
        return Request(index, prompt, output, self.clock.now, priority, self.branches.path(index))


class OpenFeed(Feed):
    """Sends first turns at their own times: one alarm, set again and again."""

    def start(self) -> None:
        """Set the alarm of the first request."""
        self.coming = self._by_the_clock() if self.first_turns is None else self._picked(self.first_turns)
        self.upcoming: Request | None = None
        self._arrive(Alarm(self.clock, 0, self._arrive))

    def _arrive(self, alarm: Alarm) -> None:
        """Send the request that arrives now, if there is one, after the alarm is set for the next."""
        arriving, self.upcoming = self.upcoming, next(self.coming, None)
        if self.upcoming is not None:
            alarm.rank = self.upcoming.index
            self.clock.set(alarm, self.upcoming.arrived)
        if arriving is not None:
            self.send(arriving)

    def _picked(self, indices: Iterator[int]) -> Iterator[Request]:
        for index in indices:
            request = self._request(index)
            request.arrived = self.ticks(self.requests.arrival_s[index])
            yield request

    def _by_the_clock(self) -> Iterator[Request]:
        columns, path = self.requests, self.branches.path
        for first in range(0, len(columns), _BATCH):
            rows = slice(first, first + _BATCH)
            prompts, outputs = columns.prompt_tokens[rows].tolist(), columns.output_tokens[rows].tolist()
            indices = range(first, first + len(prompts))
            priorities = repeat(0) if columns.priority is None else columns.priority[rows].tolist()
            paths = repeat(NOTHING) if columns.hashes is None else map(path, indices)
            yield from map(Request, indices, prompts, outputs, self.ticks(columns.arrival_s[rows]), priorities, paths)


class ClosedFeed(Feed):
    """Users who each send the next first turn when they have no later turn of their own to send."""

    def __init__(self, requests: Requests, branches: Branches, clock: Clock, ticks: Ticks, send: Send, loop: ClosedLoop) -> None:
        super().__init__(requests, branches, clock, ticks, send)
        self.loop = loop
        if any(len(turns) > 1 for turns in self.followers.values()):
            raise SimulatorError("closed loop: a user cannot send two later turns of one request")
        self.to_send = iter(range(len(requests))) if self.first_turns is None else self.first_turns

    def start(self) -> None:
        """Let every user begin for whom there is a request."""
        for _ in range(min(self.loop.concurrency, len(self.requests))):
            self._next_first_turn()

    @property
    def heeds_departures(self) -> bool:
        """Whether what is sent depends on what has left."""
        return True

    def finished(self, request: Request) -> None:
        """Let the user go on: to the later turn, or to the next conversation."""
        if request.index in self.followers:
            super().finished(request)
        else:
            self._next_first_turn()

    def failed(self, request: Request) -> None:
        """Let the user go on to the next conversation."""
        self._next_first_turn()

    def _next_first_turn(self) -> None:
        index = next(self.to_send, None)
        if index is not None:
            self.send_at(self.clock.now + self._think(index, self.loop.think_s), index)
