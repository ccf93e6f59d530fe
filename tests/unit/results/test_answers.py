"""Requests without an answer: counted by cause, and held against what the SLO leaves out."""

import numpy as np
import pytest

from simulator.engine.fleet.queue_limits import QueueLimits
from simulator.engine.load import OpenLoop
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime
from simulator.results.answers import too_many, unanswered
from simulator.results.slo import Promise
from simulator.workload.requests import Requests
from simulator.workload.slo import Slo

LIMITS = SchedulerConfig(kv_blocks=100, max_num_seqs=4, max_num_batched_tokens=512, max_model_len=100)
STEPS = StepTime(np.zeros(513), np.zeros(5), 0.0, 0.0, 0.0, 0.01)


def _served(prompt, *, timeout_s=None, **columns):
    n = len(prompt)
    requests = Requests(np.zeros(n), np.array(prompt), np.full(n, 20), **columns)
    return serve(requests, [(STEPS, LIMITS)], load=OpenLoop(timeout_s=timeout_s))


def test_where_all_are_answered_there_is_nothing_to_say():
    found = unanswered(_served([10, 20]))
    assert (found.count, found.too_many, str(found)) == (0, False, "")


def test_each_cause_is_counted_and_its_first_reason_said():
    """The first talk is refused, so its later turn is never sent; the second is served."""
    previous = np.array([-1, 0, -1, 2])
    found = unanswered(_served([90, 10, 10, 10], previous=previous, think_s=np.zeros(4)))
    assert str(found) == (
        "50% of the requests get no answer (2 of 4): "
        "1 refused, because 90 prompt and 20 output tokens exceed max_model_len=100; "
        "1 not sent, because the turn before it did not finish"
    )
    assert found.too_many


def test_refusals_of_several_kinds_are_counted_apart():
    """Two prompts are too long, and of the others one more than two are there."""
    requests = Requests(np.zeros(5), np.array([90, 95, 10, 10, 10]), np.full(5, 20))
    limited = serve(requests, [(STEPS, LIMITS)], queue_limits=QueueLimits(max_num_queued_reqs=2))
    assert unanswered(limited).causes == (
        "2 refused, the first because 90 prompt and 20 output tokens exceed max_model_len=100",
        "1 refused, because the server answers 503 beyond max_num_queued_reqs=2 unfinished requests",
    )


def test_requests_that_timed_out_got_no_answer():
    found = unanswered(_served([10] * 8, timeout_s=1e-9))
    assert found.count == 8
    assert found.causes == ("8 timed out",)


@pytest.mark.parametrize(
    ("lost", "slo", "expected"),
    [
        (1, None, False),
        (2, None, True),
        (1, Slo(ttft_s=1.0), False),
        (2, Slo(ttft_s=1.0), True),
        (5, Slo(ttft_s=1.0, percentile=95), False),
        (2, Slo(ttft_s=1.0, percentile=95, goodput=0.99), True),
        (6, Slo(ttft_s=1.0, percentile=50), True),
        (1, Slo(ttft_s=1.0, percentile=100), True),
        (0, Slo(ttft_s=1.0, percentile=100), False),
    ],
)
def test_how_many_of_a_hundred_may_go_without_an_answer(lost, slo, expected):
    promises = (Promise(slo),) if slo else ()
    assert too_many(np.arange(100) < lost, promises) is expected


def test_a_class_whose_few_requests_are_all_refused_is_not_hidden_by_the_others():
    few = np.arange(1000) < 4
    assert too_many(few, (Promise(Slo(ttft_s=1.0), few, "long"), Promise(Slo(ttft_s=1.0), ~few, "short")))
