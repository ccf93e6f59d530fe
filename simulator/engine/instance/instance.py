"""Replica: a scheduler with a clock. It composes a step, learns how long it takes, and jumps to where the next one differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.engine.clock import FIRST_INSTANCE, Alarm, Clock
from simulator.engine.instance.durations import Durations
from simulator.engine.record import Log, Recorder, pack_ended, pack_planned
from simulator.engine.request import Request
from simulator.engine.scheduler.vllm import NOBODY, Scheduler


class Instance:
    """One engine instance, driven by arrivals and by its own alarm.

    Between two alarms it has a *stretch* in hand: `steps` equal steps from `start`, the j-th taking base + j * slope. A stretch
    ends where the next step would differ: a finish, blocks running out, a prompt in work; or, if that could be admitted at
    once, an arrival, which cuts it. With async scheduling a step is composed when the one before it begins, so the alarm goes
    off a step before the stretch ends, and finished requests hold their blocks until it does.
    """

    __slots__ = (
        "abandoned",
        "act",
        "ahead",
        "alarm",
        "asleep",
        "async_scheduling",
        "base",
        "clock",
        "cuttable",
        "departed",
        "durations",
        "end",
        "even",
        "leaving",
        "log",
        "number",
        "others",
        "outstanding",
        "preempted",
        "recorder",
        "scheduler",
        "slope",
        "start",
        "steps",
        "turn",
    )

    def __init__(
        self, number: int, scheduler: Scheduler, durations: Durations, *, async_scheduling: bool, clock: Clock, recorder: Recorder
    ) -> None:
        self.number = number
        self.scheduler = scheduler
        self.durations = durations
        self.async_scheduling = async_scheduling
        self.clock = clock
        self.others = clock.queue
        self.recorder = recorder
        self.log: Log = recorder.log()
        self.turn = FIRST_INSTANCE + number
        self.departed: Callable[[Request], None] | None = None
        self.act = self.fire_ahead if async_scheduling else self.fire
        self.alarm = Alarm(clock, self.turn, self.act)
        self.asleep = True
        self.outstanding = 0
        self.start = self.ahead = self.end = self.base = self.slope = 0.0
        self.steps = 0
        self.even = self.cuttable = False
        self.preempted = 0
        self.leaving: Sequence[Request] = NOBODY
        self.abandoned: list[Request] = []

    def arrive(self, request: Request) -> None:
        """Take a request that arrives now."""
        self.outstanding += 1
        self.scheduler.waiting.append(request)
        if self.cuttable:
            self.cuttable = False
            now = request.arrived
            if self._cut(self._steps_begun(now, self.clock.passed(self.turn))):
                self._go_on(self._next_turn())
        elif self.asleep:
            self.asleep = False
            self._go_on(request.arrived)

    def abandon(self, request: Request) -> None:
        """Let a request go when this step ends: its client has just given it up."""
        self.outstanding -= 1
        self.abandoned.append(request)
        if self._cut(self._steps_begun(self.clock.now, passed=True)):
            self.clock.set(self.alarm, self._next_turn())

    def kv_use(self) -> float:
        """The fraction of the KV blocks that requests hold now."""
        scheduler = self.scheduler
        used = scheduler.total - scheduler.free
        if self.steps > 1:
            used = scheduler.used(min(self.steps, self._steps_begun(self.clock.now, self.clock.passed(self.turn))))
        return used / scheduler.total

    def _go_on(self, when: float) -> None:
        """Compose the next step at `when`: at once, if nothing else is to happen until then."""
        if self.others and self.others[0][0] <= when:
            self.clock.set(self.alarm, when)
        else:
            self.alarm.when = when
            self.act(self.alarm)

    def fire(self, alarm: Alarm) -> None:
        """Settle the stretch that ends and compose the next, again and again until somebody else must act first."""
        others, now = self.others, alarm.when
        while True:
            self._settle(now)
            self.start = now
            if not self._compose(now, in_flight=False):
                self.asleep = True
                return
            now = self.end
            if others and others[0][0] <= now:
                self.clock.set(alarm, now)
                return

    def fire_ahead(self, alarm: Alarm) -> None:
        """The same with async scheduling: a step is composed when the one before it begins, the last of its stretch."""
        others, now = self.others, alarm.when
        while True:
            if self.leaving and self.steps > 1:
                self._let_go(self.leaving, now)
                self.leaving = NOBODY
                now = self.ahead
            elif self.steps or self._begin(now):
                self._settle(now)
                self.start = self.end
                composed = self._compose(now, in_flight=True)
                now = self.ahead if composed and not self.leaving else self.start
            else:
                self.asleep = True
                return
            if others and others[0][0] <= now:
                self.clock.set(alarm, now)
                return

    def _begin(self, now: float) -> bool:
        """Compose a step when none is in flight; False if there is none."""
        self._settle(now)
        self.start = now
        return self._compose(now, in_flight=False)

    def _next_turn(self) -> float:
        """When the stretch ends; with async scheduling, when its last step begins, or before that somebody leaves."""
        if not self.async_scheduling:
            return self.end
        return self.start if self.leaving else self.ahead

    def _settle(self, now: float) -> None:
        """Carry out the stretch in hand and write it down; let go who has all tokens, with async scheduling one step later."""
        scheduler, steps = self.scheduler, self.steps
        finished = self.leaving
        if steps:
            done = scheduler.advance(steps) if self.even else self._settle_uneven()
            self.log.ended += pack_ended(steps, scheduler.total - scheduler.free)
            if self.async_scheduling:
                self.leaving = done
                if done:
                    for request in done:
                        request.leaving = True
            else:
                finished = done
        elif finished:
            self.leaving = NOBODY
        if self.abandoned:
            finished = self._drop_abandoned(finished)
        if finished:
            self._let_go(finished, now)

    def _settle_uneven(self) -> Sequence[Request]:
        """Carry out a step that is not an even one, and note who got a first token, or one after a gap."""
        scheduler, recorder, end = self.scheduler, self.recorder, self.end
        done = scheduler.carry_out()
        for request in scheduler.completed:
            if request.token_at is not None:
                recorder.gap(request, end)
            elif not request.left:
                recorder.first_token[request.index] = end
        scheduler.completed.clear()
        if scheduler.resumed:
            for request in scheduler.resumed:
                recorder.gap(request, end)
            scheduler.resumed.clear()
        return done

    def _drop_abandoned(self, finished: Sequence[Request]) -> Sequence[Request]:
        """Let go who was given up; gives those of `finished` who were not."""
        for request in self.abandoned:
            self.scheduler.drop(request)
        self.abandoned.clear()
        self.leaving = [request for request in self.leaving if not request.left]
        return [request for request in finished if not request.left]

    def _let_go(self, finished: Sequence[Request], now: float) -> None:
        """Free the blocks of those who have all their tokens, and note that they had their last now."""
        recorder = self.recorder
        self.scheduler.release(finished)
        self.outstanding -= len(finished)
        for request in finished:
            request.left = True
            recorder.finish[request.index] = now
            if request.preemptions:
                recorder.preemptions[request.index] = request.preemptions
        if self.departed is not None:
            self.clock.reach(now, self.turn)
            for request in finished:
                self.departed(request)

    def _compose(self, now: float, in_flight: bool) -> bool:
        """Compose the step that begins at `start`, and find how often it repeats; False if there is none."""
        scheduler, durations, start = self.scheduler, self.durations, self.start
        if not scheduler.schedule():
            return self._compose_uneven(now, in_flight)
        count, waiting = scheduler.count, len(scheduler.waiting)
        base, slope = durations.decode[count] + durations.per_context * scheduler.context, durations.per_context * count
        if scheduler.padding:
            base += self._padded(count, count)
        for size, per_context, _ in durations.windows:
            base += per_context * scheduler.sums[size].inside
            slope += per_context * scheduler.sums[size].below
        self.base, self.slope, self.even = base, slope, True
        one_by_one = not base or (in_flight and start == now) or (waiting and self.leaving)
        self.steps = steps = 1 if one_by_one else scheduler.horizon()
        self.ahead = start + ((steps - 1) * base + slope * ((steps - 1) * (steps - 2) // 2))
        self.end = start + (steps * base + slope * (steps * (steps - 1) // 2))
        self.cuttable = (
            steps > 1
            and (not waiting or scheduler.by_priority)
            and count < scheduler.max_tokens
            and len(scheduler.running) - len(self.leaving) < scheduler.max_num_seqs
        )
        sequences = count + scheduler.padding
        self.log.planned += pack_planned(start, base, slope, sequences, count, 0, count, waiting, self.preempted)
        self.preempted = 0
        return True

    def _compose_uneven(self, now: float, in_flight: bool) -> bool:
        """The step is composed and not an even one: see what it is, or try again if all who ran were preempted."""
        scheduler = self.scheduler
        preempted = bool(scheduler.victims)
        if preempted:
            self._note_victims()
        if scheduler.chunks or scheduler.count > len(scheduler.stalled):
            self._plan_one_step(now)
            return True
        scheduler.unstall()
        if preempted and not in_flight:
            return self._compose(now, in_flight)
        self.steps, self.cuttable = 0, False
        return False

    def _note_victims(self) -> None:
        """Count the preempted requests; those that have tokens had their last when this step begins."""
        scheduler = self.scheduler
        for victim in scheduler.victims:
            if victim.generated and victim.token_at is None:
                victim.token_at = self.start
        self.preempted += len(scheduler.victims)
        scheduler.victims = []

    def _plan_one_step(self, now: float) -> None:
        """Make a stretch of one step: with prompt chunks in it, or without some that decode, or after a preemption."""
        scheduler, recorder, durations = self.scheduler, self.recorder, self.durations
        chunks, count, context = scheduler.chunks, scheduler.count, scheduler.context
        if scheduler.stalled:
            count -= len(scheduler.stalled)
            context -= self._note_stalled()
        sampled = tokens = count
        half_pairs = 0
        for request, chunk, last in chunks:
            computed = request.computed
            tokens += chunk
            half_pairs += chunk * (2 * computed + chunk)
            sampled += last
            if not request.started:
                request.started = True
                recorder.scheduled[request.index] = now
                if computed:
                    recorder.cached[request.index] = computed
        sequences = count + len(chunks)
        base = durations.tokens[tokens] + durations.sampled[sampled] + durations.per_sequence * sequences + durations.constant
        base += durations.per_context * context + durations.per_half_pair * half_pairs
        if scheduler.padding:
            base += self._padded(tokens, sampled)
            sequences += scheduler.padding
        if durations.windows:
            base += self._in_windows()
        self.base, self.slope, self.steps = base, 0, 1
        self.ahead = start = self.start
        self.end = start + base
        self.even = self.cuttable = False
        even, waiting = count - len(scheduler.resumed), len(scheduler.waiting)
        self.log.planned += pack_planned(start, base, 0, sequences, even, tokens - count, sampled, waiting, self.preempted)
        self.preempted = 0

    def _padded(self, tokens: int, sampled: int) -> float:
        """What the padding of a static batch adds to a step of so many tokens."""
        durations, padding = self.durations, self.scheduler.padding
        seconds = durations.tokens[tokens + padding] - durations.tokens[tokens]
        seconds += durations.sampled[sampled + padding] - durations.sampled[sampled] + durations.per_sequence * padding
        return seconds + durations.per_context * self.scheduler.padded_context

    def _in_windows(self) -> float:
        """What layers with a window add to a step that is not even."""
        scheduler, seconds = self.scheduler, 0.0
        for size, per_context, per_half_pair in self.durations.windows:
            inside = scheduler.sums[size].inside - sum(min(scheduler.step + r.offset, size) for r in scheduler.stalled)
            half_pairs = sum(min(n * (2 * r.computed + n), 2 * n * size) for r, n, _ in scheduler.chunks)
            seconds += per_context * inside + per_half_pair * half_pairs
        return seconds

    def _note_stalled(self) -> int:
        """Note when the stalled requests had their last token; gives the sum of their contexts."""
        for request in self.scheduler.stalled:
            if request.token_at is None:
                request.token_at = self.start
        step = self.scheduler.step
        return sum(step + request.offset for request in self.scheduler.stalled)

    def _cut(self, steps: int) -> bool:
        """End the stretch after its first `steps` steps, and let its alarm be set anew; False if it ends no later anyway."""
        if steps >= self.steps:
            return False
        base, slope = self.base, self.slope
        self.steps = steps
        self.ahead = self.start + ((steps - 1) * base + slope * ((steps - 1) * (steps - 2) // 2))
        self.end = self.start + (steps * base + slope * (steps * (steps - 1) // 2))
        self.clock.cancel(self.alarm)
        return True

    def _steps_begun(self, now: float, passed: bool) -> int:
        """Steps of the stretch composed by now, at least 1; one due at this very instant counts if its turn has `passed`."""
        gone, base, most = now - self.start, self.base, self.steps
        steps = 0
        if gone > 0 and base:
            steps = min(int(gone / (base + self.slope * (gone / base) / 2)), most)
        if self._begins_by(now, steps, passed):
            steps += 1
            while steps < most and self._begins_by(now, steps, passed):
                steps += 1
        else:
            while steps and not self._begins_by(now, steps - 1, passed):
                steps -= 1
        return max(steps + self.async_scheduling, 1)

    def _begins_by(self, now: float, steps: int, passed: bool) -> bool:
        """Whether the step after the first `steps` begins before now, or now and its turn has passed."""
        begins = self.start + (steps * self.base + self.slope * (steps * (steps - 1) // 2))
        return begins < now or (passed and begins == now)
