"""Factors that two measured points give: drawn to the prediction as far as such points are known to mislead."""

import numpy as np
import pytest

from simulator.validation.calibrate import DISTURBED, DISTURBED_CHANCE, POINT_ERROR, SERVERS, shrunk


def factors(*late: float) -> list[float]:
    found, _ = shrunk(np.eye(len(late)), np.array(late))
    return [float(each) for each in found]


def test_a_small_error_is_mostly_noise_and_a_large_one_that_both_ends_show_is_the_server() -> None:
    small, large = factors(0.03, 0.03), factors(0.30, 0.30)
    assert all(0 < each < 0.8 * 0.03 for each in small)
    assert all(each > 0.9 * 0.30 for each in large)


def test_one_odd_end_moves_the_other_little() -> None:
    low, high = factors(-0.06, 0.34)
    assert abs(low) < 0.06 and high < 0.34 / 2


def test_nothing_off_stays_as_predicted() -> None:
    assert factors(0.0, 0.0) == [0.0, 0.0]


def test_more_points_are_surer() -> None:
    errors = [shrunk(np.ones((n, 1)), np.full(n, 0.2))[1][0] for n in (1, 2, 8, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < max(level for _, level, _ in SERVERS)


@pytest.mark.parametrize("late", [(0.05,), (0.2, 0.1), (-0.1, 0.15)])
def test_the_average_over_all_that_may_be_is_what_sampling_gives(late: tuple[float, ...]) -> None:
    rng, n = np.random.default_rng(1), 200_000
    servers = np.array([(level, tilt) for _, level, tilt in SERVERS])[rng.choice(2, n, p=[share for share, _, _ in SERVERS])]
    mean, half = rng.normal(size=(2, n)) * servers.T
    ends = np.stack([mean - half, mean + half])[: len(late)]
    odd = rng.choice(len(late) + 1, n, p=[1 - len(late) * DISTURBED_CHANCE, *[DISTURBED_CHANCE] * len(late)])
    noise = np.where(np.arange(len(late))[:, None] == odd - 1, DISTURBED, POINT_ERROR)
    weight = np.exp(-0.5 * (((np.array(late)[:, None] - ends) / noise) ** 2).sum(axis=0)) / noise.prod(axis=0)
    sampled = (weight * ends).sum(axis=1) / weight.sum()
    assert factors(*late) == pytest.approx(list(sampled), abs=0.01)
