"""Where the throughput of a closed loop levels off."""

import pytest

from simulator.planning.capacity.closed_loop import levels_off, saturating_concurrency


@pytest.mark.parametrize("knee", [3, 10, 100, 1000])
def test_a_throughput_that_grows_to_a_knee_levels_off_there(knee: int) -> None:
    found = saturating_concurrency(lambda users: float(min(users, knee)))
    assert found == pytest.approx(0.98 * knee, rel=0.05)


def test_a_throughput_that_falls_after_its_peak_levels_off_before_it() -> None:
    found = saturating_concurrency(lambda users: min(users, 64) - max(0, users - 64) * 0.1)
    assert found == pytest.approx(0.98 * 64, rel=0.05)


def test_a_throughput_that_grows_for_ever_does_not_level_off() -> None:
    assert saturating_concurrency(float, most=1000) is None


def test_between_two_points_the_share_is_reached_on_a_straight_line_in_the_logarithm() -> None:
    assert levels_off([(10, 80.0), (1000, 100.0)], share=0.9) == pytest.approx(100.0)


def test_a_single_point_is_where_it_levels_off() -> None:
    assert levels_off([(8, 5.0)]) == 8.0
