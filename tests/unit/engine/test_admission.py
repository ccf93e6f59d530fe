"""What is refused before the clock starts."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from support.by_hand import ONE_SECOND, asked, limits, served, step_time

from simulator.engine.load import ClosedLoop
from simulator.engine.scheduler.config import KvGroup
from simulator.engine.serve import serve
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.step import Window

ONE = asked((0, 4, 2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("term", ["constant", "per_sequence", "per_context", "per_pair"])
def test_a_step_time_that_is_negative_or_not_finite_is_refused(term, bad):
    with pytest.raises(SimulatorError, match="every term must be finite and 0 or more"):
        served(ONE, limits(), step_time(**{term: bad}))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_so_is_one_in_a_table_or_a_window(bad):
    with pytest.raises(SimulatorError, match="every term must be finite and 0 or more"):
        served(ONE, limits(), replace(ONE_SECOND, tokens=np.append(np.zeros(999), bad)))
    with pytest.raises(SimulatorError, match="every term must be finite and 0 or more"):
        served(ONE, limits(), step_time(windows=(Window(4, bad, 0.0),)))


def test_a_table_shorter_than_the_limits_allow_is_refused():
    with pytest.raises(SimulatorError, match="tokens has 32 entries; 33 are needed for 0 to 32"):
        served(ONE, limits(), replace(ONE_SECOND, tokens=np.zeros(32)))
    with pytest.raises(SimulatorError, match="sampled has 8 entries; 9 are needed for 0 to 8"):
        served(ONE, limits(), replace(ONE_SECOND, sampled=np.zeros(8)))


def test_arrivals_out_of_order_are_refused_unless_a_closed_loop_ignores_them():
    disordered = asked((0, 4, 1), (5, 4, 1), (3, 4, 1))
    with pytest.raises(SimulatorError, match="request 2 comes before the one ahead of it"):
        served(disordered, limits())
    assert len(served(disordered, limits(), load=ClosedLoop(concurrency=1))) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_arrivals_and_thinking_must_be_finite_and_not_negative(bad):
    with pytest.raises(SimulatorError, match="arrival_s must be finite and 0 or more"):
        served(asked((bad, 4, 1)), limits())
    with pytest.raises(SimulatorError, match="think_s must be finite and 0 or more"):
        served(asked((0, 4, 1), (0, 4, 1), previous=[-1, 0], think_s=[0.0, bad]), limits())


@pytest.mark.parametrize("row", [(0, 0, 1), (0, 1, 0), (0, -4, 1)])
def test_a_request_has_at_least_one_token_to_read_and_one_to_write(row):
    with pytest.raises(SimulatorError, match="must have 1 entries of at least 1"):
        served(asked(row), limits())


def test_a_later_turn_follows_an_earlier_request():
    with pytest.raises(SimulatorError, match="`previous` must name an earlier request"):
        served(asked((0, 4, 1), (0, 4, 1), previous=[-1, 1]), limits())


@pytest.mark.parametrize("name", ["kv_blocks", "block_size", "max_num_seqs", "max_num_batched_tokens", "max_model_len"])
def test_a_limit_below_one_is_refused(name):
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        limits(**{name: 0})


def test_a_step_must_have_a_token_for_every_sequence():
    with pytest.raises(ValidationError, match=r"max_num_batched_tokens \(4\) must be at least max_num_seqs \(8\)"):
        limits(max_num_batched_tokens=4)


def test_at_least_one_replica_is_needed():
    with pytest.raises(SimulatorError, match="at least one replica is needed"):
        serve(ONE, [])


def test_hashes_of_blocks_that_do_not_divide_the_engine_s_are_not_modelled():
    with pytest.raises(NotModelled, match="prefix hashes of 4-token blocks, and KV blocks of 6 tokens"):
        served(asked((0, 9, 1), labels=[[1]]), limits(block_size=6, enable_prefix_caching=True))


@pytest.mark.parametrize("more", [{"async_scheduling": True}, {"kv_groups": (KvGroup(window=4),)}])
def test_static_batching_is_the_textbook_s_and_nothing_more(more):
    with pytest.raises(NotModelled, match="static batching with"):
        served(ONE, limits(scheduling_policy="static", **more))


def test_no_requests_are_no_steps():
    none = served(replace(ONE, arrival_s=np.zeros(0), prompt_tokens=np.zeros(0, int), output_tokens=np.zeros(0, int)), limits())
    assert len(none) == 0 and len(none.stretches["steps"]) == 0


def test_steps_that_take_no_time_end():
    trace = served(asked((0, 40, 20), (0, 4, 30), (2, 4, 3)), limits(), step_time())
    assert trace.requests["finish_s"].tolist() == [0.0, 0.0, 2.0]
