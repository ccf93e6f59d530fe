"""Queue limits by hand: steps of a second, and who is turned away at the door of a server."""

import pytest
from support.by_hand import ONE_SECOND, asked, limits, served, times

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.queue_limits import NO_LIMITS, QueueLimits
from simulator.engine.fleet.router import RoundRobin
from simulator.engine.instance.lock_step import LockStep
from simulator.engine.load import ClosedLoop, OpenLoop
from simulator.engine.record import CANCELLED, FINISHED, REFUSED, TIMED_OUT
from simulator.engine.serve import serve

FULL = "the server answers 503 beyond max_num_queued_reqs=2 unfinished requests"
LONG = "the server answers 503 from max_num_queued_tokens=10 of prompts without a first token on"


def statuses(trace) -> list[int]:  # type: ignore[no-untyped-def]
    return trace.requests["status"].tolist()


@pytest.mark.parametrize("ahead", [False, True])
def test_one_more_than_the_most_unfinished_requests_is_turned_away(ahead: bool) -> None:
    """The first two have 4 and 2 tokens, one a second: the last token of the second is out at 2."""
    requests = asked((0, 4, 4), (0, 4, 2), (1, 4, 1), (3, 4, 1), (3, 4, 1))
    trace = served(requests, limits(async_scheduling=ahead), queue_limits=QueueLimits(max_num_queued_reqs=2))
    assert statuses(trace) == [FINISHED, FINISHED, REFUSED, FINISHED, REFUSED]
    assert trace.refusals == {2: FULL, 4: FULL}
    assert times(trace, "left")[2] == times(trace, "arrival")[2] == 1


@pytest.mark.parametrize("ahead", [False, True])
def test_a_prompt_counts_whole_until_its_first_token_is_out(ahead: bool) -> None:
    """Two steps of 8 tokens compute the first prompt: at 1 it counts 16 tokens still, at 3 none."""
    requests = asked((0, 16, 9), (1, 1, 1), (3, 9, 1), (3, 1, 1), (3, 1, 1))
    config = limits(max_num_batched_tokens=8, max_num_seqs=8, async_scheduling=ahead)
    trace = served(requests, config, queue_limits=QueueLimits(max_num_queued_tokens=10))
    assert statuses(trace) == [FINISHED, REFUSED, FINISHED, FINISHED, REFUSED]
    assert trace.refusals == {1: LONG, 4: LONG}


def test_a_limit_of_none_refuses_all_and_no_limit_refuses_nobody() -> None:
    requests = asked((0, 4, 4), (0, 4, 2))
    for none in (QueueLimits(max_num_queued_reqs=0), QueueLimits(max_num_queued_tokens=0)):
        assert statuses(served(requests, limits(), queue_limits=none)) == [REFUSED, REFUSED]
    assert statuses(served(requests, limits(), queue_limits=NO_LIMITS)) == [FINISHED, FINISHED]


def test_what_can_never_fit_is_refused_for_that_and_takes_no_place() -> None:
    requests = asked((0, 4000, 4), (0, 4, 2), (0, 4, 2))
    trace = served(requests, limits(), queue_limits=QueueLimits(max_num_queued_reqs=1))
    assert statuses(trace) == [REFUSED, FINISHED, REFUSED]
    assert "KV blocks" in trace.refusals[0] and "503" in trace.refusals[2]


def test_later_turns_of_one_that_is_turned_away_are_never_sent() -> None:
    requests = asked((0, 4, 4), (0, 4, 2), (0, 4, 2), previous=[-1, -1, 1], think_s=[0.0, 0.0, 0.0])
    trace = served(requests, limits(), queue_limits=QueueLimits(max_num_queued_reqs=1))
    assert statuses(trace) == [FINISHED, REFUSED, CANCELLED]


def test_who_gives_up_leaves_a_place_and_a_prompt() -> None:
    """One sequence runs, the second waits and gives up at 3: the third comes in at 4."""
    requests = asked((0, 4, 9), (0, 8, 1), (4, 8, 1))
    one = limits(max_num_seqs=1)
    for some in (QueueLimits(max_num_queued_reqs=1), QueueLimits(max_num_queued_tokens=8)):
        trace = served(requests, one, load=OpenLoop(timeout_s=3), queue_limits=some)
        refused = REFUSED if some.max_num_queued_reqs else TIMED_OUT
        assert statuses(trace)[1] == refused
        assert statuses(trace)[2] != REFUSED


def test_a_user_who_is_turned_away_goes_on_at_once() -> None:
    requests = asked(*[(0, 4, 2)] * 5)
    trace = served(requests, limits(), load=ClosedLoop(concurrency=2), queue_limits=QueueLimits(max_num_queued_reqs=1))
    assert statuses(trace) == [FINISHED, REFUSED, REFUSED, REFUSED, REFUSED]


@pytest.mark.parametrize("lock_step", [None, LockStep()])
def test_the_limits_are_those_of_a_server_over_its_ranks_and_of_each_server(lock_step: LockStep | None) -> None:
    """Two servers of two ranks, in turn: each lets in three of its four, whatever ranks they go to."""
    requests = asked(*[(0, 4, 4)] * 8)
    instances = [(ONE_SECOND, limits())] * 4
    how = {"router": RoundRobin(), "tick_s": 1.0, "queue_limits": QueueLimits(max_num_queued_reqs=3)}
    trace = serve(requests, instances, data_parallel=DataParallel(ranks=2, lock_step=lock_step), **how)  # type: ignore[arg-type]
    assert statuses(trace) == [FINISHED] * 6 + [REFUSED] * 2
    alone = serve(requests, instances, data_parallel=DataParallel(ranks=2, balance="router"), **how)  # type: ignore[arg-type]
    assert statuses(alone) == [FINISHED] * 8


def test_a_rank_alone_has_its_share_rounded_up() -> None:
    shared = QueueLimits(max_num_queued_reqs=7, max_num_queued_tokens=1).shared(2)
    assert (shared.max_num_queued_reqs, shared.max_num_queued_tokens) == (4, 1)
    assert NO_LIMITS.shared(4) == NO_LIMITS
