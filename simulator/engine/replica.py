"""Replica: a scheduler with a clock. It composes a step, learns how long it takes, and jumps to where the next one differs."""

from __future__ import annotations

from collections.abc import Callable

from simulator.engine.clock import FIRST_REPLICA, Alarm, Clock
from simulator.engine.durations import Durations
from simulator.engine.recorder import Recorder, pack_stretch
from simulator.engine.request import Request
from simulator.engine.scheduler import Scheduler


class Replica:
    """One engine instance, driven by arrivals and by its own alarm.

    Between two alarms it has a *stretch* in hand: `steps` equal steps from `start`, the j-th taking base + j * slope. A
    stretch ends where the next step would differ: a finish, blocks running out, a prompt in work; or, if that could be
    admitted at once, an arrival, which cuts it. With async scheduling a step is composed when the one before it begins, so the alarm goes off a step before the
    stretch ends, and finished requests hold their blocks until it does.
    """

    def __init__(self, number: int, scheduler: Scheduler, durations: Durations, *, lag: bool, clock: Clock, recorder: Recorder) -> None:
        self.number = number
        self.scheduler = scheduler
        self.durations = durations
        self.lag = lag
        self.clock = clock
        self.recorder = recorder
        self.rank = FIRST_REPLICA + number
        self.finished: Callable[[Request], None] | None = None
        self.alarm = Alarm(clock, self.rank, self.fire)
        self.asleep = True
        self.outstanding = 0
        self.start = self.end = self.base = self.slope = 0.0
        self.steps = self.more_blocks = self.row_end = 0
        self.cuttable = False
        self.preempted = 0
        self.leaving: list[Request] = []
        self.abandoned: list[Request] = []

    def arrive(self, request: Request) -> None:
        """Take a request that arrives now."""
        self.outstanding += 1
        self.scheduler.waiting.append(request)
        if self.asleep:
            self.asleep = False
            self.clock.set(self.alarm, self.clock.now)
        elif self.cuttable:
            self.cuttable = False
            self._cut(self._steps_begun(self.clock.passed(self.rank)))

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
            steps = min(self.steps, self._steps_begun(self.clock.passed(self.rank)))
            used += decoding.blocks(steps) - decoding.needed()
        return used / blocks.total

    def fire(self, alarm: Alarm) -> None:
        """A step has ended (with async scheduling: begun). Deal with what came of it, and compose the next."""
        now = alarm.when
        clock = self.clock
        clock.turn_at, clock.turn = now, self.rank
        if self.lag:
            self._fire_ahead(now)
            return
        scheduler = self.scheduler
        if self.steps:
            scheduler.advance(self.steps, self.more_blocks)
            if scheduler.completed or scheduler.resumed:
                self._note_tokens()
            finished = scheduler.finished
            if self.abandoned:
                self._drop_abandoned(finished)
            for request in finished:
                scheduler.release(request)
                if not request.left:
                    self._finish(request, now)
        if self._compose(now, in_flight=False):
            clock.set(self.alarm, self.end)
        else:
            self.asleep = True

    def _fire_ahead(self, now: float) -> None:
        """With async scheduling: the last step of the stretch begins as the one before it ends; compose the step after it."""
        in_flight = self.steps > 0
        self._settle_ahead(now)
        composed = self._compose(now, in_flight)
        if composed and not in_flight:
            in_flight = True
            self._settle_ahead(now)
            composed = self._compose(now, in_flight)
        if composed:
            self.clock.set(self.alarm, self.start + self._span(self.steps - 1))
        elif in_flight:
            self.clock.set(self.alarm, self.end)
        else:
            self.asleep = True

    def _settle_ahead(self, now: float) -> None:
        """Count the stretch as carried out though its last step begins now; who finishes with it leaves when it ends."""
        scheduler = self.scheduler
        finished, self.leaving = self.leaving, []
        if self.steps:
            scheduler.advance(self.steps, self.more_blocks)
            self._note_tokens()
            self.leaving = scheduler.finished
            for request in self.leaving:
                request.leaving = True
        if self.abandoned:
            self._drop_abandoned(finished)
        for request in finished:
            scheduler.release(request)
            if not request.left:
                self._finish(request, now)

    def _note_tokens(self) -> None:
        """Note who got a token outside the even pace of decoding: the first, or one after a gap."""
        recorder, end = self.recorder, self.end
        for request in self.scheduler.completed:
            if request.token_at is not None:
                recorder.gap(request, end)
            elif not request.left:
                recorder.first_token[request.index] = end
        for request in self.scheduler.resumed:
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
        request.left = True
        self.recorder.finish[request.index] = now
        if request.preemptions:
            self.recorder.preemptions[request.index] = request.preemptions
        if self.finished is not None:
            self.finished(request)

    def _compose(self, now: float, in_flight: bool) -> bool:
        """Compose the next step, to begin when the one in flight ends, and find how often it repeats; False if there is none."""
        scheduler = self.scheduler
        self.start = self.end if in_flight else now
        scheduler.schedule()
        if scheduler.victims:
            self._note_victims()
        while not scheduler.chunks and scheduler.decoding.count == len(scheduler.stalled):
            scheduler.stalled = []
            if in_flight or not scheduler.victims:
                self.steps = 0
                return False
            scheduler.schedule()
            self._note_victims()
        if scheduler.started:
            self._note_started(now)
        if scheduler.chunks or scheduler.stalled or scheduler.resumed:
            self._plan_mixed()
        else:
            self._plan_decoding()
        return True

    def _note_victims(self) -> None:
        """Count the preempted requests; those that have tokens had their last when this step begins."""
        for victim in self.scheduler.victims:
            if victim.generated and victim.token_at is None:
                victim.token_at = self.start
        self.preempted += len(self.scheduler.victims)

    def _note_started(self, now: float) -> None:
        for request in self.scheduler.started:
            self.recorder.scheduled[request.index] = now
            if request.computed:
                self.recorder.cached[request.index] = request.computed
        self.scheduler.started.clear()

    def _plan_decoding(self) -> None:
        """Make a stretch of steps in which all decode, up to the first that differs by itself."""
        scheduler, durations = self.scheduler, self.durations
        decoding = scheduler.decoding
        count = decoding.count
        base = durations.decode[count] + durations.per_context * decoding.context
        slope = durations.per_context * count
        steps = 1 if self.leaving else scheduler.horizon()
        if steps > 1:
            more = decoding.blocks_after_first(steps)
            self.end = self.start + (steps * base + slope * (steps * (steps - 1) // 2))
            self.cuttable = scheduler.would_admit()
        else:
            more = 0
            self.end = self.start + base
            self.cuttable = False
        self.base, self.slope, self.steps, self.more_blocks = base, slope, steps, more
        self._write(count, count, 0, count)

    def _plan_mixed(self) -> None:
        """Make a stretch of one step with prompt chunks in it, or without some that decode."""
        scheduler = self.scheduler
        decoding, chunks, stalled = scheduler.decoding, scheduler.chunks, scheduler.stalled
        count = decoding.count - len(stalled)
        for request in stalled:
            if request.token_at is None:
                request.token_at = self.start
        self.base, prefill, sampled = self.durations.mixed(chunks, decoding, stalled)
        self.slope, self.steps, self.more_blocks = 0, 1, 0
        self.end = self.start + self.base
        self.cuttable = False
        self._write(count + len(chunks), count - len(scheduler.resumed), prefill, sampled)

    def _write(self, sequences: int, decoding: int, prefill: int, sampled: int) -> None:
        """Write the stretch into the log, until it is cut."""
        scheduler, rows = self.scheduler, self.recorder.stretches
        blocks = scheduler.blocks
        used = blocks.total - blocks.free + self.more_blocks
        counts = (self.number, sequences, decoding, prefill, sampled, len(scheduler.waiting), self.preempted, self.steps, used)
        rows += pack_stretch(self.start, self.base, self.slope, *counts)
        self.row_end = len(rows)
        self.preempted = 0

    def _cut(self, steps: int) -> None:
        """End the stretch after its first `steps` steps."""
        if steps >= self.steps:
            return
        blocks = self.scheduler.blocks
        self.steps = steps
        self.end = self.start + self._span(steps)
        self.more_blocks = more = self.scheduler.decoding.blocks_after_first(steps)
        self.recorder.shorten(self.row_end, steps, blocks.total - blocks.free + more)
        self.clock.cancel(self.alarm)
        self.alarm = Alarm(self.clock, self.rank, self.fire)
        self.clock.set(self.alarm, self.start + self._span(steps - 1) if self.lag else self.end)

    def _span(self, steps: int) -> float:
        """How long the first `steps` steps of the stretch take."""
        return steps * self.base + self.slope * (steps * (steps - 1) // 2)

    def _steps_begun(self, passed: bool) -> int:
        """Steps of the stretch composed by now, at least 1; one due at this very instant counts if its turn has `passed`."""
        now, start, base, slope = self.clock.now, self.start, self.base, self.slope
        steps = 0
        if now > start and base:
            steps = int((now - start) / base)
            steps = min(int((now - start) / (base + slope * steps / 2)), self.steps)
        reached = start + (steps * base + slope * (steps * (steps - 1) // 2))
        while steps < self.steps and (reached < now or (passed and reached == now)):
            steps += 1
            reached = start + (steps * base + slope * (steps * (steps - 1) // 2))
        while steps:
            reached = start + ((steps - 1) * base + slope * ((steps - 1) * (steps - 2) // 2))
            if reached < now or (passed and reached == now):
                break
            steps -= 1
        return max(steps + self.lag, 1)
