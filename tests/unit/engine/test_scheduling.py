"""Who computes how many tokens in which step. A step takes a second, so times count steps."""

from dataclasses import replace

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits, per_step, served, step_time, times

from simulator.latency.step import Window


def test_the_first_token_comes_when_the_whole_prompt_is_computed_and_then_one_a_step():
    """10 tokens at 4 a step are three steps; the third brings the first token, two more the last."""
    trace = served(asked((0, 10, 3)), limits(max_num_seqs=1, max_num_batched_tokens=4))
    assert per_step(trace, "prefill_tokens") == [4, 4, 2, 0, 0]
    assert (times(trace, "first_token"), times(trace, "finish")) == ([3.0], [5.0])


def test_a_single_token_is_the_first_and_the_last():
    trace = served(asked((0, 10, 1)), limits())
    assert times(trace, "first_token") == times(trace, "finish") == [1.0]


def test_running_requests_compute_first_and_prompts_get_the_budget_that_is_left():
    """Beside one that decodes a budget of 4 leaves 3 tokens: 8 of a prompt take three steps."""
    trace = served(asked((0, 4, 9), (0, 8, 1)), limits(max_num_seqs=2, max_num_batched_tokens=4))
    assert per_step(trace, "prefill_tokens")[:5] == [4, 3, 3, 2, 0]
    assert times(trace, "first_token") == [1.0, 4.0]


def test_several_prompts_share_a_step_and_the_last_of_them_gets_what_is_left():
    trace = served(asked((0, 3, 1), (0, 3, 1), (0, 3, 1)), limits(max_num_batched_tokens=8))
    assert per_step(trace, "prefill_tokens") == [8, 1]
    assert times(trace, "first_token") == [1.0, 1.0, 2.0]


def test_waiting_requests_start_in_order_of_arrival():
    trace = served(asked((0, 4, 3), (1, 4, 3), (1, 4, 3)), limits(max_num_seqs=1))
    assert times(trace, "scheduled") == [0.0, 3.0, 6.0]


def test_no_more_than_max_num_seqs_run():
    trace = served(asked(*[(0, 4, 3)] * 5), limits(max_num_seqs=2))
    assert max(per_step(trace, "sequences")) == 2
    assert times(trace, "scheduled") == [0.0, 0.0, 3.0, 3.0, 6.0]


def test_an_arrival_at_the_very_end_of_a_step_joins_the_next_and_a_later_one_the_one_after():
    trace = served(asked((0, 4, 9), (4, 1, 1), (5, 1, 1)), limits(), step_time(constant=2.0))
    assert times(trace, "scheduled") == [0.0, 4.0, 6.0]


def test_an_idle_server_starts_at_once():
    trace = served(asked((3, 4, 1)), limits(), step_time(constant=2.0))
    assert (times(trace, "scheduled"), times(trace, "first_token")) == ([3.0], [5.0])


def test_a_step_computes_no_more_of_a_prompt_than_the_long_prefill_token_threshold():
    """10 tokens at 4 a step, whatever budget is left; two prompts go side by side."""
    trace = served(asked((0, 10, 1), (0, 10, 1)), limits(long_prefill_token_threshold=4))
    assert per_step(trace, "prefill_tokens") == [8, 8, 4]
    assert times(trace, "first_token") == [3.0, 3.0]


def test_several_partial_prefills_set_the_threshold_to_4_percent_of_the_longest_context():
    trace = served(asked((0, 10, 1)), limits(max_num_partial_prefills=2, max_model_len=100))
    assert per_step(trace, "prefill_tokens") == [4, 4, 2]


def test_without_chunked_prefill_a_prompt_waits_for_a_step_with_room_for_all_of_it():
    both = asked((0, 20, 3), (0, 20, 1))
    assert per_step(served(both, limits()), "prefill_tokens") == [32, 8, 0]
    assert per_step(served(both, limits(enable_chunked_prefill=False)), "prefill_tokens") == [20, 20, 0]


def test_with_priority_the_smaller_number_starts_first():
    waiting = asked((0, 4, 3), (1, 4, 3), (2, 4, 3), priority=[0, 5, 1])
    assert times(served(waiting, limits(max_num_seqs=1, scheduling_policy="priority")), "scheduled") == [0.0, 6.0, 3.0]
    assert times(served(waiting, limits(max_num_seqs=1)), "scheduled") == [0.0, 3.0, 6.0]


def test_with_priority_the_largest_number_is_preempted_wherever_it_runs():
    """When blocks run out in step 5 the last admitted is the victim, or with priority the first, whose number is larger."""
    both = asked((0, 4, 9), (1, 4, 9), priority=[1, 0])
    assert served(both, limits(kv_blocks=4)).requests["preemptions"].tolist() == [0, 1]
    assert served(both, limits(kv_blocks=4, scheduling_policy="priority")).requests["preemptions"].tolist() == [1, 0]


def test_with_async_scheduling_an_arrival_is_seen_a_step_later():
    """The step from 4 to 5 was composed at 3; the one that comes at 4 is in the step from 5 to 6."""
    both = asked((0, 4, 20), (4, 4, 1))
    assert times(served(both, limits()), "first_token") == [1.0, 5.0]
    assert times(served(both, limits(async_scheduling=True)), "first_token") == [1.0, 6.0]


def test_with_async_scheduling_a_place_is_free_a_step_after_a_finish():
    """One of two is done at 2. The step from 2 to 3 was composed at 1, with its place still taken."""
    three = asked((0, 4, 20), (0, 4, 2), (0, 4, 1))
    assert times(served(three, limits(max_num_seqs=2)), "first_token") == [1.0, 1.0, 3.0]
    assert times(served(three, limits(max_num_seqs=2, async_scheduling=True)), "first_token") == [1.0, 1.0, 4.0]


def test_async_scheduling_delays_nobody_who_is_alone():
    alone = asked((0, 10, 3), (20, 10, 3))
    assert (
        times(served(alone, limits(async_scheduling=True)), "finish") == times(served(alone, limits()), "finish") == [3.0, 23.0]
    )


def test_a_static_batch_takes_nobody_in_until_the_last_of_it_is_done():
    three = asked((0, 4, 3), (0, 4, 9), (0, 4, 1))
    static = served(three, limits(max_num_seqs=2, scheduling_policy="static"))
    assert (times(static, "finish"), times(static, "scheduled")) == ([3.0, 9.0, 10.0], [0.0, 0.0, 9.0])
    assert times(served(three, limits(max_num_seqs=2)), "scheduled") == [0.0, 0.0, 3.0]


def test_what_is_done_pads_a_static_batch_and_costs_as_much():
    """A second a sequence: two requests take 2 s a step to the end of the batch, or without padding until one is done."""
    both, per_sequence = asked((0, 1, 2), (0, 1, 4)), step_time(per_sequence=1.0)
    assert times(served(both, limits(scheduling_policy="static"), per_sequence), "finish") == [4.0, 8.0]
    assert times(served(both, limits(), per_sequence), "finish") == [4.0, 6.0]


def test_padding_counts_in_what_prompts_add_to_a_step() -> None:
    """A budget of 2 computes one token of each prompt, then the last of the longer one beside a padding: 1 + 2 s twice."""
    priced = replace(ONE_SECOND, prompt=np.arange(1000.0))
    static = limits(max_num_seqs=2, max_num_batched_tokens=2, scheduling_policy="static")
    assert times(served(asked((0, 1, 1), (0, 2, 1)), static, priced), "first_token") == [3.0, 6.0]


def test_v0_computes_prompts_in_steps_of_their_own_and_nobody_decodes_meanwhile() -> None:
    trace = served(asked((0, 8, 6), (1, 8, 2)), limits(prefill_first=True, enable_chunked_prefill=False))
    assert per_step(trace, "prefill_tokens") == [8, 8, 0, 0, 0, 0, 0]
    assert per_step(trace, "sampled") == [1, 1, 2, 1, 1, 1, 1]
    assert times(trace, "first_token") == [1.0, 2.0]
    assert times(trace, "finish") == [7.0, 3.0]


def test_a_step_with_prompt_tokens_takes_what_it_is_given_for_them() -> None:
    priced = replace(ONE_SECOND, prompt=np.full(1000, 5.0))
    trace = served(asked((0, 8, 3)), limits(), priced)
    assert times(trace, "first_token") == [6.0]
    assert times(trace, "finish") == [8.0]


def test_a_long_context_costs_every_step_once_however_many_are_long() -> None:
    """The prompt's step and two decodes at 8 and 9 tokens of context take a second, a third at 10 tokens five."""
    beyond = step_time(constant=1.0, windows=(Window(10, 0.0, 0.0, 4.0),))
    trace = served(asked((0, 8, 4), (0, 8, 4), (0, 2, 4)), limits(), beyond)
    assert times(trace, "finish") == [8.0, 8.0, 8.0]
