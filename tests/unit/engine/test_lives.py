"""Servers that start, drain and die, by hand: one step is one second."""

from __future__ import annotations

from typing import Any

import pytest
from support.by_hand import ONE_SECOND, asked, limits, times

from simulator.engine.fleet.autoscaler import Keda, Schedule
from simulator.engine.fleet.lives import Fault, LifeRules
from simulator.engine.fleet.router import LeastOutstanding
from simulator.engine.load import OpenLoop
from simulator.engine.record import LOST, NEVER_SCHEDULED, RunRecord
from simulator.engine.serve import serve


def lived(requests: Any, life: LifeRules, load: OpenLoop | None = None) -> RunRecord:
    server = [(ONE_SECOND, limits())]
    how = {"router": LeastOutstanding(), "load": load or OpenLoop(), "life_rules": life, "tick_s": 1.0}
    return serve(requests, server, **how)


def happened(record: RunRecord) -> list[tuple[float, int, str]]:
    return [(e.when, e.replica, e.what) for e in record.events]


def test_a_request_without_a_token_is_sent_again_and_one_with_a_token_is_lost() -> None:
    both = asked((0, 4, 3), (0, 4, 3))
    life = LifeRules(replicas=2, faults=(Fault(at_s=0.5, replicas=(0,), restart_after_s=None),))
    record = lived(asked((0, 4, 3), (2, 4, 3)), LifeRules(replicas=2, faults=(Fault(at_s=2, replicas=(0, 1)),)))
    assert record.requests["status"].tolist() == [LOST, 0]
    assert record.refusals[0] == "replica 0 died after its first token"
    assert times(record, "left")[0] == 2
    again = lived(both, life)
    assert again.sent_again == 1
    assert again.requests["replica"].tolist() == [1, 1]


def test_the_dead_get_requests_until_that_is_noticed() -> None:
    fault = Fault(at_s=1, replicas=(0,), detected_after_s=3, restart_after_s=None)
    record = lived(asked((2, 1, 1), (3, 1, 1)), LifeRules(replicas=1, faults=(fault,)))
    assert record.requests["status"].tolist() == [NEVER_SCHEDULED, NEVER_SCHEDULED]
    assert set(record.refusals.values()) == {"no server is ready, and none starts any more"}
    two = lived(asked((2, 1, 1)), LifeRules(replicas=2, faults=(fault,)))
    assert times(two, "first_token") == [5]


def test_requests_wait_for_the_first_server_and_the_start_takes_its_time() -> None:
    policy = Keda(target=1.0, max_replicas=1, interval_s=2.0, cooldown_s=4.0, stabilization_s=0.0)
    record = lived(asked((1, 1, 1), (30, 1, 1)), LifeRules(replicas=0, cold_start_s=5, autoscaler=policy))
    assert times(record, "first_token") == [8, 36]
    assert happened(record)[:4] == [(2, 0, "starts"), (7, 0, "ready"), (12, 0, "drains"), (12, 0, "gone")]


def test_one_that_drains_finishes_what_it_has_and_takes_no_more() -> None:
    fault = Fault(at_s=1, replicas=(0,), notice_s=10, restart_after_s=None)
    record = lived(asked((0, 1, 4), (2, 1, 1)), LifeRules(replicas=1, faults=(fault,)))
    assert times(record, "finish")[0] == 4
    assert record.requests["status"].tolist() == [0, NEVER_SCHEDULED]
    assert happened(record) == [(0, 0, "ready"), (1, 0, "drains"), (4, 0, "gone")]


def test_what_does_not_finish_in_the_notice_is_lost() -> None:
    fault = Fault(at_s=1, replicas=(0,), notice_s=2, restart_after_s=None)
    record = lived(asked((0, 1, 9)), LifeRules(replicas=1, faults=(fault,)))
    assert record.requests["status"].tolist() == [LOST]
    assert record.stretches["steps"].sum() == 3


def test_a_request_gives_up_in_front_of_the_router_too() -> None:
    life = LifeRules(replicas=1, faults=(Fault(at_s=0, replicas=(0,), restart_after_s=9),), cold_start_s=9)
    record = lived(asked((1, 1, 1)), life, OpenLoop(timeout_s=5.0))
    assert times(record, "left") == [6]


@pytest.mark.parametrize(("hour", "replicas"), [(0, 1), (8, 3), (19.5, 3), (20, 2), (25, 1)])
def test_a_schedule_goes_by_the_clock(hour: float, replicas: int) -> None:
    hours = ({"from_s": "0h", "replicas": 1}, {"from_s": "20h", "replicas": 2}, {"from_s": "8h", "replicas": 3})
    assert Schedule(hours=hours).at(hour * 3600) == replicas  # type: ignore[arg-type]
