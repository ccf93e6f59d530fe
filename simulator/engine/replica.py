"""Replica: a scheduler with a clock. It composes a step, learns how long it takes, and jumps to where the next one differs."""

from __future__ import annotations

import math
from collections.abc import Callable

from simulator.engine.clock import FIRST_REPLICA, Alarm, Clock
from simulator.engine.durations import Durations
from simulator.engine.recorder import FINISHED, Recorder
from simulator.engine.request import Request
from simulator.engine.scheduler import Scheduler

Departed = Callable[[Request], None]


class Replica:
    """One engine instance, driven by arrivals and by its own alarm.

    Between two alarms it has a *stretch* in hand: `steps` equal steps from `start`, the j-th taking base + j * slope. A
    stretch ends where the next step would differ: a finish, blocks running out, a prompt in work; or, if that could be
    admitted at once, an arrival, which cuts it. With async scheduling a step is composed when the one before it begins, so the alarm goes off a step before the
    stretch ends, and finished requests hold their blocks until it does.
    """

    def __init__(
        self, number: int, scheduler: Scheduler, durations: Durations, *, lag: bool, clock: Clock, recorder: Recorder
    ) -> None:
        self.number = number
        self.scheduler = scheduler
        self.durations = durations
        self.lag = int(lag)
        self.clock = clock
        self.recorder = recorder
        self.priority = FIRST_REPLICA + number
        self.departed: Departed = lambda request: None
        self.alarm = Alarm(clock, self.fire)
        self.asleep = True
        self.outstanding = 0
        self.start = self.end = self.base = self.slope = 0.0
        self.steps = 0
        self.shape = (0,) * 6
        self.cuttable = False
        self.preempted = 0
        self.leaving: list[Request] = []
        self.abandoned: list[Request] = []

    def arrive(self, request: Request) -> None:
        """Take a request that arrives now."""
        self.outstanding += 1
        self.scheduler.enqueue(request)
        if self.asleep:
            self.asleep = False
            self.clock.set(self.alarm, self.clock.now, self.priority)
        elif self.cuttable:
            self.cuttable = False
            self._cut(self._steps_begun(self.clock.passed(self.priority)))

    def abandon(self, request: Request) -> None:
        """Let a request go when this step ends: its client has just given it up."""
        self.outstanding -= 1
        self.abandoned.append(request)
        self._cut(self._steps_begun(passed=True))

    def kv_use(self) -> float:
        """The fraction of the KV blocks that requests hold now."""
        blocks, decoding = self.scheduler.blocks, self.scheduler.decoding
        used = blocks.total - blocks.free
        if self.steps > 1:
            steps = min(self.steps, self._steps_begun(self.clock.passed(self.priority)))
            used += decoding.blocks(steps) - decoding.needed()
        return used / blocks.total

    def fire(self, _: Alarm) -> None:
        """A step has ended (with async scheduling: begun). Deal with what came of it, and compose the next."""
        now = self.clock.now
        self.clock.take_turn(self.priority)
        in_flight = bool(self.lag and self.steps)
        self._settle(now)
        composed = self._compose(now, in_flight)
        if composed and self.lag and not in_flight:
            in_flight = True
            self._settle(now)
            composed = self._compose(now, in_flight)
        if composed:
            self._set_alarm()
        elif in_flight:
            self.clock.set(self.alarm, self.end, self.priority)
        else:
            self.asleep = True

    def _settle(self, now: float) -> None:
        """Carry out the stretch in hand, and let go who finished or was given up."""
        finished, self.leaving = self.leaving, []
        if self.steps:
            self._advance()
            if self.lag:
                self.leaving = self.scheduler.finished
                for request in self.leaving:
                    request.leaving = True
            else:
                finished = self.scheduler.finished
        if self.abandoned:
            self._drop_abandoned(finished)
        for request in finished:
            self.scheduler.release(request)
            if not request.left:
                self._finish(request, now)

    def _advance(self) -> None:
        """Carry out the stretch, write it down, and note who got a token outside the even pace of decoding."""
        scheduler, recorder, end = self.scheduler, self.recorder, self.end
        scheduler.advance(self.steps)
        used = scheduler.blocks.total - scheduler.blocks.free
        recorder.stretch(self.start, self.base, self.slope, self.number, self.steps, *self.shape, used)
        for request in scheduler.completed:
            if request.generated == 1:
                if not request.left:
                    recorder.first_token[request.index] = end
            else:
                recorder.gap(request, end)
        for request in scheduler.resumed:
            recorder.gap(request, end)

    def _drop_abandoned(self, finished: list[Request]) -> None:
        for request in self.abandoned:
            if request in finished:
                finished.remove(request)
                self.scheduler.release(request)
            elif request in self.leaving:
                self.leaving.remove(request)
                self.scheduler.release(request)
            else:
                self.scheduler.drop(request)
        self.abandoned.clear()

    def _finish(self, request: Request, now: float) -> None:
        self.outstanding -= 1
        self.recorder.finish[request.index] = now
        self.recorder.depart(request, now, FINISHED)
        self.departed(request)

    def _compose(self, now: float, in_flight: bool) -> bool:
        """Compose the next step and find how often it repeats; False if there is nothing to do yet."""
        scheduler = self.scheduler
        start = self.end if in_flight else now
        self.steps = 0
        while True:
            scheduler.schedule()
            self.preempted += len(scheduler.victims)
            for victim in scheduler.victims:
                if victim.generated and victim.token_at is None:
                    victim.token_at = start
            if scheduler.chunks or scheduler.decoding.count > len(scheduler.stalled):
                break
            scheduler.stalled = []
            if in_flight or not scheduler.victims:
                return False
        for request in scheduler.started:
            self.recorder.scheduled[request.index] = now
            self.recorder.cached[request.index] = request.computed
        self._plan(start)
        return True

    def _plan(self, start: float) -> None:
        """Turn the composed step into a stretch."""
        scheduler, decoding = self.scheduler, self.scheduler.decoding
        chunks, stalled, resumed = scheduler.chunks, scheduler.stalled, scheduler.resumed
        count = decoding.count - len(stalled)
        for request in stalled:
            if request.token_at is None:
                request.token_at = start
        if chunks or stalled or resumed:
            prefill = sum(tokens for _, tokens in chunks)
            sampled = count + sum(r.computed + tokens == r.known for r, tokens in chunks)
            self.base, self.slope = self.durations.mixed(chunks, decoding, stalled, sampled), 0
            steps = 1
        else:
            prefill, sampled = 0, count
            self.base, self.slope = self.durations.decoding(decoding)
            steps = 1 if self.leaving else scheduler.horizon()
        self.shape = (count + len(chunks), count - len(resumed), prefill, sampled, len(scheduler.waiting), self.preempted)
        self.preempted = 0
        self.start, self.steps = start, steps
        self.end = start + self._span(steps)
        self.cuttable = steps > 1 and scheduler.would_admit()

    def _set_alarm(self) -> None:
        self.clock.set(self.alarm, self.start + self._span(self.steps - 1) if self.lag else self.end, self.priority)

    def _cut(self, steps: int) -> None:
        """End the stretch after its first `steps` steps."""
        if steps < self.steps:
            self.steps = steps
            self.end = self.start + self._span(steps)
            self.clock.cancel(self.alarm)
            self.alarm = Alarm(self.clock, self.fire)
            self._set_alarm()

    def _span(self, steps: int) -> float:
        """How long the first `steps` steps of the stretch take."""
        return steps * self.base + self.slope * (steps * (steps - 1) // 2)

    def _steps_begun(self, passed: bool) -> int:
        """Steps of the stretch composed by now, at least 1; one due at this very instant counts if its turn has `passed`."""
        now, start = self.clock.now, self.start
        half = self.slope / 2
        b = self.base - half
        if half:
            guess = (math.sqrt(max(b * b + 4 * half * (now - start), 0.0)) - b) / (2 * half)
        else:
            guess = (now - start) / self.base if self.base else 0
        steps = min(max(int(guess), 0), self.steps)
        while steps < self.steps and (start + self._span(steps) < now or (passed and start + self._span(steps) == now)):
            steps += 1
        while steps and (start + self._span(steps - 1) > now or (not passed and start + self._span(steps - 1) == now)):
            steps -= 1
        return max(steps + self.lag, 1)
