"""Two pools with a link: a lone request takes the sum of its parts; with no link to wait for they are a tandem queue."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.engine.fleet.hand_over import KvLink, PoolServers
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve_pools
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests

PREFILL_TOKEN, STEP, CONTEXT = 2e-5, 4e-3, 1e-8


def config(**changes) -> SchedulerConfig:
    base = SchedulerConfig(kv_blocks=100_000, max_num_seqs=256, max_num_batched_tokens=16_384)
    return replace(base, **changes)


def step_time(limits: SchedulerConfig) -> StepTime:
    tokens = STEP + PREFILL_TOKEN * np.arange(limits.max_num_batched_tokens + 1)
    return StepTime(tokens, np.zeros(limits.max_num_seqs + 1), 0.0, CONTEXT, 0.0, 0.0, ())


def pool(**changes) -> PoolServers:
    limits = config(**changes)
    return PoolServers(((step_time(limits), limits),))


def asked(arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray) -> Requests:
    return Requests(arrivals.astype(float), prompts, outputs)


def test_a_lone_request_takes_the_sum_of_its_parts() -> None:
    prompt, output, block, latency, speed = 1000, 50, 131_072.0 * 16, 25e-6, 50e9
    link = KvLink(out=(speed,), into=(speed,), block_bytes=block, latency_s=latency)
    r = serve_pools(asked(np.array([3.0]), np.array([prompt]), np.array([output])), pool(), pool(), link).requests
    prefill = STEP + PREFILL_TOKEN * prompt
    transfer = latency + -(-prompt // 16) * block / speed
    first = STEP + PREFILL_TOKEN
    rest = sum(STEP + PREFILL_TOKEN + CONTEXT * (prompt + j) for j in range(output - 1))
    assert r["prefilled_s"][0] - 3 == pytest.approx(prefill)
    assert r["decode_scheduled_s"][0] - r["prefilled_s"][0] == pytest.approx(transfer)
    assert r["first_token_s"][0] - 3 == pytest.approx(prefill + transfer + first)
    assert r["finish_s"][0] - r["first_token_s"][0] == pytest.approx(rest)


def test_with_one_slot_each_and_nothing_in_the_way_the_pools_are_a_tandem_queue() -> None:
    """Departures by the recursion D(i) = max(arrival(i), D(i - 1)) + service(i), the first queue's being the second's arrivals.

    Source: H. C. Tijms, A First Course in Stochastic Models, 2003; Lindley's recursion.
    """
    rng = np.random.default_rng(5)
    n = 2000
    arrivals = np.cumsum(rng.exponential(0.05, n))
    prompts, outputs = rng.integers(1, 4000, n), rng.integers(1, 16, n)
    link = KvLink(out=(math.inf,), into=(math.inf,), block_bytes=1.0)
    r = serve_pools(asked(arrivals, prompts, outputs), pool(max_num_seqs=1), pool(max_num_seqs=1), link).requests
    first = STEP + PREFILL_TOKEN * prompts
    steps = STEP + PREFILL_TOKEN
    second = outputs * steps + CONTEXT * ((outputs - 1) * prompts + (outputs - 1) * (outputs - 2) / 2)
    left_first = departures(arrivals, first)
    np.testing.assert_allclose(r["prefilled_s"], left_first, rtol=1e-9)
    np.testing.assert_allclose(r["finish_s"], departures(left_first, second), rtol=1e-9)


def departures(arrivals: np.ndarray, service: np.ndarray) -> np.ndarray:
    """When each leaves a queue with one server, first come, first served."""
    left, last = np.empty(len(arrivals)), 0.0
    for i, (arrival, seconds) in enumerate(zip(arrivals, service, strict=True)):
        left[i] = last = max(arrival, last) + seconds
    return left
