"""Lengths worked by hand."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from pydantic import ValidationError
from support.workloads import lengths

from simulator.workload.lengths.discrete import Fixed
from simulator.workload.lengths.distribution_functions import gamma_cdf, normal_cdf, normal_quantile


def at(written, *u):
    return lengths(written).tokens_at(np.array(u)).tolist()


def test_a_bare_number_is_always_that_length():
    assert lengths(7) == Fixed(tokens=7)
    assert at(7, 0.0, 0.5, 0.999) == [7, 7, 7]


def test_uniform_lengths_are_all_alike_and_include_both_ends():
    assert at({"kind": "uniform", "min": 3, "max": 5}, 0, 0.3, 0.34, 0.6, 0.67, 1 - 2**-53) == [3, 3, 4, 4, 5, 5]


def test_a_lognormal_by_mean_and_p95_has_both():
    law = lengths({"kind": "lognormal", "mean": 1000, "p95": 3000})
    assert law.expected() == pytest.approx(1000)
    assert law.quantile(np.array([0.95])) == pytest.approx([3000])


def test_a_lognormal_by_median_and_p95_has_both():
    assert at({"kind": "lognormal", "median": 100, "p95": 400}, 0.5, 0.95) == [100, 400]


def test_a_lognormal_by_mean_and_std_has_both():
    law = lengths({"kind": "lognormal", "mean": 1000, "std": 500})
    assert law.expected() == pytest.approx(1000)
    assert math.sqrt(law.variance()) == pytest.approx(500, rel=1e-6)


def test_clipping_puts_what_is_outside_on_the_bounds():
    law = lengths({"kind": "normal", "mean": 100, "std": 50, "min": 90, "max": 120})
    assert at({"kind": "normal", "mean": 100, "std": 50, "min": 90, "max": 120}, 0.001, 0.5, 0.999) == [90, 100, 120]
    shares = [NormalDist(100, 50).cdf(k + 0.5) for k in range(90, 120)]
    assert law.expected() == pytest.approx(120 - sum(shares))


def test_lengths_are_at_least_one_token():
    assert at({"kind": "lognormal", "mu": -5, "sigma": 0.1}, 0.5) == [1]


def test_zipf_halves_the_chance_of_twice_the_length_at_exponent_one():
    law = lengths({"kind": "zipf", "exponent": 1, "max": 4})
    assert law.table()[1] == pytest.approx(np.array([12, 6, 4, 3]) / 25)
    assert law.expected() == pytest.approx(48 / 25)


def test_quantiles_are_log_linear_between_their_points():
    law = {"kind": "quantiles", "points": {"p0": 10, "p50": 100, "p100": 10_000}}
    assert at(law, 0, 0.25, 0.5, 0.75) == [10, 32, 100, 1000]
    assert lengths(law).expected() == pytest.approx(0.5 * 90 / math.log(10) + 0.5 * 9900 / math.log(100))


def test_quantiles_may_be_named_by_percent_or_by_share_in_any_order():
    assert lengths({"kind": "quantiles", "points": {1: 9, "p0": 2, 0.5: 3}}).points == ((0.0, 2.0), (0.5, 3.0), (1.0, 9.0))


def test_an_empirical_law_weighs_its_values():
    law = {"kind": "empirical", "values": [30, 10], "weights": [3, 1]}
    assert at(law, 0, 0.24, 0.26, 0.99) == [10, 10, 30, 30]
    assert (lengths(law).expected(), lengths(law).variance()) == (25, 75)


def test_normal_functions_agree_with_the_standard_library():
    z = np.array([-5.0, -1.0, 0.0, 0.5, 3.0])
    assert normal_cdf(z) == pytest.approx([NormalDist().cdf(x) for x in z])
    assert normal_quantile(normal_cdf(z)) == pytest.approx(z, abs=1e-9)
    assert np.isfinite(normal_quantile(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize("shape", [1, 2, 5, 30])
def test_the_gamma_function_of_whole_shape_is_a_poisson_sum(shape):
    x = np.array([0.0, 0.1, 1.0, 4.0, 20.0, 60.0])
    tail = [sum(math.exp(-v) * v**k / math.factorial(k) for k in range(shape)) for v in x]
    assert gamma_cdf(shape, x) == pytest.approx(1 - np.array(tail), abs=1e-12)


def test_the_gamma_function_of_half_is_the_error_function():
    x = np.array([0.01, 0.4, 3.0, 9.0])
    assert gamma_cdf(0.5, x) == pytest.approx([math.erf(math.sqrt(v)) for v in x], abs=1e-12)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (0, "greater than or equal to 1"),
        (-3, "greater than or equal to 1"),
        (2.5, "valid"),
        (True, "valid"),
        ({"kind": "uniform", "min": 5, "max": 4}, "max 4 is below min 5"),
        ({"kind": "lognormal", "mean": 100}, "give mean and p95"),
        ({"kind": "lognormal", "mean": 100, "p95": 200, "sigma": 1}, "give mean and p95"),
        ({"kind": "lognormal", "mean": 100, "p95": 90}, "no lognormal has these two"),
        ({"kind": "lognormal", "mean": 100, "p95": 500}, "no lognormal has these two"),
        ({"kind": "lognormal", "mean": 100, "median": 120}, "no lognormal has these two"),
        ({"kind": "gamma", "mean": 100, "cv": 1, "min": 9, "max": 8}, "below min"),
        ({"kind": "quantiles", "points": {"p1": 4, "p100": 5}}, "from p0"),
        ({"kind": "quantiles", "points": {"p0": 4, "p50": 3, "p100": 5}}, "shorter"),
        ({"kind": "quantiles", "points": {"median": 4}}, "p50, p99.9"),
        ({"kind": "quantiles", "points": {}}, "from p0"),
        ({"kind": "empirical", "values": []}, "empty"),
        ({"kind": "empirical", "values": [1, 2], "weights": [1]}, "2 numbers"),
        ({"kind": "empirical", "values": [1, 2], "weights": [0, 0]}, "not all zero"),
        ({"kind": "log-normal", "mean": 1}, "lognormal"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(written, told):
    with pytest.raises(ValidationError, match=told):
        lengths(written)
