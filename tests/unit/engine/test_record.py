"""What can be read from the log of a run."""

import numpy as np
import pytest
from support.by_hand import ONE_SECOND, asked, limits, per_step, served, step_time, times

from simulator.engine.record import inter_token_latencies, timeline
from simulator.engine.serve import serve
from simulator.latency.step import Window


def latencies(trace):
    values, weights = inter_token_latencies(trace)
    return sorted(np.repeat(values, weights).tolist())


def test_a_step_takes_what_its_parts_take():
    """Prompts of 4 and 6 tokens: 10 tokens at 2 s, 2 sequences at 3 s, 8 + 18 pairs at 4 s, and 1 s make 131 s.

    Then 2 tokens, 2 sequences, contexts 4 and 6 at 5 s, and 1 s make 61 s.
    """
    all_terms = step_time(token_s=2.0, per_sequence=3.0, per_pair=4.0, per_context=5.0, constant=1.0)
    trace = served(asked((0, 4, 2), (0, 6, 2)), limits(), all_terms)
    assert times(trace, "first_token") == [131.0, 131.0]
    assert times(trace, "finish") == [131.0 + 61.0] * 2


def test_the_pairs_of_a_chunk_count_what_was_computed_before_it():
    """6 tokens as 4 and 2: 4 * 2 pairs, and 2 * (4 + 1), at 2 s."""
    trace = served(asked((0, 6, 1)), limits(max_num_seqs=1, max_num_batched_tokens=4), step_time(per_pair=2.0))
    assert trace.stretches["base_s"].tolist() == [16.0, 20.0]


def test_inter_token_latencies_grow_with_the_context():
    """A prompt of 4, then tokens at contexts 4, 5 and 6, each a second a token of context and two more."""
    trace = served(asked((0, 4, 4)), limits(), step_time(per_context=1.0, constant=2.0))
    assert latencies(trace) == [6.0, 7.0, 8.0]


def test_a_latency_counts_once_for_each_sequence_that_decodes():
    """Two decode two steps together, then one decodes a third alone."""
    trace = served(asked((0, 4, 3), (0, 4, 4)), limits(), step_time(per_context=1.0))
    values, weights = inter_token_latencies(trace)
    assert dict(zip(values.tolist(), weights.tolist(), strict=True)) == {8.0: 2, 10.0: 2, 6.0: 1}


def test_a_gap_that_a_preemption_makes_is_one_latency():
    """Of 2 * 8 gaps 15 are a second; the sixth token of the preempted request comes at 10, five after its fifth."""
    trace = served(asked((0, 4, 9), (0, 4, 9)), limits(kv_blocks=4))
    assert latencies(trace) == [1.0] * 15 + [5.0]


def test_one_token_has_no_inter_token_latency():
    assert latencies(served(asked((0, 9, 1)), limits())) == []


def test_a_window_caps_what_context_costs():
    """Contexts 4 to 8 through a window of 6."""
    trace = served(asked((0, 4, 6)), limits(), step_time(windows=(Window(6, 1.0, 0.0),)))
    assert latencies(trace) == [4.0, 5.0, 6.0, 6.0, 6.0]


def test_a_window_caps_what_a_prompt_chunk_costs():
    """10 tokens have 50 pairs; each sees at most 3, so 30 count, at 2 s."""
    trace = served(asked((0, 10, 1)), limits(), step_time(windows=(Window(3, 0.0, 2.0),)))
    assert times(trace, "first_token") == [60.0]


def test_equal_steps_are_one_row():
    trace = served(asked((0, 4, 1000)), limits(kv_blocks=300))
    assert trace.stretches["steps"].tolist() == [1, 999]
    assert (trace.stretches["start_s"].tolist(), trace.stretches["end_s"].tolist()) == ([0.0, 1.0], [1.0, 1000.0])


def test_the_timeline_is_read_in_the_middle_of_a_row():
    """One request from 0 to 9, one that waits from 4 for its place and has it from 9 to 14; blocks of context over 4."""
    trace = served(asked((0, 4, 9), (4, 8, 5)), limits(max_num_seqs=1))
    found = timeline(trace, np.array([0.5, 4.5, 8.5, 9.5, 13.5, 14.0, 20.0]))
    assert found["running"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert found["waiting"].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert np.abs(found["kv_blocks"] - [1, 2, 3, 2, 3, 0, 0]).max() <= 1.0


def test_the_timeline_adds_up_replicas():
    """Two replicas in turn: both busy to 3, the first to 9."""
    trace = serve(asked((0, 4, 9), (0, 4, 3)), [(ONE_SECOND, limits())] * 2, tick_s=1.0)
    found = timeline(trace, np.array([2.5, 4.5, 9.5]))
    assert (found["running"].tolist(), found["waiting"].tolist()) == ([2, 1, 0], [0, 0, 0])


def test_times_are_seconds_whatever_the_tick():
    requests, steps = asked((0.5, 4, 3)), step_time(constant=0.25)
    for tick_s in (None, 0.25, 1e-12):
        trace = serve(requests, [(steps, limits())], tick_s=tick_s)
        assert times(trace, "finish") == pytest.approx([1.25], abs=1e-12)


def test_waiting_and_running_are_counted_in_every_step():
    trace = served(asked((0, 4, 2), (0, 4, 2), (0, 4, 2)), limits(max_num_seqs=2))
    assert per_step(trace, "sequences") == [2, 2, 1, 1]
    assert per_step(trace, "waiting") == [1, 1, 0, 0]
    assert per_step(trace, "sampled") == [2, 2, 1, 1]
