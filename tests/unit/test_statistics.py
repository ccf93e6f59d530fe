"""Batch means and Student's t."""

import math

import numpy as np
import pytest

from simulator.statistics import BATCHES, half_width, standard_error, student_t


def within(t: float, freedom: int) -> float:
    """The share of Student's t that lies between -t and t, by summing its density."""
    x = np.linspace(-t, t, 200_001)
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    return float(((density[1:] + density[:-1]) / 2).sum() * (x[1] - x[0]))


@pytest.mark.parametrize(("level", "freedom"), [(0.90, 19), (0.95, 4), (0.95, 19), (0.99, 15), (0.99, 19)])
def test_a_quantile_of_students_t_has_its_share_of_the_values(level: float, freedom: int) -> None:
    assert within(student_t(level, freedom), freedom) == pytest.approx(level, abs=2e-5)


def test_the_interval_of_a_mean_is_worked_out_by_hand() -> None:
    batches = np.array([1.0, 3.0] * (BATCHES // 2))
    assert standard_error(batches) == pytest.approx(math.sqrt(20 / 19) / math.sqrt(20))
    assert half_width(batches) == pytest.approx(2.093 / math.sqrt(19))
    assert half_width(batches, 0.99) == pytest.approx(2.8609 / math.sqrt(19))


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    missed = sum(abs(sample.mean()) > half_width(sample) for sample in rng.normal(size=(2000, BATCHES)))
    assert 0.035 < missed / 2000 < 0.065  # three standard deviations about 0.05: a false alarm in 1 of 400
