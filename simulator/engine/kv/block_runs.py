"""Block runs: KV blocks that were filled together, and the queue in which the free ones wait to be used again."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.engine.kv.prefix_tree import Branch


@dataclass(slots=True, eq=False)
class BlockRun:
    """Blocks that hold what lies from `first` to `end` on a branch, in the hands of `users` requests; without one, just blocks.

    Where several layer groups have blocks, these are of one `group`. Where a later request shares only the front of it, the run
    is split, and `rear` is the part that was split off: whoever held the whole finds the rest there. `before` and `after` are its
    neighbors in the free queue, while nobody holds it.
    """

    branch: Branch | None
    first: int
    end: int
    users: int = 0
    rear: BlockRun | None = None
    group: int = 0
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
