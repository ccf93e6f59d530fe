"""Hash ids of traces in blocks of other sizes."""

import numpy as np
import pytest

from simulator.errors import MeasurementError
from simulator.workload.requests import BlockHashes
from simulator.workload.traces.block_hashes import block_size_of, chained, gathered, in_blocks, renumbered


def hashes(size, *lists):
    counts = [len(ids) for ids in lists]
    return BlockHashes(
        size, np.concatenate([[0], np.cumsum(counts)]), np.array([i for ids in lists for i in ids], dtype=np.int64)
    )


def lists(found):
    return [found.ids[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]


def test_a_larger_block_becomes_several_and_the_last_as_many_as_the_prompt_fills():
    found = in_blocks(hashes(64, [0, 5], [0, 7]), np.array([110, 128]), 16, "t")
    assert lists(found) == [[0, 1, 2, 3, 20, 21], [0, 1, 2, 3, 28, 29, 30, 31]]
    assert found.block_tokens == 16


def test_several_small_blocks_become_one_named_by_the_last_of_them():
    assert lists(in_blocks(hashes(16, [0, 1, 2, 3, 4], [0, 9]), np.array([85, 40]), 32, "t")) == [[1, 3], [9]]


def test_blocks_of_the_same_size_stay_but_for_one_that_is_not_full():
    assert lists(in_blocks(hashes(16, [4, 5, 6]), np.array([47]), 16, "t")) == [[4, 5]]


def test_a_clipped_prompt_keeps_the_blocks_it_still_has():
    assert lists(in_blocks(hashes(512, [3, 4]), np.array([40]), 16, "t")) == [[96, 97]]


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(MeasurementError, match="24-token blocks cannot be told in the engine's blocks of 16"):
        in_blocks(hashes(24, [0]), np.array([24]), 16, "t")


@pytest.mark.parametrize("rounded", ["up", "down"])
@pytest.mark.parametrize("size", [16, 64, 512])
def test_the_block_size_is_told_from_prompts_and_how_many_ids_they_list(size, rounded):
    prompts = np.random.default_rng(1).integers(600, 9000, 500)
    listed = -(-prompts // size) if rounded == "up" else prompts // size
    assert block_size_of(listed, prompts, "t") == size


def test_a_block_size_that_fits_nothing_must_be_said():
    with pytest.raises(MeasurementError, match="say block_size: N"):
        block_size_of(np.array([7, 9]), np.array([100, 100]), "t")


def test_ids_that_already_stand_for_their_prefix_stay():
    given = hashes(16, [0, 1, 2], [0, 1, 3], [4])
    assert chained(given.offsets, given.ids) is given.ids


def test_ids_of_contents_alone_are_made_to_stand_for_their_prefix():
    given = hashes(16, [0, 1, 2], [3, 1, 2], [], [0, 1, 2], [0, 2])
    found = lists(BlockHashes(16, given.offsets, chained(given.offsets, given.ids)))
    assert found[0] == found[3]
    assert found[0][0] == found[4][0]
    assert len({found[0][1], found[1][1], found[4][1], found[0][2], found[1][2], found[0][0], found[1][0]}) == 7


def test_large_ids_become_small_ones_with_the_same_equalities():
    ids = np.array([2**62, 5, 2**62, -7])
    assert renumbered(ids).tolist() == [2, 1, 2, 0]
    assert renumbered(np.array([3, 1])).tolist() == [3, 1]


def test_hashes_of_some_requests_in_any_order():
    assert lists(gathered(hashes(16, [1, 2], [], [3]), np.array([2, 0, 0, 1]))) == [[3], [1, 2], [1, 2], []]
