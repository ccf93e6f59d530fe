"""The KV blocks of an instance where layers have sliding windows: several groups of layers take blocks, and some give them back.

All groups share one pool. A sequence's next token needs a block in each group at once; a group with a window gives back what lies
outside it when the sequence is next given tokens, before it takes any. So a step may lack blocks although those behind in line
would give enough back: the order counts, and where a step's needs exceed what is free at its start it is composed by walking.

A release may wait with giving back until the step in flight has ended (`frees_when_done`): with async scheduling that is a step
later. A window of one token more does the same a step later, so the sums are those of such a window, and what a request's windows
stand at is counted with the `lag`.

Source: vLLM vllm/v1/core/kv_cache_manager.py `allocate_slots` (`remove_skipped_blocks` first), single_type_kv_cache_manager.py
(`SlidingWindowManager`), vllm/v1/kv_cache_interface.py `SlidingWindowSpec.max_admission_blocks_per_request`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from simulator.engine.kv.blocks import BlockPool, Chunk
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.windows import WindowSums

_DECODING, _STALLED = Status.DECODING, Status.STALLED


class WindowedPool(BlockPool):
    """Blocks of several layer groups, some with a window.

    A request's `kv` is what its windows were last moved to: the tokens then computed and not in flight, and the `lag`. It is
    None while it decodes steadily, when that was its context one step ago. `fresh` are those that decode but not steadily yet.
    `wanted` are the blocks that the first waiting request waits for.
    """

    __slots__ = ("caps", "fresh", "groups", "lag", "sliding", "wanted")

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch, sums: Mapping[int, WindowSums]) -> None:
        super().__init__(config, batch)
        self.notes = self.ordered = True
        self.groups = sum(group.groups for group in config.kv_groups)
        self.lag = config.window_lag
        self.sliding = [(sums[g.window + self.lag], g.groups) for g in config.kv_groups if g.window is not None]
        capped = config.rules.cap_at_admission
        self.caps = [(config.most_blocks(g) if capped else sys.maxsize, g.groups) for g in config.kv_groups]
        self.fresh: list[Request] = []
        self.wanted = 0

    def take(self, chunks: Sequence[Chunk]) -> bool:
        """Take blocks in every group and give back those outside the windows; False where the order counts."""
        self.wanted = 0
        needed = self._needed(chunks) * self.groups
        if needed > self.free:
            return False
        batch = self.batch
        given_back = self._falling(batch.step)
        late = []
        for request in self.fresh:
            if request.status is _DECODING:
                context, place = batch.step + request.offset, self._place(request)
                given_back += self._passed(request.kv, place) - self._passed(context - 1, context)
                request.kv = None if place == context else place
                if place != context:
                    late.append(request)
        self.fresh = late
        for request, _, _ in chunks:
            place = self._place(request)
            given_back += self._passed(request.kv, place)
            request.kv = place
        self.free += given_back - needed
        return True

    def lacking(self, request: Request, tokens: int) -> int:
        """Blocks that a running request lacks to compute `tokens` more, once it has given back what it needs no longer."""
        place = self._place(request)
        moved_at = self._context(request) - 1 if request.kv is None else request.kv
        self.free += self._passed(moved_at, place)
        request.kv = place
        return super().lacking(request, tokens) * self.groups

    def _context(self, request: Request) -> int:
        return self.batch.step + request.offset

    def _place(self, request: Request) -> int:
        """What the windows of a request move to in this step: its tokens that are not in flight, and the lag."""
        if not self.lag:
            return self._context(request) if request.status is _DECODING else request.computed
        for one, tokens, _ in self.last_chunks:
            if one is request:
                return request.computed - tokens + 1
        if request.status is not _DECODING:
            return request.computed + 1
        return self._context(request) + (not self.batch.computed_last(request))

    def walked(self, running: Iterable[Request]) -> None:
        """All running requests have been given what they get in this step, one by one."""
        self.fresh = []
        for request in running:
            if request.status is _DECODING:
                if request.kv == self._context(request):
                    request.kv = None
                else:
                    self.fresh.append(request)
            elif request.status is _STALLED and (self.lag or request.kv is not None):
                if request.kv is None:
                    request.kv = self._context(request) - 1
                self.fresh.append(request)

    def admit(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give the waiting request that was looked up last the blocks of its first `tokens`; False if too few are free."""
        needed = -(-tokens // self.block_size) * self.groups + self.states
        must_fit = max(needed, self._whole(0, lacking) + self.states) if self.reserve else needed
        if not alone:
            must_fit += self.watermark
        if must_fit > self.free:
            self.wanted = must_fit
            return False
        self.free -= needed
        request.kv = 0
        return True

    def _whole(self, hits: int, lacking: int) -> int:
        """Blocks that the `lacking` tokens after the first `hits` blocks take in all, what falls out of windows left out."""
        whole = hits - -lacking // self.block_size
        return sum(max(min(whole, cap) - hits, 0) * groups for cap, groups in self.caps)

    def begin_decoding(self, request: Request) -> None:
        """A request has joined the batch."""
        self.fresh.append(request)

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request."""
        moved_at = request.computed - 1 if request.kv is None else request.kv
        held = -(-request.computed // self.block_size) * self.groups - self._passed(-1, moved_at)
        self.free += self.states + held

    def _passed(self, start: int, end: int) -> int:
        """Blocks that fall out of the windows as a context grows from `start` to `end`."""
        return sum((sums.outside(end) - sums.outside(start)) * groups for sums, groups in self.sliding)

    def _falling(self, step: int) -> int:
        """Blocks that decoding requests give back in this step."""
        return sum(sums.falling(step) * groups for sums, groups in self.sliding)

    def _following(self, steps: int) -> int:
        """Blocks taken, less those given back, in all but the first of `steps` even steps."""
        return self.batch.blocks_following(steps) * self.groups - sum(self._freed_following(steps))

    def _freed_following(self, steps: int) -> Iterator[int]:
        """How many blocks the windows will free in each but the first of `steps` even steps."""
        return map(self._falling, range(self.batch.step + 1, self.batch.step + steps))

    def take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps, and give back those that leave the windows."""
        self.free -= self._following(steps)

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.total - self.free + self._following(steps)

    def horizon(self, steps: int) -> int:
        """How many of `steps` even steps, the composed one the first, have blocks enough and leave the first waiting request
        too few."""
        if self.fresh:
            return 1
        batch, free = self.batch, self.free
        now = batch.step % self.block_size
        if not self.wanted and batch.steps_within(free // self.groups + batch.ring[now], steps) == steps:
            return steps
        for i, freed in enumerate(self._freed_following(steps), start=1):
            needed = batch.ring[(now + i) % self.block_size] * self.groups
            if needed > free:
                return i
            free += freed - needed
            if self.wanted and free >= self.wanted:
                return i
        return steps
