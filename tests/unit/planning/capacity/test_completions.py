"""What a run shows of the rate that a replica completes: two counts of the same requests."""

import numpy as np
import pytest

from simulator.planning.capacity.completions import Parts, half_of, pooled
from simulator.planning.capacity.search import Flow

RUNS, PARTS = 4, 4


def counted(rng: np.random.Generator, *, same: bool = False) -> Parts:
    """A server that completes 10 requests/s, of which chance makes many in one count, few in the other."""
    chance, rest = rng.normal(0.0, 1.0, (RUNS, PARTS)), rng.normal(0.0, 0.1, (2, RUNS, PARTS))
    done = 10.0 + rest + np.stack([chance, chance if same else -chance])
    return Parts(np.full_like(done, 12.0), done, np.full((2, RUNS), 12.0))


def half(flow: Flow) -> float:
    return flow.high_per_s - flow.completed_per_s


def test_what_two_counts_do_not_agree_on_is_chance_and_leaves_the_interval() -> None:
    parts = counted(np.random.default_rng(1))
    found = pooled([parts])
    assert half(found) < 0.4 * half_of(parts.done[0])
    assert found.completed_per_s == pytest.approx(10.0, abs=0.1)
    assert found.grows and found.offered_per_s == pytest.approx(12.0)


def test_counts_that_agree_are_one_count() -> None:
    parts = counted(np.random.default_rng(1), same=True)
    assert half(pooled([parts])) > 0.5 * half_of(parts.done[0])


def test_the_interval_of_both_counts_holds_the_rate_as_often_as_it_says() -> None:
    found = [pooled([counted(np.random.default_rng(seed))]) for seed in range(300)]
    assert np.mean([f.low_per_s <= 10.0 <= f.high_per_s for f in found]) > 0.95


def test_a_server_whose_completions_follow_its_arrivals_keeps_up_however_they_vary() -> None:
    rng = np.random.default_rng(2)
    came = 10.0 + rng.normal(0.0, 2.0, (2, 1, 20))
    found = pooled([Parts(came, came + rng.normal(0.0, 0.01, came.shape), np.full((2, 1), 10.0))])
    assert found.completed_per_s == pytest.approx(10.0, abs=0.05)
    assert half(found) < 0.1
    assert found.keeps_up(0.02) and not found.grows


def test_a_full_server_completes_as_much_whatever_comes_meanwhile() -> None:
    rng = np.random.default_rng(3)
    came = 12.0 + rng.normal(0.0, 2.0, (2, 1, 20))
    done = np.full_like(came, 10.0) + rng.normal(0.0, 0.1, came.shape)
    found = pooled([Parts(came, done, np.full((2, 1), 10.3))])
    assert half(found) < 0.1
    assert found.grows


def test_a_run_without_any_completion_completes_nothing() -> None:
    assert pooled([None]) == Flow(0.0, 0.0, 0.0, 0.0)
