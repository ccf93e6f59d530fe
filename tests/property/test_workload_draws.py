"""What holds for any workload."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.workloads import ARRIVALS, LENGTHS, workload

from simulator.workload.sample import sample

SHORT = st.one_of(st.integers(1, 200), st.sampled_from([law for law in LENGTHS if isinstance(law, dict)]))
COUNTS = st.one_of(
    st.integers(1, 5), st.sampled_from([{"kind": "uniform", "min": 1, "max": 6}, {"kind": "zipf", "exponent": 2, "max": 9}])
)
CONTEXTS = st.one_of(st.none(), st.integers(1, 4000))
SHARED_PREFIX = st.fixed_dictionaries(
    {
        "kind": st.just("shared_prefix"),
        "num_groups": st.integers(1, 4),
        "system_prompt_len": SHORT,
        "num_prompts_per_group": st.one_of(st.none(), st.integers(1, 3)),
    }
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "kind": st.just("documents"),
        "documents": st.integers(4, 6),
        "document_len": SHORT,
        "per_request": st.integers(1, 4),
        "system_prompt_len": st.integers(0, 100),
    }
)
CONVERSATION = st.fixed_dictionaries(
    {"kind": st.just("conversation"), "turns": COUNTS, "think": st.floats(0, 20), "followup": SHORT, "max_context": CONTEXTS}
)
AGENT = st.fixed_dictionaries(
    {"kind": st.just("agent"), "steps": COUNTS, "tool_pause": st.just(1), "tool_result": SHORT, "max_context": CONTEXTS}
)
TRAFFIC = st.fixed_dictionaries(
    {
        "share": st.floats(0.1, 10),
        "prompt": SHORT,
        "output": SHORT,
        "prefix": st.one_of(st.none(), SHARED_PREFIX, DOCUMENTS),
        "sessions": st.one_of(st.none(), CONVERSATION, AGENT),
        "correlation": st.floats(-1, 1),
    }
)
MIXTURES = st.lists(TRAFFIC, min_size=1, max_size=3).map(
    lambda parts: [{"name": f"c{i}", **part} for i, part in enumerate(parts)]
)
OPEN = st.sampled_from([a for a in ARRIVALS if not isinstance(a, dict) or a["kind"] != "closed_loop"])
WORKLOADS = st.builds(
    lambda classes, arrivals, requests: workload(classes=classes, arrivals=arrivals, requests=requests),
    MIXTURES,
    OPEN,
    st.integers(1, 60),
)
SEEDS = st.integers(0, 2**32)
BLOCKS = st.sampled_from([1, 16, 128])


@given(WORKLOADS, SEEDS)
@settings(max_examples=60)
def test_requests_keep_what_the_engine_counts_on(spec, seed):
    drawn = sample(spec, seed)
    assert 1 <= len(drawn) <= spec.requests
    assert (np.diff(drawn.arrival_s) >= 0).all()
    assert drawn.prompt_tokens.min() >= 1
    assert drawn.output_tokens.min() >= 1
    assert drawn.prompt_tokens.dtype == drawn.output_tokens.dtype == np.int64
    if drawn.previous is not None:
        later = drawn.previous >= 0
        before = drawn.previous[later]
        assert (before == np.flatnonzero(later) - 1).all()
        assert (drawn.think_s[~later] == 0).all()
        assert (drawn.arrival_s[later] == drawn.arrival_s[before]).all()
        assert (drawn.prompt_tokens[later] > drawn.prompt_tokens[before] + drawn.output_tokens[before]).all()


@given(WORKLOADS, SEEDS, BLOCKS)
@settings(max_examples=60)
def test_equal_hash_ids_mean_equal_prefixes_and_only_full_blocks_are_listed(spec, seed, block_tokens):
    drawn = sample(spec, seed, block_tokens)
    if drawn.hashes is None:
        return
    ids, offsets = drawn.hashes.ids, drawn.hashes.offsets
    assert drawn.hashes.block_tokens == block_tokens
    assert (np.diff(offsets) <= (drawn.prompt_tokens + drawn.output_tokens) // block_tokens).all()
    previous = np.concatenate([[-1], ids])[:-1]
    previous[offsets[:-1][np.diff(offsets) > 0]] = -1
    assert len(np.unique(np.stack([previous, ids]), axis=1)[0]) == len(np.unique(ids))


@given(WORKLOADS, SEEDS)
@settings(max_examples=25)
def test_a_longer_run_begins_with_the_requests_of_a_shorter_one(spec, seed):
    longer, shorter = sample(dataclasses.replace(spec, requests=2 * spec.requests), seed), sample(spec, seed)
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert np.array_equal(getattr(shorter, name), getattr(longer, name)[: len(shorter)])


@given(WORKLOADS, SEEDS, st.floats(0.1, 100))
@settings(max_examples=25)
def test_another_rate_changes_when_requests_come_and_not_what_they_are(spec, seed, rate):
    there, here = sample(spec.at_rate(rate), seed), sample(spec, seed)
    n = min(len(there), len(here))
    assert np.array_equal(there.prompt_tokens[:n], here.prompt_tokens[:n])
    assert np.array_equal(there.output_tokens[:n], here.output_tokens[:n])
