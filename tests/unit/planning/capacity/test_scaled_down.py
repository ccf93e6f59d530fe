"""A few replicas that stand for a large fleet: how many, and how many times they count."""

import dataclasses
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.capacity.deployment_run import measured, rejudged
from simulator.planning.capacity.scaled_down import fleet
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import load
from simulator.server import FleetPlan
from simulator.workload.sample import sample


@pytest.mark.parametrize(
    ("replicas", "copies", "part"),
    [(10, 3, 15), (5, 3, 15), (16, 1, 16), (17, 1, 16), (3, 8, 16), (2, 32, 32), (1, 32, 32)],
)
def test_a_part_is_whole_replicas_and_never_less_than_one(tmp_path: Path, replicas: int, copies: int, part: int) -> None:
    """Copies inside a replica are simulated together: sixteen at most, or those of one replica."""
    scenario = load(small(tmp_path))
    deployment = scenario.deployments[0].with_pool(replicas=replicas, data_parallel_size=copies)
    found = fleet(plan_fleet(scenario, dataclasses.replace(deployment)))
    assert found.part.instances == part
    assert found.times == replicas * copies / part
    assert (found.part is found.whole) == (part == replicas * copies)


def test_amounts_that_add_up_are_those_of_the_whole_whatever_the_verdict(tmp_path: Path) -> None:
    scenario = load(small(tmp_path))
    whole = plan_fleet(scenario, scenario.deployments[0].with_pool(replicas=4))
    assert isinstance(whole, FleetPlan)
    requests = sample(scenario.workload, scenario.seed)
    part, alone = fleet(whole, largest=1).measured(scenario, requests), measured(scenario, whole.with_instances(1), requests)
    for run in (part, rejudged(part, "overloaded")):
        assert run.metrics["output_tokens_per_s"] == pytest.approx(4 * (alone.metrics["output_tokens_per_s"] or 0.0))
        assert run.metrics["finished"] == alone.metrics["finished"]
