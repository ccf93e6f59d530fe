"""Autoscalers, by the algorithm of Kubernetes' documentation."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.engine.fleet.autoscaler import HorizontalPodAutoscaler, Keda, ReplicaLoad
from simulator.engine.fleet.faults import RandomOutages, fault_script
from simulator.errors import SimulatorError


def running(*each: int) -> list[ReplicaLoad]:
    return [ReplicaLoad(waiting=0, running=number, kv_use=0.0) for number in each]


def hpa(**changes: float) -> HorizontalPodAutoscaler:
    return HorizontalPodAutoscaler(**{"metric": "running", "target": 10.0, "max_replicas": 50, **changes})  # type: ignore[arg-type]


def test_the_mean_over_the_replicas_is_brought_to_the_target() -> None:
    wanted = hpa().start(2)
    assert wanted(0.0, running(20, 10), 2, 0) == 3


def test_a_small_deviation_is_left_alone() -> None:
    assert hpa().start(2)(0.0, running(11, 10), 2, 0) == 2


def test_replicas_that_start_count_as_idle_when_more_are_wanted() -> None:
    assert hpa().start(2)(0.0, running(30, 30), 6, 0) == 6
    assert hpa().start(2)(0.0, running(50, 50), 6, 0) == 10


def test_it_doubles_at_most_or_adds_four() -> None:
    assert hpa().start(1)(0.0, running(500), 1, 0) == 5
    assert hpa().start(8)(0.0, running(*[500] * 8), 8, 0) == 16


def test_it_goes_down_to_the_highest_wish_of_the_last_five_minutes() -> None:
    wanted = hpa().start(4)
    assert wanted(0.0, running(10, 10, 10, 10), 4, 0) == 4
    assert wanted(200.0, running(5, 5, 5, 5), 4, 0) == 4
    assert wanted(301.0, running(5, 5, 5, 5), 4, 0) == 2


def test_an_old_high_wish_is_no_reason_to_grow() -> None:
    wanted = hpa(most_added=1).start(4)
    assert wanted(0.0, running(40, 40, 40, 40), 4, 0) == 8
    assert wanted(15.0, running(5, 5, 5, 5), 4, 0) == 4


def test_keda_goes_to_zero_after_its_cooldown_and_comes_back_for_one_that_waits() -> None:
    wanted = Keda(target=5.0, max_replicas=4, stabilization_s=0.0).start(1)
    assert wanted(0.0, running(1), 1, 0) == 1
    assert wanted(300.0, running(0), 1, 0) == 1
    assert wanted(301.0, running(0), 1, 0) == 0
    assert wanted(400.0, [], 0, 3) == 1


def test_the_least_is_not_above_the_most() -> None:
    with pytest.raises(Exception, match="min_replicas 3 is above max_replicas 2") as problem:
        hpa(min_replicas=3, max_replicas=2)
    assert isinstance(problem.value, SimulatorError | ValueError)


def test_a_target_near_zero_asks_for_the_most_there_are() -> None:
    tiny = 1e-18
    assert hpa(target=tiny, max_replicas=7).start(2)(0.0, running(9, 9), 2, 0) == 6
    assert hpa(target=tiny, max_replicas=3).start(2)(0.0, running(9, 9), 2, 0) == 3
    assert Keda(metric="running", target=tiny, max_replicas=3).start(1)(0.0, running(9), 2, 0) == 3


@pytest.mark.parametrize("interval_s", [1e-9, 0.05])
def test_it_looks_no_more_often_than_metrics_are_taken(interval_s: float) -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.1"):
        hpa(interval_s=interval_s)


def test_more_outages_than_can_be_simulated_are_refused_before_they_are_drawn() -> None:
    often = RandomOutages(mtbf_s=1e-9)
    with pytest.raises(SimulatorError, match=r"mtbf_s 1e-09 gives about 1\.4e\+13 outages; at most 100,000"):
        fault_script([often], 4, 3600.0, 1.0, np.random.default_rng(1))
