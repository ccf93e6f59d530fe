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
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_cache import Found, PrefixCache, Row, append_to, known_run
from simulator.engine.kv.prefix_tree import Branch, Path, pieces
from simulator.engine.request import Request

Runs = dict[Branch, list[BlockRun]]

_first = attrgetter("first")


@dataclass(slots=True, eq=False)
class HeldInGroups:
    """What a request holds: what its first `named` blocks hold is known; of the first `registered`, which can be found by others,
    `rows` has the runs of every group, from block `lows` of that group on; `growing` is the branch it fills while it decodes.
    """

    named: int
    registered: int
    rows: list[Row]
    lows: list[int]
    growing: Branch | None = None


class GroupedCache(PrefixCache):
    """What the KV blocks of one instance hold; `windows` has an entry a group, None for one without.

    `of_group` has the runs of each group, `found_in` what was found in it, `shared` how many runs of groups with a window
    are in the hands of several requests. A request holds `rows`, an entry a group, from block `lows` of that group on.
    """

    __slots__ = ("found_in", "of_group", "shared", "sliding", "whole", "windows")

    def __init__(self, blocks: int, block_size: int, windows: Sequence[int | None], *, async_scheduling: bool) -> None:
        super().__init__(blocks, block_size, async_scheduling=async_scheduling)
        self.windows = tuple(windows)
        self.whole = [group for group, window in enumerate(windows) if window is None]
        self.sliding = [(group, window) for group, window in enumerate(windows) if window is not None]
        self.of_group: list[Runs] = [{} for _ in windows]
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
        self.idle = sum(end - start for found in self.found_in for run, start, end in found if not run.users)
        return hits

    def _needed(self, window: int) -> int:
        """Blocks before a token that its window reaches into, at least the one that ends there."""
        return max(-(-(window - 1) // self.block_size), 1)

    def used_before_found(self, most: int) -> int:
        """Free blocks that are used again before the first of those found; `most` or more if it is not among so many."""
        firsts = {run: end for found in self.found_in for run, _, end in found if not run.users}
        run, before = self.queue.next, 0
        while before < most and run not in firsts:
            before += run.end - run.first
            run = run.after
        return before + (run.end - firsts[run] if run in firsts else 0)

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and `blocks` more, for its first `tokens`."""
        for group, _ in self.sliding:
            self.shared += sum(run.users == 1 for run, _, _ in self.found_in[group])
        rows = [self._hold(found) for found in self.found_in]
        lows = [found[0][1] if found else 0 for found in self.found_in]
        registered = next((row[-1][1] for row in rows if row), 0)
        request.kv = HeldInGroups(request.path[-1][1], registered, rows, lows)
        self.taken += blocks
        self.register(request, tokens, step)

    def _enter(self, request: Request, start: int, end: int) -> None:
        for group, row in enumerate(request.kv.rows):
            runs = self.of_group[group]
            for branch, first, upto in pieces(request.path, max(start, request.kv.lows[group]), end):
                append_to(row, runs.setdefault(branch, []), branch, first, upto, group)
        request.kv.registered = end

    def leave_windows(self, request: Request, computed: int) -> int:
        """Give back the blocks outside the windows when the token at `computed` comes next; gives how many are free now."""
        freed = 0
        for group, window in self.sliding:
            low, outside = request.kv.lows[group], (computed - window + 1) // self.block_size
            if outside > low:
                if request.kv.growing and request.kv.registered < outside:
                    self._register_filled(request, computed - request.offset, request.order)
                request.kv.lows[group] = outside
                dropped = self._drop_front(request.kv.rows[group], outside)
                named = dropped[-1].end if dropped else low
                self.queue.append_blocks(outside - named)
                freed += outside - named + self._let_go(dropped)
        return freed

    def _drop_front(self, row: Row, upto: int) -> list[BlockRun]:
        """Take the runs of the blocks before `upto` out of a row, cutting the one that goes on; gives them, front first."""
        dropped = []
        while row and row[0][0].first < upto:
            run, end = row[0]
            if run.end > upto:
                self._split(run, upto)
            dropped.append(run)
            if run.end == end:
                del row[0]
            else:
                assert run.rear is not None
                row[0] = (run.rear, end)
        return dropped

    def _let_go(self, runs: Sequence[BlockRun]) -> int:
        """Take a user from each of these runs, the last first; gives how many blocks are free now."""
        freed = 0
        for run in reversed(runs):
            run.users -= 1
            if not run.users:
                self.queue.append(run)
                freed += run.end - run.first
            elif run.users == 1 and self.windows[run.group] is not None:
                self.shared -= 1
        return freed

    def unnamed_from_now_on(self, request: Request) -> bool:
        """Whether all that will leave a decoding request's windows holds nothing that can be found, a block every so often."""
        return not request.kv.growing and all(request.kv.lows[g] and not request.kv.rows[g] for g, _ in self.sliding)

    def freed_on_leaving(self, request: Request, computed: int, gone: dict[tuple[BlockRun, int], int]) -> int:
        """What `leave_windows` will give for a decoding request, a block a group; `gone` are users that will have left before.

        No block that is not registered yet has several users.
        """
        freed = 0
        for group, window in self.sliding:
            outside = computed - window + 1
            if outside < self.block_size or outside % self.block_size:
                continue
            at = outside // self.block_size - 1
            run = _holding(request.kv.rows[group], at)
            if run is None or run.users == 1 + gone.get((run, at), 0):
                freed += 1
            else:
                gone[run, at] = gone.get((run, at), 0) + 1
        return freed

    def release(self, request: Request, blocks: int, tokens: int) -> int:
        """Take the blocks of its first `blocks` places from a request, group after group, as the plain cache does."""
        self._end_growing(request, tokens)
        freed = 0
        for group, row in enumerate(request.kv.rows):
            unnamed = blocks - (row[-1][1] if row else request.kv.lows[group])
            self.queue.append_blocks(unnamed)
            freed += unnamed
            for run, end in reversed(row):
                freed += self._let_go(run.parts(end))
        request.kv = None
        return freed

    def _siblings(self, run: BlockRun) -> list[BlockRun]:
        assert run.branch is not None
        return self.of_group[run.group][run.branch]

    def _remove(self, run: BlockRun, branch: Branch) -> None:
        runs = self.of_group[run.group]
        runs[branch].remove(run)
        if not runs[branch]:
            del runs[branch]

    def _split(self, run: BlockRun, at: int) -> BlockRun:
        if run.users > 1 and self.windows[run.group] is not None:
            self.shared += 1
        return super()._split(run, at)


def _holding(row: Row, block: int) -> BlockRun | None:
    """The run of a row in which a block lies."""
    for run, end in row:
        if block < end:
            part: BlockRun | None = run
            while part is not None and part.end <= block:
                part = part.rear
            return part
    return None


def _all_known(known: Mapping[Branch, Sequence[BlockRun]], path: Path, most: int) -> Found:
    """Which runs have blocks of a path up to `most`, gaps between them left out: (run, first, end)."""
    found: Found = []
    start = 0
    for branch, upto in path:
        end = min(upto, most)
        if start < end and branch in known:
            runs = known[branch]
            if len(runs) > 1:
                found += _known_on(runs, ((branch, end),), start)
            else:
                run = runs[0]
                if run.first < end and start < run.end:
                    found.append((run, max(run.first, start), min(run.end, end)))
        start = max(start, upto)
    return found


def _known_on(runs: Sequence[BlockRun], path: Path, start: int) -> Iterator[tuple[BlockRun, int, int]]:
    """The same on one branch, from `start` on."""
    ((branch, most),) = path
    in_place = sorted(runs, key=_first)
    if all(one.end <= other.first for one, other in pairwise(in_place)):
        yield from ((run, max(run.first, start), min(run.end, most)) for run in in_place if run.first < most and start < run.end)
        return
    for run in in_place:
        if run.first < most and start < run.end:
            part = known_run({branch: runs}, path, max(start, run.first), most)
            yield from part
            start = part[-1][2]


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
    return [(run, max(first, start), min(upto, end)) for run, first, upto in found if first < end and start < upto]
