"""The front end: the API server processes before each engine, which take requests in and send tokens out, one thing at a time."""

from __future__ import annotations

import math
from array import array
from collections import deque
from typing import Any

import numpy as np

from simulator.engine.clock import Alarm, Clock
from simulator.engine.instance.durations import Ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.stretch import Stretch
from simulator.engine.record import sampled_at, steps_ended
from simulator.engine.request import Request
from simulator.latency.client import ApiServer
from simulator.workload.requests import Floats

_planned, _ended = sampled_at.unpack_from, steps_ended.unpack_from
_PLANNED, _ENDED = sampled_at.size, steps_ended.size


class Lane:
    """The front end of one instance; `free_at` is when it will have done what it has now.

    It reads from the instance's log which steps have ended, when it must know. Of m batches of equal
    work w that come at times e, whose intervals do not shrink, the last is done at
    max(free_at + m w, e_1 + m w, e_m + w). Requests enter the instance in order of their coming;
    `taken` and `entered` are written by their index.
    """

    def __init__(
        self,
        server: ApiServer,
        instance: Instance,
        clock: Clock,
        ticks: Ticks,
        taken: array[float],
        entered: array[float],
    ) -> None:
        self.instance, self.clock, self.processes = instance, clock, server.processes
        self.taken, self.entered = taken, entered
        self.request, self.prompt_token = ticks(server.request_s), ticks(server.prompt_token_s)
        chunk = ticks(server.chunk_s)
        self.chunk = chunk if self.processes == 1 else chunk / self.processes
        self.free_at: Any = 0
        self.row = self.done = 0
        self.ended, self.sent = array("d"), array("d")
        self.coming: deque[tuple[Any, Request]] = deque()
        self.gone: set[int] = set()
        self.alarm = Alarm(clock, 0, self._enter)

    def take(self, request: Request) -> None:
        """Take in a request that is sent now, and give it to the instance when that is done."""
        now, coming, index = self.clock.now, self.coming, request.index
        begins = self.catch_up(now)
        if begins < now:
            begins = now
        work = self.request + self.prompt_token * request.prompt
        self.free_at = begins + (work if self.processes == 1 else work / self.processes)
        self.taken[index] = begins
        self.instance.outstanding += 1
        enters = begins + work
        if coming:
            last_enters = coming[-1][0]
            enters = enters if enters > last_enters else last_enters
        else:
            self.alarm.turn = index
            self.clock.set(self.alarm, enters)
        coming.append((enters, request))

    def gives_up(self, request: Request) -> bool:
        """Let a request go that the instance does not have yet; False if it has it."""
        if not math.isnan(self.entered[request.index]):
            return False
        self.gone.add(request.index)
        self.instance.outstanding -= 1
        return True

    def die(self) -> list[Request]:
        """Take nothing in any more; gives the requests that the instance does not have yet."""
        self.clock.cancel(self.alarm)
        left = [request for _, request in self.coming if request.index not in self.gone]
        self.coming.clear()
        return left

    def _enter(self, alarm: Alarm) -> None:
        """Give the instance the request that comes now, after the alarm is set for the next."""
        when, coming = alarm.when, self.coming
        _, request = coming.popleft()
        if coming:
            alarm.turn = coming[0][1].index
            self.clock.set(alarm, coming[0][0])
        if request.index in self.gone:
            return
        self.instance.outstanding -= 1
        self.entered[request.index] = request.arrived = when
        self.instance.arrive(request)

    def catch_up(self, now: float) -> Any:
        """When all that has come by now will have been done: chunks of steps that have ended, requests taken in."""
        planned, ended = self.instance.log.planned, self.instance.log.ended
        row, closed = self.row, len(ended) // _ENDED
        while row < closed:
            start, base, slope, sampled = _planned(planned, row * _PLANNED)
            (steps,) = _ended(ended, row * _ENDED)
            last = Stretch(start, base, slope).until(steps)
            if last > now:
                break
            if steps > self.done:
                self._send(start, base, slope, steps, sampled, last)
            row, self.done = row + 1, 0
        self.row = row
        if row * _PLANNED < len(planned):
            start, base, slope, sampled = _planned(planned, row * _PLANNED)
            if start + base <= now:
                steps = _ended(ended, row * _ENDED)[0] if row < closed else self.instance.stretch.steps
                stretch = Stretch(start, base, slope, steps)
                done = stretch.ended(now)
                if done > self.done:
                    self._send(start, base, slope, done, sampled, stretch.until(done))
                    self.done = done
        return self.free_at

    def _send(self, start: Any, base: Any, slope: Any, done: int, sampled: int, last: Any) -> None:
        """Send the chunks of a stretch's steps up to the one that ends at `last`, from the first that was not sent."""
        if not sampled:
            return
        work, before, free = sampled * self.chunk, self.done, self.free_at
        batches = done - before
        if work:
            if batches == 1:
                free = (free if free > last else last) + work
            else:
                first = start + ((before + 1) * base + slope * ((before + 1) * before // 2))
                free = max(free + batches * work, first + batches * work, last + work)
            self.free_at = free
        self.ended.append(last)
        self.sent.append(free if free > last else last)

    def sent_at(self, now: float) -> float:
        """When the chunks of the step that ends now will have been sent."""
        self.catch_up(now)
        return max(self.sent[-1], now) if self.sent else now

    def delivered(self, tokens: Floats) -> Floats:
        """When clients have tokens, from when the engine had them; NaN stays."""
        ended, sent = np.frombuffer(self.ended), np.frombuffer(self.sent)
        if not len(sent):
            return tokens
        at = np.minimum(np.searchsorted(ended, tokens), len(ended) - 1)
        return np.where(np.isfinite(tokens), np.maximum(sent[at], tokens), tokens)
