"""A stretch in closed form, against its steps one by one."""

from itertools import accumulate

import numpy as np
import pytest

from simulator.engine.instance.stretch import Stretch

CASES = [Stretch(10, 3, 0, 5), Stretch(0, 1, 2, 7), Stretch(4, 5, 1, 1)]


def boundaries(stretch: Stretch) -> list[int]:
    steps = (stretch.base + j * stretch.slope for j in range(stretch.steps))
    return list(accumulate(steps, initial=stretch.start))


@pytest.mark.parametrize("stretch", CASES)
def test_the_first_so_many_steps_end_where_they_end_one_by_one(stretch: Stretch):
    assert [stretch.until(steps) for steps in range(stretch.steps + 1)] == boundaries(stretch)


@pytest.mark.parametrize("passed", [True, False])
@pytest.mark.parametrize("stretch", CASES)
def test_a_step_that_begins_now_has_begun_if_its_turn_has_passed(stretch: Stretch, passed: bool):
    begins = boundaries(stretch)[:-1]
    for now in range(stretch.start, boundaries(stretch)[-1]):
        assert stretch.begun(now, passed) == sum(begin < now or (passed and begin == now) for begin in begins)


def test_many_stretches_at_once_end_where_each_ends():
    columns = (np.array([getattr(s, name) for s in CASES]) for name in ("start", "base", "slope", "steps"))
    many = Stretch(*columns)
    assert many.until(many.steps).tolist() == [boundaries(s)[-1] for s in CASES]
