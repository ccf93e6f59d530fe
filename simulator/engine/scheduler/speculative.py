"""Speculative decoding: a step verifies what was drafted for each sequence, and may give it several tokens.

A decoding sequence takes one token of the step's budget for its last token and one for each that
was drafted, and blocks for all of them, for those in flight with async scheduling, and for those
that the drafter looks ahead. Blocks are kept until it ends: what is rejected leaves room for what
comes.

How many steps a request takes is drawn before the clock starts (`Requests.decode_steps`). In
between its tokens come at an even pace, so that equal steps can still be jumped: what a batch has
in the KV cache grows by the sum of the paces, and a block is taken in the step that reaches it.

Source: vLLM 0.19 to 0.33, vllm/v1/core/sched/scheduler.py `schedule` and `update_from_output`,
async_scheduler.py, kv_cache_manager.py `allocate_slots`. Unlike there a sequence that cannot have
all its tokens in a step has none, its last steps verify as many as the others, and with async
scheduling one that ends is not computed once more.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Course, Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import ORDER_BITS, ORDER_MASK, DecodeBatch
from simulator.engine.scheduler.scheduler import NOBODY, Step
from simulator.engine.scheduler.vllm import VllmScheduler

_DECODING, _FINISHED, _PREFILLING = Status.DECODING, Status.FINISHED, Status.PREFILLING
_PARTS = 1024
_SHORTEST = 1024


class MeanWindow:
    """How much of each context is inside a window of `size` tokens, summed.

    `below` sequences have less than that, and grow by `pace` tokens in a step together; `due` is
    when each reaches it.
    """

    __slots__ = ("below", "due", "growing", "inside", "pace", "pushed", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.below = self.pushed = 0
        self.inside = self.pace = 0.0
        self.growing: set[Course] = set()
        self.due: list[tuple[int, int, Course]] = []

    def join(self, course: Course, step: int) -> None:
        """Count a sequence that decodes from a step on."""
        mean = course.mean(step)
        self.inside += min(mean, self.size)
        if mean < self.size:
            self.below += 1
            self.pace += course.pace
            self.growing.add(course)
            if course.pace:
                self.pushed += 1
                reaches = step + math.ceil((self.size - mean) / course.pace)
                heappush(self.due, (reaches, self.pushed, course))

    def leave(self, course: Course, step: int) -> None:
        """Count it no longer."""
        self.inside -= min(course.mean(step), self.size)
        if course in self.growing:
            self._stop(course)

    def _stop(self, course: Course) -> None:
        self.growing.remove(course)
        self.below -= 1
        self.pace -= course.pace

    def advance(self, step: int) -> None:
        """All have computed up to a step; none may reach `size` before the last of them."""
        while self.due and self.due[0][0] <= step:
            _, _, course = heappop(self.due)
            if course in self.growing:
                self.inside -= course.mean(step) - self.size
                self._stop(course)

    def steps_left(self, step: int) -> int | None:
        """Steps until the next context reaches `size`; None if all have."""
        while self.due and self.due[0][2] not in self.growing:
            heappop(self.due)
        return self.due[0][0] - step if self.due else None


class SpeculativeBatch(DecodeBatch):
    """The decoding sequences where each is given `verified` tokens a step, and some of them come of it.

    `ring[i]`: blocks needed in the step congruent to i, of the next so many steps; `block_size` is
    how many steps that are, more than any sequence takes. `pace`: tokens by which the context of
    all grows in a step, in the mean. `context` is a mean too.
    """

    __slots__ = ("in_flight", "lookahead", "pace", "size", "verified", "windows")

    def __init__(self, config: SchedulerConfig, running: Mapping[int, Request], windows: Iterable[int] = ()) -> None:
        super().__init__(_SHORTEST, running)
        self.windows = {size: MeanWindow(size) for size in windows}
        self.size = config.block_size
        self.verified, self.lookahead = config.verified, config.lookahead
        self.in_flight = self.verified if config.async_scheduling else 0
        self.pace = 0.0

    def join(self, request: Request) -> None:
        """Add a request that has all its known tokens but the last in the KV cache."""
        step = self.step
        context = request.prompt + request.generated - 1
        left = request.output - request.generated
        steps = -(-left * request.steps // (request.output - 1)) if left else 0
        pace = round(_PARTS * left / steps) / _PARTS if steps else 0.0
        request.status = _DECODING
        request.course = course = Course(step, context, left, steps, step, context + request.beyond, pace)
        request.last_step = step + steps
        self.count += 1
        self.context += context
        self.pace += pace
        if steps >= self.block_size:
            self._lengthen(steps)
        self._note(course, 1)
        heappush(self.due, request.last_step << ORDER_BITS | request.order)
        for window in self.windows.values():
            window.join(course, step)

    def _lengthen(self, steps: int) -> None:
        """Let the ring have room for more steps."""
        old, size = self.ring, self.block_size
        while self.block_size <= steps:
            self.block_size *= 2
        self.ring = ring = [0] * self.block_size
        for at in range(self.step, self.step + size):
            ring[at % self.block_size] = old[at % size]

    def _note(self, course: Course, count: int) -> None:
        """Count the blocks that a sequence will need in the steps that are left to it, or count them no longer."""
        now, since = self.step, course.since
        last = course.begins + course.steps - 1
        if since > last:
            return
        ring, length, size = self.ring, self.block_size, self.size
        had = -(-course.held // size)
        first = -(-self.slots(course, since) // size)
        if first > had:
            had = first
            if since >= now:
                ring[since % length] += count * (first + -course.held // size)
        most = -(-self.slots(course, last) // size)
        steps, left = course.steps, course.left
        begins = course.begins + (1 if self.in_flight else 0)
        lacking = self.verified + self.in_flight + self.lookahead + course.context - 1 - had * size
        for _ in range(had, most):
            step = begins - lacking * steps // left  # the first whose tokens reach into the block
            if step <= since:
                step = since + 1
            if step >= now:
                ring[step % length] += count
            lacking -= size

    def slots(self, course: Course, step: int) -> int:
        """Tokens that a sequence has blocks for once a step is composed in which it computes."""
        if self.in_flight and step > course.since:
            return course.at(step - 1) + self.in_flight + self.verified + self.lookahead
        return course.at(step) + self.verified + self.lookahead

    def held(self, course: Course) -> int:
        """Tokens that a sequence had blocks for before the step at hand."""
        last = self.step - 1
        return max(course.held, self.slots(course, last)) if last >= course.since else course.held

    def needed_by(self, request: Request, size: int) -> int:
        """Blocks that one sequence needs in the next step."""
        course = request.course
        held = self.held(course)
        return max(0, -(-self.slots(course, self.step) // size) + -held // size)

    def mean_context(self, request: Request) -> float:
        """What a sequence counts for in `context`."""
        return request.course.mean(self.step)

    def leave(self, request: Request) -> None:
        """Remove a request, and write into it what it has computed and generated."""
        course = request.course
        for window in self.windows.values():
            window.leave(course, self.step)
        self._note(course, -1)
        self.count -= 1
        self.context -= self.mean_context(request)
        self.pace -= course.pace
        request.computed = context = course.at(self.step)
        request.generated = context - request.prompt + 1
        request.beyond = self.held(course) - context

    def postpone(self, request: Request) -> None:
        """Take back the tokens that a request did not get in the last step."""
        course, missed = request.course, self.step - 1
        self._note(course, -1)
        if missed > course.since:
            course.held = max(course.held, self.slots(course, missed - 1))
        for window in self.windows.values():
            window.leave(course, self.step)
        course.begins += 1
        course.since = self.step
        for window in self.windows.values():
            window.join(course, self.step)
        request.last_step += 1
        self.context -= course.pace
        if request.last_step - self.step >= self.block_size:
            self._lengthen(request.last_step - self.step)
        self._note(course, 1)
        heappush(self.due, request.last_step << ORDER_BITS | request.order)

    def wait_for_flight(self) -> None:
        """Nothing is in flight when the next step is composed, so it is known what was accepted."""
        if not self.in_flight:
            return
        for request in self.running.values():
            if request.status is _DECODING:
                course = request.course
                self._note(course, -1)
                course.held, course.since = self.held(course), self.step
                self._note(course, 1)

    def advance(self, steps: int, joining: Sequence[Request] = NOBODY, stalled: Sequence[Request] = NOBODY) -> Sequence[Request]:
        """Let every sequence compute `steps` steps, but those `stalled`, and add those `joining` after that.

        Removes and gives the sequences that have all their tokens now, in running order.
        """
        ring, length = self.ring, self.block_size
        for at in range(self.step, self.step + steps):
            ring[at % length] = 0
        self.step = step = self.step + steps
        self.context += steps * self.pace
        for window in self.windows.values():
            window.inside += steps * window.pace
            window.advance(step)
        if joining:
            self.joined, self.joined_at = joining, step
            for request in joining:
                self.join(request)
        for request in stalled:
            self.postpone(request)
        due, past = self.due, (step + 1) << ORDER_BITS
        return self._finished(past) if due and due[0] < past else NOBODY

    def _finished(self, past: int) -> Sequence[Request]:
        due, running, step = self.due, self.running, self.step
        done: list[Request] = []
        while due and due[0] < past:
            request = running.get(heappop(due) & ORDER_MASK)
            if request is None or request.last_step != step or request.status is not _DECODING:
                continue
            course = request.course
            request.status = _FINISHED
            for window in self.windows.values():
                window.leave(course, self.step)
            self.context -= self.mean_context(request)
            self.pace -= course.pace
            request.generated = request.output
            request.computed = request.prompt + request.output - 1
            request.beyond = self.held(course) - request.computed
            done.append(request)
        self.count -= len(done)
        return done

    def ring_of(self, size: int) -> list[int]:
        """How many blocks are needed in the steps to come."""
        return self.ring

    def _coming(self, start: int, steps: int) -> list[int]:
        """Blocks needed in each of `steps` steps from one on."""
        first, length = start % self.block_size, self.block_size
        rest = first + steps - length
        return self.ring[first : first + steps] + (self.ring[:rest] if rest > 0 else [])

    def blocks_following(self, steps: int, size: int = 0) -> int:
        """Blocks needed by the next `steps` steps, those of the first left out."""
        return sum(self._coming(self.step + 1, steps - 1)) if steps > 1 else 0

    def horizon(self) -> int:
        """Steps until the first sequence has all its tokens, or reaches the end of a window."""
        steps = super().horizon()
        for window in self.windows.values():
            steps = min(steps, window.steps_left(self.step) or steps)
        return steps

    def steps_within(self, blocks: int, most: int) -> int:
        """The most steps, up to `most`, that need no more than `blocks` blocks."""
        needed = self._coming(self.step, most)
        return most if sum(needed) <= blocks else bisect_right(list(accumulate(needed)), blocks)


class SpeculativeScheduler(VllmScheduler):
    """Serves as vLLM does, with a decode batch whose sequences have several tokens in a step."""

    __slots__ = ("drafts",)

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: SpeculativeBatch, pool: BlockPool) -> None:
        super().__init__(config, running, batch, pool)
        self.drafts = batch
        self.walks = True  # a sequence may lack more blocks than one, so that it counts who takes theirs before it

    def _nobody_computes(self) -> None:
        """Nothing is in this step, so there is none that anybody could miss, and none in flight for the next."""
        super()._nobody_computes()
        self.drafts.wait_for_flight()

    def _preempt(self, step: Step, victim: Request, taken_back: int = 0) -> None:
        """Let one that was running wait at the front, without its blocks, those for `taken_back` tokens of this step too."""
        if victim.status is not _DECODING or not taken_back:
            super()._preempt(step, victim, taken_back)
            return
        batch = self.drafts
        just_joined = batch.joined_at == batch.step and victim in batch.joined
        in_flight = self.async_scheduling and victim not in batch.missed
        known = self._known(victim, _DECODING) + (not (in_flight and just_joined))
        taken_for = batch.slots(victim.course, batch.step)
        batch.leave(victim)
        victim.beyond = max(victim.beyond, taken_for - victim.computed)
        self.pool.release(victim, known)
        self._put_back(step, victim)

    def _known(self, request: Request, status: Status, taken_back: int = 0) -> int:
        """Of the tokens that one not finished has computed, those whose values are known: not those in flight."""
        batch = self.drafts
        if status is _PREFILLING:
            return request.computed
        in_flight = self.async_scheduling and request not in batch.missed
        if in_flight and batch.joined_at == batch.step and request in batch.joined:
            in_flight = False
        return request.course.at(batch.step - in_flight)
