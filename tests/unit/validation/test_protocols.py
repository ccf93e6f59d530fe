"""How published runs are repeated."""

import numpy as np
import pytest

from simulator.validation.protocols import nominal_lengths


def test_nominal_lengths_differ_by_a_twentieth_around_what_is_stated() -> None:
    drawn = nominal_lengths(4_000, 1_000, np.random.default_rng(0))
    assert (drawn.min(), drawn.max()) == (950, 1_050)
    assert drawn.mean() == pytest.approx(1_000, rel=0.005)


def test_short_lengths_stay_as_they_are() -> None:
    assert set(nominal_lengths(50, 16, np.random.default_rng(0)).tolist()) == {16}
