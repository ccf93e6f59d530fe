"""Verdict, queueing point and headroom of one page agree, whichever of run and search is right."""

import dataclasses

import pytest
from support.planning_fixtures import small

from simulator.planning.agreement import agreed, carries, varying
from simulator.planning.capacity.deployment_run import DeploymentRun, measured
from simulator.planning.capacity.search import Turn
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.model import Estimate
from simulator.results.steady_state import Steady
from simulator.scenario import load
from simulator.workload.sample import sample

DEMAND = 20.0


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> DeploymentRun:
    scenario = load(small(tmp_path_factory.mktemp("agreement")))
    return measured(scenario, plan_fleet(scenario, scenario.deployments[0]), sample(scenario.workload, scenario.seed))


def _run(calm: DeploymentRun, verdict: Steady, drift: float, half: float, note: str = "") -> DeploymentRun:
    steadiness = dataclasses.replace(
        calm.steadiness,
        verdict=verdict,
        drift_per_s=drift,
        drift_low_per_s=drift - half,
        drift_high_per_s=drift + half,
        note=note,
    )
    return dataclasses.replace(calm, steadiness=steadiness)


def _never() -> DeploymentRun:
    raise AssertionError("no longer run is needed")


def test_a_run_that_excludes_the_growth_the_search_implies_is_believed(calm: DeploymentRun) -> None:
    """A backlog of 8 requests/s would have been seen."""
    run = _run(calm, "stable", 0.0, 0.1)
    found = agreed(DEMAND, run, Turn(12.0, 11.9, 12.1), _never)
    assert found.run.steadiness.verdict == "stable"
    assert (found.turn.value, found.turn.recovers_below) == (DEMAND, 12.0)
    assert found.reason.endswith("once requests queue it recovers only below 12 requests/s")


@pytest.mark.parametrize("run", [("saturated", 1.0, 9.0, ""), ("stable", 0.0, 0.1, "the run is short")])
def test_a_run_that_does_not_exclude_it_is_overloaded(calm: DeploymentRun, run: tuple[Steady, float, float, str]) -> None:
    found = agreed(DEMAND, _run(calm, *run), Turn(12.0, 11.9, 12.1), _never)
    assert found.run.steadiness.verdict == "overloaded"
    assert found.run.metrics["ttft_p99_s"] is None
    assert found.turn.value == 12.0
    assert "which this run is too short to show: the queueing point is 12 requests/s" in found.reason


def test_a_backlog_that_grows_in_a_longer_run_too_lowers_the_point(calm: DeploymentRun) -> None:
    """As where a router leaves one replica more than its share."""
    run, second = _run(calm, "overloaded", 1.0, 0.9), _run(calm, "overloaded", 3.0, 0.5)
    found = agreed(DEMAND, run, Turn(25.0, 24.9, 25.1), lambda: second)
    assert found.run.steadiness.verdict == "overloaded"
    assert (found.turn.low, found.turn.value, found.turn.high) == (16.5, 17.0, DEMAND)


def test_a_backlog_that_a_longer_run_does_not_have_grew_by_chance(calm: DeploymentRun) -> None:
    run, second = _run(calm, "overloaded", 1.0, 0.9), _run(calm, "stable", 0.0, 0.1)
    found = agreed(DEMAND, run, Turn(25.0, 24.9, 25.1), lambda: second)
    assert found.run.steadiness.verdict == "stable"
    assert found.run.metrics["ttft_p99_s"] is not None
    assert found.turn.value == 25.0
    assert "grows by chance" in found.reason


@pytest.mark.parametrize(("verdict", "drift"), [("stable", 0.0), ("saturated", 0.2), ("overloaded", 0.5)])
@pytest.mark.parametrize("point", [10.0, 19.9, 20.1, 30.0])
@pytest.mark.parametrize("second", ["stable", "overloaded"])
def test_overloaded_is_just_what_has_its_point_below_the_demand(
    calm: DeploymentRun, verdict: Steady, drift: float, point: float, second: Steady
) -> None:
    turn = Turn(point, point - 0.3, point + 0.3, recovers_below=8.0)
    found = agreed(DEMAND, _run(calm, verdict, drift, 0.3), turn, lambda: _run(calm, second, 0.5, 0.3))
    assert (found.run.steadiness.verdict == "overloaded") is (found.turn.value < DEMAND)
    assert found.turn.low <= found.turn.value <= (found.turn.high or 0.0)
    assert ("recovers only below 8" in found.reason) is (found.run.steadiness.verdict != "overloaded")


def test_traffic_that_varies_may_overload_what_carries_its_mean_rate_and_the_reason_says_so(calm: DeploymentRun) -> None:
    found = varying(DEMAND, _run(calm, "overloaded", 1.0, 0.5), Turn(25.0, 24.9, 25.1))
    assert found.run.steadiness.verdict == "overloaded"
    assert "its mean rate of 20 requests/s is below the queueing point of even traffic, 25 requests/s" in found.reason


def test_a_pattern_that_ends_before_its_mean_rate_shows_is_not_stable(calm: DeploymentRun) -> None:
    found = varying(DEMAND, _run(calm, "stable", 0.0, 0.5), Turn(15.0, 14.9, 15.1))
    assert found.run.steadiness.verdict == "saturated"
    assert "is above the queueing point" in found.reason


def test_what_was_seen_to_carry_the_demand_carries_it() -> None:
    assert carries(Estimate(9.8, 9.5, 9.9), 10.0) == Estimate(10.0, 9.5, 10.0)
    assert carries(Estimate(12.0, 11.5, None), 10.0) == Estimate(12.0, 11.5, None)
