"""The SLO, term by term."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from simulator.results.slo import Promise, check_slo, good
from simulator.workload.slo import Slo


def columns(ttft, tpot=None, e2e=None):
    n = len(ttft)
    given = {"ttft_s": ttft, "tpot_s": tpot or [0.01] * n, "e2e_s": e2e or [1.0] * n}
    return {name: np.array(values, dtype=np.float64) for name, values in given.items()}


def to_all(slo):
    return (Promise(slo),)


def test_a_limit_is_held_at_its_percentile():
    ttft = [0.1] * 98 + [5.0] * 2
    assert check_slo(to_all(Slo(ttft_s=1.0, percentile=90)), columns(ttft))[0].met
    assert not check_slo(to_all(Slo(ttft_s=1.0, percentile=99)), columns(ttft))[0].met


def test_a_limit_that_is_just_reached_is_kept():
    assert check_slo(to_all(Slo(ttft_s=1.0)), columns([1.0, 1.0]))[0].met


def test_the_goodput_term_asks_for_all_limits_at_once():
    slo = Slo(ttft_s=1.0, tpot_s=0.1, percentile=50, goodput=0.6)
    late, slow = [2.0, 0.1, 0.1, 0.1], [0.01, 0.01, 0.01, 0.9]
    ttft, tpot, goodput = check_slo(to_all(slo), columns(late, slow))
    assert (ttft.met, tpot.met, goodput.met) == (True, True, False)
    assert goodput.measured == pytest.approx(0.5)


def test_one_token_has_no_tpot_and_keeps_that_limit():
    slo = Slo(ttft_s=1.0, tpot_s=0.1)
    single = columns([0.5], [float("nan")])
    assert good(to_all(slo), single).tolist() == [True]
    assert all(check.met for check in check_slo(to_all(slo), single))


def test_what_never_finished_is_not_good():
    never = columns([float("nan")], [float("nan")], [float("nan")])
    assert good(to_all(Slo(tpot_s=0.1)), never).tolist() == [False]
    assert good((), never).tolist() == [False]
    assert not any(check.met for check in check_slo(to_all(Slo(ttft_s=1.0, tpot_s=0.1, goodput=0.9)), never))


def test_a_percentile_is_missed_where_more_are_lost_than_it_leaves_out():
    lost = float("nan")
    some = columns([0.1] * 9 + [lost], e2e=[1.0] * 9 + [lost])
    assert check_slo(to_all(Slo(ttft_s=1.0, percentile=90)), some)[0].met
    assert not check_slo(to_all(Slo(ttft_s=1.0, percentile=95)), some)[0].met


def test_requests_without_an_answer_are_the_slowest_of_a_percentile():
    """Of a hundred answers to 104 requests the 99th is the 95th hundredth of all; the 98th would be without the lost ones."""
    lost = [float("nan")] * 4
    late = columns([i / 100 for i in range(1, 101)] + lost, e2e=[1.0] * 100 + lost)
    (check,) = check_slo(to_all(Slo(ttft_s=0.97, percentile=95)), late)
    assert check.measured == pytest.approx(np.percentile([i / 100 for i in range(1, 101)], 95 * 104 / 100))
    assert not check.met
    assert str(check) == "p95 TTFT is 0.988 s against 0.97 s; 3.85% of the requests get no answer"
    (kept,) = check_slo(to_all(Slo(ttft_s=0.97, percentile=95)), columns([i / 100 for i in range(1, 101)]))
    assert kept.met


def test_a_limit_that_too_few_answers_miss_is_said_so_and_never_as_a_latency_within_it():
    lost = [float("nan")] * 2
    (check,) = check_slo(to_all(Slo(ttft_s=1.0)), columns([0.1] * 98 + lost, e2e=[1.0] * 98 + lost))
    assert (check.met, check.measured, check.excess) == (False, None, pytest.approx(2.0))
    assert str(check) == "2% of the requests get no answer and p99 TTFT leaves out 1%"


def test_an_slo_without_a_limit_is_refused():
    with pytest.raises(ValidationError, match="sets no limit; give one of ttft_s"):
        Slo(goodput=0.99)


def test_nothing_steady_meets_no_term():
    checks = check_slo(to_all(Slo(ttft_s=1.0, goodput=0.9)), None)
    assert [(check.measured, check.met) for check in checks] == [(None, False), (None, False)]


def test_no_slo_has_no_terms():
    assert check_slo((), columns([0.5])) == ()


def test_each_class_is_held_to_its_own_promise():
    chat = np.array([True, True, False, False])
    promises = (Promise(Slo(ttft_s=1.0), chat, "chat"), Promise(Slo(ttft_s=10.0), ~chat))
    some = columns([0.5, 2.0, 5.0, 20.0])
    assert good(promises, some).tolist() == [True, False, True, False]
    checks = check_slo(promises, columns([0.5, 0.6, 5.0, 20.0]))
    assert [(check.term, check.met) for check in checks] == [("chat: p99 TTFT", True), ("p99 TTFT", False)]


def test_a_promise_goes_with_the_requests_that_are_looked_at():
    promise = Promise(Slo(ttft_s=1.0), np.array([True, False, True]), "chat")
    assert promise.within(np.array([False, True, True])).of.tolist() == [False, True]


def test_terms_are_said_in_words():
    assert Slo(ttft_s=1.0, goodput=0.99).sentences() == ("p99 TTFT ≤ 1 s", "99% of requests within all limits")


@pytest.mark.parametrize(
    "wrong", [{"ttft_s": -1.0}, {"tpot_s": 0.0}, {"percentile": 101}, {"goodput": 1.5}, {"e2e_s": float("nan")}]
)
def test_a_limit_of_the_wrong_sign_or_size_is_refused(wrong):
    with pytest.raises(ValidationError):
        dataclasses.replace(Slo(ttft_s=1.0), **wrong)
