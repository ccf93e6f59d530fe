"""Laws that hold whatever the engine does inside: Little's, and that of a closed loop.

Every law: 1 % chance of a false alarm with fresh seeds, see queues.py; the exact ones none.
"""

import numpy as np
import pytest
from analytical.queues import STEP_S, ask, assert_law, replica, run, runs, settled, tokens, window
from analytical.theory import closed_loop_rate, little, repairman_rate

from simulator.engine.load import ClosedLoop
from simulator.engine.record import timeline
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests


def server(kv_blocks):
    """A replica as they are: chunked prefill, every term of the step time, and no more KV blocks than said."""
    limits = SchedulerConfig(kv_blocks=kv_blocks, max_num_seqs=16, max_num_batched_tokens=256)
    return StepTime(1e-4 * np.arange(257.0), 1e-5 * np.arange(17.0), 1e-4, 1e-7, 1e-8, 5e-3), limits


def lengths(rng, n):
    return {"prompts": rng.integers(1, 600, n), "outputs": rng.integers(1, 120, n)}


def test_the_area_under_the_running_is_the_sum_of_their_times():
    """Exact, as no request is preempted: stretches and requests are two accounts of one thing."""
    rng = np.random.default_rng(0)
    trace = run(ask(rng, 8.0, 2_000, **lengths(rng, 2_000)), server(10_000))
    rows, s = trace.requests, trace.stretches
    assert rows["preemptions"].sum() == 0
    area = (s["sequences"] * (s["end_s"] - s["start_s"])).sum()
    assert area == pytest.approx((rows["finish_s"] - rows["scheduled_s"]).sum(), rel=1e-9)


def test_the_mean_number_is_the_rate_times_the_mean_time():
    """1 %. Prompts are cut, requests wait for blocks and are preempted; the rate is the one they were drawn at."""
    rate = 9.0

    def one(rng):
        trace = run(ask(rng, rate, 1_500, **lengths(rng, 1_500)), server(330))
        rows = settled(trace)
        assert rows["preemptions"].sum() > 0
        seen = timeline(trace, np.linspace(*window(trace), 5_000))
        inside = seen["running"] + seen["waiting"]
        return inside.mean() / little(rate, rows["sojourn_s"].mean())

    assert_law({"inside": (runs(one)[:, 0], 1.0)}, within=0.02)


@pytest.mark.parametrize("kv_blocks", [10_000, 120])
def test_users_of_a_closed_loop_are_its_rate_times_response_and_think_time(kv_blocks):
    """Exact: from the start to its last answer a user either thinks or waits for an answer, preempted or not."""
    users, n = 24, 1_000
    rng = np.random.default_rng(0)
    drawn = lengths(rng, n)
    asked = Requests(np.zeros(n), drawn["prompts"], drawn["outputs"], think_s=rng.exponential(1.0, n))
    rows = run(asked, server(kv_blocks), ClosedLoop(concurrency=users)).requests
    assert (rows["preemptions"].sum() > 0) == (kv_blocks == 120)
    last_answers = np.sort(rows["finish_s"])[-users:]
    response, think = (rows["finish_s"] - rows["arrival_s"]).mean(), asked.think_s.mean()
    assert n / last_answers.mean() == pytest.approx(closed_loop_rate(users, response, think), rel=1e-9)


def test_users_who_think_ask_as_often_as_in_m_m_1_n():
    """1 % for three figures together: one at a time with exponential service, or shared, where any service time will do."""
    users, think_s, n = 5, 4.0, 1_000

    def rate(law, on):
        def one(rng):
            asked = Requests(np.zeros(n), np.ones(n, np.int64), tokens(law, rng, n), think_s=rng.exponential(think_s, n))
            finish = np.sort(run(asked, on, ClosedLoop(concurrency=users)).requests["finish_s"])
            first, last = n // 10, n - users
            return (last - first) / (finish[last] - finish[first])

        return runs(one)[:, 0]

    law = repairman_rate(users, 1.0, think_s)
    shared = replica(users, sequence_s=STEP_S)
    assert_law(
        {
            "one at a time": (rate("exponential", replica(1, step_s=STEP_S)), law),
            "shared, fixed": (rate("fixed", shared), law),
            "shared, two kinds": (rate("two kinds", shared), law),
        },
        within=0.03,
    )
