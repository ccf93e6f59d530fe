"""The KV blocks of an instance where no two requests share any, and a preempted one finds its own again.

Free blocks are used again in the order in which they were given back, so it is enough to number
them in that order: those that a request finds are the ones whose numbers the front of the queue has
not reached. What is found is taken out of the middle of the queue; the holes are remembered until
the front has passed them.

Source: vLLM vllm/v1/core/block_pool.py `free_blocks`, `get_new_blocks` and `touch`.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine.kv.blocks import TOO_MANY, BlockPool
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch


@dataclass(slots=True)
class FreedBlocks:
    """Blocks `first` to `end` of a request, given back together from the last to the first: the last has number `number`."""

    number: int
    first: int
    end: int

    def number_of(self, block: int) -> int:
        """Where a block stands in the queue."""
        return self.number + self.end - 1 - block


class OwnBlocksPool(BlockPool):
    """Blocks that only their own request finds again.

    The queue of free blocks has those first that nothing can be found in, where the release does
    so (`unnamed_first`), then `queued` others, numbered below `numbered`: all that are free where
    it does not. `holes` are (number, blocks) that were taken out of its middle. A request's `kv` is
    the list of its FreedBlocks, the earliest first. `found`: those that the request looked up last
    would take, and the blocks of each.
    """

    __slots__ = ("drops_last_block", "found", "holes", "idle", "numbered", "queued", "unnamed_first")

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch) -> None:
        super().__init__(config, batch)
        self.unnamed_first = config.rules.unnamed_first
        self.drops_last_block = config.drops_last_block
        self.numbered = 0 if self.unnamed_first else self.total
        self.queued = 0
        self.holes: list[tuple[int, int]] = []
        self.found: list[tuple[FreedBlocks, int, int]] = []
        self.idle = 0

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request; it finds those again that nobody takes, unless it is `finished`."""
        size = self.block_size
        blocks = -(-(request.computed + request.beyond) // size)
        if self.unnamed_first:
            queued, last = known // size, 0
            self.queued = min(self.queued, self.free) + queued
        else:
            queued, last = blocks, blocks - known // size
        if not finished:
            freed = FreedBlocks(self.numbered + last, 0, known // size)
            if request.kv:
                request.kv.append(freed)
            else:
                request.kv = [freed]
        self.numbered += queued
        self.free += blocks

    def _front(self) -> int:
        """The number of the block that is used next, of those that can be found."""
        if self.unnamed_first:
            self.queued = min(self.queued, self.free)
            front = self.numbered - self.queued
        else:
            front = self.numbered - self.free
        holes = self.holes
        if holes:
            front -= sum(blocks for _, blocks in holes)
            while holes and holes[0][0] <= front:
                front += holes.pop(0)[1]
        return front

    def look_up(self, request: Request) -> int:
        """Tokens at the front of a waiting request that need not be computed."""
        self.idle = 0
        known, size = request.prompt + request.generated, self.block_size
        if self.reserve and -(-known // size) > self.free:
            return TOO_MANY  # its own blocks that it might find are free ones too
        if not request.kv:
            return 0
        front = self._front()
        request.kv = left = [freed for freed in request.kv if freed.number + freed.end - 1 - freed.first >= front]
        self.found = found = []
        most = (known - 1) // size
        at = 0
        while at < most:
            for freed in left:
                if freed.first <= at < freed.end:
                    gone = front - freed.number  # of the rear, which is used first
                    end = freed.end - gone if gone > 0 else freed.end
                    if at < end:
                        found.append((freed, at, min(end, most)))
                        at = found[-1][2]
                        break
            else:
                break
        if self.drops_last_block and at:
            at -= 1
            freed, first, _ = found.pop()
            if first < at:
                found.append((freed, first, at))
        self.idle = at
        return at * size

    def admit(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give the waiting request that was looked up last the blocks of its first `tokens`; False if too few are free."""
        if not request.kv:
            return self.admit_new(request, tokens, lacking, alone)
        size, idle = self.block_size, self.idle
        needed = -(-(tokens + self.ahead) // size)
        must_fit = idle + (max(needed, -(-lacking // size)) if self.reserve else needed)
        if not alone:
            must_fit += self.watermark
        if must_fit > self.free:
            return False
        self.free -= needed + idle
        self.queued -= idle
        for freed, first, end in self.found:
            self._take_out(request, freed, first, end)
        request.beyond = self.ahead
        return True

    def _take_out(self, request: Request, freed: FreedBlocks, first: int, end: int) -> None:
        """Take blocks out of the queue that a request has found; what is left of them stays."""
        self.holes.append((freed.number_of(end - 1), end - first))
        self.holes.sort()
        if end < freed.end:
            rear = FreedBlocks(freed.number, end, freed.end)
            request.kv.insert(request.kv.index(freed), rear)
        freed.number, freed.end = freed.number_of(first - 1), first
        if freed.first == freed.end:
            request.kv.remove(freed)
