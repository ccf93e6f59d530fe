"""The fewest replicas, against trying one, two, three of them: with shared prefixes, refusals and copies inside a replica."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning_fixtures import small

from simulator.planning.capacity.deployment_run import measured
from simulator.planning.capacity.replicas import fewest_conceivable, fewest_that, fit_replicas
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.planning.size import size
from simulator.scenario import Scenario, load
from simulator.workload.sample import sample

HERE = InProcess()
SYSTEM = "prefix: {kind: shared_prefix, system_prompt_len: 3000}"
GROUPS = "prefix: {kind: shared_prefix, num_groups: 12, system_prompt_len: 2000}"
DOCUMENTS = "prefix: {kind: documents, documents: 300, document_len: 900, per_request: 2, popularity: 1.0}"
TALKS = "sessions: {kind: conversation, turns: 4, think: 2}"


def _scenario(folder: Path, traffic: str, rate: int, *changes: tuple[str, str]) -> Scenario:
    """Prompts that cost time, at a rate that takes a few replicas of the L40S."""
    steps = "latency: {kind: linear, step_ms: 10, token_us: 60}"
    base = (("latency: {kind: linear, step_ms: 10, token_us: 1}", steps), ("rate: 20/s", f"rate: {rate}/s"))
    shared = (("arrivals:", f"{traffic}\n  arrivals:"),) if traffic else ()
    return load(small(folder, *base, *shared, *changes))


def _fewest_tried(scenario: Scenario, most: int = 12) -> int | None:
    """Replicas tried one by one, as `sim run` would judge each."""
    for replicas in range(1, most + 1):
        fleet = plan_fleet(scenario, scenario.deployments[1].with_pool(replicas=replicas))
        run = measured(scenario, fleet, sample(scenario.workload, scenario.seed))
        if run.verdict in ("stable", "saturated") and all(check.met for check in run.slo):
            return replicas
    return None


@pytest.mark.parametrize(
    ("traffic", "rate"),
    [(SYSTEM, 250), (GROUPS, 250), (DOCUMENTS, 60), (f"{GROUPS}\n  {TALKS}", 200), ("", 400)],
)
def test_no_more_replicas_are_bought_than_were_seen_to_be_needed(tmp_path: Path, traffic: str, rate: int) -> None:
    requests = 10_000 if TALKS in traffic else 4_000
    scenario = dataclasses.replace(_scenario(tmp_path, traffic, rate, ("requests: 400", f"requests: {requests}")), slo=None)
    found, least = fit_replicas(scenario, scenario.deployments[1]), fewest_conceivable(scenario, scenario.deployments[1])
    assert found.replicas == _fewest_tried(scenario)
    assert least is not None
    assert found.replicas is not None
    assert least <= found.replicas
    assert found.replicas == 1 or found.why.startswith(f"with {found.replicas - 1}, ")


def test_a_system_prompt_that_all_share_is_not_bought_again_and_again(tmp_path: Path) -> None:
    """3,000 shared tokens cost 0.18 s a request where nothing is cached: 30 requests/s would take some six replicas."""
    scenario = _scenario(tmp_path, SYSTEM, 30, ("requests: 400", "requests: 2500"))
    found = fit_replicas(scenario, scenario.deployments[1])
    assert found.replicas == 1
    run = review(scenario, machine=HERE, curve=False).deployment("L40S")
    assert (run.verdict, run.slo_met) == ("stable", True)
    uncached = load(small(tmp_path, ("max_num_seqs: 64", "max_num_seqs: 64, enable_prefix_caching: false")))
    uncached = dataclasses.replace(scenario, deployments=uncached.deployments, slo=None)
    without = fit_replicas(uncached, uncached.deployments[1])
    assert without.replicas is not None
    assert without.replicas >= 5


def test_requests_that_are_refused_are_no_load(tmp_path: Path) -> None:
    """One of 25 prompts fills the context by itself and would be as much work as all others together."""
    classes = "classes: [{name: a, share: 24, prompt: 100, output: 20}, {name: b, prompt: 4090, output: 20}]"
    scenario = _scenario(tmp_path, "", 100, ("prompt: 100\n  output: 20", classes), ("requests: 400", "requests: 2500"))
    found = fit_replicas(scenario, scenario.deployments[1])
    assert found.replicas == _fewest_tried(scenario)
    assert "of the requests get no answer" in found.unanswered
    assert "exceed max_model_len=4096" in found.unanswered


def test_a_deployment_that_refuses_too_many_is_not_bought_in_any_number(tmp_path: Path) -> None:
    classes = "classes: [{name: a, prompt: 100, output: 20}, {name: b, prompt: 4090, output: 20}]"
    scenario = _scenario(tmp_path, "", 20, ("prompt: 100\n  output: 20", classes))
    for deployments in ([scenario.deployments[1]], None):
        found = size(scenario, deployments=deployments, machine=HERE)
        assert found.best is None
    assert fewest_conceivable(scenario, scenario.deployments[1]) is None
    why = fit_replicas(scenario, scenario.deployments[1]).why
    assert "of the requests get no answer (" in why
    assert "the first because 4090 prompt and 20 output tokens exceed max_model_len=4096" in why


def test_copies_of_the_model_inside_a_replica_count(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, "", 400, ("requests: 400", "requests: 3000"))
    one = fit_replicas(scenario, scenario.deployments[1]).replicas
    four = fit_replicas(scenario, scenario.deployments[1].with_pool(data_parallel_size=4)).replicas
    assert one is not None
    assert four == -(-one // 4)


@given(fewest=st.integers(1, 200), start=st.integers(1, 100), most=st.integers(1, 100))
def test_the_boundary_is_found_from_wherever_the_search_starts(fewest: int, start: int, most: int) -> None:
    asked: list[int] = []

    def carries(replicas: int) -> bool:
        asked.append(replicas)
        return replicas >= fewest

    found = fewest_that(carries, min(start, most), most)
    assert found == (fewest if fewest <= most else None)
    assert len(asked) == len(set(asked)) <= 16
    assert found is None or {found, found - 1} - {0} <= set(asked)
