"""Ranks in lock step: instances that make every step together, as experts spread over all of them need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from simulator.engine.clock import Alarm, Clock
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.stretch import Stretch
from simulator.engine.request import Request
from simulator.engine.scheduler.prefill_interval import PrefillIntervalScheduler
from simulator.engine.scheduler.scheduler import NOBODY, Receiver
from simulator.spec import Count, Natural, spec


@spec
class LockStep:
    """How ranks keep step: all begin a step together, and it takes as long as that of the slowest.

    A rank without work computes a dummy batch. Where no rank has more than `pads_up_to` tokens, all
    pad theirs to the largest (CUDA graphs on every rank). When nobody has work the ranks go on with
    dummy batches until they next ask each other, every `asks_every` steps, and with `asks_first`
    after the first one too.

    Source: vLLM 0.10 to 0.33, vllm/v1/engine/core.py `DPEngineCoreProc`, vllm/v1/worker/dp_utils.py.
    """

    asks_every: Count = 32
    asks_first: bool = False
    pads_up_to: Natural = 0


class Rank(Instance):
    """An instance that makes its steps with the others of its group."""

    __slots__ = ("group",)

    group: RankGroup

    def arrive(self, request: Request) -> None:
        """Take a request that arrives now."""
        self.outstanding += 1
        cuts = self.group.would_admit(self)
        self.scheduler.waiting.append(request)
        self.group.arrived(request.arrived, cuts)

    def kv_arrived(self, request: Request) -> None:
        """The KV of a request that waits for it is here now."""
        group, scheduler = self.group, cast(Receiver, self.scheduler)
        cuts = group.stretch.steps > 1 and (not self.stretch.steps or scheduler.would_run(len(self.leaving)))
        scheduler.kv_arrived(request)
        group.arrived(self.clock.now, cuts)

    def drop_later(self, request: Request) -> None:
        """Let a request and its blocks go when this step ends."""
        self.abandoned.append(request)
        self.group.abandoned()

    def die(self) -> list[Request]:
        """End at once, with the step in work; gives the requests that it had."""
        self.clock.cancel(self.group.alarm)
        return super().die()

    @property
    def working(self) -> bool:
        """Whether it has requests, not only such as can never be scheduled."""
        return self.outstanding > (self.waiting if self.group.asleep else 0)

    def let_leave(self, now: float) -> None:
        """Let those go who had their last token in the stretch before this one."""
        self._let_go(self.leaving, now)
        self.leaving = NOBODY

    @property
    def tokens(self) -> int:
        """Tokens of the composed step."""
        step = self.step
        return self.scheduler.batch.count - len(step.stalled) + step.padding + sum(n for _, n, _ in step.chunks)

    def keep_step(self, stretch: Stretch) -> None:
        """Make the composed steps those that all make together; write that into the log too."""
        mine = self.stretch
        mine.base, mine.slope, mine.steps = stretch.base, stretch.slope, stretch.steps
        self.log.restate(stretch.base, stretch.slope)


class RankGroup:
    """The ranks of one server, and their common stretch: it ends where the next step of any rank would differ.

    A step takes the longest of the times of the ranks, each of which is affine in the number of the
    step; so a stretch also ends where another rank becomes the slowest. With async scheduling all
    compose a step when the one before it begins, those too who had none in flight.
    """

    def __init__(self, ranks: Sequence[Rank], rules: LockStep, clock: Clock) -> None:
        self.ranks, self.rules, self.clock, self.others = ranks, rules, clock, clock.queue
        self.turn = ranks[0].turn
        self.async_scheduling = ranks[0].async_scheduling
        self.act = self.fire_ahead if self.async_scheduling else self.fire
        self.alarm = Alarm(clock, self.turn, self.act)
        self.stretch = Stretch()
        self.end = 0.0
        self.asleep = True
        self.asked, self.idle_since = 0, 0.0
        durations = [rank.timer.durations for rank in ranks]
        schedulers = [rank.scheduler for rank in ranks]
        self.paced = [each for each in schedulers if isinstance(each, PrefillIntervalScheduler)]
        self.dummy = max(each.tokens[1] + each.constant for each in durations)
        for rank in ranks:
            rank.group, rank.turn = self, self.turn

    # What comes from outside

    def would_admit(self, rank: Rank) -> bool:
        """Whether one that comes to this rank now ends the common stretch."""
        if self.stretch.steps <= 1:
            return False
        return not rank.stretch.steps or rank.scheduler.would_admit(len(rank.leaving))

    def arrived(self, now: float, cuts: bool) -> None:
        """A request came to one of the ranks; `cuts`: it may be admitted at once."""
        if self.asleep:
            self.asleep = False
            self._go_on(self._awake_from(now))
        elif cuts and self._cut(self._composed(now, self.clock.passed(self.turn))):
            self._go_on(self._next_turn())

    def abandoned(self) -> None:
        """A client gave up: end the stretch with the step in flight."""
        if self.asleep:
            self.asleep = False
            self.clock.set(self.alarm, self._awake_from(self.clock.now))
        elif self._cut(self._composed(self.clock.now, passed=True)):
            self.clock.set(self.alarm, self._next_turn())

    def _awake_from(self, now: float) -> float:
        """When ranks without work begin their next step: at once, or when the dummy batch in hand ends."""
        rules = self.rules
        agreed = self.asked == 0 or (rules.asks_first and self.asked == 1)
        to_ask = 0 if agreed else -self.asked % rules.asks_every
        if to_ask and self.dummy:
            dummies = int((now - self.idle_since) // self.dummy)
            ends = self.idle_since + dummies * self.dummy
            if ends < now or self.clock.passed(self.turn):
                dummies += 1
            if dummies <= to_ask:
                self.asked += dummies
                return self.idle_since + dummies * self.dummy
        self.asked = 0
        return now

    def _composed(self, now: float, passed: bool) -> int:
        return max(self.stretch.begun(now, passed) + self.async_scheduling, 1)

    def _cut(self, steps: int) -> bool:
        if steps >= self.stretch.steps:
            return False
        self.stretch.steps = steps
        for rank in self.ranks:
            rank.stretch.steps = min(rank.stretch.steps, steps)
        self._end_at(self.stretch.until(steps))
        self.clock.cancel(self.alarm)
        return True

    def _end_at(self, end: float) -> None:
        self.end = end
        for rank in self.ranks:
            rank.end = end

    # Its alarm

    def _go_on(self, when: float) -> None:
        if self.others and self.others[0][0] <= when:
            self.clock.set(self.alarm, when)
        else:
            self.alarm.when = when
            self.act(self.alarm)

    def fire(self, alarm: Alarm) -> None:
        """Settle the stretch that ends and compose the next, again and again until somebody else must act first."""
        now = alarm.when
        while self._begin(now):
            now = self.end
            if self.others and self.others[0][0] <= now:
                self.clock.set(alarm, now)
                return
        self._sleep(now)

    def fire_ahead(self, alarm: Alarm) -> None:
        """The same with async scheduling: a step is composed when the one before it begins."""
        stretch, now = self.stretch, alarm.when
        while True:
            if stretch.steps > 1 and self._let_go(now):
                now = stretch.until(stretch.steps - 1)
            elif stretch.steps or self._begin(now):
                self._settle(now)
                self._compose(self.end, now, True)
                now = self._next_turn()
            else:
                self._sleep(now)
                return
            if self.others and self.others[0][0] <= now:
                self.clock.set(alarm, now)
                return

    def _begin(self, now: float) -> bool:
        self._settle(now)
        return self._compose(now, now, False)

    def _sleep(self, now: float) -> None:
        self.asleep, self.idle_since = True, now

    def _next_turn(self) -> float:
        stretch = self.stretch
        if not self.async_scheduling:
            return self.end
        leaving = any(rank.leaving for rank in self.ranks)
        begins: float = stretch.start if leaving or stretch.steps <= 1 else stretch.until(stretch.steps - 1)
        return begins

    # What ends and what begins

    def _let_go(self, now: float) -> bool:
        """Let those go who had their last token when the stretch began; False if there are none."""
        leaving = [rank for rank in self.ranks if rank.leaving]
        for rank in leaving:
            rank.let_leave(now)
        return bool(leaving)

    def _settle(self, now: float) -> None:
        self.asked += self.stretch.steps
        for rank in self.ranks:
            rank.settle(now)

    def _compose(self, start: float, now: float, in_flight: bool) -> bool:
        """Compose the step of every rank that begins at `start`, and find how often it repeats; False if none has work."""
        stretch = self.stretch
        stretch.start, stretch.steps = start, 0
        for scheduler in self.paced:
            scheduler.steps_of_all = self.asked
        busy = [rank for rank in self.ranks if rank.compose(start, now, in_flight)]
        if not busy:
            return False
        self._pad(busy)
        lead = max(busy, key=lambda rank: (rank.stretch.base, rank.stretch.slope)).stretch
        steps = min(_led(lead, rank.stretch) for rank in busy)
        if any(rank.scheduler.waiting or rank.scheduler.prefilling for rank in self.ranks if not rank.stretch.steps):
            steps = 1
        stretch.base, stretch.slope, stretch.steps = lead.base, lead.slope, steps
        for rank in busy:
            rank.keep_step(stretch)
        self._end_at(stretch.until(steps))
        return True

    def _pad(self, busy: Sequence[Rank]) -> None:
        most = max(rank.tokens for rank in busy)
        if most <= self.rules.pads_up_to:
            for rank in busy:
                of = rank.timer.durations.tokens
                rank.stretch.base += of[most] - of[rank.tokens]


def _led(lead: Stretch, other: Stretch) -> int:
    """Steps of both until one of them ends or the other takes longer than the one that leads."""
    steps = min(lead.steps, other.steps)
    steeper = other.slope - lead.slope
    if steeper <= 0:
        return int(steps)
    return int(min(steps, (lead.base - other.base) // steeper + 1))
