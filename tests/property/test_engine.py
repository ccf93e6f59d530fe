"""Does the engine do, in jumps, exactly what a naive simulator does step by step? And does what must always hold, hold?

ENGINE_CASES=20 draws twenty times as many cases.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.draws import TIMES
from support.engine_cases import (
    ENGINE_KNOWS,
    NEW_FAMILIES,
    Case,
    adapter_cases,
    assert_equal,
    assert_invariants,
    cached_cases,
    cached_hybrid_cases,
    cases,
    fronted_cases,
    hybrid_cases,
    no_evict_cases,
    parallel_cases,
    prefill_first_cases,
    sglang_cases,
)

from simulator.engine.record import FINISHED

FCFS = {"scheduling_policy": "fcfs"}
ADAPTER_FAMILIES = {
    "plain": cases(**FCFS),
    "cached": cached_cases(**FCFS),
    "windows": hybrid_cases(**FCFS),
    "ranks": parallel_cases(lock_step=False, **FCFS),
    "lock step": parallel_cases(lock_step=True, **FCFS),
}


def drawn(examples: int) -> settings:
    """So many cases in the quick suite, ENGINE_CASES times as many where that is given."""
    return settings(max_examples=TIMES * examples, suppress_health_check=[HealthCheck.too_slow])


def check(case: Case) -> None:
    """What holds of an instance alone is not asked of ranks in lock step, nor of one whose requests are on their way to it."""
    trace = case.trace()
    assert_equal(trace, case.oracle())
    if case.data_parallel.lock_step is None and case.front_end is None:
        assert_invariants(case, trace)


@drawn(50)
@given(cases())
def test_every_time_count_and_step_equals_the_naive_simulator(case: Case) -> None:
    check(case)


@drawn(50)
@given(cached_cases())
def test_with_a_prefix_cache_it_equals_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(25)
@given(hybrid_cases())
def test_with_sliding_windows_and_layer_groups_it_equals_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(20)
@given(cases(scheduling_policy="static", async_scheduling=False))
def test_static_batches_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(20)
@given(prefill_first_cases())
def test_prompts_before_decodes_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(40)
@given(sglang_cases(shared=False))
def test_sglang_equals_its_naive_simulator(case: Case) -> None:
    check(case)


@drawn(40)
@given(sglang_cases(shared=True))
def test_sglang_with_its_radix_tree_equals_its_naive_simulator(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("shared", [False, True])
@drawn(25)
@given(st.data())
def test_reserving_to_the_end_equals_its_naive_simulator(shared: bool, data: st.DataObject) -> None:
    case = data.draw(no_evict_cases(shared=shared))
    check(case)
    assert not case.trace().requests["preemptions"].any()


@drawn(20)
@given(cached_hybrid_cases())
def test_prefixes_are_found_in_all_layer_groups_as_the_naive_simulator_finds_them(case: Case) -> None:
    check(case)


@drawn(30)
@given(parallel_cases(lock_step=False))
def test_ranks_behind_their_front_end_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(50)
@given(parallel_cases(lock_step=True))
def test_ranks_in_lock_step_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("family", ADAPTER_FAMILIES)
@drawn(15)
@given(st.data())
def test_lora_adapters_equal_the_naive_simulator_too(family: str, data: st.DataObject) -> None:
    check(data.draw(adapter_cases(ADAPTER_FAMILIES[family])))


@drawn(50)
@given(fronted_cases())
def test_behind_a_front_end_with_a_queue_it_equals_the_naive_simulator_too(case: Case) -> None:
    trace, oracle = case.trace(), case.oracle()
    assert_equal(trace, oracle)
    done = trace.requests["status"] == FINISHED
    np.testing.assert_array_equal(trace.requests["entered_s"][done], np.array(oracle.entered)[done])


@pytest.mark.parametrize("family", ENGINE_KNOWS)
@drawn(10)
@given(st.data())
def test_rules_of_releases_equal_the_naive_simulator_too(family: str, data: st.DataObject) -> None:
    check(data.draw(NEW_FAMILIES[family]))


@pytest.mark.parametrize("family", NEW_FAMILIES)
@drawn(3)
@given(st.data())
def test_the_naive_simulator_loses_nobody_and_no_block(family: str, data: st.DataObject) -> None:
    """Every request finishes, or is turned away or given up for; then every block is free again.

    The exception is a release whose gate for whole prompts does not see windows: a request may wait
    for ever.
    """
    case = data.draw(NEW_FAMILIES[family])
    oracle = case.oracle()
    finished = oracle.log["status"].count(0)
    assert finished == sum(x == x for x in oracle.log["finish"])
    for server in oracle.servers:
        assert not server.running
        stuck = server.limits.reserve_full_prompt and not case.rules.cap_at_admission
        assert stuck or not server.waiting
        assert server.used() == 0
