"""What a run says of replicas that come and go."""

from __future__ import annotations

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits

from simulator.engine.fleet.lives import Fault, LifeRules
from simulator.engine.record import FleetEvent, RunRecord
from simulator.engine.serve import serve
from simulator.results.over_time import clock, fleet_over_time, levels, mean_ready, swings


def record() -> RunRecord:
    """Two replicas, of which one is away from second 10 to 15."""
    requests = asked(*[(i, 1, 1) for i in range(21)])
    fault = Fault(at_s=10, replicas=(0,), restart_after_s=1)
    life = LifeRules(replicas=2, cold_start_s=4, faults=(fault,))
    return serve(requests, [(ONE_SECOND, limits())], life_rules=life, tick_s=1.0)


def test_ready_replicas_are_counted_over_time() -> None:
    times, values = levels(record().events, "ready", 22.0)
    assert (times.tolist(), values.tolist()) == ([0.0, 10.0, 11.0, 15.0], [2.0, 1.0, 1.0, 2.0])
    assert mean_ready(record(), 2) == (10 * 2 + 5 + 5 * 2) / 20


def test_cold_starts_are_paid_for_and_the_dead_are_not() -> None:
    told = fleet_over_time(record(), (), {"engine": 4.0}, 3600.0)
    assert told.horizon_s == 21
    assert told.usd == 21 + 10 + (21 - 11)
    assert (told.least_ready, told.most_ready, told.starts, told.deaths) == (1, 2, 1, 1)
    assert told.kept == 1.0
    assert told.none_ready == 0.0


def test_the_moments_cover_the_run() -> None:
    told = fleet_over_time(record(), (), {}, None)
    assert sum(moment.asked_per_s * told.bin_s for moment in told.moments) == 21
    assert np.isclose([m.ready for m in told.moments][10], 1.0)


def test_an_autoscaler_of_two_minds_is_told_by_its_period() -> None:
    back_and_forth = [FleetEvent(60.0 * i, i % 2, "drains" if i % 2 else "starts", "autoscaler") for i in range(12)]
    assert swings(back_and_forth, 7200.0) == 120.0
    assert swings(back_and_forth[:4], 7200.0) is None


def test_times_of_a_run_read_as_hours() -> None:
    assert clock(3930.4) == "1:05:30"
