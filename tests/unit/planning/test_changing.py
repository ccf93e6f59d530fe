"""Sizes over time: what each stretch needs, policies that follow it, spares, and the mix of commitments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.planning_fixtures import small

from simulator.engine.fleet.autoscaler import Schedule
from simulator.engine.fleet.faults import RandomOutages
from simulator.engine.record import FleetEvent
from simulator.errors import NotModelled, SimulatorError
from simulator.planning.changing.commitments import cheapest_mix, paid_for
from simulator.planning.changing.policies import policy_words
from simulator.planning.changing.size import SizedFleet, goes_over_time, size_over_time
from simulator.planning.changing.spares import ready_law
from simulator.planning.machines.pool import InProcess
from simulator.scenario import Prices, Scenario, load

# One sequence at a time: a request takes 0.2 s and a prefill, so a replica completes some 4.7 a second.
ONE_AT_A_TIME = ("max_num_seqs: 64", "max_num_seqs: 1")
DAY_CURVE = ("{kind: poisson, rate: 20/s}", "{kind: stages, rates: [2/s, 12/s, 2/s], every: 120s}")
WHOLE = ("requests: 400", "duration: 360s")
SLO = ("{ttft_s: 0.5, tpot_s: 0.05, percentile: 95, goodput: 0.9}", "{ttft_s: 1.5, percentile: 90}")
LISTED = """\
  - {name: H100, gpu: h100-sxm}
  - {name: L40S, gpu: l40s}
  - {name: T4, gpu: t4, quantization: fp16}
"""
START = "cold_start: {weights_gb_per_s: 1000, engine_s: 10}, router: least_outstanding"


def scenario(folder: Path, deployments: str, *more: tuple[str, str], arrivals: tuple[str, str] = DAY_CURVE) -> Scenario:
    return load(small(folder, ONE_AT_A_TIME, arrivals, WHOLE, SLO, (LISTED, deployments), *more))


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SizedFleet]:
    """Three policies on the same GPU, in a stretch of time with a peak of six times the traffic."""
    written = f"""\
  - {{name: fixed, gpu: l40s, {START}}}
  - {{name: clock, gpu: l40s, {START}, autoscaler: {{kind: schedule, interval_s: 5, hours: [{{from_s: 0, replicas: 9}},
      {{from_s: 120, replicas: 9}}, {{from_s: 240, replicas: 9}}]}}}}
  - {{name: followed, gpu: l40s, {START}, autoscaler: {{kind: hpa, metric: outstanding, target: 1, max_replicas: 2,
      interval_s: 5, stabilization_s: 30}}}}
"""
    prices = (
        "l40s: 1.0, t4: 0.5}",
        "l40s: 1.0, t4: 0.5}, reserved_usd_per_gpu_hour: {l40s: 0.6}, spot_usd_per_gpu_hour: {L40S: 0.5}",
    )
    case = scenario(tmp_path_factory.mktemp("day"), written, prices)
    found = size_over_time(case, machine=InProcess(), availability=0.9)
    return {fleet.deployment.name: fleet for fleet in found.fleets}


def test_each_stretch_needs_what_carries_it_alone(fleets: dict[str, SizedFleet]) -> None:
    needs = fleets["fixed"].needs
    assert len(needs) == 24
    assert set(needs[:8]) <= {1, 2}
    assert set(needs[8:16]) <= {3, 4, 5}
    assert set(needs[17:]) <= {1, 2}


def test_every_policy_keeps_the_slo_with_numbers_of_its_own(fleets: dict[str, SizedFleet]) -> None:
    assert all(fleet.keeps and fleet.availability >= 0.9 for fleet in fleets.values())
    fixed, clock, followed = (fleets[name].deployment.pool for name in ("fixed", "clock", "followed"))
    assert fixed.replicas in (3, 4, 5)
    assert isinstance(clock.autoscaler, Schedule)
    steps = [(each.from_s, each.replicas) for each in clock.autoscaler.hours]
    assert [when for when, _ in steps] == [0.0, 60.0, 240.0], "the rise comes a minute earlier, for a start takes 10 s"
    assert steps[1][1] >= fixed.replicas
    assert steps[0][1] < steps[1][1] > steps[2][1]
    assert followed.autoscaler is not None
    assert followed.autoscaler.max_replicas == max(fleets["followed"].needs) + 1
    assert fleets["clock"].usd_per_day < fleets["fixed"].usd_per_day
    assert policy_words(fleets["clock"].deployment).startswith("by the clock: ")


def test_of_the_simulated_hours_the_cheapest_mix_is_told(fleets: dict[str, SizedFleet]) -> None:
    mix = fleets["clock"].mix
    assert mix is not None
    assert mix.reserved < fleets["clock"].deployment.pool.autoscaler.most
    assert mix.usd < mix.on_demand_usd
    assert fleets["clock"].mixed_usd_per_day < fleets["clock"].usd_per_day


def test_hours_are_counted_by_how_many_are_paid_for_at_least() -> None:
    events = [FleetEvent(0, 0, "ready"), FleetEvent(10, 1, "starts"), FleetEvent(12, 1, "ready"), FleetEvent(30, 1, "gone")]
    assert paid_for(events, 100.0).tolist() == [100.0, 20.0]


def test_a_replica_is_reserved_where_its_hours_otherwise_cost_more(tmp_path: Path) -> None:
    pool = scenario(tmp_path, "  - {name: one, gpu: l40s}\n").deployments[0].pool
    prices = Prices(usd_per_gpu_hour={"l40s": 2.0}, reserved_usd_per_gpu_hour={"l40s": 1.0}, spot_usd_per_gpu_hour={"l40s": 0.5})
    seconds = np.array([3600.0, 2160.0, 1440.0])  # there for 1, 0.6 and 0.4 of the time
    without = cheapest_mix(seconds, 3600.0, pool, Prices(**{**vars_of(prices), "spot_usd_per_gpu_hour": {}}))
    assert without is not None
    assert (without.reserved, without.usd) == (2, 1 + 1 + 0.4 * 2)
    mix = cheapest_mix(seconds, 3600.0, pool, prices)
    assert mix is not None
    # One of two, and one of three, at most on spot: 0.6 h of the second or third.
    assert (mix.reserved, mix.spot_hours) == (1, pytest.approx(0.6))
    assert mix.usd == pytest.approx(1 + 0.6 * 0.5 + 0.4 * 2)
    assert cheapest_mix(seconds, 3600.0, pool, Prices(usd_per_gpu_hour={"l40s": 2.0})) is None


def vars_of(prices: Prices) -> dict[str, object]:
    return {name: getattr(prices, name) for name in prices.__dataclass_fields__}


def test_nodes_are_up_by_the_law_of_machines_that_are_replaced() -> None:
    law = ready_law(4, RandomOutages(mtbf_s=900.0, together=2, restart_after_s=100.0), 0.0)
    assert law.tolist() == pytest.approx([0.01, 0.0, 0.18, 0.0, 0.81])
    odd = ready_law(3, RandomOutages(mtbf_s=900.0, together=2, restart_after_s=100.0), 0.0)
    assert odd.tolist() == pytest.approx([0.01, 0.09, 0.09, 0.81]), "the last node has one replica"


FAILING = f"  - {{name: failing, gpu: l40s, {START}, faults: [{{kind: random, mtbf_s: 2000, detected_after_s: 5}}]}}\n"
STEADY = ("{kind: poisson, rate: 20/s}", "{kind: poisson, rate: 6/s}")


def test_spares_are_added_until_the_slo_is_kept_often_enough(tmp_path: Path) -> None:
    (fleet,) = size_over_time(scenario(tmp_path, FAILING, arrivals=STEADY), machine=InProcess(), availability=0.98).fleets
    assert fleet.spares is not None
    rows = fleet.spares.rows
    assert [row.spares for row in rows] == list(range(len(rows)))
    assert all(row.availability < 0.98 for row in rows[:-1])
    assert rows[-1].availability >= 0.98
    assert fleet.keeps
    assert fleet.deployment.pool.replicas == rows[-1].replicas == fleet.spares.needed + rows[-1].spares


def test_where_no_number_of_spares_helps_it_is_said(tmp_path: Path) -> None:
    slow = FAILING.replace("detected_after_s: 5", "detected_after_s: 60").replace("least_outstanding", "round_robin")
    (fleet,) = size_over_time(scenario(tmp_path, slow, arrivals=STEADY), machine=InProcess(), availability=0.999).fleets
    assert not fleet.keeps
    assert "whatever the spares; detect it sooner" in fleet.why


def test_what_has_no_size_over_time_is_refused(tmp_path: Path) -> None:
    case = scenario(tmp_path, FAILING, arrivals=STEADY)
    assert goes_over_time(case, case.deployments)
    plain = scenario(tmp_path, "  - {name: one, gpu: l40s}\n", arrivals=STEADY)
    assert not goes_over_time(plain, plain.deployments)
    loop = scenario(
        tmp_path, FAILING, arrivals=("{kind: poisson, rate: 20/s}", "{kind: closed_loop, concurrency: 4}\n  requests: 50")
    )
    with pytest.raises(NotModelled, match="a size over time of closed loops and of sessions"):
        size_over_time(loop, machine=InProcess())
    no_slo = load(small(tmp_path, STEADY, WHOLE, ("slo: {ttft_s: 0.5, tpot_s: 0.05, percentile: 95, goodput: 0.9}\n", "")))
    with pytest.raises(SimulatorError, match="a size over time needs an slo"):
        size_over_time(no_slo, machine=InProcess())
