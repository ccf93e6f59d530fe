"""Extents: runs of KV blocks that were filled together, and the queue in which the free ones wait to be used again."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.engine.branches import Branch


@dataclass(slots=True, eq=False)
class Extent:
    """Blocks that hold what lies from `first` to `end` on a branch, in the hands of `users` requests; without one, just blocks.

    Where several layer groups have blocks, these are of one `group`.

    Where a later request shares only the front of it, the extent is split, and `rear` is the part that was split off: whoever
    held the whole finds the rest there. `before` and `after` are its neighbors in the free queue, while nobody holds it.
    """

    branch: Branch | None
    first: int
    end: int
    users: int = 0
    rear: Extent | None = None
    group: int = 0
    before: Extent = field(init=False, repr=False)
    after: Extent = field(init=False, repr=False)

    def parts(self, end: int) -> list[Extent]:
        """The parts of what once was one extent up to block `end`, front first."""
        parts = [self]
        while parts[-1].end < end:
            rear = parts[-1].rear
            assert rear is not None
            parts.append(rear)
        return parts


class FreeQueue:
    """Free extents in the order in which their blocks will be used again, the rear end of the first one next.

    A request's blocks are freed from its last to its first, so that a shared prefix outlives what followed it.
    Source: vLLM vllm/v1/core/kv_cache_utils.py `FreeKVCacheBlockQueue`, there a block an entry.
    """

    __slots__ = ("ends",)

    def __init__(self, blocks: int) -> None:
        self.ends = ends = Extent(None, 0, 0)
        ends.before = ends.after = ends
        self.append_blocks(blocks)

    @property
    def next(self) -> Extent:
        """The extent whose blocks are used next."""
        return self.ends.after

    def append(self, extent: Extent) -> None:
        """Put an extent at the end of the queue."""
        self.insert(extent, self.ends)

    def append_blocks(self, blocks: int) -> None:
        """Put blocks that nothing can be found in at the end of the queue."""
        last = self.ends.before
        if last.branch is None and last is not self.ends:
            last.end += blocks
        elif blocks:
            self.append(Extent(None, 0, blocks))

    def insert(self, extent: Extent, behind: Extent) -> None:
        """Put an extent before another one."""
        extent.before, extent.after = behind.before, behind
        extent.before.after = behind.before = extent

    def remove(self, extent: Extent) -> None:
        """Take an extent out of the queue."""
        extent.before.after, extent.after.before = extent.after, extent.before
