"""Replicas at other rates, worked by hand."""

import math
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.growth import replica_steps, replicas_at, surely_needed
from simulator.planning.size import Ask, Candidate, Sizing
from simulator.results.assurance import Assurance
from simulator.results.model import DeploymentResult
from simulator.scenario import load


@pytest.fixture
def sizing(tmp_path: Path) -> Sizing:
    """20 requests/s carried by 3 replicas, one of them spare, and twice as much by 5."""
    scenario = load(small(tmp_path))
    deployment = scenario.deployments[0].with_pool(replicas=3)
    candidate = Candidate(deployment, "", 3, 5, 9.0, 15.0, "", "")
    return Sizing(scenario, Ask(spare=1, growth=2.0), (candidate,))


@pytest.mark.parametrize(
    ("rate", "replicas"),
    [(5.0, 2), (15.0, 3), (20.0, 3), (25.0, 4), (30.0, 4), (40.0, 5), (41.0, 6), (80.0, 9)],
)
def test_what_was_simulated_holds_at_its_rate_and_the_rest_is_read_off_a_replica(sizing, rate, replicas) -> None:
    assert replicas_at(sizing, sizing.candidates[0], 10.0, rate) == replicas


def test_a_candidate_that_needs_more_than_its_replicas_carry_alone_never_needs_less_for_more_traffic(sizing) -> None:
    counts = [replicas_at(sizing, sizing.candidates[0], 30.0, rate) for rate in range(1, 120)]
    assert counts == sorted(counts)


def test_steps_begin_where_another_replica_is_needed(sizing) -> None:
    assert replica_steps(sizing, sizing.candidates[0], 10.0, 45.0) == [
        (0.0, 2),
        (10.0, 3),
        (20.0, 4),
        (30.0, 5),
        (40.0, 6),
        (45.0, 6),
    ]


def _answer(standing: str, sure_per_s: float | None, replicas: int = 2) -> DeploymentResult:
    assured = Assurance(standing, 0.95, sure_per_s=sure_per_s)
    return DeploymentResult("H100", "", "", "h100-sxm", replicas, replicas, "stable", "", assurance=assured)


def test_what_is_sure_already_needs_no_more_and_what_is_not_needs_what_each_surely_carries(sizing) -> None:
    candidate = sizing.candidates[0]
    assert surely_needed(sizing, candidate, _answer("meets", 30.0), 20.0) == 3
    assert surely_needed(sizing, candidate, _answer("too close to call", 10.0), 20.0) == math.ceil(20 / 5) + 1
    assert surely_needed(sizing, candidate, _answer("misses", None), 20.0) is None
