"""Many at once on a server that breaks down, or must be set up: M/M/c by the equations of its Markov chain."""

from __future__ import annotations

import numpy as np
from support.by_hand import step_time

from simulator.engine.fleet.autoscaler import Keda
from simulator.engine.fleet.lives import Fault, LifeRules
from simulator.engine.record import LOST, RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.statistics import half_width
from simulator.workload.requests import Requests

SLOTS, RATE, MEAN_S, STEP_S = 3, 2.0, 1.0, 0.0025
UP_S, REPAIR_S, SETUP_S, LOOK_S = 60.0, 8.0, 3.0, 0.2
RUNS, LONG, MOST = 10, 400.0, 300
ONE = SchedulerConfig(kv_blocks=999_999, block_size=16, max_num_seqs=SLOTS, max_num_batched_tokens=64, async_scheduling=False)
TIMES = step_time(constant=STEP_S)


def customers(seed: int) -> Requests:
    """Poisson arrivals of one step times a geometric number: as good as exponential."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / RATE, round(RATE * LONG)))
    return Requests(arrivals, np.ones(len(arrivals), np.int64), rng.geometric(STEP_S / MEAN_S, len(arrivals)))


def mean_present(record: RunRecord) -> float:
    """The mean number of requests present while they come."""
    r = record.requests
    until = float(r["arrival_s"][-1])
    return float((np.minimum(r["left_s"], until) - r["arrival_s"]).sum() / until)


def failing(seed: int) -> RunRecord:
    """A server that is up and away for exponential times; what it has with a token is lost, the rest waits."""
    rng = np.random.default_rng([seed, 1])
    faults, now = [], 0.0
    while now < 2 * LONG:
        now += rng.exponential(UP_S)
        away = rng.exponential(REPAIR_S)
        faults.append(Fault(at_s=now, replicas=(0,), restart_after_s=away))
        now += away
    rules = LifeRules(replicas=1, faults=tuple(faults), retries=10_000)
    return serve(customers(seed), [(TIMES, ONE)], life_rules=rules)


def stationary(rates: np.ndarray) -> np.ndarray:
    """The stationary law of a Markov chain with these rates from state to state."""
    generator = rates - np.diag(rates.sum(axis=1))
    equations = np.vstack([generator.T, np.ones(len(rates))])
    return np.linalg.lstsq(equations, np.append(np.zeros(len(rates)), 1.0), rcond=None)[0]


def test_a_server_of_many_that_breaks_down_is_m_m_c_with_breakdowns() -> None:
    """States are how many are present and whether the server is up; a breakdown takes those in service."""
    levels = 120
    rates = np.zeros((2 * levels, 2 * levels))
    for n in range(levels):
        up, away = 2 * n, 2 * n + 1
        if n + 1 < levels:
            rates[up, up + 2] = rates[away, away + 2] = RATE
        if n:
            rates[up, up - 2] = min(n, SLOTS) / MEAN_S
        rates[up, 2 * max(n - SLOTS, 0) + 1] = 1 / UP_S
        rates[away, up] = 1 / REPAIR_S
    law = stationary(rates)
    present = np.repeat(np.arange(levels), 2)
    in_service = np.minimum(present, SLOTS) * (np.arange(2 * levels) % 2 == 0)
    records = [failing(seed) for seed in range(RUNS)]
    counts = np.array([mean_present(record) for record in records])
    assert abs(counts.mean() - law @ present) < half_width(counts, 0.99)
    lost = np.array([(record.requests["status"] == LOST).mean() for record in records])
    assert abs(lost.mean() - law @ in_service / UP_S / RATE) < half_width(lost, 0.99)


def started_when_needed(seed: int) -> float:
    """The mean number present before a server that is taken away when idle and started for the first."""
    policy = Keda(target=1e6, max_replicas=1, interval_s=LOOK_S, cooldown_s=0.0, stabilization_s=0.0)
    rules = LifeRules(replicas=0, cold_start_s=SETUP_S, autoscaler=policy)
    return mean_present(serve(customers(seed), [(TIMES, ONE)], life_rules=rules))


def until_empty(cost: np.ndarray) -> np.ndarray:
    """What is paid until nobody is present, at `cost` a second, from each number present on, shape (MOST + 1,)."""
    equations, paid = np.eye(MOST + 1), np.zeros(MOST + 1)
    for n in range(1, MOST + 1):
        arrives, leaves = RATE * (n < MOST), min(n, SLOTS) / MEAN_S
        equations[n, n - 1] -= leaves / (arrives + leaves)
        if arrives:
            equations[n, n + 1] -= arrives / (arrives + leaves)
        paid[n] = cost[n] / (arrives + leaves)
    return np.linalg.solve(equations, paid)


def test_a_server_of_many_that_must_be_set_up_is_m_m_c_with_setup() -> None:
    """A cycle is an idle time, the setup with what comes in it, and the busy time that those begin: the first
    steps of each are solved from the number present on. Who comes within a look of the autoscaler after the
    last has left finds the server still there.
    """
    found = 1 - (1 - np.exp(-RATE * LOOK_S)) / (RATE * LOOK_S)
    setup = SETUP_S + LOOK_S / 2
    number = np.arange(MOST + 1, dtype=float)
    came = np.exp(-RATE * setup) * np.cumprod([1.0, *(RATE * setup / np.arange(1, MOST))])  # in the setup
    waited, lasted = until_empty(number), until_empty(np.ones(MOST + 1))
    inside = setup + RATE * setup**2 / 2 + came @ waited[1:]
    cycle = setup + came @ lasted[1:]
    law = (found * waited[1] + (1 - found) * inside) / (1 / RATE + found * lasted[1] + (1 - found) * cycle)
    counts = np.array([started_when_needed(seed) for seed in range(RUNS)])
    assert abs(counts.mean() - law) < half_width(counts, 0.99)
