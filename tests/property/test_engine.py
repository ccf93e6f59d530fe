"""Does the engine do, in jumps, exactly what a naive simulator does step by step? And does what must always hold, hold?

ENGINE_CASES=4 draws four times as many cases.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from support.engine_cases import (
    Case,
    assert_equal,
    assert_invariants,
    cached_cases,
    cached_hybrid_cases,
    cases,
    hybrid_cases,
    parallel_cases,
)

TIMES = int(os.environ.get("ENGINE_CASES", "1"))


def drawn(examples: int) -> settings:
    """So many cases in the quick suite, ENGINE_CASES times as many where that is given."""
    return settings(max_examples=TIMES * examples, suppress_health_check=[HealthCheck.too_slow])


def check(case: Case) -> None:
    trace = case.trace()
    assert_equal(trace, case.oracle())
    assert_invariants(case, trace)


@drawn(100)
@given(cases())
def test_every_time_count_and_step_equals_the_naive_simulator(case: Case) -> None:
    check(case)


@drawn(100)
@given(cached_cases())
def test_with_a_prefix_cache_it_equals_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(50)
@given(hybrid_cases())
def test_with_sliding_windows_and_layer_groups_it_equals_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(40)
@given(cases(scheduling_policy="static", async_scheduling=False))
def test_static_batches_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(40)
@given(cached_hybrid_cases())
def test_prefixes_are_found_in_all_layer_groups_as_the_naive_simulator_finds_them(case: Case) -> None:
    check(case)


@drawn(60)
@given(parallel_cases(lock_step=False))
def test_ranks_behind_their_front_end_equal_the_naive_simulator_too(case: Case) -> None:
    check(case)


@drawn(100)
@given(parallel_cases(lock_step=True))
def test_ranks_in_lock_step_equal_the_naive_simulator_too(case: Case) -> None:
    assert_equal(case.trace(), case.oracle())
