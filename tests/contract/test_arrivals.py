"""What every arrival process keeps."""

import math

import numpy as np
import pytest
from support.workloads import ARRIVALS, arrivals

from simulator.spec import variants
from simulator.workload.arrivals.steady import AllAtOnce, Arrivals, ClosedLoopArrivals, Recorded, Steady
from simulator.workload.arrivals.varying import Bursts

ALL = [arrivals(written) for written in ARRIVALS]
RANDOM = [a for a in ALL if not isinstance(a, Recorded | AllAtOnce | ClosedLoopArrivals)]
NAME = lambda a: f"{a.kind}-{ALL.index(a)}"  # noqa: E731
SEEDS = range(200)
WIDTH = 4.0


def times(a, seed, requests=None, duration_s=None):
    return a.times(np.random.default_rng(seed), requests, duration_s)


def gap_cv(a):
    """The closed-form coefficient of variation of the gaps of a steady process."""
    if a.kind == "gamma":
        return a.gap_cv()
    if a.kind == "weibull":
        k = a.gap_shape()
        return math.sqrt(math.gamma(1 + 2 / k) / math.gamma(1 + 1 / k) ** 2 - 1)
    return {"constant": 0.0, "poisson": 1.0, "users": 1.0}[a.kind]


def test_there_is_an_example_of_every_variant():
    assert {type(a) for a in ALL} == set(variants(Arrivals))


@pytest.mark.parametrize("a", ALL, ids=NAME)
def test_times_do_not_decrease_and_repeat_for_a_seed(a):
    found = times(a, 1, requests=500)
    assert 0 < len(found) <= 500
    assert (found >= 0).all()
    assert (np.diff(found) >= 0).all()
    assert np.array_equal(found, times(a, 1, requests=500))


@pytest.mark.parametrize("a", RANDOM, ids=NAME)
def test_a_longer_run_begins_with_the_arrivals_of_a_shorter_one(a):
    longer = times(a, 2, requests=700)
    assert np.array_equal(times(a, 2, requests=50), longer[:50])
    middle = float(longer[300] + longer[301]) / 2
    assert np.allclose(times(a, 2, duration_s=middle), longer[longer <= middle])


@pytest.mark.parametrize("a", RANDOM, ids=NAME)
def test_twice_the_rate_has_twice_the_arrivals_and_scaling_is_to_the_mean_rate(a):
    assert a.scaled(2).mean_rate() == pytest.approx(2 * a.mean_rate())
    end = 3000.0
    assert len(times(a.scaled(2), 3, duration_s=end)) == pytest.approx(2 * len(times(a, 3, duration_s=end)), rel=0.3)


@pytest.mark.parametrize("a", [a for a in ALL if isinstance(a, Steady)], ids=NAME)
def test_gaps_have_the_closed_form_mean_and_variance(a):
    """Over n gaps the sample mean and variance lie within 4 standard errors: about one false alarm in 16,000 checks a figure.

    The standard error of the variance comes from the sample's own fourth moment.
    """
    gaps = np.diff(times(a, 4, requests=200_001))
    mean, variance = 1 / a.mean_rate(), (gap_cv(a) / a.mean_rate()) ** 2
    assert abs(gaps.mean() - mean) <= WIDTH * math.sqrt(variance / len(gaps)) + 1e-9
    error = math.sqrt(max(((gaps - gaps.mean()) ** 4).mean() - gaps.var() ** 2, 0) / len(gaps))
    assert abs(gaps.var() - variance) <= WIDTH * error + 1e-9


@pytest.mark.parametrize("a", [a for a in RANDOM if not isinstance(a, Steady | Bursts)], ids=NAME)
@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_as_many_arrive_by_a_time_as_its_integral_says(a, share):
    """The mean count over 200 seeds lies within 4 standard errors, and the bias of a first gap that is not memoryless (|cv**2
    - 1| / 2)."""
    end = share * (a.end_s() if math.isfinite(a.end_s()) else 200.0)
    counts = np.array([len(times(a, seed, duration_s=end)) for seed in SEEDS])
    bias = abs(a.cv**2 - 1) / 2 + (0.5 if a.cv == 0 else 0)
    assert abs(counts.mean() - a.expected_by(end)) <= WIDTH * counts.std() / math.sqrt(len(SEEDS)) + bias


@pytest.mark.parametrize("a", [a for a in RANDOM if isinstance(a, Bursts)], ids=NAME)
def test_bursts_have_the_mean_and_the_dispersion_of_a_modulated_poisson_process(a):
    """Counts in windows of w seconds: variance / mean = 1 + 2 (r1 - r0)**2 p q / (m c) * (1 - (1 - exp(-c w)) / (c w)),
    within 4 standard errors.

    p and q are the shares of the two phases, c the sum of the rates at which they end, m the mean rate.
    """
    window, n = 100.0, 1000
    counts = np.histogram(times(a, 5, duration_s=window * n), np.linspace(0, window * n, n + 1))[0]
    p, m, c = a.on / (a.on + a.off), a.mean_rate(), 1 / a.on + 1 / a.off
    within = 1 - (1 - math.exp(-c * window)) / (c * window)
    dispersion = 1 + 2 * (a.rate - a.idle_rate) ** 2 * p * (1 - p) / (m * c) * within
    assert abs(counts.mean() - m * window) <= WIDTH * counts.std() / math.sqrt(n)
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=WIDTH * math.sqrt(2 / n))


@pytest.mark.parametrize("a", [a for a in ALL if isinstance(a, AllAtOnce | ClosedLoopArrivals)], ids=NAME)
def test_what_has_no_rate_of_its_own_says_so(a):
    assert not math.isfinite(a.mean_rate())
    assert times(a, 1, requests=3).tolist() == [0, 0, 0]
