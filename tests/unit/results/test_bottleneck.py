"""What holds a deployment back, and where its step time went."""

import numpy as np
import pytest
from support.traces import served, trace

from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime
from simulator.results.bottleneck import bottleneck
from simulator.results.time_breakdown import resource_seconds, step_seconds

LIMITS = SchedulerConfig(kv_blocks=100, max_num_seqs=4, max_num_batched_tokens=64)
BUSY = {"bandwidth": 8.0, "compute": 2.0}


def stretch(**given):
    return {"start_s": 0.0, "end_s": 1.0, "steps": 1, "sequences": 1, "decoding": 1, **given}


def bound(*stretches):
    return bottleneck(trace([served(0.0, 0.5, 1.0)], stretches), LIMITS, BUSY)


def test_waiting_with_all_places_taken_is_the_sequence_limit():
    assert bound(stretch(waiting=3, sequences=4, decoding=4)).resource == "sequence limit"


def test_waiting_with_a_full_step_is_the_token_budget():
    assert bound(stretch(waiting=3, sequences=2, decoding=1, prefill_tokens=63)).resource == "token budget"


def test_waiting_with_room_in_both_is_kv_memory():
    assert bound(stretch(waiting=3, sequences=2, decoding=2)).resource == "KV memory"


def test_preemption_is_kv_memory_even_when_nobody_waits():
    assert bound(stretch(preempted=1)).resource == "KV memory"


def test_the_limit_that_holds_longest_is_named_with_its_share():
    found = bound(stretch(waiting=1, sequences=4), stretch(start_s=1.0, end_s=4.0, waiting=1, sequences=2))
    assert (found.resource, found.share) == ("KV memory", pytest.approx(0.75))


def test_without_waiting_the_longest_part_of_the_step_binds():
    found = bound(stretch())
    assert (found.resource, found.share) == ("bandwidth", pytest.approx(0.8))


def test_a_rare_wait_does_not_count_as_a_limit():
    found = bound(stretch(end_s=99.0), stretch(start_s=99.0, end_s=100.0, waiting=1, sequences=4))
    assert found.resource == "bandwidth"


def test_nothing_ran_nothing_binds():
    assert bottleneck(trace([]), LIMITS, BUSY).resource == "nothing"


def test_step_seconds_add_up_to_the_time_of_the_run_and_context_goes_to_attention():
    gemm = StepTime(np.arange(65) * 1e-3, np.zeros(5), 0.0, 0.0, 0.0, 0.0)
    attention = StepTime(np.zeros(65), np.zeros(5), 0.0, 1e-6, 0.0, 0.0)
    engine = StepTime(np.zeros(65), np.zeros(5), 1e-4, 0.0, 0.0, 5e-4)
    row = stretch(steps=10, sequences=2, decoding=2, sampled=2, base_s=4e-3, slope_s=1e-6, end_s=4.0045e-2)
    found = step_seconds(trace([served(0.0, 0.01, 0.04)], [row]), {"gemm": gemm, "attention": attention, "engine": engine})
    assert sum(found.values()) == pytest.approx(10 * 4e-3 + 45 * 1e-6)
    assert found["gemm"] == pytest.approx(0.02)
    assert found["engine"] == pytest.approx(7e-3)
    assert found["attention"] == pytest.approx(0.040045 - 0.027)


def test_small_steps_spend_bandwidth_and_large_ones_compute():
    roofline = StepTime(np.maximum(10e-3, np.arange(65) * 1e-3), np.zeros(5), 0.0, 0.0, 0.0, 0.0)
    few, many = stretch(base_s=10e-3), stretch(base_s=64e-3, prefill_tokens=63)
    small, large = (resource_seconds(trace([served(0.0, 0.01, 0.04)], [row]), {"gemm": roofline}) for row in (few, many))
    assert (small["bandwidth"], small["compute"]) == (pytest.approx(10e-3), 0.0)
    assert (large["bandwidth"], large["compute"]) == (pytest.approx(0.0), pytest.approx(64e-3))
