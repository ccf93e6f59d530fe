"""The decoding sequences of a replica, as running sums: joined and left in O(1), moved many steps on in closed form."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from itertools import accumulate

from simulator.engine.request import Request

ORDER_BITS = 32
ORDER_MASK = (1 << ORDER_BITS) - 1


class Decoding:
    """The decoding sequences: each computes one token a step.

    So its context, the tokens it has in the KV cache, is `step + offset` with an offset that never changes; it needs a new
    block in the steps congruent to -offset modulo the block size; and it has all its tokens after a step known when it joins.
    `count` sequences, `context` the sum of theirs, `ring[i]` how many need a block in steps congruent to i, `due` a heap of
    (last step, order) packed into integers, in which those that left early are skipped when they come up.
    """

    __slots__ = ("block_size", "context", "count", "due", "ring", "step")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.step = 0
        self.count = 0
        self.context = 0
        self.ring = [0] * block_size
        self.due: list[int] = []

    def join(self, request: Request) -> None:
        """Add a request that has all its known tokens but the last in the KV cache."""
        step = self.step
        context = request.prompt + request.generated - 1
        request.decoding = True
        request.offset = offset = context - step
        request.last_step = last = step + request.output - request.generated
        self.count += 1
        self.context += context
        self.ring[-offset % self.block_size] += 1
        heappush(self.due, last << ORDER_BITS | request.order)

    def leave(self, request: Request) -> None:
        """Remove a request, and write into it what it has computed and generated."""
        offset = request.offset
        context = self.step + offset
        request.decoding = False
        request.computed = context
        request.generated = context - request.prompt + 1
        self.count -= 1
        self.context -= context
        self.ring[-offset % self.block_size] -= 1

    def postpone(self, request: Request) -> None:
        """Take back the token that a request did not get in the last step."""
        self.ring[-request.offset % self.block_size] -= 1
        request.offset -= 1
        request.last_step += 1
        self.context -= 1
        self.ring[-request.offset % self.block_size] += 1
        heappush(self.due, request.last_step << ORDER_BITS | request.order)

    def needed_by(self, request: Request) -> int:
        """Blocks that one sequence needs in the next step: 1 or 0."""
        return int((self.step + request.offset) % self.block_size == 0)

    def blocks_following(self, steps: int) -> int:
        """Blocks needed by the next `steps` steps, those of the first left out."""
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

    def next_finish(self, running: dict[int, Request]) -> int:
        """The step after which the first sequence has all its tokens; `running` are those that have not left, by order."""
        due = self.due
        while True:
            request = running.get(due[0] & ORDER_MASK)
            if request is not None and request.last_step == due[0] >> ORDER_BITS:
                return request.last_step
            heappop(due)

    def finished(self, running: dict[int, Request]) -> list[Request]:
        """Remove and give the sequences that have all their tokens now, in running order."""
        due, step, ring, size = self.due, self.step, self.ring, self.block_size
        done: list[Request] = []
        past = (step + 1) << ORDER_BITS
        while due and due[0] < past:
            request = running.get(heappop(due) & ORDER_MASK)
            if request is not None and request.last_step == step and request.decoding:
                offset = request.offset
                request.decoding = False
                request.generated = request.output
                request.computed = computed = step + offset
                self.context -= computed
                ring[-offset % size] -= 1
                done.append(request)
        self.count -= len(done)
        return done
