"""The prefix cache where layer groups have windows: runs of blocks as in the plain one, of every group its own.

Every group has blocks of its own for the same tokens. A prefix is found if the groups without a window have all of its blocks
and those with one have the last of them, as many as the window needs; the longest that all agree on counts. Blocks that leave
a window are free and keep their content, as those of a finished request do.

All groups register the same blocks of a request at the same time, but each forgets its own: they share one queue of free
blocks, in which a request's blocks lie group after group. Blocks taken from a queue are the first in it, however taking and
giving back alternate: so what they held can be forgotten later here too.

Where groups differ in block size, paths and what is registered are counted in the smallest blocks, rows in those of their
group, and a prefix ends where a block of every group does.

Source: vLLM vllm/v1/core/kv_cache_coordinator.py `HybridKVCacheCoordinator.find_longest_cache_hit`,
single_type_kv_cache_manager.py `SlidingWindowManager.find_longest_cache_hit` and `remove_skipped_blocks`, block_pool.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_cache import Found, PrefixCache, Row, append_to, known_run
from simulator.engine.kv.prefix_tree import Branch, Path, in_blocks_of, pieces, shared_end, with_own
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig

Runs = dict[Branch, list[BlockRun]]

_first = attrgetter("first")


class OwnBlocksNeeded(Exception):
    """A preempted request may find a block of its own that left a window, where those have no names."""


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

    `sizes`: tokens in a block of each, `units` in the smallest blocks; hits are multiples of `alignment` tokens, and
    the first `gaps` blocks of as many tokens are not named in a group where no hit needs them.

    `of_group` has the runs of each group, `found_in` what was found in it and `hits` how many blocks that makes, `shared` how
    many runs of groups with a window are in the hands of several requests. A request holds `rows`, an entry a group, from block
    `lows` of that group on. `first_again`: blocks of a group that nothing can be found in are used again before all others.
    `names_own`: a request's own blocks are named when they leave a window. Without, OwnBlocksNeeded is raised where one that is
    preempted might find the last of them.
    """

    __slots__ = (
        "alignment",
        "first_again",
        "found_in",
        "gaps",
        "hits",
        "names_own",
        "of_group",
        "shared",
        "sizes",
        "sliding",
        "units",
        "whole",
        "windows",
    )

    def __init__(self, config: SchedulerConfig) -> None:
        super().__init__(config)
        rules = config.rules
        self.windows = windows = tuple(group.window for group in config.kv_groups for _ in range(group.groups))
        self.sizes = [config.size_of(group) for group in config.kv_groups for _ in range(group.groups)]
        self.units = [size // config.block_size for size in self.sizes]
        self.alignment = config.alignment
        self.gaps = [0] * len(windows)
        if rules.useless_unnamed:
            self.lot, self.lot_tokens = self.alignment // config.block_size, self.alignment
            for group, window in enumerate(windows):
                if window is not None:
                    self.gaps[group] = max(self.alignment // self.sizes[group] - self._needed(group), 0)
        self.first_again = [rules.unnamed_first or (w is not None and rules.unnamed_first_in_windows) for w in windows]
        self.names_own = config.names_own
        self.hits = 0
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
        sizes, alignment = self.sizes, self.alignment
        tokens = most * self.block_size
        tokens -= tokens % alignment
        for group in self.whole:
            size = sizes[group]
            own_path = in_blocks_of(path, self.units[group])
            self.found_in[group] = found = known_run(self.of_group[group], own_path, 0, tokens // size)
            tokens = found[-1][2] * size if found else 0
            tokens -= tokens % alignment
        known = [
            (
                group,
                self._needed(group),
                _all_known(self.of_group[group], in_blocks_of(path, self.units[group]), tokens // sizes[group]),
            )
            for group, _ in self.sliding
        ]
        agreed = -1
        while tokens != agreed:
            agreed = tokens
            for group, needed, pieces_of_group in known:
                tokens = _end_of_window(pieces_of_group, tokens // sizes[group], needed) * sizes[group]
                tokens -= tokens % alignment
        for group in self.whole:
            self.found_in[group] = _part(self.found_in[group], 0, tokens // sizes[group])
        for group, _, pieces_of_group in known:
            self.found_in[group] = _part(pieces_of_group, self._outside(group, tokens), tokens // sizes[group])
        self.hits = tokens // self.block_size
        self.idle = sum(end - start for found in self.found_in for run, start, end in found if not run.users)
        return self.hits

    def _outside(self, group: int, computed: int) -> int:
        """Blocks of a group that no token after so many needs."""
        window = self.windows[group]
        return 0 if window is None else max(0, computed - window + 1) // self.sizes[group]

    def _needed(self, group: int) -> int:
        """Blocks before a token that the window of a group reaches into, at least the one that ends there."""
        window = self.windows[group]
        return 0 if window is None else max(-(-(window - 1) // self.sizes[group]), 1)

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
        lows = [self._outside(group, self.hits * self.block_size) for group in range(len(rows))]
        named = shared_end(request.path)
        request.kv = HeldInGroups(named - named % self.lot, self.hits, rows, lows)
        self.taken += blocks
        self.register(request, tokens, step)

    def _enter(self, request: Request, start: int, end: int) -> None:
        for group, units in enumerate(self.units):
            self._enter_in(group, request, max(start // units, request.kv.lows[group]), end // units)
        request.kv.registered = end

    def _enter_in(self, group: int, request: Request, start: int, end: int) -> None:
        """Let a request's blocks of one group be found."""
        runs, row = self.of_group[group], request.kv.rows[group]
        for branch, first, upto in pieces(in_blocks_of(request.path, self.units[group]), start, end):
            if self.gaps[group]:
                self._enter_ends(group, row, runs, branch, first, upto)
                continue
            append_to(row, runs.setdefault(branch, []), branch, first, upto, group)

    def _enter_ends(self, group: int, row: Row, runs: Runs, branch: Branch, first: int, end: int) -> None:
        """Let the last blocks before multiples of `alignment` be found, and hold the others without names."""
        together = self.alignment // self.sizes[group]
        for block in range(first, end):
            if block % together < self.gaps[group]:
                row.append((BlockRun(None, block, block + 1, 1, None, group), block + 1))
            else:
                append_to(row, runs.setdefault(branch, []), branch, block, block + 1, group)

    def _enter_own(self, group: int, request: Request, end: int) -> None:
        """Let a request find its own blocks of one group again, those before block `end` that are not named yet."""
        row = request.kv.rows[group]
        start = max(row[-1][1] if row else 0, request.kv.lows[group])
        if start < end:
            request.path = with_own(request.path, end * self.units[group])
            self._enter_in(group, request, start, end)

    def leave_windows(self, request: Request, computed: int, step: int, known: int) -> int:
        """Give back the blocks outside the windows when the token at `computed` comes next; gives how many are free now.

        The values of the first `known` tokens are known.
        """
        freed = 0
        held = request.kv
        full = known // self.lot_tokens * self.lot
        for group, window in self.sliding:
            low, outside = held.lows[group], (computed - window + 1) // self.sizes[group]
            if outside <= low:
                continue
            if held.growing and held.registered < outside * self.units[group]:
                self._register_filled(request, step, request.order)
            named = min(outside, full // self.units[group])
            if self.names_own or self.gaps[group]:
                self._enter_own(group, request, named)
            held.lows[group] = outside
            dropped = self._drop_front(held.rows[group], outside)
            at = dropped[-1].end if dropped else low
            freed += outside - at + self._let_go(dropped)
            self.queue.append_blocks(max(named - at, 0))
            self._free_nameless(outside - max(named, at), group)
        return freed

    def _free_nameless(self, blocks: int, group: int) -> None:
        """Take back blocks of a group that nothing can be found in."""
        if not self.first_again[group]:
            self.queue.append_blocks(blocks)
        elif blocks:
            if self.taken:
                self._forget_taken()
            self.unnamed += blocks

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
            if run.branch is None:
                freed += run.end - run.first
                self._free_nameless(run.end - run.first, run.group)
            elif not run.users:
                self.queue.append(run)
                freed += run.end - run.first
            elif run.users == 1 and self.windows[run.group] is not None:
                self.shared -= 1
        return freed

    def unnamed_from_now_on(self, request: Request) -> bool:
        """Whether all that will leave a decoding request's windows holds nothing that can be found, a block every so often."""
        held = request.kv
        if held.growing or self.names_own:
            return False
        return all(held.lows[g] and not held.rows[g] and window > 1 for g, window in self.sliding)

    def freed_on_leaving(self, request: Request, computed: int, gone: dict[tuple[BlockRun, int], int]) -> int:
        """What `leave_windows` will give for a decoding request, a block a group; `gone` are users that will have left before.

        No block that is not registered yet has several users.
        """
        freed = 0
        for group, window in self.sliding:
            outside, size = computed - window + 1, self.sizes[group]
            if outside < size or outside % size:
                continue
            at = outside // size - 1
            run = _holding(request.kv.rows[group], at)
            if run is None or run.users == 1 + gone.get((run, at), 0):
                freed += 1
            else:
                gone[run, at] = gone.get((run, at), 0) + 1
        return freed

    def release(self, request: Request, computed: int, tokens: int, *, finished: bool) -> int:
        """Take the blocks of its `computed` tokens from a request, group after group, as the plain cache does."""
        self._end_growing(request, tokens)
        freed = 0
        held = request.kv
        full = tokens // self.lot_tokens * self.lot
        if not (finished or self.names_own) and self._has_let_go_of(request, full):
            raise OwnBlocksNeeded
        for group in range(len(held.rows)):
            low, row, blocks = held.lows[group], held.rows[group], -(-computed // self.sizes[group])
            start = row[-1][1] if row else low
            named = max(start, full // self.units[group])
            if not finished or self.gaps[group]:
                self._enter_own(group, request, named)
                start = row[-1][1] if row else low
            self._free_nameless(blocks - max(named, start), group)
            self.queue.append_blocks(named - start)
            freed += blocks - start
            for run, end in reversed(row):
                freed += self._let_go(run.parts(end))
        request.kv = None
        return freed

    def _has_let_go_of(self, request: Request, full: int) -> bool:
        """Whether the longest prefix that a look-up might find, of `full` blocks, needs blocks that have left a window."""
        tokens = min(request.known - 1, full * self.block_size)
        tokens -= tokens % self.alignment
        lows, sizes = request.kv.lows, self.sizes
        return any(max(tokens // sizes[g] - self._needed(g), 0) < lows[g] for g, _ in self.sliding)

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
                found += _known_on(runs, end, start)
            else:
                run = runs[0]
                if run.first < end and start < run.end:
                    found.append((run, max(run.first, start), min(run.end, end)))
        start = max(start, upto)
    return found


def _known_on(runs: Sequence[BlockRun], most: int, start: int) -> Iterator[tuple[BlockRun, int, int]]:
    """The same on one branch, up to `most`."""
    in_place = sorted(runs, key=_first)
    if all(one.end <= other.first for one, other in pairwise(in_place)):
        yield from ((run, max(run.first, start), min(run.end, most)) for run in in_place if run.first < most and start < run.end)
        return
    yield from _earliest_on(runs, start, most)


def _earliest_on(runs: Sequence[BlockRun], start: int, most: int) -> Iterator[tuple[BlockRun, int, int]]:
    """Which run has each block from `start` to `most`: of several that have it, the first of `runs`."""
    to_come = sorted(range(len(runs)), key=lambda i: runs[i].first, reverse=True)
    here: list[int] = []
    at = start
    while at < most:
        while to_come and runs[to_come[-1]].first <= at:
            heappush(here, to_come.pop())
        while here and runs[here[0]].end <= at:
            heappop(here)
        if not here:
            if not to_come:
                return
            at = runs[to_come[-1]].first
            continue
        end = min(runs[here[0]].end, most)
        while to_come and runs[to_come[-1]].first < end and to_come[-1] > here[0]:
            heappush(here, to_come.pop())
        if to_come and to_come[-1] < here[0]:
            end = min(end, runs[to_come[-1]].first)
        yield runs[here[0]], at, end
        at = end


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
