"""Of drawn deployments: what one page says of verdict, queueing point, SLO capacity and headroom never contradicts itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.draws import TIMES
from support.planning_fixtures import small

from simulator.planning.capacity import curve, probes
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.assurance import LIKELY, SURE
from simulator.results.model import DeploymentResult
from simulator.results.recommend import headroom
from simulator.scenario import Scenario, load
from simulator.workload.arrivals.steady import Constant, Gamma, Poisson
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

LENGTHS = st.sampled_from(["100", "600", "{kind: lognormal, mean: 150, p95: 400, min: 4, max: 1000}"])
ARRIVALS = ("poisson", "gamma", "constant")


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of a scenario, its rate as a share of the ceiling left open."""
    chunked = draw(st.booleans())
    return {
        "workload.prompt": draw(LENGTHS),
        "workload.output": draw(st.sampled_from(["20", "150", "{kind: lognormal, mean: 60, p95: 150, min: 2, max: 400}"])),
        "workload.requests": str(draw(st.sampled_from([60, 400, 1500]))),
        "engine.max_num_seqs": str(draw(st.sampled_from([1, 3, 8, 32]))),
        "engine.enable_chunked_prefill": str(chunked).lower(),
        "engine.max_num_batched_tokens": str(draw(st.sampled_from([256, 2048]) if chunked else st.just(4096))),
        "engine.num_gpu_blocks_override": str(draw(st.sampled_from([300, 1000, 8000]))),
        "deployments.L40S.replicas": str(draw(st.sampled_from([1, 1, 2]))),
    }


@given(chosen=deployments(), arrivals=st.sampled_from(ARRIVALS), load_=st.sampled_from([0.5, 0.9, 0.97, 1.0, 1.03, 1.1, 1.5]))
@settings(max_examples=max(3, TIMES // 2), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_page_never_contradicts_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], arrivals: str, load_: float
) -> None:
    for room in (curve, probes):
        monkeypatch.setattr(room, "WHOLE", 4_000)
    scenario = load(small(tmp_path), list(chosen.items()))
    asked = _at_share(scenario, arrivals, load_)
    found, demand = review(asked, machine=InProcess()).deployments[0], asked.workload.mean_rate()
    assert demand is not None
    point, room_left = found.queueing_point, headroom(found, demand)
    assert point is not None
    assert (room_left is None) is (found.verdict == "overloaded" or found.slo_met is False), (room_left, found.slo_capacity)
    assert room_left is None or room_left >= 0
    assert (found.verdict == "overloaded") is (point.value < demand), (found.reason, point)
    assert point.low <= point.value <= (point.high or point.value)
    if found.slo_met is False and found.slo_capacity is not None:
        assert found.slo_capacity.value <= demand
    if found.slo_capacity is not None:
        assert found.slo_capacity.value <= point.value
    if found.recovers_below_per_s is not None:
        assert found.recovers_below_per_s < point.value
    _agrees_with_its_chance(found, demand)


def _agrees_with_its_chance(found: DeploymentResult, demand: float) -> None:
    """The rates up to which it is sure, likely and lost lie on the sides of the demand where its chance there puts them."""
    sure = found.assurance
    assert sure is not None
    ends = [end or 0.0 for end in (sure.sure_per_s, sure.likely_per_s, sure.lost_per_s)]
    assert ends == sorted(ends), sure
    for end, least in zip(ends, (SURE, LIKELY, 1 - SURE), strict=True):
        assert (end >= 0.998 * demand) if sure.chance > least else (end <= 1.002 * demand), (sure, demand)


def _at_share(scenario: Scenario, arrivals: str, load_: float) -> Scenario:
    """The scenario with one deployment, at a share of its closed-form ceiling."""
    one = dataclasses.replace(scenario, deployments=scenario.deployments[1:2])
    fleet = plan_fleet(one, one.deployments[0])
    rate = load_ * probes.full_server(fleet.server, sample(one.workload, one.seed)).requests_per_s * fleet.instances
    return dataclasses.replace(one, workload=_arriving(one, arrivals, rate))


def _arriving(scenario: Scenario, arrivals: str, rate: float) -> Workload:
    kinds = {"poisson": Poisson(rate=rate), "gamma": Gamma(rate=rate, cv=2.0), "constant": Constant(rate=rate)}
    return dataclasses.replace(scenario.workload, arrivals=kinds[arrivals])
