"""What every length law keeps."""

import math

import numpy as np
import pytest
from support.workloads import LENGTHS, lengths

from simulator.spec import variants
from simulator.workload.lengths.discrete import Lengths

ALL = [lengths(written) for written in LENGTHS]
NAME = lambda law: f"{law.kind}-{ALL.index(law)}"  # noqa: E731
N = 200_000
WIDTH = 4.0


def test_there_is_an_example_of_every_variant():
    assert {type(law) for law in ALL} == set(variants(Lengths))


@pytest.mark.parametrize("law", ALL, ids=NAME)
def test_lengths_are_whole_positive_and_grow_with_the_uniform_number(law):
    drawn = law.tokens_at(np.linspace(0, 1 - 2**-53, 1001))
    assert drawn.dtype == np.int64
    assert drawn.min() >= 1
    assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize("law", ALL, ids=NAME)
def test_sample_mean_and_variance_agree_with_the_closed_form(law):
    """Within 4 standard errors (about one false alarm in 16,000 checks), the variance's from the sample's own fourth moment."""
    drawn = law.tokens_at(np.random.default_rng(7).random(N)).astype(float)
    assert abs(drawn.mean() - law.expected()) <= WIDTH * math.sqrt(law.variance() / N) + 1e-6 * law.expected()
    error = math.sqrt(max(((drawn - drawn.mean()) ** 4).mean() - drawn.var() ** 2, 0) / N)
    assert abs(drawn.var() - law.variance()) <= WIDTH * error + 1e-4 * law.variance() + 0.1


@pytest.mark.parametrize("law", [law for law in ALL if getattr(law, "max", None)], ids=NAME)
def test_no_length_is_outside_the_bounds(law):
    drawn = law.tokens_at(np.random.default_rng(8).random(10_000))
    assert drawn.min() >= law.min
    assert drawn.max() <= law.max


@pytest.mark.parametrize("law", ALL, ids=NAME)
def test_the_clipped_mean_is_the_sum_of_the_survival_function(law):
    """E[N] = sum of P(N > k), with P from a fine grid of uniform numbers."""
    even = (np.arange(100_000) + 0.5) / 100_000
    assert law.tokens_at(even).mean() == pytest.approx(law.expected(), rel=3e-3)
