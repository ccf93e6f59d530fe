"""Does the engine do, in jumps, exactly what a naive simulator does step by step? And does what must always hold, hold?"""

from __future__ import annotations

from engine_cases import Case, assert_equal, assert_invariants, cases
from hypothesis import given


@given(cases())
def test_every_time_count_and_step_equals_the_naive_simulator(case: Case) -> None:
    trace = case.trace()
    assert_equal(trace, case.oracle())
    assert_invariants(case, trace)
