"""Which runs have the blocks of a path: from its front up to the first unknown one, or wherever some are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_tree import Branch, Path

Found = list[tuple[BlockRun, int, int]]

_NONE: Sequence[BlockRun] = ()
_first = attrgetter("first")


def known_run(known: Mapping[Branch, Sequence[BlockRun]], path: Path, start: int, most: int) -> Found:
    """Which runs have the blocks of a path from `start` on, up to the first unknown one or `most`: (run, first, end)."""
    found: Found = []
    at = start
    for branch, upto in path:
        runs, upto = known.get(branch, _NONE), min(upto, most)
        while at < upto:
            end = upto
            for run in runs:
                if run.first <= at < run.end:
                    break
                if at < run.first < end:
                    end = run.first
            else:
                return found
            end = min(end, run.end)
            found.append((run, at, end))
            at = end
    return found


def all_known(known: Mapping[Branch, Sequence[BlockRun]], path: Path, most: int) -> Found:
    """Which runs have blocks of a path up to `most`, gaps between them left out: (run, first, end)."""
    found: Found = []
    start = 0
    for branch, upto in path:
        runs, end = known.get(branch, _NONE), min(upto, most)
        if start < end and len(runs) == 1:
            found += part_of([(runs[0], runs[0].first, runs[0].end)], start, end)
        elif start < end and runs:
            found += _known_on(runs, end, start)
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


def end_of_window(known: Found, most: int, needed: int) -> int:
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


def part_of(found: Found, start: int, end: int) -> Found:
    """What of this lies between two blocks."""
    return [(run, max(first, start), min(upto, end)) for run, first, upto in found if first < end and start < upto]
