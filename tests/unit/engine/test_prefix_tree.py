"""Branches: two requests meet at the same place of the same branch exactly where their labels are equal."""

import numpy as np
import pytest

from simulator.engine.kv.prefix_tree import Path, PrefixTree, branch_at, pieces
from simulator.errors import NotModelled
from simulator.workload.requests import BlockHashes


def paths(labels, block_size=4, block_tokens=4):
    offsets = np.cumsum([0, *map(len, labels)])
    hashes = BlockHashes(block_tokens, offsets, np.array([label for row in labels for label in row], dtype=np.int64))
    branches = PrefixTree(hashes, block_size)
    return [branches.path(index) for index in range(len(labels))]


def length(path: Path) -> int:
    return path[-1][1]


def drawn_tree(rng, requests=60):
    """Lists down the branches of one tree, some of them cut short or empty, with labels of any size."""
    names, lists = rng.permutation(10**12 - np.arange(5000)), [[]]
    fresh = iter(names.tolist())
    for _ in range(requests):
        stem = lists[rng.integers(len(lists))]
        kept = stem[: rng.integers(len(stem) + 1)] if rng.random() < 0.5 else stem
        lists.append([*kept, *(next(fresh) for _ in range(rng.integers(0, 6)))])
    return lists


@pytest.mark.parametrize("seed", range(5))
def test_a_place_on_a_branch_is_the_same_exactly_where_the_label_is(seed):
    lists = drawn_tree(np.random.default_rng(seed))
    places: dict[object, int] = {}
    for labels, path in zip(lists, paths(lists), strict=True):
        assert length(path) == len(labels)
        for at, label in enumerate(labels):
            assert places.setdefault((branch_at(path, at), at), label) == label
    assert len(set(places.values())) == len(places)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("block_size", "block_tokens"), [(2, 6), (6, 2)])
def test_blocks_of_the_engine_are_named_by_hashes_of_another_size(seed, block_size, block_tokens):
    """Three to a hash, or one by the last of three hashes."""
    lists = drawn_tree(np.random.default_rng(seed))
    named = [
        [3 * label + i for label in labels for i in range(3)] if block_tokens > block_size else labels[2::3] for labels in lists
    ]
    places: dict[object, int] = {}
    for labels, path in zip(named, paths(lists, block_size, block_tokens), strict=True):
        assert length(path) == len(labels)
        for at, label in enumerate(labels):
            assert places.setdefault((branch_at(path, at), at), label) == label
    assert len(set(places.values())) == len(places)


def test_the_turns_of_a_conversation_lie_on_one_branch():
    first, second, third = paths([[1, 2], [1, 2, 3], [1, 2, 3, 4, 5]])
    assert [length(path) for path in (first, second, third)] == [2, 3, 5]
    assert len(third) == 1 and first[0][0] is third[0][0]


def test_a_fork_is_a_branch_of_its_own():
    """Of three requests with two blocks in common the second goes on with them, and the third departs."""
    stem, going_on, fork = paths([[1, 2], [1, 2, 3], [1, 2, 8, 9]])
    assert list(pieces(fork, 1, 4)) == [(stem[0][0], 1, 2), (fork[1][0], 2, 4)]
    assert list(pieces(going_on, 1, 3)) == [(stem[0][0], 1, 3)]


def test_hashes_whose_blocks_do_not_divide_are_refused():
    with pytest.raises(NotModelled, match="6-token blocks"):
        paths([[1]], block_size=4, block_tokens=6)
