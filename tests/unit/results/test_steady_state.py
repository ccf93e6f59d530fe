"""When a queue settles, and when it does not."""

import numpy as np
import pytest
from support.traces import served, single_server, trace

from simulator.engine.record import REFUSED
from simulator.results.steady_state import backlog, judge, warmup_end


def queue(load, count=2000, seed=0, mean_s=1.0):
    rng = np.random.default_rng(seed)
    return single_server(np.cumsum(rng.exponential(mean_s / load, count)), rng.exponential(mean_s, count))


def test_the_backlog_is_who_came_less_who_left():
    t = trace([served(0.0, 1.0, 2.0), served(1.0, 2.0, 5.0), {"arrival_s": 0.5, "status": REFUSED}])
    assert backlog(t, np.array([0.0, 1.0, 2.0, 4.9, 5.0])).tolist() == [1, 2, 1, 1, 0]


def test_warm_up_lasts_until_the_first_requests_have_left():
    t = trace([served(float(i), i + 1.0, i + 7.0) for i in range(100)])
    assert warmup_end(t) == pytest.approx(19 + 7.0)


def test_warm_up_never_takes_more_than_half_of_the_arrivals():
    assert warmup_end(trace([served(float(i), 500.0, 900.0) for i in range(101)])) == pytest.approx(50.0)


def test_a_calm_queue_is_stable():
    assert judge(queue(0.5), open_loop=True).verdict == "stable"


def test_twice_the_capacity_is_overloaded_and_the_drift_says_by_how_much():
    found = judge(queue(2.0), open_loop=True)
    assert found.verdict == "overloaded"
    assert found.drift_low_per_s < 1.0 < found.drift_high_per_s


def test_a_closed_loop_is_never_overloaded():
    assert judge(queue(2.0), open_loop=False).verdict != "overloaded"


def test_waiting_most_of_the_time_without_growth_is_saturated():
    steps = [{"start_s": float(i), "end_s": i + 1.0, "waiting": int(i % 4 > 0), "steps": 1} for i in range(200)]
    t = trace([served(float(i), i + 0.1, i + 1.0) for i in range(200)], steps)
    assert judge(t, open_loop=True).verdict == "saturated"


def test_a_batch_is_not_taken_for_traffic():
    found = judge(trace([served(0.0, 1.0, float(i)) for i in range(1, 50)]), open_loop=True)
    assert found.verdict == "stable"
    assert "batch" in found.note


def test_a_run_that_only_fills_up_is_not_called_overloaded_but_short():
    """Requests that all run at once and stay longer than the run: the backlog grows and nobody waits."""
    found = judge(trace([served(float(i), i + 0.1, i + 400.0) for i in range(300)]), open_loop=True)
    assert found.verdict != "overloaded"
    assert "short" in found.note


def test_nothing_served_is_no_error():
    assert judge(trace([{"arrival_s": float(i), "status": REFUSED} for i in range(30)]), open_loop=True).verdict == "stable"


def test_a_queue_at_its_limit_is_rarely_called_overloaded():
    """Load exactly 1 is the worst case, bound 1 %. Of 300 runs 3 are expected; more than 10 has a chance below 1 in 1,000."""
    alarms = sum(judge(queue(1.0, 500, seed), open_loop=True).verdict == "overloaded" for seed in range(300))
    assert alarms <= 10


def test_a_queue_well_over_its_limit_is_nearly_always_found_out():
    found = [judge(queue(1.5, 1000, seed), open_loop=True).verdict for seed in range(50)]
    assert found.count("overloaded") >= 49


def test_later_turns_that_come_after_the_load_has_ceased_hide_no_growth():
    first, later = np.arange(400.0), 800.0 + 2 * np.arange(400.0)
    run = single_server(np.concatenate([first, later]), np.full(800, 2.0))
    assert judge(run, open_loop=True).verdict != "overloaded"
    run.requests["follows"][400:] = 1
    found = judge(run, open_loop=True)
    assert found.verdict == "overloaded"
    assert found.drift_per_s == pytest.approx(0.5, abs=0.05)
