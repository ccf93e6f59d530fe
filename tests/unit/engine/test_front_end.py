"""The API server before an engine, worked by hand: a step takes a second."""

from support.by_hand import asked, limits, served, times

from simulator.engine.load import ClosedLoop, OpenLoop
from simulator.engine.record import FINISHED, TIMED_OUT
from simulator.latency.client import ApiServer


def test_a_burst_comes_into_the_engine_one_request_after_another():
    """Each takes 2 s and a prompt of 4 tokens 4 more: the second is taken in from 6 to 12, and the first one's token waits."""
    trace = served(asked((0, 4, 1), (0, 4, 1)), limits(), front_end=ApiServer(request_s=2.0, prompt_token_s=1.0))
    assert times(trace, "entered") == [6.0, 12.0]
    assert times(trace, "arrival") == [0.0, 0.0]
    assert times(trace, "finish") == [12.0, 13.0]


def test_tokens_wait_for_the_chunks_before_them():
    """Two tokens a second, each 1 s to send: the engine is done at 3, the client has its 6 tokens at 7."""
    trace = served(asked((0, 4, 3), (0, 4, 3)), limits(), front_end=ApiServer(chunk_s=1.0))
    assert times(trace, "first_token") == [3.0, 3.0]
    assert times(trace, "finish") == [7.0, 7.0]
    assert trace.stretches["end_s"].max() == 3.0


def test_a_request_waits_for_chunks_and_chunks_for_it():
    """Tokens of the steps that end at 2 and 3 are sent by 5 and 8; what comes at 4 is taken in from then to 13."""
    slow = ApiServer(request_s=0.0, prompt_token_s=1.0, chunk_s=3.0)
    trace = served(asked((0, 1, 2), (4, 5, 1)), limits(), front_end=slow)
    assert times(trace, "entered") == [1.0, 13.0]
    assert times(trace, "first_token")[0] == 5.0
    assert times(trace, "finish")[0] == 8.0


def test_users_of_a_closed_loop_send_when_the_client_has_the_last_token():
    trace = served(asked((0, 4, 1), (0, 4, 1)), limits(), load=ClosedLoop(concurrency=1), front_end=ApiServer(chunk_s=5.0))
    assert times(trace, "arrival") == [0.0, 6.0]


def test_who_gives_up_before_the_engine_has_it_never_comes_to_it():
    slow = ApiServer(request_s=4.0)
    trace = served(asked((0, 4, 1), (0, 4, 1), (0, 4, 1)), limits(), load=OpenLoop(timeout_s=10.0), front_end=slow)
    assert trace.requests["status"].tolist() == [FINISHED, FINISHED, TIMED_OUT]
    assert trace.stretches["prefill_tokens"].sum() == 8
