"""When requests are sent, and what becomes of those whose client gives up. A step takes a second."""

import math

import pytest
from support.by_hand import asked, limits, per_step, served, step_time, times

from simulator.engine.load import ClosedLoop, OpenLoop
from simulator.engine.record import CANCELLED, FINISHED, TIMED_OUT
from simulator.errors import SimulatorError


def test_a_later_turn_comes_after_the_one_before_it_and_some_thinking():
    trace = served(asked((0, 4, 3), (0, 8, 1), previous=[-1, 0], think_s=[0.0, 5.0]), limits())
    assert times(trace, "arrival") == [0.0, 8.0]


def test_later_turns_of_one_that_failed_are_never_sent_and_say_so():
    trace = served(asked((0, 4, 9), (0, 8, 1), (0, 8, 1), previous=[-1, 0, 1]), limits(), load=OpenLoop(timeout_s=3.0))
    assert trace.requests["status"].tolist() == [TIMED_OUT, CANCELLED, CANCELLED]
    assert trace.refusals == {1: "the turn before it did not finish", 2: "the turn before it did not finish"}


def test_a_fixed_concurrency_sends_the_next_when_one_has_finished():
    """What comes in answer to a token comes when the next step has begun: the third is computed in the one from 4 to 5."""
    trace = served(asked((0, 4, 3), (0, 4, 5), (0, 4, 2), (0, 4, 2)), limits(), load=ClosedLoop(concurrency=2))
    assert times(trace, "arrival") == [0.0, 0.0, 3.0, 5.0]
    assert times(trace, "finish") == [3.0, 5.0, 6.0, 8.0]


def test_users_think_before_they_send():
    trace = served(asked((0, 4, 3), (0, 4, 3)), limits(), load=ClosedLoop(concurrency=1, think_s=4.0))
    assert times(trace, "arrival") == [4.0, 11.0]
    own = served(asked((0, 4, 3), (0, 4, 3), think_s=[1.0, 2.0]), limits(), load=ClosedLoop(concurrency=1, think_s=4.0))
    assert times(own, "arrival") == [1.0, 6.0]


def test_a_user_sends_the_later_turn_before_the_next_conversation():
    """Two conversations of two turns, one user: the second turn of the first goes before the first of the second."""
    turns = asked(*[(0, 4, 2)] * 4, previous=[-1, -1, 0, 1])
    assert times(served(turns, limits(), load=ClosedLoop(concurrency=1)), "arrival") == [0.0, 4.0, 2.0, 6.0]


def test_a_user_cannot_send_two_later_turns_at_once():
    with pytest.raises(SimulatorError, match="two later turns of one request"):
        served(asked(*[(0, 4, 2)] * 3, previous=[-1, 0, 0]), limits(), load=ClosedLoop(concurrency=1))


def test_a_request_that_waits_too_long_leaves_the_queue_and_the_next_moves_up():
    """One place, and clients who wait 8 s: the first is done at 5; at 8 the second gives up in its place, the third in the queue.

    The step from 8 to 9 has begun with the second in it; the fourth has its place from 9 on.
    """
    trace = served(asked((0, 4, 5), (0, 4, 5), (0, 4, 5), (4, 4, 2)), limits(max_num_seqs=1), load=OpenLoop(timeout_s=8.0))
    assert trace.requests["status"].tolist() == [FINISHED, TIMED_OUT, TIMED_OUT, FINISHED]
    assert times(trace, "left") == [5.0, 8.0, 8.0, 11.0]


def test_who_gives_up_leaves_at_once_and_its_blocks_when_the_step_ends():
    """Steps of 2 s: the first gives up at 5, and computes and holds its two blocks to 6."""
    trace = served(asked((0, 4, 20), (1, 4, 2), (5, 4, 2)), limits(), step_time(constant=2.0), load=OpenLoop(timeout_s=5.0))
    assert times(trace, "left") == [5.0, 6.0, 10.0]
    assert per_step(trace, "sequences") == [1, 2, 2, 1, 1]
    assert per_step(trace, "kv_blocks") == [1, 3, 4, 1, 2]


def test_what_comes_in_the_instant_of_the_time_out_was_in_time():
    in_time = served(asked((0, 4, 5)), limits(), load=OpenLoop(timeout_s=5.0))
    assert in_time.requests["status"].tolist() == [FINISHED]


def test_no_first_token_is_noted_after_the_client_left():
    """A prompt of three steps, and a client who leaves at 2, when the third has begun."""
    few = limits(max_num_seqs=1, max_num_batched_tokens=4)
    trace = served(asked((0, 12, 1)), few, load=OpenLoop(timeout_s=2.0))
    assert math.isnan(times(trace, "first_token")[0])
    assert trace.stretches["prefill_tokens"].sum() == 12


def test_a_closed_loop_goes_on_after_a_time_out():
    trace = served(asked((0, 4, 20), (0, 4, 2)), limits(), load=ClosedLoop(concurrency=1, timeout_s=5.0))
    assert trace.requests["status"].tolist() == [TIMED_OUT, FINISHED]
    assert times(trace, "arrival") == [0.0, 5.0]


def test_after_a_step_that_takes_no_time_an_answer_is_sent_before_the_next_is_composed():
    """A step takes its context in seconds, so prompts take none: at 2 those of the third and fourth, when the first is answered.
    With async scheduling the last turn then still comes before the second step after that is composed."""
    requests = asked((0, 1, 2), (0, 1, 2), (0, 1, 3), (0, 1, 1), (0, 1, 1), previous=[-1, -1, -1, -1, 0], think_s=[0.0] * 5)
    trace = served(requests, limits(max_num_seqs=2, async_scheduling=True), step_time(per_context=1.0))
    assert times(trace, "arrival")[4] == 2.0
    assert times(trace, "scheduled") == [0.0, 0.0, 2.0, 2.0, 2.0]


def test_at_most_so_many_are_under_way_and_the_others_wait_with_the_client():
    """All come at once, two may be sent: the third is sent when the first has its tokens, and its time counts from there."""
    trace = served(asked((0, 4, 3), (0, 4, 5), (0, 4, 2), (1, 4, 2)), limits(), load=OpenLoop(max_concurrency=2))
    assert times(trace, "arrival") == [0.0, 0.0, 3.0, 5.0]
    assert times(trace, "finish") == [3.0, 5.0, 6.0, 8.0]


def test_who_gives_up_makes_room_for_one_that_was_held():
    capped = OpenLoop(max_concurrency=1, timeout_s=5.0)
    trace = served(asked((0, 4, 20), (0, 4, 2)), limits(), load=capped)
    assert trace.requests["status"].tolist() == [TIMED_OUT, FINISHED]
    assert times(trace, "arrival") == [0.0, 5.0]
