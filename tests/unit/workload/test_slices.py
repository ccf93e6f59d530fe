"""A part of the time of a workload."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.errors import NotModelled
from simulator.workload.requests import BlockHashes, Requests
from simulator.workload.slices import between

ONES = np.ones(5, dtype=np.int64)


def test_a_slice_has_the_requests_of_its_time_with_all_their_columns() -> None:
    hashes = BlockHashes(16, np.array([0, 1, 3, 3, 4, 6]), np.arange(6))
    whole = Requests(np.array([0.0, 5.0, 5.0, 9.0, 10.0]), np.arange(1, 6), ONES, ONES, np.arange(5), hashes=hashes)
    part = between(whole, 5.0, 10.0)
    assert part.arrival_s.tolist() == [0.0, 0.0, 4.0]
    assert part.prompt_tokens.tolist() == [2, 3, 4]
    assert part.label is not None
    assert part.label.tolist() == [1, 2, 3]
    assert part.hashes is not None
    assert (part.hashes.offsets.tolist(), part.hashes.ids.tolist()) == ([0, 2, 2, 3], [1, 2, 3])
    assert len(between(whole, 11.0, 12.0)) == 0


def test_later_turns_cannot_be_cut() -> None:
    turns = Requests(np.zeros(2), ONES[:2], ONES[:2], previous=np.array([-1, 0]))
    with pytest.raises(NotModelled, match="a part of the time of sessions"):
        between(turns, 0.0, 1.0)
