"""Replica: a scheduler with a clock. It composes a step, learns how long it takes, and jumps to where the next one differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.engine.clock import FIRST_REPLICA, Alarm, Clock
from simulator.engine.durations import Durations
from simulator.engine.recorder import Recorder, pack_stretch
from simulator.engine.request import Request
from simulator.engine.scheduler import NOBODY, Scheduler


class Replica:
    """One engine instance, driven by arrivals and by its own alarm.

    Between two alarms it has a *stretch* in hand: `steps` equal steps from `start`, the j-th taking base + j * slope. A stretch
    ends where the next step would differ: a finish, blocks running out, a prompt in work; or, if that could be admitted at
    once, an arrival, which cuts it. With async scheduling a step is composed when the one before it begins, so the alarm goes
    off a step before the stretch ends, and finished requests hold their blocks until it does.
    """

    __slots__ = (
        "abandoned",
        "alarm",
        "asleep",
        "base",
        "clock",
        "counts",
        "cuttable",
        "departed",
        "durations",
        "end",
        "lag",
        "leaving",
        "number",
        "outstanding",
        "preempted",
        "rank",
        "recorder",
        "rows",
        "scheduler",
        "slope",
        "start",
        "steps",
    )

    def __init__(
        self, number: int, scheduler: Scheduler, durations: Durations, *, lag: bool, clock: Clock, recorder: Recorder
    ) -> None:
        self.number = number
        self.scheduler = scheduler
        self.durations = durations
        self.lag = lag
        self.clock = clock
        self.recorder = recorder
        self.rows = recorder.stretches
        self.rank = FIRST_REPLICA + number
        self.departed: Callable[[Request], None] | None = None
        self.alarm = Alarm(clock, self.rank, self.fire)
        self.asleep = True
        self.outstanding = 0
        self.start = self.end = self.base = self.slope = 0.0
        self.steps = 0
        self.counts = (0,) * 7
        self.cuttable = False
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
            if self._cut(self._steps_begun(now, self.clock.passed(self.rank))):
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
            used = scheduler.used(min(self.steps, self._steps_begun(self.clock.now, self.clock.passed(self.rank))))
        return used / scheduler.total

    def _go_on(self, when: float) -> None:
        """Compose the next step at `when`: at once, if nothing else is to happen until then."""
        others = self.clock.queue
        if others and others[0][0] <= when:
            self.clock.set(self.alarm, when)
        else:
            self.clock.skip_to(when)
            self.alarm.when = when
            self.fire(self.alarm)

    def fire(self, alarm: Alarm) -> None:
        """Settle the stretch that ends and compose the next, again and again until somebody else must act first."""
        clock, now, rank = self.clock, alarm.when, self.rank
        others = clock.queue
        turn = self._turn_ahead if self.lag else self._turn
        while True:
            if now > clock.turn_at or rank > clock.turn:
                clock.turn_at, clock.turn = now, rank
            until = turn(now)
            if until is None:
                self.asleep = True
                return
            now = until
            if others and others[0][0] <= now:
                clock.set(alarm, now)
                return
            clock.skip_to(now)

    def _turn(self, now: float) -> float | None:
        """A stretch has ended: settle it and compose the next; gives when that ends, None if there is nothing to do."""
        self._settle(now)
        self.start = now
        return self.end if self._compose(now, in_flight=False) else None

    def _turn_ahead(self, now: float) -> float | None:
        """The same with async scheduling: the stretch's last step begins now; gives when the next turn comes."""
        if self.leaving and self.steps > 1:
            self._let_go(self.leaving, now)
            self.leaving = NOBODY
            return self._next_turn()
        if not self.steps:
            self._settle(now)
            self.start = now
            if not self._compose(now, in_flight=False):
                return None
        self._settle(now)
        self.start = self.end
        return self._next_turn() if self._compose(now, in_flight=True) else self.end

    def _next_turn(self) -> float:
        """When the stretch ends; with async scheduling, when its last step begins, or before that somebody leaves."""
        if not self.lag:
            return self.end
        return self.start if self.leaving else self.start + self._span(self.steps - 1)

    def _settle(self, now: float) -> None:
        """Carry out the stretch in hand and write it down; let go who has all tokens, with async scheduling one step later."""
        scheduler, steps = self.scheduler, self.steps
        finished = self.leaving
        if steps:
            done = scheduler.advance(steps)
            rows, used = self.rows, scheduler.total - scheduler.free
            rows += pack_stretch(self.start, self.base, self.slope, *self.counts, steps, used)
            if scheduler.completed or scheduler.resumed:
                self._note_tokens()
            if self.lag:
                self.leaving = done
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

    def _note_tokens(self) -> None:
        """Note who got a token outside the even pace of decoding: the first, or one after a gap."""
        scheduler, recorder, end = self.scheduler, self.recorder, self.end
        for request in scheduler.completed:
            if request.token_at is not None:
                recorder.gap(request, end)
            elif not request.left:
                recorder.first_token[request.index] = end
        for request in scheduler.resumed:
            recorder.gap(request, end)
        scheduler.completed, scheduler.resumed = [], []

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
                self.departed(request)

    def _compose(self, now: float, in_flight: bool) -> bool:
        """Compose the step that begins at `start`, and find how often it repeats; False if there is none."""
        scheduler = self.scheduler
        if not scheduler.schedule():
            return self._compose_uneven(now, in_flight)
        durations, count, waiting = self.durations, scheduler.count, len(scheduler.waiting)
        base = durations.decode[count] + durations.per_context * scheduler.context
        slope = durations.per_context * count
        if scheduler.padding:
            base += self._padded(count, count)
        if scheduler.hybrid:
            for size, per_context, _ in durations.windows:
                base += per_context * scheduler.sums[size].inside
                slope += per_context * scheduler.sums[size].below
        self.base, self.slope = base, slope
        self.steps = steps = 1 if not base or (self.leaving and waiting) else scheduler.horizon()
        self.end = self.start + (steps * base + slope * (steps * (steps - 1) // 2))
        held = len(scheduler.running) - len(self.leaving)
        room = steps > 1 and held < scheduler.max_num_seqs and count < scheduler.max_tokens
        self.cuttable = room and (not waiting or scheduler.overtaking)
        self.counts = (self.number, count + scheduler.padding, count, 0, count, waiting, self.preempted)
        self.preempted = 0
        return True

    def _compose_uneven(self, now: float, in_flight: bool) -> bool:
        """The step is composed and not an even one: see what it is, or try again if all who ran were preempted."""
        scheduler = self.scheduler
        preempted = scheduler.victims
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
        count, context = scheduler.count, scheduler.context
        if scheduler.stalled:
            count -= len(scheduler.stalled)
            context -= self._note_stalled()
        sampled = tokens = count
        half_pairs = 0
        for request, chunk, last in scheduler.chunks:
            computed = request.computed
            tokens += chunk
            half_pairs += chunk * (2 * computed + chunk)
            sampled += last
            if not request.started:
                request.started = True
                recorder.scheduled[request.index] = now
                if computed:
                    recorder.cached[request.index] = computed
        sequences = count + len(scheduler.chunks)
        base = durations.tokens[tokens] + durations.sampled[sampled] + durations.per_sequence * sequences + durations.constant
        base += durations.per_context * context + durations.per_half_pair * half_pairs
        if scheduler.padding:
            base += self._padded(tokens, sampled)
            sequences += scheduler.padding
        if durations.windows:
            base += self._in_windows()
        self.base = base
        self.slope, self.steps = 0, 1
        self.end = self.start + base
        self.cuttable = False
        even, waiting = count - len(scheduler.resumed), len(scheduler.waiting)
        self.counts = (self.number, sequences, even, tokens - count, sampled, waiting, self.preempted)
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
        self.steps = steps
        self.end = self.start + self._span(steps)
        self.clock.cancel(self.alarm)
        self.alarm = Alarm(self.clock, self.rank, self.fire)
        return True

    def _span(self, steps: int) -> float:
        """How long the first `steps` steps of the stretch take."""
        return steps * self.base + self.slope * (steps * (steps - 1) // 2)

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
        return max(steps + self.lag, 1)

    def _begins_by(self, now: float, steps: int, passed: bool) -> bool:
        """Whether the step after the first `steps` begins before now, or now and its turn has passed."""
        begins = self.start + (steps * self.base + self.slope * (steps * (steps - 1) // 2))
        return begins < now or (passed and begins == now)
