"""The decoding sequences of an instance, as running sums: joined and left in O(1), moved many steps on in closed form."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from typing import Protocol

from simulator.engine.request import Request, Status

ORDER_BITS = 32
ORDER_MASK = (1 << ORDER_BITS) - 1
_NOBODY: Sequence[Request] = ()
_DECODING, _FINISHED = Status.DECODING, Status.FINISHED


class Follower(Protocol):
    """Keeps something of its own about the batch."""

    def join(self, request: Request, step: int) -> None:
        """A request decodes from step `step` on."""

    def leave(self, request: Request, step: int) -> None:
        """It decodes no longer."""

    def advance(self, step: int, steps: int) -> None:
        """All compute `steps` tokens from step `step` on."""

    def steps_left(self, step: int) -> int | None:
        """Steps until something changes that it keeps; None if nothing will."""


class DecodeBatch:
    """The decoding sequences: each computes one token a step.

    So its context, the tokens it has in the KV cache, is `step + offset` with an offset that never changes; it needs a new
    block in the steps congruent to -offset modulo the block size; and it has all its tokens after a step known when it joins.
    `count` sequences, `context` the sum of theirs, `ring[i]` how many need a block in steps congruent to i, `due` a heap of
    (last step, order) packed into integers, in which those that left early are skipped when they come up. `running` are the
    requests that may be in it, by order; `followers` are told of every change. `joined` are those that joined last, before step
    `joined_at`; `missed` those that got no token in the step composed last.
    """

    __slots__ = (
        "block_size",
        "context",
        "count",
        "due",
        "followers",
        "joined",
        "joined_at",
        "missed",
        "ring",
        "running",
        "step",
    )

    def __init__(self, block_size: int, running: Mapping[int, Request]) -> None:
        self.block_size = block_size
        self.running = running
        self.followers: list[Follower] = []
        self.step = 0
        self.count = 0
        self.context: float = 0
        self.ring = [0] * block_size
        self.due: list[int] = []
        self.joined: Sequence[Request] = _NOBODY
        self.joined_at = -1
        self.missed: Sequence[Request] = _NOBODY

    def computed_last(self, request: Request) -> bool:
        """Whether one that is or was in the batch was given a token in the step composed last, as one that decodes."""
        if request in self.missed:
            return False
        return self.joined_at != self.step or request not in self.joined

    def join(self, request: Request) -> None:
        """Add a request that has all its known tokens but the last in the KV cache."""
        step = self.step
        context = request.prompt + request.generated - 1
        request.status = _DECODING
        request.offset = offset = context - step
        request.last_step = last = step + request.output - request.generated
        self.count += 1
        self.context += context
        self.ring[-offset % self.block_size] += 1
        heappush(self.due, last << ORDER_BITS | request.order)
        for follower in self.followers:
            follower.join(request, step)

    def leave(self, request: Request) -> None:
        """Remove a request, and write into it what it has computed and generated."""
        for follower in self.followers:
            follower.leave(request, self.step)
        offset = request.offset
        context = self.step + offset
        request.computed = context
        request.generated = context - request.prompt + 1
        self.count -= 1
        self.context -= context
        self.ring[-offset % self.block_size] -= 1

    def postpone(self, request: Request) -> None:
        """Take back the token that a request did not get in the last step."""
        for follower in self.followers:
            follower.leave(request, self.step)
        self.ring[-request.offset % self.block_size] -= 1
        request.offset -= 1
        request.last_step += 1
        self.context -= 1
        self.ring[-request.offset % self.block_size] += 1
        heappush(self.due, request.last_step << ORDER_BITS | request.order)
        for follower in self.followers:
            follower.join(request, self.step)

    def advance(
        self, steps: int, joining: Sequence[Request] = _NOBODY, stalled: Sequence[Request] = _NOBODY
    ) -> Sequence[Request]:
        """Let every sequence compute `steps` tokens, but those `stalled`, and add those `joining` after that.

        Removes and gives the sequences that have all their tokens now, in running order.
        """
        step = self.step
        for follower in self.followers:
            follower.advance(step, steps)
        self.step = step = step + steps
        self.context += steps * self.count
        if joining:
            self.joined, self.joined_at = joining, step
            for request in joining:
                self.join(request)
        for request in stalled:
            self.postpone(request)
        due, past = self.due, (step + 1) << ORDER_BITS
        return self._finished(past) if due and due[0] < past else _NOBODY

    def _finished(self, past: int) -> Sequence[Request]:
        due, step, find, ring, size = self.due, self.step, self.running.get, self.ring, self.block_size
        done: list[Request] = []
        while due and due[0] < past:
            request = find(heappop(due) & ORDER_MASK)
            if request is not None and request.last_step == step and request.status is _DECODING:
                offset = request.offset
                request.status = _FINISHED
                request.generated = request.output
                request.computed = computed = step + offset
                self.context -= computed
                ring[-offset % size] -= 1
                done.append(request)
        self.count -= len(done)
        for follower in self.followers:
            for request in done:
                follower.leave(request, step)
        return done

    def needed_by(self, request: Request, size: int) -> int:
        """Blocks of `size` tokens that one sequence needs in the next step: 1 or 0."""
        return int((self.step + request.offset) % size == 0)

    def ring_of(self, size: int) -> list[int]:
        """How many need a block of so many tokens, a divisor of block_size, in steps congruent to each number below it."""
        return self.ring if size == self.block_size else [sum(self.ring[at::size]) for at in range(size)]

    def blocks_following(self, steps: int, size: int = 0) -> int:
        """Blocks needed by the next `steps` steps, those of the first left out; of another `size` where it is given."""
        if size:
            ring = self.ring_of(size)
        else:
            size, ring = self.block_size, self.ring
        first = self.step % size
        rounds, rest = divmod(steps, size)
        last = first + rest
        needed = rounds * self.count + sum(ring[first:last]) - ring[first]
        return needed + sum(ring[: last - size]) if last > size else needed

    def steps_within(self, blocks: int, most: int) -> int:
        """The most steps, up to `most`, that need no more than `blocks` blocks."""
        rounds, left = divmod(blocks, self.count)
        now = self.step % self.block_size
        needed = list(accumulate(self.ring[now:] + self.ring[:now]))
        return min(rounds * self.block_size + bisect_right(needed, left), most)

    def horizon(self) -> int:
        """Steps until the first sequence has all its tokens, or something changes for a follower."""
        due, running = self.due, self.running
        while True:
            first = due[0]
            last = first >> ORDER_BITS
            request = running.get(first & ORDER_MASK)
            if request is not None and request.last_step == last:
                break
            heappop(due)
        steps = last - self.step
        for follower in self.followers:
            steps = min(steps, follower.steps_left(self.step) or steps)
        return steps
