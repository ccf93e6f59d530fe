"""The searches for the queueing point and the SLO capacity, on queues whose answer is known."""

import math

import numpy as np
import pytest

from simulator.errors import SimulatorError
from simulator.planning.capacity.search import MOST_SIMULATIONS, Flow, Standing, queueing_point, slo_capacity
from simulator.results.model import Estimate


class Server:
    """A server of a known capacity; with a backlog it may be slower, and its completions are measured with noise."""

    def __init__(self, capacity: float, *, with_backlog: float | None = None, noise: float = 0.0, seed: int = 0) -> None:
        self.capacity, self.with_backlog, self.noise = capacity, with_backlog or capacity, noise
        self.rng = np.random.default_rng(seed)
        self.asked: list[float] = []

    def __call__(self, rate: float) -> Flow:
        self.asked.append(rate)
        completed = rate if rate <= self.capacity else self.with_backlog
        seen = completed * (1 + self.noise * self.rng.standard_normal())
        half = 2.86 * self.noise * completed
        return Flow(rate, seen, seen - half, seen + half)


@pytest.mark.parametrize("guess", [0.1, 3.0, 10.0, 200.0])
def test_the_queueing_point_is_the_capacity_however_wrong_the_guess(guess: float) -> None:
    server = Server(10.0)
    found = queueing_point(server, guess)
    assert found.value == pytest.approx(10.0, rel=0.01)
    assert found.low <= 10.0 <= (found.high or 0.0)
    assert len(server.asked) <= MOST_SIMULATIONS


def test_a_good_guess_takes_two_simulations() -> None:
    server = Server(10.0)
    queueing_point(server, 10.4)
    assert len(server.asked) == 2


def test_noise_widens_the_interval_and_the_interval_holds_the_capacity() -> None:
    """Three intervals of 99 % each, so 40 seeds miss more than 5 times once in over a thousand."""
    found = [queueing_point(Server(10.0, noise=0.01, seed=seed), 9.0) for seed in range(40)]
    held = [e.low <= 10.0 <= (e.high or math.inf) for e in found]
    assert sum(held) >= 35
    assert all((e.high or 0.0) - e.low > 0.1 for e in found)


def test_a_server_that_a_backlog_slows_down_is_measured_where_it_keeps_up() -> None:
    server = Server(10.0, with_backlog=8.0)
    found = queueing_point(server, 10.0)
    assert 9.6 <= found.value <= 10.0
    assert found.low == pytest.approx(8.0), "with a backlog it completes no more than that"
    assert found.high is not None
    assert 10.0 <= found.high <= 10.5


def test_a_server_without_limit_is_an_error_that_says_so() -> None:
    with pytest.raises(SimulatorError, match="no rate up to"):
        queueing_point(lambda rate: Flow(rate, rate, rate, rate), 1.0)


def test_the_search_never_exceeds_its_budget() -> None:
    server = Server(10.0, with_backlog=3.0, noise=0.02, seed=3)
    found = queueing_point(server, 0.02, most=12)
    assert len(server.asked) <= 12
    assert found.low <= found.value <= (found.high or 0.0)


def _limit(rate: float, *, at: float, unsure: float = 0.1) -> Standing:
    return Standing(rate, met=rate <= at, surely_met=rate <= at * (1 - unsure), surely_missed=rate > at * (1 + unsure))


QUEUEING = Estimate(10.0, 9.8, 10.2)


def test_the_slo_capacity_is_the_highest_rate_that_meets_it() -> None:
    found = slo_capacity(lambda rate: _limit(rate, at=6.0), QUEUEING)
    assert found is not None
    assert 6.0 / 1.05 <= found.value <= 6.0


def test_the_interval_of_the_slo_capacity_runs_from_surely_met_to_surely_missed() -> None:
    found = slo_capacity(lambda rate: _limit(rate, at=6.0), QUEUEING, tried=(2.0, 5.0, 7.0, 8.5))
    assert found is not None
    assert found.low == 5.0
    assert found.high == 7.0


def test_an_slo_met_up_to_the_queueing_point_ends_there() -> None:
    assert slo_capacity(lambda rate: _limit(rate, at=50.0), QUEUEING) == Estimate(10.0, 10.0, 10.2)


def test_an_slo_that_an_idle_server_misses_has_no_capacity() -> None:
    assert slo_capacity(lambda rate: _limit(rate, at=0.0), QUEUEING) is None


def test_a_lucky_rate_beyond_the_first_miss_does_not_count() -> None:
    def standing(rate: float) -> Standing:
        met = rate < 4.0 or 7.9 < rate < 8.1
        return Standing(rate, met, surely_met=met, surely_missed=not met)

    found = slo_capacity(standing, QUEUEING, tried=(2.0, 6.0, 8.0))
    assert found is not None
    assert found.value < 4.0


def test_the_longer_run_decides_where_the_short_one_cannot_tell() -> None:
    """A check so noisy that nothing below the capacity is seen to keep up would end the search at what a backlog leaves of it."""
    server = Server(10.0, with_backlog=8.0, noise=0.001)

    def check(rate: float) -> Flow:
        return Flow(rate, min(rate, 10.0), 0.96 * min(rate, 10.0), 1.04 * min(rate, 10.0))

    found = queueing_point(server, 10.0, check=check)
    assert found.value == pytest.approx(10.0, rel=0.05)
    assert found.low == pytest.approx(8.0, rel=0.01)
    assert found.high == pytest.approx(10.0, rel=0.03)


def test_growth_that_only_the_short_run_sees_does_not_count() -> None:
    """A check that is still filling its batch completes less than what comes."""
    server = Server(10.0)

    def check(rate: float) -> Flow:
        done = 0.97 * min(rate, 10.0)
        return Flow(rate, done, 0.99 * done, 1.01 * done)

    assert queueing_point(server, 10.0, check=check).value == pytest.approx(10.0, rel=0.01)


def test_a_rate_that_was_seen_to_keep_up_is_not_taken_for_a_crowded_one() -> None:
    """A backlog halves it, and a tenth above what it then completes it keeps up."""
    server, check = Server(10.0, with_backlog=5.0), Server(10.0, with_backlog=5.0)
    found = queueing_point(server, 7.0, check=check)
    assert found.value == pytest.approx(10.0, rel=0.03)
    assert found.low == pytest.approx(5.0)
    assert len(server.asked) + len(check.asked) <= MOST_SIMULATIONS


def test_a_server_that_thrashes_with_a_backlog_has_the_rate_it_keeps_up_to_and_the_one_it_recovers_below() -> None:
    """A burst leaves a backlog at once, random phases in most runs and not in others, one below full none up to its capacity."""
    calm = Server(10.0)

    def mixed(rate: float) -> Flow:
        return Flow(rate, min(rate, 8.5), 6.0, 11.0)

    def burst_at_once(rate: float) -> Flow:
        return Flow(rate, min(rate, 7.0), min(rate, 7.0), min(rate, 7.0))

    found = queueing_point(mixed, 10.0, check=burst_at_once, calm=calm)
    assert found.value == pytest.approx(10.0, rel=0.03)
    assert (found.low, found.recovers_below) == (7.0, 7.0)
    assert found.high is not None
    assert 10.0 <= found.high <= 10.5
    assert len(calm.asked) < 12


def test_an_idle_server_is_asked_only_where_no_rate_surely_meets_the_slo() -> None:
    asked: list[float] = []

    def standing(rate: float) -> Standing:
        asked.append(rate)
        return _limit(rate, at=6.0)

    assert slo_capacity(standing, QUEUEING, tried=(5.0, 6.1)) is not None
    assert min(asked) == 5.0
    assert slo_capacity(standing, QUEUEING, tried=(5.9, 6.1)) is not None
    assert min(asked) == QUEUEING.value / 50


def test_the_queueing_point_itself_is_asked_only_where_every_rate_below_meets_the_slo() -> None:
    asked: list[float] = []

    def standing(rate: float) -> Standing:
        asked.append(rate)
        return _limit(rate, at=6.0)

    slo_capacity(standing, QUEUEING, tried=(2.0, 6.0, 8.0))
    assert max(asked) == 8.0
