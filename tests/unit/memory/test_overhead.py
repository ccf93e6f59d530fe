"""Overheads: each cause alone, and sums against what published logs printed."""

from dataclasses import replace

import pytest
from support.memory_fixtures import gqa, model_of, resolved

from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.memory_overheads import runs_v2
from simulator.catalog.models import DenseMlp, Layer, Model, MoeMlp, catalog_model
from simulator.memory.cuda_graphs import graph_bytes
from simulator.memory.overhead import (
    Overhead,
    expert_buffers,
    forward_peak,
    indexer_logits,
    non_torch,
    overhead,
    sampler_peak,
)
from simulator.memory.plan import plan_without_remedies
from simulator.units import GIB

H100, A100, RTX4090 = gpu("h100-sxm"), gpu("a100-80gb-sxm"), gpu("rtx-4090")
LLAMA = model_of(*[gqa()] * 32)
MOE = model_of(
    hidden=2048,
    vocabulary=151936,
    layers=(Layer(mixer=gqa(kv_heads=4), mlp=MoeMlp(experts=128, experts_per_token=8, width=768)),) * 48,
)


def of(model: Model, version: str, card: object, **args: object) -> Overhead:
    """The overheads of a whole model on one stage, in bytes."""
    return overhead(model, model.layers, None, resolved(**args), engine(version), card, last_stage=True)


def spent(found: Overhead) -> float:
    """GiB that the KV cache pays for before graphs are deducted."""
    return (found.activation + found.non_torch) / GIB


@pytest.mark.parametrize(
    ("version", "card", "sequences", "tokens", "logged"),
    [
        ("0.19.0", H100, 1024, 8192, 2.12),  # llm-d-planner sweep: 0.95 * 79.18 - 14.99 - 58.11
        ("0.17.1", A100, 256, 2048, 0.545),  # LzyFischer/MemSuit vllm_server.log: 0.9 * 79.25 - 14.99 - 55.79
        ("0.11.0", gpu("a100-40gb-sxm"), 256, 2048, 1.21),  # qweewqq/EnergyLLM vllm_profiler.log: 0.9 * 39.38 - 14.99 - 19.24
        ("0.19.0", RTX4090, 256, 2048, 1.12),  # LLMServingSim: 0.9 * 23.517 - 14.99 - 41408 tokens of 131072 bytes
    ],
)
def test_llama_3_1_8b_leaves_what_its_logs_say(version: str, card: object, sequences: int, tokens: int, logged: float) -> None:
    found = of(LLAMA, version, card, max_num_seqs=sequences, max_num_batched_tokens=tokens)
    assert spent(found) == pytest.approx(logged, abs=0.1)


def test_sorting_the_logits_takes_more_than_filtering_them() -> None:
    args = resolved(max_num_seqs=1024, max_num_batched_tokens=8192)
    one_copy = 1024 * 128256 * 4
    hidden = 8192 * 4096 * 2
    assert sampler_peak(LLAMA, args, engine("0.11.0"), H100) == 9.5 * one_copy + hidden
    assert sampler_peak(LLAMA, args, engine("0.19.0"), H100) == 3.5 * one_copy + 128 * 128256 * 4 + hidden
    assert sampler_peak(LLAMA, args, engine("0.30.0"), H100) == 2.5 * one_copy + hidden


def test_a_handful_of_sequences_is_sorted_even_by_newer_releases() -> None:
    args = resolved(max_num_seqs=4)
    assert sampler_peak(LLAMA, args, engine("0.19.0"), H100) == sampler_peak(LLAMA, args, engine("0.11.0"), H100)


def test_the_sampler_runs_on_the_last_stage_only() -> None:
    args = resolved(max_num_seqs=1024, max_num_batched_tokens=8192)
    first, last = (overhead(LLAMA, LLAMA.layers[:16], None, args, engine("0.19.0"), H100, last_stage=at) for at in (False, True))
    assert first.activation < last.activation


def test_the_forward_pass_follows_tokens_and_width() -> None:
    """vllm-project/vllm#10517, RTX 3090, V0: 2.07 GiB for 20,000 tokens, 2.99 for 29,000."""
    for tokens, logged in ((20000, 2.07), (29000, 2.99)):
        args = resolved(max_num_batched_tokens=tokens)
        assert forward_peak(LLAMA, LLAMA.layers, None, args, engine("0.6.4")) / GIB == pytest.approx(logged, abs=0.06)


def test_tensor_parallel_ranks_split_the_width_but_not_the_hidden_states() -> None:
    one = forward_peak(LLAMA, LLAMA.layers, None, resolved(), engine("0.19.0"))
    two = forward_peak(LLAMA, LLAMA.layers, None, resolved(tensor_parallel_size=2), engine("0.19.0"))
    assert one - two == 2048 * 3 * 14336 / 2 * 2


def test_experts_need_two_buffers() -> None:
    args = resolved(max_num_batched_tokens=8192)
    assert expert_buffers(MOE, MOE.layers, args) == 8192 * 8 * (2048 + 2048) * 2
    assert expert_buffers(LLAMA, LLAMA.layers, args) == 0


def test_the_experts_buffers_stay_from_0_13_on() -> None:
    """Qwen3-30B-A3B on H100: 0.95 * 79.18 - 56.88 - 15.41 GiB in 0.19 (llm-d-planner sweep)."""
    found = of(MOE, "0.19.0", H100, max_num_seqs=1024, max_num_batched_tokens=8192)
    assert spent(found) == pytest.approx(2.93, abs=0.1)


def test_ranks_cost_more_with_fused_all_reduce() -> None:
    two = resolved(tensor_parallel_size=2)
    assert non_torch(LLAMA, two, engine("0.19.0"), H100) / GIB == pytest.approx(2.13, abs=0.1)
    assert non_torch(LLAMA, two, engine("0.12.0"), H100) / GIB == pytest.approx(0.62, abs=0.1)
    assert non_torch(LLAMA, two, engine("0.10.2"), RTX4090) / GIB == pytest.approx(0.27, abs=0.05)


def test_nccl_is_not_counted_where_it_is_there_before_memory_is_first_looked_at() -> None:
    """Qwen3-8B on two T4, vLLM 0.22: 0.31 and 0.45 GiB beside the weights, of which 0.13 and 0.27 are the first pass."""
    two = resolved(tensor_parallel_size=2)
    assert non_torch(LLAMA, two, engine("0.12.0"), RTX4090) / GIB == pytest.approx(0.18, abs=0.02)


def test_a_start_that_compiles_may_hold_the_embedding_table_once_more() -> None:
    """Qwen3-8B on RTX 4090, vLLM 0.27.1 (public report): a peak of 1.18 GiB when it compiles, 0.19 from the cache."""
    qwen = catalog_model("qwen3-8b")
    args = {"max_num_seqs": 256, "max_num_batched_tokens": 2048}
    found = overhead(qwen, qwen.layers, None, resolved(**args), engine("0.27.1"), RTX4090, last_stage=True)
    assert (found.activation + found.compiling) / GIB == pytest.approx(1.18, abs=0.01)
    eager = overhead(qwen, qwen.layers, None, resolved(enforce_eager=True, **args), engine("0.27.1"), RTX4090, last_stage=True)
    before = overhead(qwen, qwen.layers, None, resolved(**args), engine("0.26.0"), RTX4090, last_stage=True)
    assert eager.compiling == before.compiling == 0.0


def test_the_worst_case_has_what_the_allocator_may_pin_until_that_is_ended() -> None:
    pinning, ended = of(LLAMA, "0.28.0", H100), of(LLAMA, "0.31.0", H100)
    assert pinning.pinned > 0.0 == ended.pinned
    assert pinning.at_worst == pytest.approx(pinning.uncertainty + pinning.compiling + pinning.pinned)


def test_eager_execution_has_no_graphs_and_leaves_nothing_of_them() -> None:
    eager, graphs = resolved(enforce_eager=True), resolved()
    assert graph_bytes(LLAMA, LLAMA.layers, eager, engine("0.19.0"), H100) == 0
    assert graph_bytes(LLAMA, LLAMA.layers, graphs, engine("0.19.0"), H100) > 0
    assert non_torch(LLAMA, eager, engine("0.19.0"), RTX4090) < non_torch(LLAMA, graphs, engine("0.19.0"), RTX4090)


def test_fewer_sequences_capture_fewer_graphs() -> None:
    sizes = [graph_bytes(LLAMA, LLAMA.layers, resolved(max_num_seqs=n), engine("0.19.0"), H100) for n in (1, 64, 1024)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 5


def test_what_is_uncertain_grows_where_an_estimate_is_deducted() -> None:
    assert of(LLAMA, "0.30.0", A100).uncertainty > of(LLAMA, "0.30.0", A100, enforce_eager=True).uncertainty


def test_model_runner_v2_takes_dense_models_first() -> None:
    other = replace(LLAMA, architecture="Phi3ForCausalLM")
    assert [runs_v2(LLAMA, engine(v)) for v in ("0.22.1", "0.24.0", "0.30.0")] == [False, True, True]
    assert [runs_v2(other, engine(v)) for v in ("0.24.0", "0.25.0")] == [False, True]
    assert [runs_v2(replace(MOE, architecture="Qwen3MoeForCausalLM"), engine(v)) for v in ("0.28.0", "0.30.0")] == [False, True]


def test_runner_v2_deducts_nothing_for_graphs_until_it_estimates_them() -> None:
    sizes = [graph_bytes(LLAMA, LLAMA.layers, resolved(), engine(v), H100) for v in ("0.22.1", "0.27.1", "0.30.0")]
    assert sizes[1] == 0 < sizes[0] < sizes[2]


def test_attention_alone_has_no_width() -> None:
    bare = model_of(layers=(Layer(mixer=gqa()),))
    wide = model_of(layers=(Layer(mixer=gqa(), mlp=DenseMlp(width=1)),))
    args: ResolvedArgs = resolved()
    assert forward_peak(bare, bare.layers, None, args, engine("0.19.0")) < forward_peak(
        wide, wide.layers, None, args, engine("0.19.0")
    )


def test_cards_before_ampere_sort_the_logits_whatever_the_release() -> None:
    """Qwen3-8B on two T4, vLLM 0.22: 256 sequences take ten copies of the logits."""
    args = resolved(max_num_seqs=256)
    assert sampler_peak(LLAMA, args, engine("0.27.1"), gpu("t4")) == sampler_peak(LLAMA, args, engine("0.11.0"), H100)


def test_compiled_layers_of_16_bits_hold_more_from_0_27_on() -> None:
    args, eager = resolved(), resolved(enforce_eager=True)
    old, new = (forward_peak(LLAMA, LLAMA.layers, None, args, engine(v)) for v in ("0.26.0", "0.27.1"))
    assert new - old == 2048 * 2 * 14336 * 2
    assert forward_peak(LLAMA, LLAMA.layers, None, eager, engine("0.27.1")) == old


def test_a_sparse_indexer_reserves_its_logits_on_amd_gpus() -> None:
    """vllm#53961: DeepSeek-V4-Pro at 1M does not start on MI300X with 16,384 tokens a batch, and does with 8,192."""
    flash = catalog_model("deepseek-v4-flash")
    args = resolved(max_model_len=1048576, max_num_batched_tokens=16384)
    assert indexer_logits(flash.layers, args, engine("0.28.0"), gpu("mi300x")) == 16384 * 1048576 / 4 * 4
    assert indexer_logits(flash.layers, args, engine("0.22.1"), gpu("mi300x")) == 0
    assert indexer_logits(flash.layers, args, engine("0.28.0"), H100) == 0
    assert indexer_logits(LLAMA.layers, args, engine("0.28.0"), gpu("mi300x")) == 0
    starts = [
        plan_without_remedies(
            catalog_model("deepseek-v4-pro"),
            None,
            gpu("mi300x"),
            EngineArgs(tensor_parallel_size=8, kv_cache_dtype="fp8", max_num_batched_tokens=tokens),
            engine("0.28.0"),
        ).starts
        for tokens in (16384, 8192)
    ]
    assert starts == [False, True]


def test_sleep_mode_hides_memory_until_0_27() -> None:
    plain, asleep = resolved(), resolved(enable_sleep_mode=True)
    assert non_torch(LLAMA, asleep, engine("0.26.0"), H100) < non_torch(LLAMA, plain, engine("0.26.0"), H100)
    assert non_torch(LLAMA, asleep, engine("0.27.1"), H100) == non_torch(LLAMA, plain, engine("0.27.1"), H100)
