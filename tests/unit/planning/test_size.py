"""Sizing: the replicas that are needed, the cheapest that will do, and why the others will not."""

import dataclasses
import math
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.errors import NotModelled, ScenarioError
from simulator.planning import size as sizing_room
from simulator.planning.capacity.replicas import Fitting, fewest_conceivable, fit_replicas
from simulator.planning.machines.pool import InProcess
from simulator.planning.size import Ask, Sizing, size
from simulator.planning.space import space
from simulator.scenario import Deployment, Scenario, load

HERE = InProcess()


def _scenario(folder: Path, *settings: tuple[str, str]) -> Scenario:
    return load(small(folder), settings)


@pytest.fixture(scope="module")
def sizing(tmp_path_factory: pytest.TempPathFactory) -> Sizing:
    """200 requests/s on a replica that completes some 300, three times as many in a while, and a replica that may be lost."""
    scenario = _scenario(tmp_path_factory.mktemp("sizing"), ("workload.arrivals.rate", "200"), ("workload.requests", "2000"))
    return size(scenario, ask=Ask(spare=1, growth=3), machine=HERE)


def test_the_cheapest_that_will_do_comes_first_and_the_others_say_what_they_cost_more(sizing: Sizing) -> None:
    assert [c.deployment.name for c in sizing.candidates] == ["L40S", "H100", "T4"]
    assert sizing.best is sizing.candidates[0]
    assert sizing.candidates[1].why == "costs $4.00 an hour more (200%)"
    assert sizing.candidates[2].why.startswith("does not start: ")
    assert "would start with" in sizing.candidates[2].why


def test_what_costs_the_same_is_ranked_the_same_whichever_is_done_first(sizing: Sizing) -> None:
    one = sizing.candidates[0]
    ties = [dataclasses.replace(one, deployment=dataclasses.replace(one.deployment, name=name), why="") for name in "abc"]
    ranked = [sizing_room._ranked(order) for order in (ties, ties[::-1], [ties[1], ties[2], ties[0]])]
    assert all([c.deployment.name for c in each] == ["a", "b", "c"] for each in ranked)


def test_a_spare_replica_is_one_more_than_the_traffic_needs(sizing: Sizing) -> None:
    assert sizing.best is not None
    assert sizing.best.wording == "2 GPUs = 2 replicas x 1 GPU"
    assert sizing.best.usd_per_hour == 2.0


def test_grown_traffic_is_sized_too(sizing: Sizing) -> None:
    assert sizing.best is not None
    assert sizing.best.grown == 2 + 1
    assert sizing.best.grown_usd_per_hour == 3.0
    assert sizing.best_grown is sizing.best


def test_the_first_two_know_how_much_more_traffic_they_take(sizing: Sizing) -> None:
    rooms = [c.headroom for c in sizing.candidates]
    assert rooms[0] is not None
    assert 1.5 < rooms[0] < 2.5, "two replicas complete some 600 requests/s and are asked for 200"
    assert rooms[1] is not None
    assert rooms[2] is None


def test_one_replica_less_than_found_would_not_do(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, ("workload.arrivals.rate", "700"), ("workload.requests", "3000"))
    found = fit_replicas(scenario, scenario.deployments[1])
    assert found.replicas == 3
    assert found.why.startswith("with 2, ")
    at_least = fewest_conceivable(scenario, scenario.deployments[1])
    assert at_least is not None
    assert at_least <= 3


def test_an_slo_that_nobody_reaches_names_the_nearest_and_by_what_it_misses(tmp_path: Path) -> None:
    missed = size(_scenario(tmp_path, ("slo.tpot_s", "0.008")), machine=HERE)
    assert missed.best is None
    assert missed.nearest is not None
    assert "p95 TPOT is 0.01 s against 0.008 s even when hardly used" in missed.nearest.why


def test_where_the_most_replicas_are_too_few_that_is_said(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, ("workload.arrivals.rate", "2000"), ("workload.requests", "3000"))
    found = fit_replicas(scenario, scenario.deployments[1], most=2)
    assert found.replicas is None
    assert found.why.startswith("not with 2 replicas either")


def test_nothing_that_fits_is_an_answer_with_what_would(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path)
    found = size(scenario, deployments=[scenario.deployments[2]], machine=HERE)
    assert found.best is None
    assert found.nearest is None
    assert "would start with" in found.candidates[0].why


def test_a_space_is_every_combination() -> None:
    found = space(["h100", "l40s"], ["auto", "fp8"], [1, 2], {"max_num_seqs": [64]})
    assert len(found) == 8
    assert {d.name for d in found} >= {"h100, max_num_seqs=64", "l40s TP 2, fp8, max_num_seqs=64"}
    assert {d.pool.max_num_seqs for d in found} == {64}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["h100"], ["fp9"]), "fp8"),
        ((["h10"],), "h100"),
        ((["h100"], ["auto"], [1], {"max_num_seqs": ["many"]}), "max_num_seqs"),
        ((["h100"], ["auto"], [1], {"max_nm_seqs": [4]}), "max_nm_seqs: unknown field; did you mean 'max_num_seqs'"),
        (([],), "the space is empty"),
    ],
)
def test_a_space_that_cannot_be_built_says_why(arguments: tuple, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        space(*arguments)


def test_what_costs_more_even_at_its_ceiling_is_not_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []

    def watched(scenario: Scenario, deployment: Deployment, **how: int) -> Fitting:
        fitted.append(deployment.name)
        return Fitting(1, 1, "")

    monkeypatch.setattr(sizing_room, "fit_replicas", watched)
    monkeypatch.setattr(sizing_room, "_WAVE", 2)
    monkeypatch.setattr(sizing_room, "_until_sure", lambda sizing, machine: sizing)
    scenario = _scenario(tmp_path, ("prices.usd_per_gpu_hour", "{h100-sxm: 3.0, l40s: 1.0, a100-80gb-sxm: 1.1, h200-sxm: 9}"))
    found = size(scenario, deployments=space(["l40s", "h100-sxm", "a100-80gb-sxm", "h200-sxm"]), machine=HERE)
    assert fitted == ["l40s", "a100-80gb-sxm"]
    assert {c.why for c in found.candidates if c.replicas is None} == {
        "costs at least $3.00 an hour, at its ceiling",
        "costs at least $9.00 an hour, at its ceiling",
    }


def test_a_gpu_without_a_price_will_do_but_is_never_the_cheapest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing_room, "_until_sure", lambda sizing, machine: sizing)
    scenario = _scenario(tmp_path)
    mine = dataclasses.replace(scenario.deployments[0].pool.gpu, name="of-my-own")
    unpriced = dataclasses.replace(scenario.deployments[0].with_pool(gpu=mine), name="mine")
    found = size(scenario, deployments=[scenario.deployments[1], unpriced], machine=HERE)
    assert [c.deployment.name for c in found.fitting] == ["L40S", "mine"]
    assert math.isinf(found.fitting[1].usd_per_hour)
    assert "no price is known" in found.fitting[1].why


def test_a_fleet_that_changes_is_not_sized(tmp_path) -> None:
    faulty = "{name: H100, gpu: h100-sxm, replicas: 2, faults: [{kind: outage, at_s: 5s, replicas: [1]}]}"
    path = small(tmp_path, ("{name: H100, gpu: h100-sxm}", faulty))
    with pytest.raises(NotModelled, match="H100: a size is of replicas that serve from start to end; size_over_time is"):
        size(load(path))
