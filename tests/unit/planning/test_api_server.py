"""The API server before an engine in what is planned: capacity, verdict, what binds, replicas.

Of the small scenario a request takes 4 ms, 20 chunks of 100 us and 100 prompt tokens of 4.4 us: 6.44 ms, so one process takes
155 requests/s, and the engine behind it some 280.
"""

import dataclasses
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.capacity import curve
from simulator.planning.capacity.api_server import api_server_ceiling
from simulator.planning.capacity.curve import capacity
from simulator.planning.capacity.deployment_run import measured
from simulator.planning.capacity.probes import requests_at_rate
from simulator.planning.capacity.replicas import fewest_conceivable, fit_replicas
from simulator.planning.capacity.search import Turn
from simulator.planning.deployment import examine
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.model import DeploymentResult
from simulator.scenario import Scenario, load
from simulator.server import DoesNotStart, FleetPlan
from simulator.workload.sample import sample

MOST = 1 / 0.00644


def slow(folder: Path, *settings: tuple[str, str], frontend: str = "request_ms: 4, chunk_us: 100") -> Scenario:
    scenario = load(small(folder, ("queue: false", frontend)), settings)
    return dataclasses.replace(scenario, deployments=scenario.deployments[1:2])


def fleet_of(scenario: Scenario) -> FleetPlan:
    found = plan_fleet(scenario, scenario.deployments[0])
    assert not isinstance(found, DoesNotStart)
    return found


def examined(scenario: Scenario, *, curve: bool = False) -> DeploymentResult:
    return examine(scenario, scenario.deployments[0], sample(scenario.workload, scenario.seed), curve=curve)


def test_what_one_process_takes_bounds_the_queueing_point_and_the_slo_capacity(tmp_path: Path) -> None:
    scenario = slow(tmp_path)
    found = capacity(scenario, fleet_of(scenario), sample(scenario.workload, scenario.seed))
    assert found.queueing.value == pytest.approx(MOST)
    assert found.queueing.high == pytest.approx(MOST)
    assert found.slo is not None
    assert found.slo.value <= found.queueing.value


def test_an_engine_that_surely_takes_more_than_its_api_server_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "queueing_point", None)
    scenario = slow(tmp_path)
    found = capacity(scenario, fleet_of(scenario), sample(scenario.workload, scenario.seed)).queueing
    assert (found.low, found.high) == (found.value, found.value)
    assert found.value == pytest.approx(MOST)


@pytest.mark.parametrize(("share", "verdict"), [(0.8, "stable"), (1.15, "overloaded")])
def test_runs_just_below_and_above_the_ceiling_bear_it_out(tmp_path: Path, share: float, verdict: str) -> None:
    scenario = slow(tmp_path)
    fleet = fleet_of(scenario)
    rate = share * api_server_ceiling(fleet, sample(scenario.workload, scenario.seed))
    run = measured(scenario, fleet, requests_at_rate(scenario.workload, rate, 4_000, 3))
    assert run.steadiness.verdict == verdict


def test_what_binds_is_called_by_its_name_with_what_helps(tmp_path: Path) -> None:
    busy = [("workload.arrivals.rate", "200"), ("workload.requests", "3000")]
    one = examined(slow(tmp_path, *busy))
    assert one.verdict == "overloaded"
    assert one.binding is not None
    assert one.binding.resource == "API server"
    assert one.remedies == ("--api-server-count 2: so many API server processes take 200 requests/s",)
    two = examined(slow(tmp_path, *busy, ("deployments.L40S.api_server_count", "2")))
    assert two.verdict == "stable"
    assert "--api-server-count 2" in two.serve_command


def test_a_closed_loop_is_held_to_what_its_api_server_streams(tmp_path: Path) -> None:
    loop = ("workload.arrivals", "{kind: closed_loop, concurrency: 64}")
    found = examined(slow(tmp_path, loop))
    assert found.metrics is not None
    assert found.metrics["requests_per_s"] == pytest.approx(MOST, rel=0.06)
    assert found.binding is not None
    assert found.binding.resource == "API server"
    assert found.verdict == "saturated"


def test_in_the_engine_nothing_of_it_is_seen(tmp_path: Path) -> None:
    scenario = dataclasses.replace(slow(tmp_path), measured_at="engine")
    requests = sample(scenario.workload, scenario.seed)
    trace = fleet_of(scenario).serve(requests)
    assert "entered_s" not in trace.requests
    assert "frontend_s" not in trace.requests


def test_replicas_are_counted_by_what_their_api_servers_take(tmp_path: Path) -> None:
    scenario = slow(tmp_path, ("workload.arrivals.rate", "160"), ("workload.requests", "1500"))
    found = fit_replicas(scenario, scenario.deployments[0])
    assert found.replicas == 2
    assert found.why == "with 1, their API servers take 155 requests/s"
    assert fewest_conceivable(scenario, scenario.deployments[0]) == 2


@pytest.mark.parametrize("version", ["tensorrt-llm-1.0.0", "vllm-0.6.3"])
def test_where_nothing_is_known_of_it_the_result_says_that_it_is_not_modelled(tmp_path: Path, version: str) -> None:
    scenario = slow(tmp_path, ("engine.version", version), frontend="queue: true")
    notes = examined(scenario).notes
    assert any(note.startswith(f"API server not modelled for {scenario.engine.name}") for note in notes)


def test_a_turn_within_a_bound_is_no_higher_than_it() -> None:
    found = Turn(100.0, 90.0, 110.0, recovers_below=80.0)
    assert found.within(95.0) == Turn(95.0, 90.0, 95.0, 80.0)
    assert found.within(70.0) == Turn(70.0, 70.0, 70.0, None)
    assert found.within(float("inf")) == found
    assert Turn(1.0, 1.0, None).within(float("inf")).high is None
