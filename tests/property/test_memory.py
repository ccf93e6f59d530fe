"""What holds for any configuration's memory plan."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_fixtures import gqa, model_of

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.memory.kv_layout import LayerCache
from simulator.memory.plan import MemoryPlan, plan_without_remedies
from simulator.units import GIB

VERSIONS = ("0.6.4", "0.9.0", "0.11.0", "0.19.0", "0.22.1", "0.30.0")
CARDS = ("t4", "rtx-4090", "l40s", "a100-80gb-sxm", "h100-sxm", "b200-sxm", "mi300x")
PATTERNS = st.sampled_from(
    [
        [gqa()] * 8,
        [gqa(kv_heads=2)] * 8,
        [gqa(window=1024)] * 8,
        [gqa(window=512), gqa()] * 4,
        [*[gqa(window=128)] * 5, gqa()] * 2,
    ]
)
CASES = st.fixed_dictionaries(
    {
        "mixers": PATTERNS,
        "card": st.sampled_from(CARDS),
        "version": st.sampled_from(VERSIONS),
        "utilization": st.sampled_from((0.05, 0.3, 0.9, 0.95)),
        "length": st.sampled_from((512, 4096, 131072)),
        "sequences": st.sampled_from((1, 64, 512)),
        "ranks": st.sampled_from((1, 2, 8)),
    }
)


def planned(case: dict, **changed: object) -> MemoryPlan:
    case = {**case, **changed}
    args = EngineArgs(
        gpu_memory_utilization=case["utilization"],
        max_model_len=case["length"],
        max_num_seqs=case["sequences"],
        max_num_batched_tokens=131072,
        tensor_parallel_size=case["ranks"],
    )
    return plan_without_remedies(model_of(*case["mixers"]), None, gpu(case["card"]), args, engine(case["version"]))


@settings(max_examples=150)
@given(case=CASES)
def test_every_byte_is_accounted_for(case: dict) -> None:
    plan = planned(case)
    assert abs(plan.used_bytes + plan.kv_cache_bytes - plan.reserved_bytes) < 1
    assert plan.kv_cache_low_bytes <= plan.kv_cache_bytes <= plan.kv_cache_high_bytes
    assert plan.num_gpu_blocks * plan.layout.block_bytes <= max(0.0, plan.kv_cache_bytes)


@settings(max_examples=150)
@given(case=CASES)
def test_the_outcome_agrees_with_the_figures(case: dict) -> None:
    plan = planned(case)
    fits = plan.kv_needed_bytes <= plan.kv_cache_bytes
    assert (plan.outcome == "starts") <= fits
    assert (plan.outcome == "starts") == (plan.reason == "")
    if plan.outcome == "starts":
        assert plan.max_concurrency >= 1
        assert plan.longest_sequence == plan.args.max_model_len
    if plan.outcome == "max_model_len_exceeds_kv":
        assert plan.longest_sequence < plan.args.max_model_len


@settings(max_examples=100)
@given(case=CASES)
def test_more_memory_never_gives_fewer_tokens(case: dict) -> None:
    less, more = planned(case, utilization=0.5), planned(case, utilization=0.9)
    assert more.kv_tokens >= less.kv_tokens


@settings(max_examples=100)
@given(case=CASES, length=st.integers(1, 100_000))
def test_a_longer_sequence_never_needs_fewer_blocks(case: dict, length: int) -> None:
    layout = planned(case).layout
    assert layout.blocks_for(length) <= layout.blocks_for(length + 1) <= layout.blocks_for(length) + len(layout.groups)


@given(
    kind=st.sampled_from(("full", "sliding", "chunked")),
    reach=st.integers(1, 5000),
    in_flight=st.integers(0, 9000),
    context=st.integers(1, 200_000),
)
def test_a_window_never_needs_more_than_one_block_beyond_full_attention(
    kind: str, reach: int, in_flight: int, context: int
) -> None:
    full = LayerCache("full", 1024, 16).pages(context, in_flight)
    pages = LayerCache(kind, 1024, 16, reach=reach).pages(context, in_flight)
    assert pages <= full + 1


@settings(max_examples=100)
@given(case=CASES, budget=st.floats(0, 80))
def test_the_longest_sequence_is_maximal(case: dict, budget: float) -> None:
    layout = planned(case).layout
    longest = layout.longest_in(budget * GIB, at_most=200_000)
    if longest:
        assert layout.bytes_for(longest) <= budget * GIB
    if longest < 200_000:
        assert layout.bytes_for(longest + 1) > budget * GIB
