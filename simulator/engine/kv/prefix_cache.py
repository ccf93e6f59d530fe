"""The prefix cache: which KV blocks hold what, so that a prompt that begins like an earlier one need not be computed again.

As vLLM does it: only full blocks are found, by labels that name their content and all before it. At least one token is always
computed, so a hit ends before the last known token. Blocks are shared while requests hold them; free ones keep their content
until they are used again, those freed first first. A block is registered when the step that fills it is composed, and can be
hit in that very step; with async scheduling a block that decoding fills is registered a step later, when its last token is
known. A content that is already there is registered again for another block: the earliest that still exists is the one that is
hit.

Source: vLLM vllm/v1/core/kv_cache_manager.py `get_computed_blocks`, `allocate_slots`; block_pool.py `cache_full_blocks`,
`get_new_blocks`, `touch`, `free_blocks`; sched/async_scheduler.py `_update_request_with_output`.

Three things make it quick and keep it exact. Contents are places on branches (prefix_tree.py), so a prefix of hundreds of blocks
is a few numbers. Blocks that were filled together are one run, split where a later prompt departs from it. And what nobody can
see yet is put off: blocks that decoding fills are registered only when somebody could find them, when the request that fills them
lets go of its blocks or another one comes along the same branches (`growing`); what free blocks hold is forgotten only before the
next look (`taken`). Only where two are about to fill the same content (`contested`) must every step be looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.engine.kv.block_runs import BlockRun, FreeQueue
from simulator.engine.kv.known import Found, known_run
from simulator.engine.kv.prefix_tree import Branch, Path, branch_at, pieces, shared_end, with_own
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig

Row = list[tuple[BlockRun, int]]


@dataclass(slots=True, eq=False)
class Held:
    """What a request holds: what its first `named` blocks hold is known; the first `registered` can be found by others and are
    in `runs`; while it decodes and fills more of them, the next is on the branch `growing`.
    """

    named: int
    registered: int
    runs: Row
    growing: Branch | None = None


class PrefixCache:
    """What the KV blocks of one instance hold. How many are free is the pool's to know.

    `runs` has those on each branch, the earliest registered first: of two that have the same block the first one counts.
    Blocks are registered in lots of `lot` blocks, `lot_tokens` tokens. `taken` free blocks were handed out since the queue was
    last looked at. Where those that hold nothing to be found come first
    they are not in the queue but `unnamed` before it.
    """

    __slots__ = (
        "async_scheduling",
        "block_size",
        "contested",
        "found",
        "growing",
        "idle",
        "lot",
        "lot_tokens",
        "may_grow",
        "queue",
        "runs",
        "taken",
        "unnamed",
        "unnamed_first",
    )

    def __init__(self, config: SchedulerConfig) -> None:
        self.block_size = config.block_size
        self.lot, self.lot_tokens = 1, config.block_size
        self.async_scheduling = int(config.async_scheduling)
        self.unnamed_first = config.rules.unnamed_first
        self.queue = FreeQueue(0)
        self.unnamed = config.kv_blocks
        self.runs: dict[Branch, list[BlockRun]] = {}
        self.growing: dict[Branch, list[Request]] = {}
        self.contested: list[Request] = []
        self.found: Found = []
        self.taken = self.idle = 0
        self.may_grow = False

    def look_up(self, request: Request, step: int) -> int:
        """Blocks at the front of a waiting request that need not be computed.

        `idle` of them are free and would have to be taken; `may_grow` tells whether a running request is about to fill the next.
        """
        if self.taken:
            self._forget_taken()
        path = request.path
        most = min((request.prompt + request.generated - 1) // self.block_size, path[-1][1])
        hits = self._find(path, most)
        self.may_grow = False
        while self.growing and hits < most and self._grow_along(path, hits, step):
            hits = self._find(path, most)
        return hits

    def _find(self, path: Path, most: int) -> int:
        """Find the runs of the longest known prefix of at most `most` blocks, and how many blocks it has."""
        self.found = found = known_run(self.runs, path, 0, most)
        self.idle = sum(end - first for run, first, end in found if not run.users)
        return found[-1][2] if found else 0

    def _grow_along(self, path: Path, hits: int, step: int) -> bool:
        """Register what running requests have filled along this path; True if that was anything."""
        grown = False
        for grower in self._growers(path, 0, hits + 1):
            grown = self._register_filled(grower, step) or grown
            self.may_grow = self.may_grow or branch_at(grower.path, hits) is branch_at(path, hits)
        return grown

    def _growers(self, path: Path, start: int, end: int) -> list[Request]:
        """Running requests whose next block to be registered is one of those from `start` to `end` of this path."""
        growing, found = self.growing, []
        for branch, upto in path:
            if branch in growing:
                last = min(upto, end)
                among = [r for r in growing[branch] if start <= r.kv.registered < last]
                if len(among) > 1:
                    among.sort(key=_registered)
                found += among
        return found

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and `blocks` more, for its first `tokens`."""
        held = self._hold(self.found)
        request.kv = Held(shared_end(request.path), held[-1][1] if held else 0, held)
        self.taken += blocks
        self.register(request, tokens, step)

    def _hold(self, found: Found) -> Row:
        """Let one more hold what was found, front first."""
        held = []
        for run, first, end in reversed(found):
            part = run if first == run.first else self._split(run, first)
            if end < part.end:
                self._split(part, end)
            if not part.users:
                self.queue.remove(part)
            part.users += 1
            held.append((part, end))
        held.reverse()
        return held

    def register(self, request: Request, tokens: int, step: int) -> None:
        """Make the full blocks of the first `tokens` of a request in its prompt known."""
        kv = request.kv
        start, end = kv.registered, min(tokens // self.lot_tokens * self.lot, kv.named)
        if start >= end:
            return
        if self.growing:
            for grower in self._growers(request.path, start, end):
                self._register_filled(grower, step, request.order)
        self._enter(request, start, end)

    def _enter(self, request: Request, start: int, end: int) -> None:
        """Let a request's blocks be found, as runs of its own or the continuation of the last that only it holds."""
        kv, runs = request.kv, self.runs
        for branch, first, upto in pieces(request.path, start, end):
            append_to(kv.runs, runs.setdefault(branch, []), branch, first, upto)
        kv.registered = end

    def grow(self, request: Request, step: int) -> None:
        """Note that a request that begins to decode will fill blocks that can be found."""
        if request.kv.registered >= request.kv.named:
            return
        if self.growing:
            self._meet_rivals(request, step)
        self._start_growing(request)

    def _meet_rivals(self, request: Request, step: int) -> None:
        """Find who will fill what this request is about to fill, and watch them all from now on."""
        rivals = [grower for grower in self._growers(request.path, 0, request.kv.named) if _rivals(grower, request)]
        for grower in rivals:
            self._register_filled(grower, step, order=-1)
        rivals = [grower for grower in rivals if grower.kv.growing and _rivals(grower, request)]
        if rivals:
            self.contested += [request, *(grower for grower in rivals if grower not in self.contested)]

    def register_contested(self, step: int) -> None:
        """Register, in running order, what requests that are about to fill the same content fill in the next step."""
        for grower in sorted(self.contested, key=lambda request: request.order):
            self._register_filled(grower, step)

    def _start_growing(self, request: Request) -> None:
        request.kv.growing = branch = branch_at(request.path, request.kv.registered)
        if branch is not None:
            self.growing.setdefault(branch, []).append(request)
        elif request in self.contested:
            self.contested.remove(request)

    def _register_filled(self, grower: Request, step: int, order: int = sys.maxsize) -> bool:
        """Register what a decoding request has filled by now, as seen by a running request of this order, or a waiting one."""
        computes = grower.order < order and grower.status is Status.DECODING
        tokens = step + grower.offset + computes - self.async_scheduling
        end = min(tokens // self.lot_tokens * self.lot, grower.kv.named)
        if end <= grower.kv.registered:
            return False
        self._stop_growing(grower)
        self._enter(grower, grower.kv.registered, end)
        self._start_growing(grower)
        return True

    def _stop_growing(self, request: Request) -> None:
        assert request.kv.growing is not None
        others = self.growing[request.kv.growing]
        others.remove(request)
        if not others:
            del self.growing[request.kv.growing]
        request.kv.growing = None

    def release(self, request: Request, blocks: int, tokens: int, *, finished: bool) -> int:
        """Take its `blocks` blocks from a request, those of its first `tokens` named; gives how many are free now.

        Its own blocks, which nobody else looks for, are named here: nobody will, if it is `finished`.
        """
        self._end_growing(request, tokens)
        held = request.kv
        start = held.registered
        named = max(start, tokens // self.block_size)
        freed: int = blocks - named
        self._free_unnamed(freed)
        if start < named:
            if finished:
                self.queue.append_blocks(named - start)
                freed += named - start
            else:
                self._name_own(request, start, named)
        for run, end in reversed(held.runs):
            for part in (run,) if run.end >= end else reversed(run.parts(end)):
                part.users -= 1
                if not part.users:
                    self.queue.append(part)
                    freed += part.end - part.first
        request.kv = None
        return freed

    def _name_own(self, request: Request, start: int, end: int) -> None:
        """Let a request find its own blocks from `start` to `end` again."""
        request.path = with_own(request.path, end)
        self._enter(request, start, end)

    def _free_unnamed(self, blocks: int) -> None:
        """Take back blocks that nothing can be found in."""
        if not self.unnamed_first:
            self.queue.append_blocks(blocks)
        elif blocks:
            if self.taken:
                self._forget_taken()
            self.unnamed += blocks

    def _end_growing(self, request: Request, tokens: int) -> None:
        """Register what a request has filled of its first `tokens`; it fills no more."""
        if request.kv.growing:
            self._stop_growing(request)
            filled = min(tokens // self.lot_tokens * self.lot, request.kv.named)
            if filled > request.kv.registered:
                self._enter(request, request.kv.registered, filled)
            if request in self.contested:
                self.contested.remove(request)

    def _forget_taken(self) -> None:
        """Forget what the free blocks held that were taken: the next in the queue."""
        queue, blocks = self.queue, self.taken
        if self.unnamed:
            unnamed = min(self.unnamed, blocks)
            self.unnamed -= unnamed
            blocks -= unnamed
        while blocks:
            run = queue.next
            if run.copies > 1:
                run = self._first_copies(run, max(blocks // (run.end - run.first), 1))
            used = min(blocks // run.copies, run.end - run.first)
            blocks -= used * run.copies
            run.end -= used
            if run.end == run.first:
                queue.remove(run)
                if run.branch is not None:
                    self._remove(run, run.branch)
        self.taken = 0

    def _siblings(self, run: BlockRun) -> list[BlockRun]:
        """The runs on the branch of one."""
        assert run.branch is not None
        return self.runs[run.branch]

    def _remove(self, run: BlockRun, branch: Branch) -> None:
        runs = self.runs[branch]
        runs.remove(run)
        if not runs:
            del self.runs[branch]

    def _first_copies(self, run: BlockRun, copies: int) -> BlockRun:
        """Of a free run that several layer groups have: that of so many of them, which is used first."""
        raise NotImplementedError

    def _split(self, run: BlockRun, at: int) -> BlockRun:
        """Cut a run in two; gives the rear part, which is used again first if it is free."""
        rear = BlockRun(run.branch, at, run.end, run.users, run.rear, run.group, run.first_copy, run.copies)
        if not run.users:
            self.queue.insert(rear, run)
        runs = self._siblings(run)
        runs.insert(runs.index(run) + 1, rear)
        run.rear, run.end = rear, at
        return rear


def append_to(held: Row, runs: list[BlockRun], branch: Branch, first: int, end: int) -> None:
    """Let a request that holds `held` hold these blocks too, as a run of their own or the last one continued."""
    last = held[-1][0] if held else None
    if last is not None and last.branch is branch and last.end == first and only_one_up_to(end, last, runs):
        last.end = end
        held[-1] = (last, end)
    else:
        run = BlockRun(branch, first, end, 1)
        runs.append(run)
        held.append((run, end))


def only_one_up_to(end: int, last: BlockRun, runs: Sequence[BlockRun]) -> bool:
    """Whether one request alone holds `last`, and none of these runs has what follows it, up to block `end`."""
    return last.users == 1 and all(other.end <= last.end or end <= other.first for other in runs)


def _registered(request: Request) -> int:
    registered: int = request.kv.registered
    return registered


def _rivals(one: Request, other: Request) -> bool:
    """Whether two requests will fill blocks of the same content."""
    both = max(one.kv.registered, other.kv.registered)
    return both < min(one.kv.named, other.kv.named) and branch_at(one.path, both) is branch_at(other.path, both)
