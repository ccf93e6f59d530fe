"""How many drafted tokens are accepted, and in how many steps a request has its tokens."""

import numpy as np
import pytest

from simulator.workload.acceptance import Acceptance


def test_a_mean_length_gives_its_whole_part_always_and_one_more_with_its_fraction() -> None:
    law = Acceptance.of_length(4, 2.7)
    assert law.rates == pytest.approx((1.0, 0.7, 0.0, 0.0))
    assert law.chances == pytest.approx([0, 0.3, 0.7, 0, 0])
    assert law.mean_length == pytest.approx(2.7)


def test_rates_are_those_of_a_position_and_all_before_it() -> None:
    law = Acceptance(tokens=3, rates=(0.8, 0.5, 0.2))
    assert law.chances == pytest.approx([0.2, 0.3, 0.3, 0.2])
    assert law.mean_length == pytest.approx(2.5)


@pytest.mark.parametrize("length", [1.0, 4.0])
def test_all_or_none_accepted_leaves_nothing_to_chance(length: float) -> None:
    output = np.arange(1, 40)
    steps = Acceptance.of_length(3, length).decode_steps(output, np.random.default_rng(1))
    np.testing.assert_array_equal(steps, np.maximum(np.ceil((output - 1) / length), 1))


def test_steps_are_as_many_as_one_draw_after_another_takes() -> None:
    """Mean and spread against 4,000 answers of 60 tokens drawn step by step; 5 standard errors."""
    law, rng = Acceptance(tokens=3, rates=(0.7, 0.5, 0.4)), np.random.default_rng(2)
    n, left = 4000, 59
    drawn = law.decode_steps(np.full(n, left + 1), np.random.default_rng(3))
    tokens = rng.choice([1, 2, 3, 4], p=law.chances, size=(n, left)).cumsum(axis=1)
    expected = (tokens < left).sum(axis=1) + 1
    error = 5 * np.hypot(drawn.std(), expected.std()) / n**0.5
    assert drawn.mean() == pytest.approx(expected.mean(), abs=error)
    assert drawn.std() == pytest.approx(expected.std(), rel=0.08)


def test_the_same_seed_gives_the_same_steps() -> None:
    law, output = Acceptance.of_length(3, 2.5), np.arange(1, 500)
    one, other = (law.decode_steps(output, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("length", "said"), [(0.9, "1 to 4"), (4.1, "1 to 4"), (float("nan"), "1 to 4")])
def test_a_length_beyond_what_is_drafted_is_refused(length: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Acceptance.of_length(3, length)


@pytest.mark.parametrize(("rates", "said"), [((0.5,), "each of 2"), ((0.5, 0.6), "must not rise"), ((1.2, 0.1), "0 to 1")])
def test_rates_that_cannot_be_are_refused(rates: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Acceptance(tokens=2, rates=rates)
