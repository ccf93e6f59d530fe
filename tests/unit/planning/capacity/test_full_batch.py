"""The closed-form ceiling, worked by hand, and against the simulation it stands in for."""

import numpy as np
import pytest

from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime, Window
from simulator.planning.capacity.full_batch import ceiling, decode_step, running_context
from simulator.workload.requests import Requests


def _requests(prompt: list[int], output: list[int]) -> Requests:
    return Requests(np.zeros(len(prompt)), np.array(prompt), np.array(output))


def _steps(
    *, token: float = 0.0, constant: float = 0.0, context: float = 0.0, pair: float = 0.0, windows: tuple[Window, ...] = ()
) -> StepTime:
    return StepTime(token * np.arange(2049.0), np.zeros(65), 0.0, context, pair, constant, windows)


def test_the_running_context_weighs_long_answers_by_how_long_they_run() -> None:
    assert running_context(_requests([100, 100], [10, 30])) == pytest.approx((10 * 105 + 30 * 115) / 40)


def test_sequences_are_as_many_as_the_kv_cache_holds_or_may_run() -> None:
    requests = _requests([92], [200])  # 192 tokens on average, and half a block
    roomy = SchedulerConfig(kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=2048)
    tight = SchedulerConfig(kv_blocks=125, max_num_seqs=64, max_num_batched_tokens=2048)
    steps = _steps(constant=0.01)
    assert ceiling(steps, roomy, requests).sequences == 64
    assert ceiling(steps, tight, requests).sequences == pytest.approx(2000 / 200)


def test_with_constant_steps_requests_per_second_are_the_batch_over_its_answers() -> None:
    limits = SchedulerConfig(kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=2048)
    full = ceiling(_steps(constant=0.01), limits, _requests([100], [50]))
    assert full.requests_per_s == pytest.approx(64 / (50 * 0.01))


def test_a_prompt_costs_what_its_tokens_add_to_a_step() -> None:
    limits = SchedulerConfig(kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=2048)
    full = ceiling(_steps(constant=0.01, token=1e-4), limits, _requests([100], [50]))
    decode = 0.01 + 64e-4
    assert full.requests_per_s == pytest.approx(1 / (50 * decode / 64 + 100e-4))
    assert full.work_s(_requests([100, 200], [50, 0]))[0] == pytest.approx(1 / full.requests_per_s)


def test_a_window_caps_the_context_of_a_decode_step() -> None:
    steps = _steps(context=1e-6, windows=(Window(100, 1e-6, 0.0),))
    assert decode_step(steps, 10, 500) == pytest.approx(10 * (500e-6 + 100e-6))


def test_the_ceiling_is_what_a_full_simulated_server_completes() -> None:
    """Exact lengths and room for every sequence, so nothing is preempted and the closed form should be close."""
    n = 1500
    requests = Requests(np.zeros(n), np.full(n, 300), np.full(n, 100))
    limits = SchedulerConfig(kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=2048)
    steps = _steps(constant=0.01, token=2e-5, context=1e-7)
    trace = serve(requests, [(steps, limits)])
    finish = np.sort(trace.requests["finish_s"])
    measured = (len(finish) - 200) / (finish[-100] - finish[100])
    assert ceiling(steps, limits, requests).requests_per_s == pytest.approx(measured, rel=0.05)
