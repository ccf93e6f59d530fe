"""The KV blocks of an instance where layers have sliding windows: several groups of layers take blocks, and some give them back.

All groups share one pool, and where layers keep less of a token their blocks have more tokens. A group with a window gives back
what lies outside it when the sequence is next given tokens, before it takes any. So a step may lack blocks although those behind
in line would give enough back: the order counts, and where a step's needs exceed what is free at its start it is composed by
walking.

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
    None while it decodes steadily, when that was its context one step ago. `sizes` are the tokens in a block, each with how many
    groups have such; `sliding` the sums of each window, with its groups. `fresh` are those that decode but not steadily yet.
    `wanted` are the blocks that the first waiting request waits for.
    """

    __slots__ = ("caps", "fresh", "lag", "sizes", "sliding", "wanted")
    gives_back = True

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch, sums: Mapping[tuple[int, int], WindowSums]) -> None:
        super().__init__(config, batch)
        self.notes = self.ordered = True
        self.lag = lag = config.window_lag
        kinds = [(config.size_of(group), group.window, group.groups) for group in config.kv_groups]
        self.sizes = [(size, sum(n for s, _, n in kinds if s == size)) for size in dict.fromkeys(s for s, _, _ in kinds)]
        self.sliding = [(sums[window + lag, size], n) for size, window, n in kinds if window is not None]
        capped = config.rules.cap_at_admission
        self.caps = [(config.most_blocks(g) if capped else sys.maxsize, config.size_of(g), g.groups) for g in config.kv_groups]
        self.fresh: list[Request] = []
        self.wanted = 0

    def take(self, chunks: Sequence[Chunk]) -> bool:
        """Take blocks in every group and give back those outside the windows; False where the order counts."""
        self.wanted = 0
        needed = self._needed(chunks)
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

    def _needed(self, chunks: Sequence[Chunk]) -> int:
        batch, needed = self.batch, 0
        for size, groups in self.sizes:
            each = batch.ring_of(size)[batch.step % size]
            for request, tokens, _ in chunks:
                each += -(-(request.computed + tokens) // size) + -request.computed // size
            needed += each * groups
        return needed

    def _blocks(self, tokens: int) -> int:
        """Blocks of so many tokens in all groups, those outside the windows too."""
        return sum(-(-tokens // size) * groups for size, groups in self.sizes)

    def lacking(self, request: Request, tokens: int) -> int:
        """Blocks that a running request lacks to compute `tokens` more, once it has given back what it needs no longer."""
        place = self._place(request)
        moved_at = self._context(request) - 1 if request.kv is None else request.kv
        self.free += self._passed(moved_at, place)
        request.kv = place
        return self._lacked(request, tokens)

    def _lacked(self, request: Request, tokens: int) -> int:
        if request.status is _DECODING:
            return sum(self.batch.needed_by(request, size) * groups for size, groups in self.sizes)
        return self._blocks(request.computed + tokens) - self._blocks(request.computed)

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

    def admit_new(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give a waiting request the blocks of its first `tokens`; False if too few are free."""
        needed = self._blocks(tokens) + self.states
        must_fit = max(needed, self._whole(0, lacking) + self.states) if self.reserve else needed
        if not alone:
            must_fit += self.watermark
        if must_fit > self.free:
            self.wanted = must_fit
            return False
        self.free -= needed
        request.kv = 0
        return True

    def _whole(self, found: int, lacking: int) -> int:
        """Blocks that the `lacking` tokens after those `found` take in all, what falls out of windows left out."""
        tokens = found + lacking
        return sum(max(min(-(-tokens // size), cap) - found // size, 0) * groups for cap, size, groups in self.caps)

    def begin_decoding(self, request: Request) -> None:
        """A request has joined the batch."""
        self.fresh.append(request)

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request."""
        moved_at = request.computed - 1 if request.kv is None else request.kv
        held = self._blocks(request.computed) - self._passed(-1, moved_at)
        self.free += self.states + held

    def _passed(self, start: int, end: int) -> int:
        """Blocks that fall out of the windows as a context grows from `start` to `end`."""
        return sum((sums.outside(end) - sums.outside(start)) * groups for sums, groups in self.sliding)

    def _falling(self, step: int) -> int:
        """Blocks that decoding requests give back in this step."""
        return sum(sums.falling(step) * groups for sums, groups in self.sliding)

    def _following(self, steps: int) -> int:
        """Blocks taken, less those given back, in all but the first of `steps` even steps."""
        return self._taken_following(steps) - sum(self._freed_following(steps))

    def _taken_following(self, steps: int) -> int:
        """Blocks taken in all but the first of `steps` even steps."""
        return sum(self.batch.blocks_following(steps, size) * groups for size, groups in self.sizes)

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
        if not self.wanted and self._taken_following(steps) <= free:
            return steps
        size = batch.block_size
        rings = [(batch.ring_of(size), size, groups) for size, groups in self.sizes]
        each = [sum(ring[at % of] * groups for ring, of, groups in rings) for at in range(size)]
        for i, freed in enumerate(self._freed_following(steps), start=1):
            needed = each[(batch.step + i) % size]
            if needed > free:
                return i
            free += freed - needed
            if self.wanted and free >= self.wanted:
                return i
        return steps
