"""Block runs: KV blocks that were filled together, and the queue in which the free ones wait to be used again."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.engine.kv.prefix_tree import Branch


@dataclass(slots=True, eq=False)
class BlockRun:
    """Blocks that hold what lies from `first` to `end` on a branch, in the hands of `users` requests; without one, just blocks.

    Where several layer groups have blocks, these are of one `group`, or of some of several that are alike: of the `copies` of it
    from `first_copy` on. Where a later request shares only the front of it, the run is split, and `rear` is the part that was
    split off: whoever held the whole finds the rest there. Where windows move along it, each user holds it from a block of its
    own on: `lows` counts them by that block, None where all hold it from `first` on. `before` and `after` are its neighbors in
    the free queue, while nobody holds it: its blocks are used again copy after copy.
    """

    branch: Branch | None
    first: int
    end: int
    users: int = 0
    rear: BlockRun | None = None
    group: int = 0
    first_copy: int = 0
    copies: int = 1
    lows: dict[int, int] | None = None
    before: BlockRun = field(init=False, repr=False)
    after: BlockRun = field(init=False, repr=False)

    def parts(self, end: int) -> list[BlockRun]:
        """The parts of what once was one run up to block `end`, front first."""
        parts = [self]
        while parts[-1].end < end:
            rear = parts[-1].rear
            assert rear is not None
            parts.append(rear)
        return parts

    @property
    def blocks(self) -> int:
        """How many blocks it has in all."""
        return (self.end - self.first) * self.copies

    def hold(self, low: int) -> None:
        """Let one more hold it, from block `low` on."""
        if low != self.first and self.lows is None:
            self.lows = {self.first: self.users}
        self.users += 1
        if self.lows is not None:
            self.lows[low] = self.lows.get(low, 0) + 1

    def move_on(self, low: int, upto: int) -> int:
        """Let one who holds it from `low` on do so from `upto` on, or no longer; gives the first block that is still held."""
        gone = upto >= self.end
        if self.users == 1:
            self.lows = None
            self.users -= gone
            return min(upto, self.end)
        lows = self.lows
        if lows is None:
            self.lows = lows = {self.first: self.users}
        lows[low] -= 1
        if not lows[low]:
            del lows[low]
        if gone:
            self.users -= 1
        else:
            lows[upto] = lows.get(upto, 0) + 1
        return self.first if self.first in lows else min(lows)

    def reach_back(self, first: int) -> None:
        """Let it begin with block `first`, held by one of those who held all of it."""
        self.hold(first)
        self.move_on(self.first, self.end)
        self.first = first

    def share_lows(self, rear: BlockRun) -> None:
        """Tell this run and what was split off it apart who holds which: `rear` has users of both so far."""
        assert self.lows is not None
        rear.lows = {rear.first: 0}
        for low, users in self.lows.items():
            rear.lows[max(low, rear.first)] = rear.lows.get(max(low, rear.first), 0) + users
        self.lows = {low: users for low, users in self.lows.items() if low < rear.first}
        self.users = sum(self.lows.values())

    def users_of(self, block: int) -> int:
        """How many hold one of its blocks."""
        if self.lows is None:
            return self.users
        return sum(users for low, users in self.lows.items() if low <= block)


class FreeQueue:
    """Free runs in the order in which their blocks will be used again, the rear end of the first one next.

    A request's blocks are freed from its last to its first, so that a shared prefix outlives what followed it.
    Source: vLLM vllm/v1/core/kv_cache_utils.py `FreeKVCacheBlockQueue`, there a block an entry.
    """

    __slots__ = ("ends",)

    def __init__(self, blocks: int) -> None:
        self.ends = ends = BlockRun(None, 0, 0)
        ends.before = ends.after = ends
        self.append_blocks(blocks)

    @property
    def next(self) -> BlockRun:
        """The run whose blocks are used next."""
        return self.ends.after

    def append(self, run: BlockRun) -> None:
        """Put a run at the end of the queue."""
        self.insert(run, self.ends)

    def append_blocks(self, blocks: int) -> None:
        """Put blocks that nothing can be found in at the end of the queue."""
        last = self.ends.before
        if last.branch is None and last is not self.ends:
            last.end += blocks
        elif blocks:
            self.append(BlockRun(None, 0, blocks))

    def insert(self, run: BlockRun, behind: BlockRun) -> None:
        """Put a run before another one."""
        run.before, run.after = behind.before, behind
        run.before.after = behind.before = run

    def remove(self, run: BlockRun) -> None:
        """Take a run out of the queue."""
        run.before.after, run.after.before = run.after, run.before
