"""How published runs are repeated."""

import numpy as np
import pytest

from simulator.validation.protocols import staggered_lengths


def test_staggered_lengths_differ_with_the_users_around_what_is_stated() -> None:
    drawn = staggered_lengths(4_000, 1_000, 100, np.random.default_rng(0))
    assert (drawn.min(), drawn.max()) == (940, 1_060)
    assert drawn.mean() == pytest.approx(1_000, rel=0.005)


def test_short_lengths_differ_by_no_more_than_half() -> None:
    drawn = staggered_lengths(400, 16, 100, np.random.default_rng(0))
    assert (drawn.min(), drawn.max()) == (8, 24)
