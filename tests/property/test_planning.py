"""Planning, for any server, demand and grid."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.planning.axes import axis
from simulator.planning.capacity.closed_loop import levels_off
from simulator.planning.capacity.search import MOST_SIMULATIONS, Flow, Standing, queueing_point, slo_capacity
from simulator.results.model import Estimate

RATES = st.floats(1e-3, 1e5)


@given(capacity=RATES, wrong=st.floats(0.01, 100), slower=st.floats(0.5, 1.0))
def test_the_queueing_point_is_found_for_any_capacity_and_guess(capacity: float, wrong: float, slower: float) -> None:
    """Within 5 % below and never above what keeps up, though a backlog may make the server slower."""
    asked = 0

    def flow(rate: float) -> Flow:
        nonlocal asked
        asked += 1
        completed = rate if rate <= capacity else capacity * slower
        return Flow(rate, completed, completed * 0.999, completed * 1.001)

    found = queueing_point(flow, capacity * wrong)
    assert asked <= MOST_SIMULATIONS
    assert 0.95 * capacity * min(1.0, slower + 0.05) <= found.value <= 1.001 * capacity
    assert found.low <= found.value <= (found.high or math.inf)


@given(at=RATES, queueing=RATES)
def test_the_slo_capacity_is_within_its_tolerance_of_the_threshold(at: float, queueing: float) -> None:
    def standing(rate: float) -> Standing:
        return Standing(rate, rate <= at, rate <= at, rate > at)

    found = slo_capacity(standing, Estimate(queueing, queueing * 0.98, queueing * 1.02))
    if at < queueing / 50:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(min(at, queueing), rel=0.06)
    assert found.value <= at
    assert found.low <= found.value


@given(
    knee=st.floats(1.5, 900),
    users=st.lists(st.integers(1, 1000), min_size=3, unique=True).map(sorted),
    share=st.floats(0.5, 1.0),
)
def test_where_a_curve_levels_off_is_between_its_first_and_last_point(knee: float, users: list[int], share: float) -> None:
    found = levels_off([(n, min(n, knee)) for n in users], share)
    assert users[0] * (1 - 1e-9) <= found <= users[-1] * (1 + 1e-9)


@given(start=st.integers(1, 50), step=st.integers(1, 9), count=st.integers(1, 40))
def test_a_range_has_its_start_its_end_and_even_steps(start: int, step: int, count: int) -> None:
    end = start + step * (count - 1)
    assert axis(f"a.b={start}:{end}:{step}").values == tuple(str(start + step * i) for i in range(count))


@given(st.lists(st.from_regex(r"[a-z0-9.]{1,6}", fullmatch=True), min_size=1, unique=True))
def test_a_list_of_values_comes_back_in_order(values: list[str]) -> None:
    assert axis("a.b=" + ",".join(values)).values == tuple(values)
