"""Long horizons: which hours are alike, and what a week comes to from a few of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.planning_fixtures import small

from simulator.errors import NotModelled, SimulatorError
from simulator.planning.capacity.deployment_run import promised
from simulator.planning.changing.policies import always_ready
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.horizon.kinds import kinds_of_hours, replicas_during
from simulator.planning.horizon.run import Horizon, horizon
from simulator.planning.machines.pool import InProcess
from simulator.results.kept import stretches_kept
from simulator.results.over_time import paid_between
from simulator.scenario import Scenario, load
from simulator.server import FleetPlan
from simulator.workload.sample import sample

DAYS = ("{kind: poisson, rate: 20/s}", "{kind: stages, rates: [0.01/s, 0.04/s, 0.01/s, 0.04/s], every: 12h}")
WHOLE = ("requests: 400", "duration: 2d")
SLO = ("{ttft_s: 0.5, tpot_s: 0.05, percentile: 95, goodput: 0.9}", "{ttft_s: 0.5, percentile: 90}")
LISTED = """\
  - {name: H100, gpu: h100-sxm}
  - {name: L40S, gpu: l40s}
  - {name: T4, gpu: t4, quantization: fp16}
"""
CLOCK = """\
  - {name: clock, gpu: l40s, cold_start: {engine_s: 60}, autoscaler: {kind: schedule,
      hours: [{from_s: 0, replicas: 1}, {from_s: 11h30m, replicas: 2}]}}
"""
ONE = "  - {name: one, gpu: l40s}\n"


def scenario(folder: Path, deployments: str, *more: tuple[str, str]) -> Scenario:
    one_at_a_time = ("max_num_seqs: 64", "max_num_seqs: 1")
    return load(small(folder, one_at_a_time, DAYS, WHOLE, SLO, (LISTED, deployments), *more))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Horizon]:
    case = scenario(
        tmp_path_factory.mktemp("days"), CLOCK, ("t4: 0.5}", "t4: 0.5}, usd_per_kwh: 0.2, power: {decode_watts: 200}")
    )
    return case, horizon(case, machine=InProcess())[0]


def test_hours_are_alike_by_traffic_and_by_the_replicas_of_the_clock(tmp_path: Path) -> None:
    case = scenario(tmp_path, CLOCK)
    requests, edges = sample(case.workload, 0), 3600.0 * np.arange(49.0)
    kinds = kinds_of_hours(requests, edges, case.deployments[0])
    assert sorted(hour for kind in kinds for hour in kind.hours) == list(range(48))
    asked = np.histogram(requests.arrival_s, edges)[0]
    for kind in kinds:
        assert len({replicas_during(case.deployments[0], 3600.0 * h, 3600.0 * (h + 1)) for h in kind.hours}) == 1
        assert asked[list(kind.hours)].max() <= 1.1 * asked[list(kind.hours)].min() + 1
        assert set(kind.simulated) <= set(kind.hours)
        assert kind.asked == asked[list(kind.hours)].sum()
    assert replicas_during(case.deployments[0], 11 * 3600.0, 12 * 3600.0) == (1, ((1800.0, 2),))


def test_few_hours_say_what_all_of_them_come_to(found: tuple[Scenario, Horizon]) -> None:
    case, told = found
    fleet = plan_fleet(case, case.deployments[0])
    assert isinstance(fleet, FleetPlan)
    requests = sample(case.workload, case.seed)
    record = always_ready(fleet.serve(requests, seed=case.seed), 1)
    edges = 3600.0 * np.arange(49.0)
    kept = stretches_kept(record, promised(case, requests), edges)
    low, high = told.kept_hours
    assert low <= np.nansum(kept) <= high
    assert told.hours == 48
    assert told.asked == len(requests)
    assert told.simulated < told.asked
    assert told.replica_hours == pytest.approx(paid_between(record.events, 0.0, 48 * 3600.0) / 3600, rel=0.01)
    assert told.output_tokens == pytest.approx(record.requests["output_tokens"].sum(), rel=0.1)
    busy = float((record.stretches["end_s"] - record.stretches["start_s"]).sum())
    assert (1 - told.idle) * told.replica_hours * 3600 == pytest.approx(busy, rel=0.1)


def test_energy_is_told_by_phase(found: tuple[Scenario, Horizon]) -> None:
    _, told = found
    assert told.kwh["idle"] == pytest.approx(told.idle * told.replica_hours * 0.15 * 350 / 1000)
    assert told.kwh["decode"] > told.kwh["prefill"] > 0, "twenty steps a request, of which one has the prompt"
    assert told.usd_energy == pytest.approx(0.2 * sum(told.kwh.values()))
    assert told.usd == pytest.approx(told.replica_hours)


def test_what_depends_on_the_hours_before_is_refused(tmp_path: Path) -> None:
    followed = "  - {name: hpa, gpu: l40s, autoscaler: {kind: hpa, target: 1, max_replicas: 2}}\n"
    with pytest.raises(NotModelled, match="hpa: hours by kind for an autoscaler that follows a metric"):
        horizon(scenario(tmp_path, followed), machine=InProcess())
    with pytest.raises(SimulatorError, match="this workload lasts 2 h"):
        horizon(scenario(tmp_path, ONE, ("duration: 2d", "duration: 2h")), machine=InProcess())
    no_slo = load(small(tmp_path, DAYS, WHOLE, ("slo: {ttft_s: 0.5, tpot_s: 0.05, percentile: 95, goodput: 0.9}\n", "")))
    with pytest.raises(SimulatorError, match="a horizon needs an slo"):
        horizon(no_slo, machine=InProcess())
