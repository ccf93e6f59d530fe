"""Ranks of one server: who gets a request, and what ranks in lock step do to each other. Steps take whole seconds."""

import numpy as np
import pytest
from support.by_hand import asked, limits, step_time, times

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.instance.lock_step import LockStep
from simulator.engine.serve import serve
from simulator.errors import SimulatorError

BY_TOKEN = step_time(token_s=1.0)
TOGETHER = DataParallel(ranks=2, balance="in_turn", lock_step=LockStep(asks_every=4))
ALONE = DataParallel(ranks=2, balance="in_turn")


def on_two(requests, time=BY_TOKEN, parallel=TOGETHER, **config):
    return serve(requests, [(time, limits(**config))] * 2, data_parallel=parallel, tick_s=1.0)


def places(trace):
    return trace.requests["replica"].tolist()


def test_the_prefill_of_one_rank_stalls_the_other():
    """A step takes its tokens in seconds: the second rank decodes one token a step, and waits 10 s in the other's prefill."""
    trace = on_two(asked((0, 1, 4), (1, 10, 1)))
    assert times(trace, "finish") == [13.0, 11.0]
    alone = on_two(asked((0, 1, 4), (1, 10, 1)), parallel=ALONE)
    assert times(alone, "finish") == [4.0, 11.0]


def test_a_rank_without_work_joins_when_the_step_in_hand_ends():
    trace = on_two(asked((0, 5, 2), (2, 1, 1)))
    assert times(trace, "scheduled") == [0.0, 5.0]
    assert times(on_two(asked((0, 5, 2), (2, 1, 1)), parallel=ALONE), "scheduled") == [0.0, 2.0]


def test_ranks_without_work_go_on_with_dummy_batches_until_they_ask_each_other():
    """One step of 5 s, and dummies of 1 s until the fourth step: what comes at 6.4 waits for the second one, at 9.4 for none."""
    fine = [(step_time(token_s=1.0), limits())] * 2
    early = serve(asked((0, 5, 1), (6.4, 1, 1)), fine, data_parallel=TOGETHER, tick_s=0.1)
    late = serve(asked((0, 5, 1), (9.4, 1, 1)), fine, data_parallel=TOGETHER, tick_s=0.1)
    assert early.requests["scheduled_s"][1] == pytest.approx(7.0)
    assert late.requests["scheduled_s"][1] == pytest.approx(9.4)


def test_all_pad_to_the_largest_while_none_is_beyond_the_cuda_graphs():
    """The first rank has 6 tokens and no context; the second 1 token and a context of 8 that it pays for."""
    requests = asked((0, 8, 9), (10, 6, 1))
    time = step_time(token_s=1.0, per_context=1.0)
    for up_to, longest in ((0, 10), (6, 15)):
        together = DataParallel(ranks=2, balance="in_turn", lock_step=LockStep(pads_up_to=up_to))
        trace = on_two(requests, time, together)
        second = trace.stretches["prefill_tokens"] == 6
        assert trace.stretches["base_s"][second].tolist() == [longest]


def test_a_prompt_that_is_held_back_goes_on_in_the_next_step_that_computes_prompts():
    """One rank has a token of its second prompt left, and nothing to do in the second step; the other decodes three."""
    paced = {"max_num_seqs": 2, "max_num_batched_tokens": 2, "async_scheduling": True, "prefill_schedule_interval": 2}
    trace = on_two(asked((0, 1, 1), (0, 1, 3), (0, 2, 1)), step_time(constant=1.0), **paced)
    assert places(trace) == [0, 1, 0]
    assert times(trace, "first_token") == [1.0, 1.0, 3.0]


def test_a_stretch_ends_where_another_rank_becomes_the_slowest():
    """Contexts grow by one a step and sequence: two sequences overtake one with the longer context after some steps."""
    trace = on_two(asked((0, 20, 30), (0, 2, 30), (0, 9, 1), (0, 2, 30)), step_time(per_context=1.0))
    decoding = trace.stretches["decoding"] > 0
    each = np.maximum(20 + np.arange(29), 4 + 2 * np.arange(29))
    mine = trace.stretches["replica"] == 0
    spans = np.concatenate(
        [
            base + slope * np.arange(steps)
            for base, slope, steps in zip(
                *(trace.stretches[name][mine & decoding] for name in ("base_s", "slope_s", "steps")), strict=True
            )
        ]
    )
    assert spans.tolist() == each.tolist()


def test_the_front_end_counts_those_that_wait_four_times():
    """At 20 the ranks are told to have 1 running and 1 waiting, and 2 running: 5 against 2."""
    requests = asked((0, 4, 9), (0, 12, 9), (0, 4, 9), (1, 12, 9), (25, 4, 1))
    rooms = [(step_time(constant=10.0), limits(max_num_seqs=seats)) for seats in (1, 2)]
    weighted = DataParallel(ranks=2, balance="weighted", report_s=20.0)
    trace = serve(requests, rooms, data_parallel=weighted, tick_s=1.0)
    assert places(trace) == [0, 1, 0, 1, 1]


def test_ties_are_taken_in_turn_from_0_25_on():
    requests = asked(*[(100 * i, 4, 2) for i in range(4)])
    first = on_two(requests, parallel=DataParallel(ranks=2, balance="weighted", report_s=1.0))
    turns = on_two(requests, parallel=DataParallel(ranks=2, balance="rotating", report_s=1.0))
    assert (places(first), places(turns)) == ([0, 0, 0, 0], [0, 1, 0, 1])


def test_a_count_of_its_own_outlives_the_reports_from_0_27_on():
    """Both ranks are told to be idle; the front end knows of the one that it sent."""
    requests = asked((0, 4, 90), (30, 4, 2), (60, 4, 2))
    trace = on_two(requests, step_time(constant=1.0), DataParallel(ranks=2, balance="in_flight", report_s=5.0))
    assert places(trace) == [0, 1, 1]


def test_ranks_must_make_whole_servers():
    with pytest.raises(SimulatorError, match="3 instances are no whole servers of 2 ranks"):
        serve(asked((0, 4, 1)), [(BY_TOKEN, limits())] * 3, data_parallel=ALONE)
