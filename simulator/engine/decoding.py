"""The decoding sequences of a replica, as running sums: joined and left in O(1), moved many steps on in closed form."""

from __future__ import annotations

from heapq import heappop, heappush

from simulator.engine.request import Request

ORDER_BITS = 32
ORDER_MASK = (1 << ORDER_BITS) - 1


class Decoding:
    """Every sequence here computes one token a step.

    So its context, the tokens it has in the KV cache, is `step + offset` with an offset that never changes; it needs a new
    block in the steps congruent to -offset modulo the block size; and it has all its tokens after a step known when it joins.
    `count` sequences, `context` the sum of theirs, `ring[i]` how many need a block in steps congruent to i.
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
        """Add a request whose known tokens but the last are in the KV cache."""
        context = request.prompt + request.generated - 1
        request.decoding = True
        request.offset = offset = context - self.step
        request.last_step = last = self.step + request.output - request.generated
        self.count += 1
        self.context += context
        self.ring[-offset % self.block_size] += 1
        heappush(self.due, last << ORDER_BITS | request.order)

    def leave(self, request: Request) -> None:
        """Remove a request, and write into it what it has computed and generated."""
        context = self.step + request.offset
        request.decoding = False
        request.computed = context
        request.generated = context - request.prompt + 1
        self.count -= 1
        self.context -= context
        self.ring[-request.offset % self.block_size] -= 1

    def postpone(self, request: Request) -> None:
        """Take back the token that a request did not get in the last step."""
        self.ring[-request.offset % self.block_size] -= 1
        request.offset -= 1
        request.last_step += 1
        self.context -= 1
        self.ring[-request.offset % self.block_size] += 1
        heappush(self.due, request.last_step << ORDER_BITS | request.order)

    def needed(self) -> int:
        """Blocks needed by the next step."""
        return self.ring[self.step % self.block_size]

    def needed_by(self, request: Request) -> int:
        """Blocks that one sequence needs in the next step: 1 or 0."""
        return int((self.step + request.offset) % self.block_size == 0)

    def blocks(self, steps: int) -> int:
        """Blocks needed by the next `steps` steps."""
        rounds, rest = divmod(steps, self.block_size)
        first = self.step % self.block_size
        last = first + rest
        needed = sum(self.ring[first:last])
        if last > self.block_size:
            needed += sum(self.ring[: last - self.block_size])
        return rounds * self.count + needed

    def steps_within(self, blocks: int, most: int) -> int:
        """The most steps, up to `most`, that need no more than `blocks` blocks."""
        if -(-most // self.block_size) * self.count <= blocks:
            return most
        rounds, blocks = divmod(blocks, self.count)
        steps = rounds * self.block_size
        ring, size = self.ring, self.block_size
        while steps < most:
            blocks -= ring[(self.step + steps) % size]
            if blocks < 0:
                break
            steps += 1
        return min(steps, most)

    def advance(self, steps: int) -> None:
        """Every sequence computes `steps` tokens."""
        self.step += steps
        self.context += steps * self.count

    def next_finish(self, running: dict[int, Request]) -> int:
        """Steps until the first sequence has all its tokens."""
        due = self.due
        while True:
            last, order = due[0] >> ORDER_BITS, due[0] & ORDER_MASK
            request = running.get(order)
            if request is not None and request.last_step == last:
                return last - self.step
            heappop(due)

    def finished(self, running: dict[int, Request]) -> list[Request]:
        """Remove and give the sequences that have all their tokens now, in running order."""
        due, step, done = self.due, self.step, []
        while due and due[0] >> ORDER_BITS <= step:
            request = running.get(heappop(due) & ORDER_MASK)
            if request is not None and request.decoding and request.last_step == step:
                self.leave(request)
                done.append(request)
        return done
