"""Instance: a scheduler with a clock. It composes a step, learns how long it takes, and jumps to where the next one differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from simulator.engine.clock import FIRST_INSTANCE, Alarm, Clock
from simulator.engine.instance.durations import StepTimer
from simulator.engine.instance.pauses import Pauses
from simulator.engine.instance.stretch import Stretch
from simulator.engine.record import Log, Recorder, pack_ended, pack_planned
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.scheduler import AGAIN, IDLE, NOBODY, Receiver, Scheduler, Step

Finished = Callable[[Sequence[Request], float, int], None]


class FirstTokenListener(Protocol):
    """Who counts the requests that have no first token yet."""

    def first_tokens(self, completed: Sequence[Request], when: float, turn: int) -> None:
        """A step that ends at `when` samples a token for each of these: for some of them the first."""

    def give_up(self, request: Request) -> None:
        """A request is let go whose client has given up."""


class Instance:
    """One engine instance, driven by arrivals and by its own alarm.

    Between two alarms it has a *stretch* in hand: equal steps, `step` the first of them. It ends where the next step would
    differ: a finish, blocks running out, a prompt in work; or, if that could be admitted at once, an arrival, which cuts it.
    With async scheduling a step is composed when the one before it begins, so the alarm goes off a step before the stretch
    ends, and finished requests, `leaving`, hold their blocks until it does.

    `finished` is told of requests that have all their tokens, with the time and the instance's turn at it. `abandoned` are those
    whose clients gave up in the stretch in hand, `preempted` those preempted since the last one was written down. `door`: who
    counts those without a first token, where that limits what is let in. `pauses`: those who decode, but not in the last steps.
    """

    __slots__ = (
        "abandoned",
        "act",
        "alarm",
        "asleep",
        "async_scheduling",
        "clock",
        "door",
        "end",
        "finished",
        "leaving",
        "log",
        "number",
        "others",
        "outstanding",
        "pauses",
        "preempted",
        "recorder",
        "scheduler",
        "step",
        "stretch",
        "timer",
        "turn",
    )

    def __init__(
        self,
        number: int,
        scheduler: Scheduler,
        timer: StepTimer,
        *,
        async_scheduling: bool,
        clock: Clock,
        recorder: Recorder,
        finished: Finished,
    ) -> None:
        self.number = number
        self.scheduler = scheduler
        self.timer = timer
        self.async_scheduling = async_scheduling
        self.clock = clock
        self.others = clock.queue
        self.recorder = recorder
        self.finished = finished
        self.log: Log = recorder.log()
        self.turn = FIRST_INSTANCE + number
        self.act = self.fire_ahead if async_scheduling else self.fire
        self.alarm = Alarm(clock, self.turn, self.act)
        self.asleep = True
        self.outstanding = 0
        self.stretch = Stretch()
        self.step: Step = IDLE
        self.end = 0.0
        self.preempted = 0
        self.leaving: Sequence[Request] = NOBODY
        self.abandoned: list[Request] = []
        self.door: FirstTokenListener | None = None
        self.pauses = Pauses()

    # What comes from outside

    def arrive(self, request: Request) -> None:
        """Take a request that arrives now."""
        scheduler = self.scheduler
        self.outstanding += 1
        cuts = self.stretch.steps > 1 and scheduler.would_admit(len(self.leaving))
        scheduler.waiting.append(request)
        if cuts:
            if self._cut(self._composed(request.arrived, self.clock.passed(self.turn))):
                self._go_on(self._next_turn())
        elif self.asleep:
            self.asleep = False
            self._go_on(request.arrived)

    def kv_arrived(self, request: Request) -> None:
        """The KV of a request that waits for it is here now."""
        scheduler, now = cast(Receiver, self.scheduler), self.clock.now
        cuts = self.stretch.steps > 1 and scheduler.would_run(len(self.leaving))
        scheduler.kv_arrived(request)
        if cuts:
            if self._cut(self._composed(now, self.clock.passed(self.turn))):
                self._go_on(self._next_turn())
        elif self.asleep:
            self.asleep = False
            self._go_on(now)

    def abandon(self, request: Request) -> None:
        """Let a request go when this step ends: its client has just given it up."""
        self.outstanding -= 1
        self.drop_later(request)

    def drop_later(self, request: Request) -> None:
        """Let a request and its blocks go when this step ends."""
        self.abandoned.append(request)
        if self.asleep:  # it was in the way of others who could be admitted
            self.asleep = False
            self.clock.set(self.alarm, self.clock.now)
        elif self._cut(self._composed(self.clock.now, passed=True)):
            self.clock.set(self.alarm, self._next_turn())

    def die(self) -> list[Request]:
        """End at once, with the step in work; gives the requests that it had. It still looks as loaded as it was."""
        self.clock.cancel(self.alarm)
        steps, scheduler = self.stretch.steps, self.scheduler
        if steps:
            self.log.ended += pack_ended(steps, scheduler.pool.total - scheduler.pool.free)
        self.log.end(self.clock.now)
        had = dict.fromkeys((*self.leaving, *scheduler.running.values(), *scheduler.waiting))
        scheduler.waiting.clear()
        self.stretch.steps = 0
        self.asleep, self.leaving = True, NOBODY
        return [request for request in had if not self.recorder.has_left(request)]

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self.scheduler.waiting)

    @property
    def working(self) -> bool:
        """Whether it has requests, not only such as can never be scheduled: they wait while it has nothing to do."""
        return self.outstanding > (self.waiting if self.asleep else 0)

    def kv_use(self) -> float:
        """The fraction of the KV blocks that requests hold now."""
        pool, steps = self.scheduler.pool, self.stretch.steps
        used = pool.total - pool.free
        if steps > 1:
            used = self.scheduler.used(min(steps, self._composed(self.clock.now, self.clock.passed(self.turn))))
        return used / pool.total

    def kv_use_at_least(self) -> float:
        """A fraction that `kv_use` is not below, for little: that of the first step of the stretch, where no step gives back."""
        pool = self.scheduler.pool
        return 0.0 if pool.gives_back else (pool.total - pool.free) / pool.total

    def _composed(self, now: float, passed: bool) -> int:
        """Steps of the stretch that are composed by now; with async scheduling one more than have begun."""
        return max(self.stretch.begun(now, passed) + self.async_scheduling, 1)

    def _cut(self, steps: int) -> bool:
        """End the stretch after its first `steps` steps, and let its alarm be set anew; False if it ends no later anyway."""
        if steps >= self.stretch.steps:
            return False
        self.stretch.steps = steps
        self.end = self.stretch.until(steps)
        self.clock.cancel(self.alarm)
        return True

    # Its own alarm

    def _go_on(self, when: float) -> None:
        """Compose the next step at `when`: at once, if nothing else is to happen until then."""
        if self.others and self.others[0][0] <= when:
            self.clock.set(self.alarm, when)
        else:
            alarm, act = self.alarm, self.act
            alarm.when = when
            act(alarm)

    def fire(self, alarm: Alarm) -> None:
        """Settle the stretch that ends and compose the next, again and again until somebody else must act first."""
        others, now = self.others, alarm.when
        while True:
            self.settle(now)
            if not self.compose(now, now, False):
                self.asleep = True
                return
            now = self.end
            if others and others[0][0] <= now:
                self.clock.set(alarm, now)
                return

    def fire_ahead(self, alarm: Alarm) -> None:
        """The same with async scheduling: a step is composed when the one before it begins, the last of its stretch."""
        others, stretch, now = self.others, self.stretch, alarm.when
        while True:
            steps, leaving = stretch.steps, self.leaving
            if steps > 1 and leaving:
                self._let_go(leaving, now)
                self.leaving = NOBODY
                now = stretch.until(steps - 1)
            elif steps or self._begin(now):
                self.settle(now)
                self.compose(self.end, now, True)
                steps = stretch.steps
                now = stretch.start if steps <= 1 or self.leaving else stretch.until(steps - 1)
            else:
                self.asleep = True
                return
            if others and others[0][0] <= now:
                self.clock.set(alarm, now)
                return

    def _begin(self, now: float) -> bool:
        """Compose a step when none is in flight; False if there is none."""
        self.settle(now)
        return self.compose(now, now, False)

    def _next_turn(self) -> float:
        """When the stretch ends; with async scheduling, when its last step begins, or before that somebody leaves."""
        if not self.async_scheduling:
            return self.end
        stretch = self.stretch
        last_begins: float = stretch.start if self.leaving or stretch.steps <= 1 else stretch.until(stretch.steps - 1)
        return last_begins

    # What ends

    def settle(self, now: float) -> None:
        """Carry out the stretch in hand and write it down; let go who has all tokens, with async scheduling one step later."""
        steps, step = self.stretch.steps, self.step
        finished = self.leaving
        if steps:
            scheduler = self.scheduler
            done = scheduler.advance(steps) if step.even else self._settle_uneven(step)
            pool = scheduler.pool
            self.log.ended += pack_ended(steps, pool.total - pool.free)
            if self.async_scheduling:
                self.leaving = done
            else:
                finished = done
        elif finished:
            self.leaving = NOBODY
        if self.abandoned:
            finished = self._drop_abandoned(finished)
        if finished:
            self._let_go(finished, now)

    def _settle_uneven(self, step: Step) -> Sequence[Request]:
        """Carry out a step that is not an even one, and note who got a first token, or one after a gap."""
        recorder, end = self.recorder, self.end
        done = self.scheduler.carry_out(step)
        failed, first_token = recorder.failed, recorder.first_token
        for request in step.completed:
            index = request.index
            if request.token_at is not None:
                recorder.gap(request, end)
            elif not failed[index]:
                first_token[index] = end
        for request in step.resumed:
            recorder.gap(request, end)
        if self.pauses.count and not step.pausing:
            self.pauses.end(end, recorder.gaps_of)
        if self.door is not None:
            self.door.first_tokens(step.completed, end, self.turn)
        return done

    def _drop_abandoned(self, finished: Sequence[Request]) -> Sequence[Request]:
        """Let go who was given up; gives those of `finished` who were not."""
        for request in self.abandoned:
            if request.status is Status.DECODING:
                self.pauses.leave(request)
            self.scheduler.drop(request)
        self.leaving = [request for request in self.leaving if request not in self.abandoned]
        finished = [request for request in finished if request not in self.abandoned]
        self.abandoned.clear()
        return finished

    def _let_go(self, finished: Sequence[Request], now: float) -> None:
        """Free the blocks of those who have all their tokens, and tell that they had their last now."""
        self.scheduler.retire(finished)
        self.outstanding -= len(finished)
        tell = self.finished
        tell(finished, now, self.turn)

    # What begins

    def compose(self, start: float, now: float, in_flight: bool) -> bool:
        """Compose the step that begins at `start`, and find how often it repeats; False if there is none."""
        scheduler, stretch = self.scheduler, self.stretch
        stretch.start = start
        self.step = step = scheduler.schedule()
        if not step.even:
            if step.preempted:
                self._note_preempted(step)
            if step.chunks or step.padding or scheduler.batch.count > len(step.stalled):
                self._plan_one_step(step, now)
                return True
            return self._find_nothing(step, now, in_flight)
        batch, timer = scheduler.batch, self.timer
        count, waiting = batch.count, len(scheduler.waiting)
        slope = timer.per_context
        base = timer.decode[count] + slope * batch.context
        slope *= count
        if timer.amends or step.padding:
            base, slope = timer.add_to_even(step, base, slope)
        stretch.base, stretch.slope = base, slope
        one_by_one = not base or (in_flight and start == now) or (waiting and self.leaving)
        stretch.steps = steps = 1 if one_by_one else scheduler.horizon()
        self.end = start + base if steps == 1 else stretch.until(steps)
        self.log.planned += pack_planned(start, base, slope, count + step.padding, count, 0, count, waiting, self.preempted)
        self.preempted = 0
        return True

    def _find_nothing(self, step: Step, now: float, in_flight: bool) -> bool:
        """Nothing is computed in the composed step: try again if that is because all who ran were preempted, or so it says."""
        if (step.preempted or step is AGAIN) and not in_flight:
            return self.compose(self.stretch.start, now, in_flight)
        self.stretch.steps = 0
        return False

    def _note_preempted(self, step: Step) -> None:
        """Count the preempted requests; those that have tokens had their last when this step begins."""
        for request in step.preempted:
            since = self.pauses.leave(request)
            if request.generated and request.token_at is None:
                request.token_at = self.stretch.start if since is None else since
        self.preempted += len(step.preempted)

    def _plan_one_step(self, step: Step, now: float) -> None:
        """Make a stretch of one step: with prompt chunks in it, or without some that decode, or after a preemption."""
        scheduler, stretch = self.scheduler, self.stretch
        start, scheduled = stretch.start, self.recorder.scheduled
        for request in step.started:
            scheduled[request.index] = now
            if request.computed:
                self.recorder.cached[request.index] = request.computed
        base, prompt_tokens, sampled = self.timer.uneven(step)
        stretch.base, stretch.slope, stretch.steps = base, 0, 1
        self.end = start + base
        decoding = even = scheduler.batch.count
        if step.stalled or step.resumed or self.pauses.count or step.pausing:
            decoding, even = self._pause(step, decoding - len(step.stalled))
        sequences, waiting = decoding + len(step.chunks) + step.padding, len(scheduler.waiting)
        self.log.planned += pack_planned(start, base, 0, sequences, even, prompt_tokens, sampled, waiting, self.preempted)
        self.preempted = 0

    def _pause(self, step: Step, decoding: int) -> tuple[int, int]:
        """Note who waits for the next token; of so many that could decode, who do, and who did in the step before too."""
        start = self.stretch.start
        for request in step.stalled:
            if request.token_at is None:
                request.token_at = start
        if step.pausing:
            self.pauses.add(start, decoding, step.chunks[0][0].order)
            return 0, 0
        return decoding, decoding - len(step.resumed) - self.pauses.count
