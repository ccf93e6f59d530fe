"""Arrivals worked by hand."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from support.workloads import arrivals

from simulator.workload.arrivals.gaps import epochs, weibull_shape
from simulator.workload.arrivals.steady import ClosedLoopArrivals, Poisson


def rng(seed=0):
    return np.random.default_rng(seed)


def times(written, requests=None, duration_s=None, seed=0):
    return arrivals(written).times(rng(seed), requests, duration_s)


def test_a_bare_rate_means_poisson():
    assert arrivals("240/min") == arrivals(4) == Poisson(rate=4.0)


def test_constant_arrivals_are_evenly_spaced_from_the_first_gap_on():
    assert times({"kind": "constant", "rate": 2}, requests=4).tolist() == [0.5, 1.0, 1.5, 2.0]


def test_the_duration_cuts_where_the_number_does_not():
    assert len(times({"kind": "constant", "rate": 2}, requests=100, duration_s=3.0)) == 6


def test_even_stages_put_their_rate_times_their_duration_into_each():
    found = times(
        {
            "kind": "stages",
            "stages": [{"rate": 1, "duration": 3}, {"rate": 0, "duration": 10}, {"rate": 4, "duration": 1}],
            "cv": 0,
        }
    )
    assert found.tolist() == pytest.approx([1, 2, 3, 13.25, 13.5, 13.75, 14])


def test_exact_stages_bring_their_numbers_at_random_times():
    stages = {"kind": "stages", "rates": [0.5, 0, 3.01], "every": 100, "exact": True}
    counts = np.histogram(times(stages), [0, 100, 200, 300])[0]
    assert counts.tolist() == [50, 0, 301]
    gaps = np.diff(times(stages)[50:])
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.15)


def test_an_even_ramp_from_nothing_spaces_arrivals_as_square_roots():
    found = times({"kind": "ramp", "start": 0, "end": 2, "over": 10, "cv": 0})
    assert found == pytest.approx(np.sqrt(10 * np.arange(1, 11)))


def test_a_ramp_down_to_nothing_is_the_mirror_of_one_up():
    up = times({"kind": "ramp", "start": 0, "end": 2, "over": 10, "cv": 0})
    down = times({"kind": "ramp", "start": 2, "end": 0, "over": 10, "cv": 0})
    assert down[:-1] == pytest.approx(10 - up[:-1][::-1])


def test_a_day_starts_in_the_trough_and_peaks_in_its_middle():
    day = arrivals({"kind": "diurnal", "peak": 3, "trough": 1, "period": 1000, "cv": 0})
    counts = np.histogram(day.times(rng(), None, 1000.0), np.linspace(0, 1000, 11))[0]
    assert counts.sum() == pytest.approx(2000, abs=1)
    assert counts.argmax() in (4, 5)
    assert counts[0] == counts.min() or counts[-1] == counts.min()


def test_the_peak_of_a_day_can_be_put_anywhere():
    day = arrivals({"kind": "diurnal", "peak": 3, "trough": 1, "period": 1000, "peak_at": 250, "cv": 0})
    counts = np.histogram(day.times(rng(), None, 2000.0), np.linspace(0, 2000, 41))[0]
    assert counts[:20].argmax() in (4, 5)
    assert counts[20:] == pytest.approx(counts[:20], abs=1)


def test_nothing_arrives_between_bursts_without_an_idle_rate():
    gaps = np.diff(times({"kind": "bursts", "rate": 100, "on": 1, "off": 100}, requests=5000))
    assert (gaps > 1).sum() == pytest.approx(50, abs=35)
    assert np.median(gaps) < 0.02


def test_users_ask_together_as_often_as_each_of_them_times_their_number():
    assert arrivals({"kind": "users", "users": 200, "each": "12/h"}).mean_rate() == pytest.approx(2 / 3)


def test_burstiness_is_one_over_the_square_of_the_cv():
    assert arrivals({"kind": "gamma", "rate": 1, "burstiness": 0.25}).gap_cv() == 2.0


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_the_weibull_shape_has_the_cv_that_was_asked(cv):
    k = weibull_shape(cv)
    assert math.sqrt(math.gamma(1 + 2 / k) / math.gamma(1 + 1 / k) ** 2 - 1) == pytest.approx(cv)


def test_a_cv_that_no_weibull_law_has_is_refused():
    with pytest.raises(ValidationError, match="no Weibull law"):
        arrivals({"kind": "weibull", "rate": 1, "cv": 1e-6})


def test_epochs_are_the_running_sum_of_the_gaps_across_pieces():
    found = epochs(lambda n: np.full(n, 0.5), 10_000, math.inf)
    assert found == pytest.approx(0.5 * np.arange(1, 10_001))


def test_an_end_before_the_first_arrival_leaves_none():
    assert len(times({"kind": "constant", "rate": 1}, duration_s=0.5)) == 0


def test_recorded_times_come_back_as_they_are_and_are_squeezed_by_a_higher_rate():
    recorded = arrivals({"kind": "recorded", "times_s": [0, 1, 4]})
    assert recorded.times(rng(), None, None).tolist() == [0, 1, 4]
    assert recorded.scaled(2).times(rng(), None, None).tolist() == [0, 0.5, 2]
    assert recorded.mean_rate() == 0.5


def test_recorded_times_that_run_backwards_are_refused_at_the_entry():
    with pytest.raises(ValidationError, match="entry 3 is 1, after 2"):
        arrivals({"kind": "recorded", "times_s": [0, 2, 1]})


def test_a_closed_loop_exposes_its_users_and_think_time_in_seconds():
    loop = arrivals({"kind": "closed_loop", "concurrency": 8, "think": "1min"})
    assert isinstance(loop, ClosedLoopArrivals)
    assert (loop.concurrency, loop.think_s) == (8, 60.0)
    assert loop.scaled(0.01).concurrency == 1


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"kind": "gamma", "rate": 1}, "either cv or burstiness"),
        ({"kind": "gamma", "rate": 1, "cv": 1, "burstiness": 1}, "either cv or burstiness"),
        ({"kind": "weibull", "rate": 1}, "either cv or shape"),
        ({"kind": "stages", "stages": []}, "give stages"),
        ({"kind": "stages", "rates": [1, 2]}, "give stages"),
        ({"kind": "stages", "rates": [1], "every": 5, "stages": [{"rate": 1, "duration": 1}]}, "give stages"),
        ({"kind": "stages", "stages": [{"rate": 0, "duration": 1}]}, "every stage has rate 0"),
        ({"kind": "ramp", "start": 0, "end": 0, "over": 1}, "both 0"),
        ({"kind": "diurnal", "peak": 1, "trough": 2}, "above peak"),
        ({"kind": "recorded"}, "either times_s or trace"),
        ({"kind": "poison", "rate": 1}, "poisson"),
        ({"kind": "poisson", "rate": 1, "burstiness": 1}, "Unexpected keyword"),
        (True, "valid"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(written, told):
    with pytest.raises(ValidationError, match=told):
        arrivals(written)
