"""The prefix cache where layer groups have windows: runs of blocks as in the plain one, of every group its own.

Every group has blocks of its own for the same tokens. A prefix is found if the groups without a window have all of its blocks
and those with one have the last of them, as many as the window needs; the longest that all agree on counts. Blocks that leave
a window are free and keep their content, as those of a finished request do.

All groups register the same blocks of a request at the same time, but each forgets its own: they share one queue of free
blocks, in which a request's blocks lie group after group. Blocks taken from a queue are the first in it, however taking and
giving back alternate: so what they held can be forgotten later here too.

Source: vLLM vllm/v1/core/kv_cache_coordinator.py `HybridKVCacheCoordinator.find_longest_cache_hit`,
single_type_kv_cache_manager.py `SlidingWindowManager.find_longest_cache_hit` and `remove_skipped_blocks`, block_pool.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter

from simulator.engine.branches import Branch, Path, pieces
from simulator.engine.extents import Extent
from simulator.engine.prefix_cache import Found, PrefixCache, append_to, known_run
from simulator.engine.request import Request

Extents = dict[Branch, list[Extent]]

_first = attrgetter("first")


class BlockCache(PrefixCache):
    """What the KV blocks of one replica hold; `windows` has an entry a group, None for one without.

    `of_group` has the extents of each group, `found_in` what was found in it, `shared` how many extents of groups with a window
    are in the hands of several requests. A request holds `rows`, an entry a group, from block `lows` of that group on.
    """

    __slots__ = ("found_in", "of_group", "shared", "sliding", "whole", "windows")

    def __init__(self, blocks: int, block_size: int, windows: Sequence[int | None], *, lag: bool) -> None:
        super().__init__(blocks, block_size, lag=lag)
        self.windows = tuple(windows)
        self.whole = [group for group, window in enumerate(windows) if window is None]
        self.sliding = [(group, window) for group, window in enumerate(windows) if window is not None]
        self.of_group: list[Extents] = [{} for _ in windows]
        self.found_in: list[Found] = [[] for _ in windows]
        self.shared = 0

    def look_up(self, request: Request, step: int) -> int:
        """Blocks at the front of a waiting request that need not be computed.

        `idle` block objects of them are free and would have to be taken; `may_grow` tells whether a running request is about to
        fill one of the others: one far behind may complete a window.
        """
        if self.taken:
            self._forget_taken()
        path = request.path
        most = min((request.known - 1) // self.block_size, path[-1][1])
        self.may_grow = False
        if self.growing:
            for grower in self._growers(path, 0, most):
                self._register_filled(grower, step)
            self.may_grow = bool(self._growers(path, 0, most))
        return self._find(path, most)

    def _find(self, path: Path, most: int) -> int:
        hits = most
        for group in self.whole:
            self.found_in[group] = found = known_run(self.of_group[group], path, 0, hits)
            hits = found[-1][2] if found else 0
        known = [(group, self._needed(window), _all_known(self.of_group[group], path, hits)) for group, window in self.sliding]
        agreed = -1
        while hits != agreed:
            agreed = hits
            for _, needed, pieces_of_group in known:
                hits = _end_of_window(pieces_of_group, hits, needed)
        for group in self.whole:
            self.found_in[group] = _part(self.found_in[group], 0, hits)
        for group, needed, pieces_of_group in known:
            self.found_in[group] = _part(pieces_of_group, max(hits - needed, 0), hits)
        self.idle = sum(end - start for found in self.found_in for extent, start, end in found if not extent.users)
        return hits

    def _needed(self, window: int) -> int:
        """Blocks before a token that its window reaches into, at least the one that ends there."""
        return max(-(-(window - 1) // self.block_size), 1)

    def used_before_found(self, most: int) -> int:
        """Free blocks that are used again before the first of those found; `most` or more if it is not among so many."""
        firsts = {extent: end for found in self.found_in for extent, _, end in found if not extent.users}
        extent, before = self.queue.next, 0
        while before < most and extent not in firsts:
            before += extent.end - extent.first
            extent = extent.after
        return before + (extent.end - firsts[extent] if extent in firsts else 0)

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and `blocks` more, for its first `tokens`."""
        for group, _ in self.sliding:
            self.shared += sum(extent.users == 1 for extent, _, _ in self.found_in[group])
        request.rows = [self._hold(found) for found in self.found_in]
        request.lows = [found[0][1] if found else 0 for found in self.found_in]
        request.growing, request.named = None, request.path[-1][1]
        request.registered = next((row[-1][1] for row in request.rows if row), 0)
        self.taken += blocks
        self.register(request, tokens, step)

    def _enter(self, request: Request, start: int, end: int) -> None:
        for group, row in enumerate(request.rows):
            extents = self.of_group[group]
            for branch, first, upto in pieces(request.path, max(start, request.lows[group]), end):
                append_to(row, extents.setdefault(branch, []), branch, first, upto, group)
        request.registered = end

    def leave_windows(self, request: Request, computed: int) -> int:
        """Give back the blocks outside the windows when the token at `computed` comes next; gives how many are free now."""
        freed = 0
        for group, window in self.sliding:
            low, outside = request.lows[group], (computed - window + 1) // self.block_size
            if outside > low:
                if request.growing and request.registered < outside:
                    self._register_filled(request, computed - request.offset, request.order)
                request.lows[group] = outside
                dropped = self._drop_front(request.rows[group], outside)
                named = dropped[-1].end if dropped else low
                self.queue.append_blocks(outside - named)
                freed += outside - named + self._let_go(dropped)
        return freed

    def _drop_front(self, row: list[tuple[Extent, int]], upto: int) -> list[Extent]:
        """Take the extents of the blocks before `upto` out of a row, cutting the one that goes on; gives them, front first."""
        dropped = []
        while row and row[0][0].first < upto:
            extent, end = row[0]
            if extent.end > upto:
                self._split(extent, upto)
            dropped.append(extent)
            if extent.end == end:
                del row[0]
            else:
                assert extent.rear is not None
                row[0] = (extent.rear, end)
        return dropped

    def _let_go(self, extents: Sequence[Extent]) -> int:
        """Take a user from each of these extents, the last first; gives how many blocks are free now."""
        freed = 0
        for extent in reversed(extents):
            extent.users -= 1
            if not extent.users:
                self.queue.append(extent)
                freed += extent.end - extent.first
            elif extent.users == 1 and self.windows[extent.group] is not None:
                self.shared -= 1
        return freed

    def unnamed_from_now_on(self, request: Request) -> bool:
        """Whether all that will leave a decoding request's windows holds nothing that can be found, a block every so often."""
        return not request.growing and all(request.lows[g] and not request.rows[g] for g, _ in self.sliding)

    def freed_on_leaving(self, request: Request, computed: int, gone: dict[tuple[Extent, int], int]) -> int:
        """What `leave_windows` will give for a decoding request, a block a group; `gone` are users that will have left before.

        No block that is not registered yet has several users.
        """
        freed = 0
        for group, window in self.sliding:
            outside = computed - window + 1
            if outside < self.block_size or outside % self.block_size:
                continue
            at = outside // self.block_size - 1
            extent = _holding(request.rows[group], at)
            if extent is None or extent.users == 1 + gone.get((extent, at), 0):
                freed += 1
            else:
                gone[extent, at] = gone.get((extent, at), 0) + 1
        return freed

    def release(self, request: Request, blocks: int, tokens: int) -> int:
        """Take the blocks of its first `blocks` places from a request, group after group, as the plain cache does."""
        self._end_growing(request, tokens)
        freed = 0
        for group, row in enumerate(request.rows):
            unnamed = blocks - (row[-1][1] if row else request.lows[group])
            self.queue.append_blocks(unnamed)
            freed += unnamed
            for extent, end in reversed(row):
                freed += self._let_go(extent.parts(end))
        request.rows = []
        request.registered = 0
        return freed

    def _siblings(self, extent: Extent) -> list[Extent]:
        assert extent.branch is not None
        return self.of_group[extent.group][extent.branch]

    def _remove(self, extent: Extent, branch: Branch) -> None:
        extents = self.of_group[extent.group]
        extents[branch].remove(extent)
        if not extents[branch]:
            del extents[branch]

    def _split(self, extent: Extent, at: int) -> Extent:
        if extent.users > 1 and self.windows[extent.group] is not None:
            self.shared += 1
        return super()._split(extent, at)


def _holding(row: Sequence[tuple[Extent, int]], block: int) -> Extent | None:
    """The extent of a row in which a block lies."""
    for extent, end in row:
        if block < end:
            part: Extent | None = extent
            while part is not None and part.end <= block:
                part = part.rear
            return part
    return None


def _all_known(known: Mapping[Branch, Sequence[Extent]], path: Path, most: int) -> Found:
    """Which extents have blocks of a path up to `most`, gaps between them left out: (extent, first, end)."""
    found: Found = []
    start = 0
    for branch, upto in path:
        end = min(upto, most)
        if start < end and branch in known:
            extents = known[branch]
            if len(extents) > 1:
                found += _known_on(extents, ((branch, end),), start)
            else:
                extent = extents[0]
                if extent.first < end and start < extent.end:
                    found.append((extent, max(extent.first, start), min(extent.end, end)))
        start = max(start, upto)
    return found


def _known_on(extents: Sequence[Extent], path: Path, start: int) -> Iterator[tuple[Extent, int, int]]:
    """The same on one branch, from `start` on."""
    ((branch, most),) = path
    in_place = sorted(extents, key=_first)
    if all(one.end <= other.first for one, other in pairwise(in_place)):
        yield from (
            (extent, max(extent.first, start), min(extent.end, most))
            for extent in in_place
            if extent.first < most and start < extent.end
        )
        return
    for extent in in_place:
        if extent.first < most and start < extent.end:
            run = known_run({branch: extents}, path, max(start, extent.first), most)
            yield from run
            start = run[-1][2]


def _end_of_window(known: Found, most: int, needed: int) -> int:
    """The last block, up to `most`, where the `needed` ones that end there, or all from the front on, are known."""
    end = at = most
    for _, first, upto in reversed(known):
        if first >= at:
            continue
        if upto < at:
            end = upto
        at = first
        if at <= max(end - needed, 0):
            return end
    return 0


def _part(found: Found, start: int, end: int) -> Found:
    """What of this lies between two blocks."""
    return [(extent, max(first, start), min(upto, end)) for extent, first, upto in found if first < end and start < upto]
