"""Branches: the tree of what the leading KV blocks of requests hold, as few unforked runs instead of a label a block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.errors import NotModelled
from simulator.workload.requests import BlockHashes, Ints
from simulator.workload.traces.block_hashes import renumbered


class Branch:
    """The contents that follow on each other from where they depart from another branch; `end` blocks with all before them.

    `stem` leads to it: the branches before it, each with the block at which it is left. Two branches never hold the same
    content, so a branch and a place name the content of a block and of all before it.
    """

    __slots__ = ("end", "stem")

    def __init__(self, stem: Path, end: int) -> None:
        self.stem = stem
        self.end = end


class OwnBranch(Branch):
    """What only one request holds: the blocks behind those that a workload names, its answer's too."""

    __slots__ = ()


Path = tuple[tuple[Branch, int], ...]
NOTHING: Path = ((Branch((), 0), 0),)


def pieces(path: Path, start: int, end: int) -> Iterator[tuple[Branch, int, int]]:
    """On which branches the blocks from `start` to `end` of a path lie, as (branch, first, end)."""
    for branch, upto in path:
        if start >= end:
            return
        if start < upto:
            yield branch, start, min(upto, end)
            start = upto


def in_blocks_of(path: Path, units: int) -> Path:
    """A path in blocks of so many of its own: each lies on the branch where its last part does."""
    return path if units == 1 else tuple((branch, upto // units) for branch, upto in path)


def shared_end(path: Path) -> int:
    """Where the blocks of a path end that other requests may have too."""
    if type(path[-1][0]) is OwnBranch:
        return path[-2][1]
    return path[-1][1]


def with_own(path: Path, blocks: int) -> Path:
    """A path of so many blocks: what it lacks is on a branch of its own."""
    last, end = path[-1]
    if end >= blocks:
        return path
    if type(last) is OwnBranch:
        return (*path[:-1], (last, blocks))
    return (*path, (OwnBranch((), blocks), blocks))


def branch_at(path: Path, block: int) -> Branch | None:
    """The branch on which a block of a path lies; None beyond its end."""
    for branch, upto in path:
        if block < upto:
            return branch
    return None


class PrefixTree:
    """Gives the path of each request, in blocks of the engine's size, from hashes of blocks of another size."""

    def __init__(self, hashes: BlockHashes | None, block_size: int) -> None:
        self.hashes = hashes
        self.finer = self.coarser = 1
        if hashes is not None:
            self.finer, self.coarser = max(hashes.block_tokens // block_size, 1), max(block_size // hashes.block_tokens, 1)
            if hashes.block_tokens * self.coarser != block_size * self.finer:
                raise NotModelled(f"prefix hashes of {hashes.block_tokens}-token blocks, and KV blocks of {block_size} tokens")
            self._grow_tree(hashes)

    def path(self, index: int) -> Path:
        """Where the leading blocks of request `index` lie: branches, each with the block at which it is left or ends."""
        if self.hashes is None:
            return NOTHING
        branch = self.branches[index]
        return (*branch.stem, (branch, self._blocks(self.lengths[index])))

    def _blocks(self, hashed: int) -> int:
        return hashed * self.finer // self.coarser

    def _grow_tree(self, hashes: BlockHashes) -> None:
        """Let each request with contents that none before it had go on with the branch it follows to its end, or fork."""
        self.lengths: list[int] = np.diff(hashes.offsets).tolist()
        self.branches: list[Branch] = []
        for length, known, source in zip(self.lengths, *_common_prefixes(hashes.offsets, hashes.ids), strict=True):
            branch = self.branches[source] if known else NOTHING[0][0]
            if known and known == branch.end:
                branch.end = length
            elif known < length:
                stem = (*branch.stem, (branch, self._blocks(known))) if known else ()
                branch = Branch(stem, length)
            self.branches.append(branch)


def _common_prefixes(offsets: Ints, ids: Ints) -> tuple[list[int], list[int]]:
    """Per request: how many of its leading ids earlier ones have too, and which request was the first with the last of those."""
    ids, places = renumbered(ids), np.arange(len(ids))
    first_place = np.empty(int(ids.max(initial=-1)) + 1, dtype=np.int64)
    first_place[ids[::-1]] = places[::-1]
    first_place = first_place[ids]
    new = np.append(np.flatnonzero(first_place == places), len(ids))
    known = np.minimum(new[np.searchsorted(new, offsets[:-1])], offsets[1:]) - offsets[:-1]
    last_known = np.maximum(offsets[:-1] + known - 1, 0)
    first_place = np.append(first_place, 0)
    source = np.searchsorted(offsets, first_place[np.minimum(last_known, len(ids))], side="right") - 1
    return known.tolist(), source.tolist()
