"""The front end: the API server processes before each engine, which take requests in and send tokens out, one thing at a time."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from simulator.engine.clock import Alarm, Clock
from simulator.engine.instance.durations import Ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.stretch import Stretch
from simulator.engine.record import ended_step, planned_step
from simulator.engine.request import Request
from simulator.latency.client import ApiServer
from simulator.workload.requests import Floats


class Lane:
    """The front end of one instance; `free_at` is when it will have done what it has now.

    It reads from the instance's log which steps have ended, when it must know. Of m batches of equal
    work w that come at times e, whose intervals do not shrink, the last is done at
    max(free_at + m w, e_1 + m w, e_m + w).
    """

    def __init__(self, server: ApiServer, instance: Instance, clock: Clock, ticks: Ticks) -> None:
        self.instance, self.clock, self.processes = instance, clock, server.processes
        self.request, self.chunk = ticks(server.request_s), ticks(server.chunk_s)
        self.prompt_token = ticks(server.prompt_token_s)
        self.free_at: Any = 0
        self.row = self.done = 0
        self.ended, self.sent = array("d"), array("d")
        self.inside: set[Request] = set()

    def take(self, request: Request) -> Any:
        """Take in a request that is sent now, and give it to the instance when that is done; when it begins with it."""
        now = self.clock.now
        begins = max(self.catch_up(now), now)
        work = self.request + self.prompt_token * request.prompt
        self.free_at = begins + work / self.processes if self.processes != 1 else begins + work
        self.instance.outstanding += 1
        self.inside.add(request)
        self.clock.set(Alarm(self.clock, request.index, lambda alarm: self._enter(request, alarm)), begins + work)
        return begins

    def gives_up(self, request: Request) -> bool:
        """Let a request go that the instance does not have yet; False if it has it."""
        if request not in self.inside:
            return False
        self.inside.remove(request)
        self.instance.outstanding -= 1
        return True

    def _enter(self, request: Request, alarm: Alarm) -> None:
        if request in self.inside:
            self.inside.remove(request)
            self.instance.outstanding -= 1
            request.arrived = alarm.when
            self.instance.arrive(request)

    def catch_up(self, now: float) -> Any:
        """When all that has come by now will have been done: chunks of steps that have ended, requests taken in."""
        log, size = self.instance.log, len(self.instance.log.planned)
        while self.row * planned_step.size < size:
            start, base, slope, _, _, prompt_tokens, sampled, _, _ = planned_step.unpack_from(
                log.planned, self.row * planned_step.size
            )
            closed = (self.row + 1) * ended_step.size <= len(log.ended)
            steps = ended_step.unpack_from(log.ended, self.row * ended_step.size)[0] if closed else self.instance.stretch.steps
            stretch = Stretch(start, base, slope, steps)
            done = steps if stretch.until(steps) <= now else max(stretch.begun(now, True) - 1, 0)
            if done > self.done:
                self._send(stretch, done, sampled)
                if prompt_tokens:
                    self.ended.append(stretch.until(done))
                    self.sent.append(self.free_at)
                self.done = done
            if not closed or done < steps:
                break
            self.row, self.done = self.row + 1, 0
        return self.free_at

    def _send(self, stretch: Stretch, done: int, sampled: int) -> None:
        work = sampled * self.chunk
        if not work:
            return
        if self.processes != 1:
            work = work / self.processes
        batches = done - self.done
        first, last = stretch.until(self.done + 1), stretch.until(done)
        self.free_at = max(self.free_at + batches * work, first + batches * work, last + work)

    def delivered(self, first_tokens: Floats) -> Floats:
        """When clients have their first tokens, from when the engine had them; NaN stays."""
        ended, sent = np.frombuffer(self.ended), np.frombuffer(self.sent)
        at = np.minimum(np.searchsorted(ended, first_tokens), max(len(ended) - 1, 0))
        known = np.isfinite(first_tokens)
        return np.where(known, np.maximum(sent[at], first_tokens) if len(sent) else first_tokens, first_tokens)
