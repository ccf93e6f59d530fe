"""How published runs are repeated."""

import numpy as np
import pytest

from simulator.validation.protocols import output_lengths


def test_outputs_of_one_length_differ_by_a_twentieth_around_it() -> None:
    drawn = output_lengths(4_000, 1_000, 1.0, np.random.default_rng(0))
    assert (drawn.min(), drawn.max()) == (950, 1_050)
    assert drawn.mean() == pytest.approx(1_000, rel=0.005)


def test_outputs_with_a_range_ratio_are_even_over_it() -> None:
    drawn = output_lengths(4_000, 1_000, 0.8, np.random.default_rng(0))
    assert (drawn.min(), drawn.max()) == (800, 1_000)
    assert drawn.mean() == pytest.approx(900, rel=0.005)


def test_short_outputs_stay_as_they_are() -> None:
    assert set(output_lengths(50, 16, 1.0, np.random.default_rng(0)).tolist()) == {16}
