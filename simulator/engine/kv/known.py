"""Which blocks of a path are known, and which runs have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_tree import Branch, Path

Found = list[tuple[BlockRun, int, int]]
Span = tuple[int, int]

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


def known_spans(known: Mapping[Branch, Sequence[BlockRun]], path: Path, most: int) -> list[Span]:
    """Where the known blocks of a path lie, up to `most`: from which on, up to which."""
    spans: list[Span] = []
    start = 0
    for branch, upto in path:
        upto = min(upto, most)
        for run in sorted(known.get(branch, _NONE), key=_first):
            first, end = max(run.first, start), min(run.end, upto)
            if first < end:
                if spans and first <= spans[-1][1]:
                    first, end = spans[-1][0], max(end, spans.pop()[1])
                spans.append((first, end))
        start = max(start, upto)
    return spans


def end_of_window(spans: Sequence[Span], most: int, needed: int) -> int:
    """The last block, up to `most`, where the `needed` ones that end there, or all from the front on, are known."""
    for first, end in reversed(spans):
        end = min(end, most)
        if first < end and (first == 0 or first + needed <= end):
            return end
    return 0


def known_between(known: Mapping[Branch, Sequence[BlockRun]], path: Path, start: int, most: int) -> Found:
    """Which runs have the blocks of a path from `start` up to `most`, all of them known: (run, first, end)."""
    found: Found = []
    for branch, upto in path:
        end = min(upto, most)
        if start < end:
            runs = [run for run in known[branch] if run.first < end and start < run.end]
            found += [(runs[0], start, end)] if len(runs) == 1 else _earliest_on(runs, start, end)
            start = end
    return found


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
