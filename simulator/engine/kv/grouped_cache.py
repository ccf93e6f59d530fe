"""The prefix cache where layer groups have windows: runs of blocks as in the plain one, of every group its own.

Every group has blocks of its own for the same tokens. A prefix is found if the groups without a window have all of its blocks
and those with one have the last of them, as many as the window needs; the longest that all agree on counts. Blocks that leave
a window are free and keep their content, as those of a finished request do.

All groups register the same blocks of a request at the same time, but each forgets its own: they share one queue of free
blocks, in which a request's blocks lie group after group. Blocks taken from a queue are the first in it, however taking and
giving back alternate: so what they held can be forgotten later here too.

Groups that are alike and lie next to each other are one here, with so many copies of every block: a run is of all of them, until
some of its copies are used again before the others.

Where groups differ in block size, paths and what is registered are counted in the smallest blocks, rows in those of their
group, and a prefix ends where a block of every group does.

Source: vLLM vllm/v1/core/kv_cache_coordinator.py `HybridKVCacheCoordinator.find_longest_cache_hit`,
single_type_kv_cache_manager.py `SlidingWindowManager.find_longest_cache_hit` and `remove_skipped_blocks`, block_pool.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.known import Found, end_of_window, known_between, known_run, known_spans
from simulator.engine.kv.prefix_cache import PrefixCache, only_one_up_to
from simulator.engine.kv.prefix_tree import Branch, Path, in_blocks_of, pieces, shared_end, with_own
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig

Runs = dict[Branch, list[BlockRun]]

_NOBODYS = Branch((), 0)  # of blocks whose content is known, and nobody will look for it
_start = itemgetter(1)


class OwnBlocksNeeded(Exception):
    """A preempted request may find a block of its own that left a window, where those have no names."""


@dataclass(slots=True, eq=False)
class HeldInGroups:
    """What a request holds: what its first `named` blocks hold is known; of the first `registered`, which can be found by others,
    `rows` has the runs of every group, from block `lows` of that group on, each with what is held of it; `growing` is the branch
    it fills while it decodes.
    """

    named: int
    registered: int
    rows: list[Found]
    lows: list[int]
    growing: Branch | None = None


class GroupedCache(PrefixCache):
    """What the KV blocks of one instance hold; `windows` has an entry a group, None for one without, and `copies` how many there
    are that are alike.

    `sizes`: tokens in a block of each, `units` in the smallest blocks; hits are multiples of `alignment` tokens, and
    the first `gaps` blocks of as many tokens are not named in a group where no hit needs them.

    `of_group` has the runs of each group, `found_in` what was found in it, by the first copy that it was found in, and `hits` how
    many blocks that makes, `shared` how many runs of groups with a window are in the hands of several requests. A request holds
    `rows`, an entry a group; `holders` are all that do. `first_again`: blocks of a group that nothing can be found in are used
    again before all others. `names_own`: a request's own blocks are named when they leave a window. Without, OwnBlocksNeeded is
    raised where one that is preempted might find the last of them.
    """

    __slots__ = (
        "alignment",
        "copies",
        "first_again",
        "found_in",
        "gaps",
        "hits",
        "holders",
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
        alike = [(kind, list(same)) for kind, same in groupby(config.kv_groups, lambda g: (g.window, config.size_of(g)))]
        self.windows = windows = [window for (window, _), _ in alike]
        self.sizes = [size for (_, size), _ in alike]
        self.copies = [sum(group.groups for group in same) for _, same in alike]
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
        self.found_in: list[list[tuple[int, Found]]] = [[] for _ in windows]
        self.holders: set[HeldInGroups] = set()
        self.shared = 0

    # Looking

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
        paths = [in_blocks_of(path, units) for units in self.units]
        tokens = most * self.block_size
        tokens -= tokens % alignment
        self.idle = 0
        for group in self.whole:
            size = sizes[group]
            self.found_in[group] = in_copies = []
            for copy, runs in self._by_copy(group, paths[group]):
                found = known_run(runs, paths[group], 0, tokens // size)
                in_copies.append((copy, found))
                tokens = found[-1][2] * size if found else 0
                tokens -= tokens % alignment
        sliding = [
            (group, copy, runs, known_spans(runs, paths[group], tokens // sizes[group]) if tokens else [])
            for group, _ in self.sliding
            for copy, runs in self._by_copy(group, paths[group])
        ]
        agreed = -1
        while tokens != agreed:
            agreed = tokens
            for group, _, _, spans in sliding:
                tokens = end_of_window(spans, tokens // sizes[group], self._needed(group)) * sizes[group]
                tokens -= tokens % alignment
        for group in self.whole:
            self.found_in[group] = [(copy, _up_to(found, tokens // sizes[group])) for copy, found in self.found_in[group]]
        for group, _ in self.sliding:
            self.found_in[group] = []
        for group, copy, runs, _ in sliding:
            found = known_between(runs, paths[group], self._outside(group, tokens), tokens // sizes[group])
            self.found_in[group].append((copy, found))
        self.idle = sum(map(self._idle_in, range(len(sizes))))
        self.hits = tokens // self.block_size
        return self.hits

    def _idle_in(self, group: int) -> int:
        """How many free blocks were found in a group."""
        idle, beyond = 0, self.copies[group]
        for copy, found in reversed(self.found_in[group]):
            idle += (beyond - copy) * sum(end - start for run, start, end in found if not run.users)
            beyond = copy
        return idle

    def _by_copy(self, group: int, path: Path) -> list[tuple[int, Runs]]:
        """The runs of a group on a path, apart where copies differ, each with the first of the copies that have them."""
        runs = self.of_group[group]
        if self.copies[group] == 1:
            return [(0, runs)]
        edges = {0}
        for branch, _ in path:
            for run in runs.get(branch, ()):
                edges |= {run.first_copy, run.first_copy + run.copies}
        if edges <= {0, self.copies[group]}:
            return [(0, runs)]
        of_path = {branch: runs[branch] for branch, _ in path if branch in runs}
        return [
            (copy, {b: [run for run in among if 0 <= copy - run.first_copy < run.copies] for b, among in of_path.items()})
            for copy in sorted(edges - {self.copies[group]})
        ]

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
        firsts: dict[BlockRun, int] = {}
        for in_copies in self.found_in:
            for copy, found in reversed(in_copies):
                for run, _, end in found:
                    copies_before = max(copy - run.first_copy, 0)
                    firsts[run] = copies_before * (run.end - run.first) + run.end - end
        run, before = self.queue.next, 0
        while before < most and run not in firsts:
            before += run.blocks
            run = run.after
        return before + firsts.get(run, 0)

    # Holding

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and `blocks` more, for its first `tokens`."""
        groups = range(len(self.windows))
        rows = [self._hold_in(group) for group in groups]
        lows = [self._outside(group, self.hits * self.block_size) for group in groups]
        named = shared_end(request.path)
        request.kv = held = HeldInGroups(named - named % self.lot, self.hits, rows, lows)
        self.holders.add(held)
        self.taken += blocks
        self.register(request, tokens, step)

    def _hold_in(self, group: int) -> Found:
        """Let one more hold what was found in a group; a run that nobody held joins what it takes behind it."""
        row: Found = []
        for run, first, end in self._found_whole(group):
            part = run if run.users or first == run.first else self._split(run, first)
            if end < part.end:
                self._split(part, end)
            if part.users:
                self.shared += part.users == 1 and self.windows[group] is not None
                part.hold(first)
                row.append((part, first, end))
                continue
            self.queue.remove(part)
            part.users = 1
            if not (row and self._join(part, row)):
                row.append((part, first, end))
        row.sort(key=_start)
        return row

    def _found_whole(self, group: int) -> Found:
        """What was found in a group, in runs of no more copies than it was found in, the last blocks first."""
        in_copies = self.found_in[group]
        if len(in_copies) == 1:
            return in_copies[0][1][::-1]
        found_in: dict[tuple[BlockRun, int, int], int] = {}
        for (copy, found), (beyond, _) in pairwise([*in_copies, (self.copies[group], [])]):
            for piece in found:
                found_in[piece] = found_in.get(piece, 0) + beyond - copy
        for run in {run: None for (run, _, _), copies in found_in.items() if copies < run.copies}:
            self._keep_apart(run, in_copies)
        whole = {piece: None for _, found in in_copies for piece in found}
        return sorted(whole, key=lambda piece: (-piece[2], piece[0].first_copy))

    def _keep_apart(self, run: BlockRun, in_copies: list[tuple[int, Found]]) -> None:
        """Split a run at the copies from which on something else was found."""
        for copy, _ in reversed(in_copies):
            if run.first_copy < copy < run.first_copy + run.copies:
                rest = self._split_copies(run, copy)
                if not run.users:
                    self.queue.insert(rest, run.after)
                for other, found in in_copies:
                    if other >= copy:
                        found[:] = [(rest if one is run else one, first, end) for one, first, end in found]

    def _join(self, part: BlockRun, row: Found) -> bool:
        """Make one run of one just taken and the last of a row, if they are the same blocks of other copies or follow on each
        other: of two that have a block the earlier one counts."""
        behind, start, end = row[-1]
        if behind.branch is not part.branch or behind.first != start:
            return False
        if (start, end, behind.users) == (part.first, part.end, 1) and behind.first_copy + behind.copies == part.first_copy:
            behind.copies += part.copies
        elif start == part.end and (behind.first_copy, behind.copies) == (part.first_copy, part.copies):
            behind.reach_back(part.first)
            row[-1] = (behind, part.first, end)
        else:
            return False
        runs = self._siblings(part)
        at, other = runs.index(part), runs.index(behind)
        runs[min(at, other)] = behind
        del runs[max(at, other)]
        return True

    def _enter(self, request: Request, start: int, end: int) -> None:
        for group, units in enumerate(self.units):
            self._enter_in(group, request, max(start // units, request.kv.lows[group]), end // units)
        request.kv.registered = end

    def _enter_in(self, group: int, request: Request, start: int, end: int) -> None:
        """Let a request's blocks of one group be found."""
        row = request.kv.rows[group]
        for branch, first, upto in pieces(in_blocks_of(request.path, self.units[group]), start, end):
            if self.gaps[group]:
                self._enter_ends(group, row, branch, first, upto)
            else:
                self._append(group, row, branch, first, upto)

    def _append(self, group: int, row: Found, branch: Branch, first: int, end: int) -> None:
        """Let a request that holds a row hold these blocks too, as a run of their own or the last one continued."""
        runs, copies = self.of_group[group].setdefault(branch, []), self.copies[group]
        if row:
            last, start, _ = row[-1]
            follows = last.branch is branch and last.end == first and last.copies == copies
            if follows and only_one_up_to(end, last, runs):
                last.end = end
                row[-1] = (last, start, end)
                return
        run = BlockRun(branch, first, end, 1, None, group, 0, copies)
        runs.append(run)
        row.append((run, first, end))

    def _enter_ends(self, group: int, row: Found, branch: Branch, first: int, end: int) -> None:
        """Let the last blocks before multiples of `alignment` be found, and hold the others without names."""
        together = self.alignment // self.sizes[group]
        for block in range(first, end):
            if block % together < self.gaps[group]:
                row.append((BlockRun(None, block, block + 1, 1, None, group, 0, self.copies[group]), block, block + 1))
            else:
                self._append(group, row, branch, block, block + 1)

    def _enter_own(self, group: int, request: Request, end: int) -> None:
        """Let a request find its own blocks of one group again, those before block `end` that are not named yet."""
        start = self._registered_end(request.kv, group)
        if start < end:
            request.path = with_own(request.path, end * self.units[group])
            self._enter_in(group, request, start, end)

    def _registered_end(self, held: HeldInGroups, group: int) -> int:
        """Up to which block of a group a request has runs, those that left the windows without one counted too."""
        row = held.rows[group]
        return row[-1][2] if row else held.lows[group]

    # Letting go

    def leave_windows(self, request: Request, computed: int, step: int, known: int) -> int:
        """Give back the blocks outside the windows when the token at `computed` comes next; gives how many are free now.

        The values of the first `known` tokens are known.
        """
        freed = 0
        held = request.kv
        full = known // self.lot_tokens * self.lot
        for group, window in self.sliding:
            outside = (computed - window + 1) // self.sizes[group]
            if outside <= held.lows[group]:
                continue
            if held.growing and held.registered < outside * self.units[group]:
                self._register_filled(request, step, request.order)
            named = min(outside, full // self.units[group])
            if self.names_own or self.gaps[group]:
                self._enter_own(group, request, named)
            freed += self._free_up_to(outside, named, held, group)
            held.lows[group] = outside
        return freed

    def _free_up_to(self, end: int, named: int, held: HeldInGroups, group: int) -> int:
        """Take the blocks before `end` from a request, copy after copy the last first; gives how many are free now.

        The values in those before `named` are known: they are not the first to be used again.
        """
        start = self._registered_end(held, group)
        idle = self._leave(held, group, end)
        if start < end:
            last = max(named, start) if self.first_again[group] else end
            unfound = BlockRun(_NOBODYS, start, last, 0, None, group, 0, self.copies[group])
            nameless = BlockRun(None, last, end, 0, None, group, 0, self.copies[group])
            idle = [run for run in (nameless, unfound) if run.first < run.end] + idle
        freed = sum(run.blocks for run in idle)
        for run in self._copy_after_copy(idle) if len(idle) > 1 and self.copies[group] > 1 else idle:
            self._free(run)
        return freed

    def _leave(self, held: HeldInGroups, group: int, upto: int) -> list[BlockRun]:
        """Take a user from the runs of a row before block `upto`; gives those, the last first, that nobody holds any more."""
        row, idle = held.rows[group], []
        for run, start in reversed(_parts(row, upto)):
            users, front = run.users, run.move_on(start, upto)
            if run.users == 1 < users and self.windows[group] is not None:
                self.shared -= 1
            if front > run.first:
                idle.append(run if front == run.end else self._cut_front(run, front))
        held.rows[group] = [(run, max(start, upto), end) for run, start, end in row if end > upto]
        return idle

    def _copy_after_copy(self, runs: list[BlockRun]) -> list[BlockRun]:
        """The same blocks, those of all runs for one copy before those for the next."""
        apart = []
        for copy in range(self.copies[runs[0].group]):
            for i, run in enumerate(runs):
                if run.first_copy == copy:
                    if run.copies > 1:
                        runs[i] = self._split_copies(run, copy + 1)
                    apart.append(run)
        return apart

    def _free(self, run: BlockRun) -> None:
        """Take back a run that nobody holds."""
        if run.branch is None and self.first_again[run.group]:
            if self.taken:
                self._forget_taken()
            self.unnamed += run.blocks
        elif run.branch is None or run.branch is _NOBODYS:
            self.queue.append_blocks(run.blocks)
        else:
            self.queue.append(run)

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
            freed += self.copies[group]
            for run in _holding(request.kv.rows[group], at):
                left = gone.get((run, at), 0)
                if run.users_of(at) > 1 + left:
                    gone[run, at] = left + 1
                    freed -= run.copies
        return freed

    def release(self, request: Request, computed: int, tokens: int, *, finished: bool) -> int:
        """Take the blocks of its `computed` tokens from a request, group after group, as the plain cache does."""
        self._end_growing(request, tokens)
        freed = 0
        held = request.kv
        full = tokens // self.lot_tokens * self.lot
        if not (finished or self.names_own) and self._has_let_go_of(request, full):
            raise OwnBlocksNeeded
        for group, size in enumerate(self.sizes):
            named = full // self.units[group]
            if not finished or self.gaps[group]:
                self._enter_own(group, request, named)
            freed += self._free_up_to(max(-(-computed // size), self._registered_end(held, group)), named, held, group)
        self.holders.remove(held)
        request.kv = None
        return freed

    def _has_let_go_of(self, request: Request, full: int) -> bool:
        """Whether the longest prefix that a look-up might find, of `full` blocks, needs own blocks that left a window."""
        tokens = min(request.known - 1, full * self.block_size)
        tokens -= tokens % self.alignment
        lows, sizes, own = request.kv.lows, self.sizes, request.kv.named
        return any(
            max(tokens // sizes[g] - self._needed(g), own // self.units[g]) < lows[g] for g, _ in self.sliding if not self.gaps[g]
        )

    # Runs

    def _siblings(self, run: BlockRun) -> list[BlockRun]:
        assert run.branch is not None
        return self.of_group[run.group][run.branch]

    def _remove(self, run: BlockRun, branch: Branch) -> None:
        runs = self.of_group[run.group]
        runs[branch].remove(run)
        if not runs[branch]:
            del runs[branch]

    def _cut_front(self, run: BlockRun, at: int) -> BlockRun:
        """Part what lies before `at` from a run; gives it."""
        front = BlockRun(run.branch, run.first, at, 0, None, run.group, run.first_copy, run.copies)
        runs = self._siblings(run)
        runs.insert(runs.index(run), front)
        run.first = at
        return front

    def _split(self, run: BlockRun, at: int) -> BlockRun:
        several = run.users > 1
        rear = super()._split(run, at)
        if run.lows is not None:
            run.share_lows(rear)
        if self.windows[run.group] is not None:
            self.shared += (run.users > 1) + (rear.users > 1) - several
        return rear

    def _first_copies(self, run: BlockRun, copies: int) -> BlockRun:
        if copies < run.copies:
            self.queue.insert(self._split_copies(run, run.first_copy + copies), run.after)
        return run

    def _split_copies(self, run: BlockRun, at: int) -> BlockRun:
        """Part a run's copies from `at` on from the others; gives their run, which whoever held the one holds too."""
        left = run.first_copy + run.copies - at
        rest = BlockRun(run.branch, run.first, run.end, run.users, None, run.group, at, left, run.lows and dict(run.lows))
        run.copies -= left
        if run.branch is not None and run.branch is not _NOBODYS:
            runs = self._siblings(run)
            runs.insert(runs.index(run) + 1, rest)
        if run.users:
            self.shared += run.users > 1 and self.windows[run.group] is not None
            for held in self.holders:
                row = held.rows[run.group]
                row += [(rest, start, run.end) for part, start in _parts(row, run.end) if part is run]
                row.sort(key=_start)
        return rest


def _up_to(found: Found, end: int) -> Found:
    """What of this lies before a block."""
    return [(run, first, min(upto, end)) for run, first, upto in found if first < end]


def _parts(row: Found, upto: int) -> list[tuple[BlockRun, int]]:
    """The runs in which the blocks of a row before `upto` lie, front first, each with the first of them."""
    parts: list[tuple[BlockRun, int]] = []
    for run, start, end in row:
        part: BlockRun | None = run
        while start < end and start < upto:
            assert part is not None
            if start < part.end:
                parts.append((part, start))
                start = part.end
            part = part.rear
    return parts


def _holding(row: Found, block: int) -> Iterator[BlockRun]:
    """The runs of a row in which a block lies, each of other copies."""
    for run, start, end in row:
        if start <= block < end:
            part: BlockRun | None = run
            while part is not None and part.end <= block:
                part = part.rear
            if part is not None:
                yield part
