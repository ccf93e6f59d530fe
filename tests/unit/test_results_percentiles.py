"""Percentiles of sorted values are NumPy's."""

import numpy as np
import pytest

from simulator.results.percentiles import percentile


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 5_000])
def test_a_percentile_is_that_of_numpy_to_the_last_bit(count):
    values = np.sort(np.random.default_rng(count).lognormal(size=count))
    for q in (0.1, 37.3, 50, 90, 99, 99.9, 100):
        assert percentile(values, q) == np.percentile(values, q)
