"""When requests are sent: by the clock, or when earlier ones finish."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat

import numpy as np

from simulator.engine.clock import Alarm, Clock
from simulator.engine.instance.durations import Ticks
from simulator.engine.kv.prefix_tree import NOTHING, PrefixTree
from simulator.engine.request import Request
from simulator.errors import SimulatorError
from simulator.spec import Count, NonNegative, Positive, spec
from simulator.workload.requests import Ints, Requests

Send = Callable[[Request], None]
_BATCH = 8192


@spec
class OpenLoop:
    """Requests come at their own `arrival_s`, whatever happens to the others. One not finished after `timeout_s` is given up.

    With `max_concurrency` the client has at most so many under way: the others wait with it, first
    come, first served, and a request counts as arrived when it is sent.

    Source: vLLM 0.10 to 0.33, vllm/benchmarks/serve.py: a semaphore around each request, inside
    which its clock starts.
    """

    timeout_s: Positive | None = None
    max_concurrency: Count | None = None

    def feed(self, requests: Requests, branches: PrefixTree, clock: Clock, ticks: Ticks, send: Send) -> Feed:
        """What sends the requests."""
        if self.max_concurrency is None:
            return OpenFeed(requests, branches, clock, ticks, send)
        return CappedFeed(requests, branches, clock, ticks, send, self.max_concurrency)


@spec
class ClosedLoop:
    """`concurrency` users send the requests in order, each the next one `think_s` after its last finished.

    Where `Requests.think_s` is given it is the think time before that request. Benchmark tools at a fixed concurrency think 0 s.
    """

    concurrency: Count
    think_s: NonNegative = 0.0
    timeout_s: Positive | None = None

    def feed(self, requests: Requests, branches: PrefixTree, clock: Clock, ticks: Ticks, send: Send) -> Feed:
        """What sends the requests."""
        return ClosedFeed(requests, branches, clock, ticks, send, self)


Load = OpenLoop | ClosedLoop


class Feed:
    """Makes requests of columns and sends each when its time comes; later turns come after the turn before."""

    def __init__(self, requests: Requests, branches: PrefixTree, clock: Clock, ticks: Ticks, send: Send) -> None:
        self.requests, self.branches, self.clock, self.ticks, self.send = requests, branches, clock, ticks, send
        self.thinks = None if requests.think_s is None else array("d", ticks(requests.think_s))
        self.followers: dict[int, list[int]] = {}
        self.first_turns: Ints | range = range(len(requests))
        if requests.previous is not None:
            for index in np.flatnonzero(requests.previous >= 0).tolist():
                self.followers.setdefault(requests.previous.item(index), []).append(index)
            self.first_turns = np.flatnonzero(requests.previous < 0)

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
            self.send_after(0.0, follower)

    def failed(self, request: Request) -> None:
        """Go on without this request; its later turns are never sent."""

    def send_after(self, pause: float, index: int) -> None:
        """Send a request after its own think time, or this one if it has none."""
        think = pause if self.thinks is None else self.thinks[index]
        self.clock.set(Alarm(self.clock, index, self._send_now), self.clock.now + think)

    def _send_now(self, alarm: Alarm) -> None:
        index, columns = alarm.turn, self.requests
        priority = 0 if columns.priority is None else columns.priority.item(index)
        prompt, output = columns.prompt_tokens.item(index), columns.output_tokens.item(index)
        steps = 0 if columns.decode_steps is None else columns.decode_steps.item(index)
        self.send(Request(index, prompt, output, alarm.when, priority, self.branches.path(index), steps))


class OpenFeed(Feed):
    """Sends first turns at their own times: one alarm, set again and again."""

    def start(self) -> None:
        """Set the alarm of the first request."""
        self.coming = chain.from_iterable(self._batches())
        self.upcoming: Request | None = None
        self._arrive(Alarm(self.clock, 0, self._arrive))

    def _arrive(self, alarm: Alarm) -> None:
        """Send the request that arrives now, if there is one, after the alarm is set for the next."""
        arriving = self.upcoming
        self.upcoming = upcoming = next(self.coming, None)
        if upcoming is not None:
            alarm.turn = upcoming.index
            self.clock.set(alarm, upcoming.arrived)
        if arriving is not None:
            send = self.send
            send(arriving)

    def _batches(self) -> Iterator[Iterator[Request]]:
        columns, path = self.requests, self.branches.path
        for first in range(0, len(self.first_turns), _BATCH):
            rows = self.first_turns[first : first + _BATCH]
            rows = np.arange(rows.start, rows.stop) if isinstance(rows, range) else rows
            indices, prompts, outputs = rows.tolist(), columns.prompt_tokens[rows].tolist(), columns.output_tokens[rows].tolist()
            priorities = repeat(0) if columns.priority is None else columns.priority[rows].tolist()
            paths = repeat(NOTHING) if columns.hashes is None else map(path, indices)
            columns_of = [indices, prompts, outputs, self.ticks(columns.arrival_s[rows]), priorities, paths]
            if columns.decode_steps is not None:
                columns_of.append(columns.decode_steps[rows].tolist())
            yield map(Request, *columns_of)


class CappedFeed(OpenFeed):
    """Sends each request at its own time if fewer than `most` are under way, else when one of those has left."""

    def __init__(self, requests: Requests, branches: PrefixTree, clock: Clock, ticks: Ticks, send: Send, most: int) -> None:
        super().__init__(requests, branches, clock, ticks, self._send_or_hold)
        self.free = most
        self.held: deque[Request] = deque()
        self.pass_on = send

    @property
    def heeds_departures(self) -> bool:
        """Whether what is sent depends on what has left."""
        return True

    def finished(self, request: Request) -> None:
        """Let what waited for this request come, and the one that was held longest."""
        super().finished(request)
        self._release()

    def failed(self, request: Request) -> None:
        """Let the one come that was held longest."""
        self._release()

    def _send_or_hold(self, request: Request) -> None:
        if self.free:
            self.free -= 1
            self.pass_on(request)
        else:
            self.held.append(request)

    def _release(self) -> None:
        if self.held:
            held = self.held.popleft()
            self.clock.set(Alarm(self.clock, held.index, partial(self._send_held, held)), self.clock.now)
        else:
            self.free += 1

    def _send_held(self, request: Request, alarm: Alarm) -> None:
        request.arrived = alarm.when
        self.pass_on(request)


class ClosedFeed(Feed):
    """Users who each send the next first turn when they have no later turn of their own to send."""

    def __init__(
        self, requests: Requests, branches: PrefixTree, clock: Clock, ticks: Ticks, send: Send, loop: ClosedLoop
    ) -> None:
        super().__init__(requests, branches, clock, ticks, send)
        self.loop = loop
        if any(len(turns) > 1 for turns in self.followers.values()):
            raise SimulatorError("closed loop: a user cannot send two later turns of one request")
        self.to_send = map(int, self.first_turns)
        self.pause = ticks(loop.think_s)

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
            self.send_after(self.pause, index)
