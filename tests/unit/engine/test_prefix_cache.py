"""The prefix cache: what is found, and what is forgotten first. Blocks of 4 tokens; equal label, equal content."""

import pytest
from oracle import Oracle
from support.by_hand import ONE_SECOND, asked, limits, peak_blocks, served, times
from support.engine_cases import assert_equal

from simulator.engine.fleet.router import RoundRobin
from simulator.engine.load import OpenLoop
from simulator.engine.scheduler.config import KvGroup

CACHED = {"enable_prefix_caching": True}


def hits(requests, **changed):
    return served(requests, limits(**CACHED, **changed)).requests["cached_tokens"].tolist()


def test_a_prompt_that_begins_like_an_earlier_one_is_not_computed_again():
    """The first two blocks are the same; the third is not, nor what follows it, even if a later label should be known."""
    assert hits(asked((0, 13, 1), (5, 17, 1), labels=[[1, 2, 3], [1, 2, 8, 3]])) == [0, 8]


def test_without_prefix_caching_labels_mean_nothing():
    trace = served(asked((0, 13, 1), (5, 13, 1), labels=[[1, 2, 3], [1, 2, 3]]), limits())
    assert trace.requests["cached_tokens"].tolist() == [0, 0]


def test_only_full_blocks_are_found():
    """11 tokens fill two blocks; the third label names a block that nobody ever filled."""
    assert hits(asked((0, 11, 1), (5, 13, 1), labels=[[1, 2, 3], [1, 2, 3]])) == [0, 8]


def test_at_least_one_token_is_always_computed():
    assert hits(asked((0, 8, 1), (5, 8, 1), (9, 9, 1), labels=[[1, 2], [1, 2], [1, 2]])) == [0, 4, 8]


def test_a_block_can_be_hit_in_the_very_step_that_computes_it():
    trace = served(asked((0, 9, 1), (0, 9, 1), labels=[[1, 2], [1, 2]]), limits(**CACHED))
    assert trace.requests["cached_tokens"].tolist() == [0, 8]
    assert times(trace, "first_token") == [1.0, 1.0]


def test_blocks_are_shared_while_both_run():
    """9 + 5 tokens are 4 blocks, of which two are common."""
    both = {"labels": [[1, 2], [1, 2]]}
    assert peak_blocks(served(asked((0, 9, 5), (0, 9, 5), **both), limits(**CACHED))) == 6
    assert peak_blocks(served(asked((0, 9, 5), (0, 9, 5), **both), limits())) == 8


def test_the_answer_is_found_by_the_next_turn_but_not_its_last_token():
    """Of 4 + 5 tokens 8 are computed: two blocks. Of 4 + 4 only 7 are, so the second block was never full."""
    assert hits(asked((0, 4, 5), (9, 12, 1), labels=[[1, 2], [1, 2, 3]])) == [0, 8]
    assert hits(asked((0, 4, 4), (9, 12, 1), labels=[[1, 2], [1, 2, 3]])) == [0, 4]


def test_the_end_of_a_prefix_is_forgotten_before_its_front():
    """Of 4 blocks the first request used two. The second takes the two others and the last one freed last: label 2."""
    assert hits(asked((0, 8, 1), (5, 12, 1), (9, 12, 1), labels=[[1, 2], [], [1, 2, 3]]), kv_blocks=4) == [0, 0, 4]


def test_what_was_freed_first_is_forgotten_first():
    """4 blocks hold what two requests of two left behind; a stranger takes the two of the first."""
    two_then_a_stranger = [(0, 5, 1), (5, 5, 1), (20, 8, 1)]
    labels = [[1], [2], []]
    assert hits(asked(*two_then_a_stranger, (30, 5, 1), labels=[*labels, [1]]), kv_blocks=4) == [0, 0, 0, 0]
    assert hits(asked(*two_then_a_stranger, (30, 5, 1), labels=[*labels, [2]]), kv_blocks=4) == [0, 0, 0, 4]


def test_what_is_hit_is_forgotten_later():
    """The first content is asked for once more before the stranger comes, who now takes the blocks of the second."""
    again = [(0, 5, 1), (5, 5, 1), (10, 5, 1), (20, 8, 1)]
    labels = [[1], [2], [1], []]
    assert hits(asked(*again, (30, 5, 1), labels=[*labels, [1]]), kv_blocks=4) == [0, 0, 4, 0, 4]
    assert hits(asked(*again, (30, 5, 1), labels=[*labels, [2]]), kv_blocks=4) == [0, 0, 4, 0, 0]


def test_blocks_in_use_are_not_forgotten():
    """A stranger who needs all but the blocks of the one that runs waits for none and takes none of those."""
    assert hits(asked((0, 8, 9), (2, 8, 1), (5, 9, 1), labels=[[1, 2], [], [1, 2]]), kv_blocks=7) == [0, 0, 8]


def test_free_blocks_that_are_hit_count_as_taken():
    """The third request hits two free blocks and needs one; beside the second, which holds two of four, only two are free."""
    requests = asked((0, 8, 1), (5, 8, 1), (5, 9, 1), labels=[[1, 2], [], [1, 2]])
    assert times(served(requests, limits(kv_blocks=4, **CACHED)), "scheduled") == [0.0, 5.0, 6.0]
    assert times(served(requests, limits(kv_blocks=5, **CACHED)), "scheduled") == [0.0, 5.0, 5.0]


def test_a_preempted_request_finds_its_own_blocks_again():
    """It loses two blocks in step 5 and the other one takes the later of them: its first 4 tokens need not be computed again."""
    starved = served(asked((0, 4, 9), (0, 4, 9), labels=[[1, 2, 3], [7, 8, 9]]), limits(kv_blocks=4, **CACHED))
    assert starved.requests["preemptions"].tolist() == [0, 1]
    assert starved.stretches["prefill_tokens"].tolist().count(5) == 1


def test_with_async_scheduling_the_block_of_the_last_step_is_found_when_that_step_has_ended():
    """Step 4, from 3 to 4 s, fills the block with the last token but one, known at 3; who is admitted at 3 comes too early."""
    for arrival, found in ((3, 0), (4, 4)):
        assert hits(asked((0, 1, 4), (arrival, 5, 1), labels=[[1], [1]]), async_scheduling=True) == [0, found]


def test_a_prompt_too_long_for_the_budget_is_admitted_when_decoding_has_filled_its_front():
    """Without chunked prefill a step of 5 tokens has no room for 5 beside one that decodes; with 4 of them cached it has."""
    requests = asked((0, 1, 5), (1, 5, 1), labels=[[1], [1]])
    whole = {"max_num_seqs": 2, "max_num_batched_tokens": 5, "enable_chunked_prefill": False}
    assert times(served(requests, limits(**CACHED, **whole)), "scheduled") == [0.0, 3.0]


WINDOWED = {"kv_groups": (KvGroup(), KvGroup(window=6)), "kv_blocks": 200}


def test_with_windows_the_blocks_of_the_last_window_are_enough():
    """Of 16 tokens the group with a window of 6 needs the last two blocks; the first two have left it, and are still found."""
    twice = asked((0, 17, 9), (30, 17, 1), labels=[[1, 2, 3, 4], [1, 2, 3, 4]])
    assert hits(twice, **WINDOWED) == [0, 16]


def test_steps_of_layer_groups_are_jumped_as_well():
    """One request that decodes alone for 100 steps is a handful of rows, whether its windows share blocks or not."""
    for labels in ([[1], [1]], [list(range(1, 26)), list(range(1, 26))]):
        trace = served(asked((0, 9, 100), (200, 9, 100), labels=labels), limits(**CACHED, **WINDOWED))
        assert trace.stretches["steps"].sum() == 200
        assert len(trace.stretches["steps"]) < 20


@pytest.mark.parametrize("window", [1, 2, 5, 6, 9])
def test_a_block_that_left_a_window_and_is_held_by_others_is_not_free(window):
    """Two run with one prefix of 3 blocks; what they hold together is what the naive simulator counts, step by step."""
    limited = limits(**CACHED, kv_groups=(KvGroup(), KvGroup(groups=2, window=window)), kv_blocks=60)
    requests = asked((0, 13, 40), (3, 13, 50), labels=[[1, 2, 3], [1, 2, 3]])
    trace = served(requests, limited)
    assert_equal(trace, Oracle(requests, [(ONE_SECOND, limited)], RoundRobin(), OpenLoop(), 0).run())
    assert len(trace.stretches["steps"]) < trace.stretches["steps"].sum() / 2
