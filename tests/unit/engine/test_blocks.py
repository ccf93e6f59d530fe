"""KV blocks: how many a request holds, what happens when they run out, and what is never admitted."""

import pytest
from support.by_hand import asked, limits, peak_blocks, per_step, served, times

from simulator.engine.record import FINISHED, REFUSED
from simulator.engine.scheduler.config import KvGroup


@pytest.mark.parametrize(("prompt", "blocks"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_partly_filled_block_is_a_whole_block(prompt, blocks):
    assert peak_blocks(served(asked((0, prompt, 1)), limits())) == blocks


@pytest.mark.parametrize(("output", "blocks"), [(1, 1), (2, 2), (5, 2), (6, 3)])
def test_a_decode_needs_a_block_when_its_context_is_a_multiple_of_the_block_size(output, blocks):
    """After a prompt of 4 the token decoded at context 4 opens the second block, the one at context 8 the third."""
    assert peak_blocks(served(asked((0, 4, output)), limits())) == blocks


def test_the_last_token_is_sampled_and_never_computed():
    """5 + 4 tokens of which 8 are computed fill two blocks; one token more needs a third."""
    trace = served(asked((0, 5, 4), (0, 5, 5)), limits(kv_blocks=2))
    assert trace.requests["status"].tolist() == [FINISHED, REFUSED]
    assert peak_blocks(trace) == 2


def test_a_request_that_can_never_fit_is_refused_with_its_reason_and_the_others_are_served():
    trace = served(asked((0, 30, 20), (0, 4, 2), (0, 30, 3)), limits(kv_blocks=8, max_model_len=40))
    assert trace.requests["status"].tolist() == [REFUSED, FINISHED, FINISHED]
    assert trace.refusals == {0: "30 prompt and 20 output tokens exceed max_model_len=40"}
    too_big = served(asked((0, 30, 20)), limits(kv_blocks=8))
    assert too_big.refusals == {0: "49 tokens exceed the 8 KV blocks of 4 tokens"}
    whole = served(asked((0, 40, 1)), limits(enable_chunked_prefill=False))
    assert whole.refusals == {0: "40 tokens exceed max_num_batched_tokens=32 without chunked prefill"}


def test_a_refused_request_has_no_replica_and_no_times_but_its_arrival():
    trace = served(asked((3, 30, 20)), limits(kv_blocks=8))
    assert trace.requests["replica"].tolist() == [-1]
    assert (times(trace, "arrival"), times(trace, "left")) == ([3.0], [3.0])
    assert all(str(times(trace, name)) == "[nan]" for name in ("scheduled", "first_token", "finish"))


STARVED = asked((0, 4, 9), (0, 4, 9))


def test_the_last_admitted_is_preempted_and_computes_all_its_tokens_again():
    """Two requests of 4 + 9 tokens on 4 blocks.

    Both prompts are computed in step 0. At context 8, in step 5, each needs a third block and none is free: the second loses
    its two. It had 5 tokens, so it has 9 to compute, for which there is room when the first is done at 9. One step brings its
    sixth token at 10, three more its last at 13.
    """
    trace = served(STARVED, limits(kv_blocks=4))
    assert trace.requests["preemptions"].tolist() == [0, 1]
    assert times(trace, "finish") == [9.0, 13.0]
    assert times(trace, "first_token") == [1.0, 1.0]
    assert times(trace, "scheduled") == [0.0, 0.0]
    assert per_step(trace, "prefill_tokens") == [8, *[0] * 8, 9, 0, 0, 0]
    assert trace.gaps_s.tolist() == [5.0]


def test_the_preempted_request_goes_before_those_that_waited():
    """A third request that came meanwhile is not admitted before the preempted one."""
    trace = served(asked((0, 4, 9), (0, 4, 9), (2, 16, 1)), limits(kv_blocks=4))
    assert times(trace, "finish") == [9.0, 13.0, 14.0]


def test_nobody_is_admitted_in_a_step_that_preempted():
    """With a budget of 4 the preempted request's first chunk would need one block, and one is free; still it waits a step.

    Then it gets 3 tokens beside the one that decodes, lacks a block for the next 3 and preempts itself: it thrashes, as vLLM's
    requests do, until the first is done at 9.
    """
    trace = served(STARVED, limits(kv_blocks=4, max_num_batched_tokens=4, max_num_seqs=2))
    assert per_step(trace, "preempted")[:10] == [0, 0, 0, 0, 0, 1, 0, 1, 0, 0]
    assert per_step(trace, "prefill_tokens")[:10] == [4, 3, 1, 0, 0, 0, 3, 0, 3, 4]
    assert times(trace, "finish")[0] == 9.0


def test_a_request_reserves_blocks_for_its_whole_prompt_only_if_told_to():
    """The second prompt needs all three blocks, of which the first request holds one until 5. A chunk of it needs only one."""
    both = asked((0, 4, 5), (0, 12, 1))
    tight = {"kv_blocks": 3, "max_num_batched_tokens": 8}
    assert times(served(both, limits(**tight)), "scheduled") == [0.0, 0.0]
    assert times(served(both, limits(**tight, reserve_full_prompt=True)), "scheduled") == [0.0, 5.0]


def test_watermark_blocks_stay_free_unless_a_request_is_alone():
    both = asked((0, 4, 3), (0, 8, 1))
    assert times(served(both, limits(kv_blocks=4)), "scheduled") == [0.0, 0.0]
    assert times(served(both, limits(kv_blocks=4, watermark_blocks=2)), "scheduled") == [0.0, 3.0]
    alone = served(asked((0, 16, 1)), limits(kv_blocks=4, watermark_blocks=2))
    assert times(alone, "scheduled") == [0.0]


def test_the_first_that_does_not_fit_blocks_those_behind_it():
    """The second prompt lacks a block until 5; the third, which would fit, waits behind it."""
    trace = served(asked((0, 4, 5), (0, 12, 1), (0, 1, 1)), limits(kv_blocks=3))
    assert times(trace, "scheduled") == [0.0, 5.0, 6.0]


def test_layers_with_a_window_give_back_what_lies_outside_it():
    """In a window of 4 the token at context 7 sees nothing of the first block, the one at 11 nothing of the second."""
    window = (KvGroup(window=4),)
    held = [served(asked((0, 7, output)), limits(kv_groups=window)).stretches["kv_blocks"][-1] for output in range(1, 7)]
    assert held == [2, 1, 2, 2, 2, 1]


def test_a_request_longer_than_the_kv_cache_fits_through_a_window():
    small = limits(kv_blocks=4, max_num_batched_tokens=8)
    assert served(asked((0, 8, 40)), small).requests["status"].tolist() == [REFUSED]
    through = limits(kv_blocks=4, max_num_batched_tokens=8, kv_groups=(KvGroup(window=4),))
    trace = served(asked((0, 8, 40)), through)
    assert trace.requests["status"].tolist() == [FINISHED]
    assert peak_blocks(trace) <= 3


def test_every_layer_group_takes_a_block_of_its_own():
    assert peak_blocks(served(asked((0, 5, 1)), limits(kv_groups=(KvGroup(groups=2), KvGroup(window=64))))) == 6
