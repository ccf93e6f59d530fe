"""Servers that break down and start: the laws of a machine that is repaired, and of a queue whose server must be set up."""

from __future__ import annotations

import math

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits

from simulator.engine.fleet.autoscaler import Keda
from simulator.engine.fleet.faults import RandomOutages, fault_script
from simulator.engine.fleet.lives import LifeRules
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime
from simulator.results.over_time import levels
from simulator.statistics import half_width
from simulator.workload.requests import Requests

MTBF, REPAIR, REPLICAS, HORIZON, RUNS = 100.0, 25.0, 5, 5_000.0, 20


def broken(seed: int) -> RunRecord:
    """Replicas that fail and are repaired, each alone, over a long time."""
    rng = np.random.default_rng(seed)
    faults = fault_script([RandomOutages(mtbf_s=MTBF)], REPLICAS, HORIZON, REPAIR, rng)
    life = LifeRules(replicas=REPLICAS, cold_start_s=REPAIR, faults=faults)
    return serve(asked((0, 1, 1)), [(ONE_SECOND, limits())], life_rules=life)


def share_of_time(record: RunRecord, count: int) -> float:
    """The share of the time in which so many are ready."""
    times, values = levels(record.events, "ready", HORIZON)
    lengths = np.diff(np.append(times, HORIZON))
    return float(lengths[values == count].sum() / HORIZON)


def test_a_machine_is_up_if_nothing_befell_it_for_a_repair_and_all_are_independent() -> None:
    """One that fails while it is repaired starts anew, so it is up where no failure fell into the last
    `REPAIR`; of n machines k are up by the binomial law.
    """
    up = math.exp(-REPAIR / MTBF)
    runs = [broken(seed) for seed in range(RUNS)]
    for count, ways in ((REPLICAS, 1), (REPLICAS - 1, REPLICAS)):
        law = ways * up**count * (1 - up) ** (REPLICAS - count)
        shares = np.array([share_of_time(record, count) for record in runs])
        assert abs(shares.mean() - law) < half_width(shares, 0.99)


RATE, SERVICE_S, SETUP_S, LOOK_S = 0.4, 1.0, 3.0, 0.2


def set_up_for(seed: int) -> float:
    """The mean wait of requests of one step each, before a server that is taken away when idle and started for the first."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / RATE, 300))
    requests = Requests(arrivals, np.ones(len(arrivals), np.int64), np.ones(len(arrivals), np.int64))
    times = StepTime(np.zeros(99), np.zeros(99), 0.0, 0.0, 0.0, SERVICE_S)
    one = SchedulerConfig(kv_blocks=9, block_size=16, max_num_seqs=1, max_num_batched_tokens=9, async_scheduling=False)
    policy = Keda(target=1.0, max_replicas=1, interval_s=LOOK_S, cooldown_s=0.0, stabilization_s=0.0)
    record = serve(requests, [(times, one)], life_rules=LifeRules(replicas=0, cold_start_s=SETUP_S, autoscaler=policy))
    return float((record.requests["scheduled_s"] - record.requests["arrival_s"]).mean())


def test_a_server_that_must_be_set_up_lets_wait_as_in_m_d_1_with_setup() -> None:
    """The wait of M/G/1 and (2 E[D] + rate E[D^2]) / (2 (1 + rate E[D])): Welch 1964, an exceptional first service.

    The autoscaler looks now and then: the set-up begins up to a look later, and who comes within a look of
    the last departure finds the server still there.
    """
    delay, needed = SETUP_S + LOOK_S / 2, 1 - RATE * LOOK_S / 2
    mean, square = needed * delay, needed * (delay**2 + LOOK_S**2 / 12)
    load = RATE * SERVICE_S
    extra = (2 * mean + RATE * square) / (2 * (1 + RATE * mean))
    law = load * SERVICE_S / (2 * (1 - load)) + extra
    waits = np.array([set_up_for(seed) for seed in range(RUNS)])
    assert abs(waits.mean() - law) < half_width(waits, 0.99)
