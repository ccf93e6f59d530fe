"""The scheduler where layers have sliding windows: several groups of layers take blocks, and some give them back on the way.

All groups share one pool. A sequence's next token needs a block in each group at once; a group with a window gives back what lies
outside it when the sequence is next given tokens, before it takes any. So a step may lack blocks although those behind in line
would give enough back: the order counts, and where a step's needs exceed what is free at its start it is composed by walking.

Source: vLLM vllm/v1/core/kv_cache_manager.py `allocate_slots` (`remove_skipped_blocks` first), single_type_kv_cache_manager.py
(`SlidingWindowManager`), vllm/v1/kv_cache_interface.py `SlidingWindowSpec.max_admission_blocks_per_request`. Newer versions wait
with giving back until a step in flight has ended; here async scheduling makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from simulator.engine.kv.grouped_cache import GroupedCache
from simulator.engine.kv.prefix_cache import PrefixCache
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.vllm import Scheduler
from simulator.engine.scheduler.windows import WindowSums


class HybridScheduler(Scheduler):
    """A scheduler that keeps the sums of windows, of `sizes` for the step time and of those of the KV groups.

    While a request is `pinned` its windows were last moved when `moved_at` tokens were computed: it has not decoded yet. After
    that it was at its context one step ago. `fresh` requests are about to decode for the first time. `wanted` are the blocks that
    the first waiting request waits for.
    """

    __slots__ = ("caps", "fresh", "groups", "sliding", "wanted")

    def __init__(self, limits: SchedulerConfig, cache: PrefixCache | None, sizes: Iterable[int]) -> None:
        super().__init__(limits, cache)
        self.hybrid = True
        windows = {group.window for group in limits.kv_groups if group.window is not None}
        self.sums = {size: WindowSums(size, limits.block_size) for size in windows.union(sizes)}
        self.groups = sum(group.groups for group in limits.kv_groups)
        self.sliding = [(self.sums[g.window], g.groups) for g in limits.kv_groups if g.window is not None]
        self.caps = [(limits.most_blocks(group), group.groups) for group in limits.kv_groups]
        self.fresh: list[Request] = []
        self.wanted = 0

    def join(self, request: Request) -> None:
        """Add a request that begins to decode."""
        super().join(request)
        for sums in self.sums.values():
            sums.add(self.step, request.offset)
        self.fresh.append(request)

    def leave(self, request: Request) -> None:
        """Remove a request that no longer decodes."""
        for sums in self.sums.values():
            sums.add(self.step, request.offset, -1)
        super().leave(request)

    def finished(self, running: dict[int, Request]) -> list[Request]:
        """Remove and give the requests that have all their tokens now."""
        done = super().finished(running)
        for request in done:
            for sums in self.sums.values():
                sums.add(self.step, request.offset, -1)
        return done

    def postpone(self, request: Request) -> None:
        """Take back the token that a request did not get in the last step."""
        for sums in self.sums.values():
            sums.add(self.step, request.offset, -1)
        super().postpone(request)
        for sums in self.sums.values():
            sums.add(self.step, request.offset)

    def schedule(self) -> bool:
        """Compose the next step."""
        self.wanted = 0
        return super().schedule()

    def _take(self, needed: int) -> None:
        """Take blocks in every group and give back those outside the windows; walk where the order counts."""
        if needed * self.groups > self.free:
            self.chunks = []
            self._walk()
            return
        given_back = self._falling(self.step)
        for request in self.fresh:
            if request.decoding:
                context = self.step + request.offset
                given_back += self._passed(request.moved_at, context) - self._passed(context - 1, context)
                request.pinned = False
        self.fresh = []
        for request, _, _ in self.chunks:
            given_back += self._passed(request.moved_at, request.computed)
            request.moved_at = request.computed
        self.free += given_back
        super()._take_free(needed * self.groups)
        if self.cache is not None:
            for request, tokens, _ in self.chunks:
                self.cache.register(request, request.computed + tokens, self.step)

    def _walk(self) -> int:
        budget = super()._walk()
        for request in self.running.values():
            if request.decoding and not request.stalled:
                request.pinned = False
        self.fresh = [request for request in self.fresh if request.decoding and request.pinned]
        return budget

    def _needed_on_walk(self, request: Request, tokens: int) -> int:
        """Give back what lies outside the windows; gives the blocks that a request lacks to compute `tokens` more."""
        computed = self.step + request.offset if request.decoding else request.computed
        moved_at = request.moved_at if request.pinned else computed - 1
        self.free += self._passed(moved_at, computed)
        request.pinned, request.moved_at = True, computed
        return super()._needed_on_walk(request, tokens) * self.groups

    def _needed_to_start(self, request: Request, tokens: int, lacking: int, hits: int) -> tuple[int, int]:
        """Blocks that a waiting request takes for the `tokens` after its `hits` blocks, and those that must be free."""
        request.pinned, request.moved_at = True, 0
        needed = -(-tokens // self.block_size) * self.groups
        if not self.reserve:
            return needed, needed
        whole = hits - -lacking // self.block_size
        return needed, max(needed, sum(max(min(whole, cap) - hits, 0) * groups for cap, groups in self.caps))

    def _head_waits(self, blocks: int) -> None:
        super()._head_waits(blocks)
        self.wanted = blocks

    def _give_back(self, request: Request, *, finished: bool = False) -> None:
        """Free the blocks that a request holds."""
        if self.cache is not None:
            super()._give_back(request, finished=finished)
            return
        moved_at = request.moved_at if request.pinned else request.computed - 1
        held = -(-request.computed // self.block_size) * self.groups - self._passed(-1, moved_at)
        self.free += self.states + held

    def _passed(self, start: int, end: int) -> int:
        """Blocks that fall out of the windows as a context grows from `start` to `end`."""
        return sum((sums.outside(end) - sums.outside(start)) * groups for sums, groups in self.sliding)

    def _falling(self, step: int) -> int:
        """Blocks that decoding requests give back in this step."""
        return sum(sums.falling(step) * groups for sums, groups in self.sliding)

    def _move_windows(self, steps: int) -> None:
        for sums in self.sums.values():
            sums.advance(self.step, steps)

    def _following(self, steps: int) -> int:
        """Blocks taken, less those given back, in all but the first of `steps` even steps."""
        taken = self.blocks_following(steps) * self.groups
        return taken - sum(self._falling(self.step + i) for i in range(1, steps))

    def _take_following(self, steps: int) -> None:
        super()._take_free(self._following(steps))

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.total - self.free + self._following(steps)

    def horizon(self) -> int:
        """How many even steps follow on each other if nothing comes from outside."""
        if self.watching:
            return 1
        steps = self.next_finish(self.running) - self.step
        for sums in self.sums.values():
            steps = min(steps, sums.steps_left(self.step) or steps)
        free, now = self.free, self.step % self.block_size
        if not self.wanted and self.steps_within(free // self.groups + self.ring[now], steps) == steps:
            return steps
        for i in range(1, steps):
            needed = self.ring[(now + i) % self.block_size] * self.groups
            if needed > free:
                return i
            free += self._falling(self.step + i) - needed
            if self.wanted and free >= self.wanted:
                return i
        return steps


class BlockwiseScheduler(HybridScheduler):
    """Where prompts share blocks as well: which block holds what matters to every group, so every step is composed by walking."""

    __slots__ = ("block_cache",)

    def __init__(self, limits: SchedulerConfig, cache: GroupedCache, sizes: Iterable[int]) -> None:
        super().__init__(limits, None, sizes)
        self.block_cache = cache
        self.cache = cache  # type: ignore[assignment]  # of a PrefixCache it has all that is asked of it here

    def horizon(self) -> int:
        """One step at a time."""
        return 1

    def _take(self, needed: int) -> None:
        self.chunks = []
        self._walk()

    def _needed_on_walk(self, request: Request, tokens: int) -> int:
        computed = self.step + request.offset if request.decoding else request.computed
        self.free += self.block_cache.leave_windows(request, computed)
        return Scheduler._needed_on_walk(self, request, tokens) * self.groups

    def _grant(self, request: Request, tokens: int, needed: int) -> None:
        self.free -= needed
        if request.decoding:
            computed = self.step + request.offset + 1
            self.block_cache.extend(request, computed, computed - self.block_cache.async_scheduling)
        else:
            self.block_cache.extend(request, request.computed + tokens, request.computed + tokens)

    def _give_back(self, request: Request, *, finished: bool = False) -> None:
        known = request.computed if finished else request.computed - self.block_cache.async_scheduling
        self.free += self.block_cache.release(request, known)
