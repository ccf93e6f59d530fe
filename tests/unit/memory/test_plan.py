"""Memory plans: what vLLM would print, what it would refuse, and what would help."""

from dataclasses import replace

import pytest

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.catalog.quantizations import quantization
from simulator.errors import NotModelled
from simulator.memory.plan import MemoryPlan, blocks_printed_as, plan_memory
from simulator.units import GIB


def plan(name: str, card: str, version: str = "0.19.0", form: str | None = None, **args: object) -> MemoryPlan:
    return plan_memory(model(name), quantization(form) if form else None, gpu(card), EngineArgs(**args), engine(version))


RTX4090 = {"max_model_len": 32768, "max_num_seqs": 256, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.9}


def test_llama_on_an_rtx_4090_holds_41408_tokens() -> None:
    """LLMServingSim bench/examples/RTX4090/Llama-3.1-8B: vLLM 0.19.0, 2588 blocks."""
    found = plan("llama-3.1-8b", "rtx-4090", **RTX4090)
    assert found.outcome == "starts"
    assert found.kv_tokens == pytest.approx(41408, rel=0.05)
    assert found.kv_tokens == found.num_gpu_blocks * 16


def test_llama_on_an_h100_holds_476016_tokens() -> None:
    """llm-d-planner sweep: vLLM 0.19.0, gpu_memory_utilization 0.95, 58.11 GiB, 58.11x of 8192 tokens."""
    found = plan("llama-3.1-8b", "h100-sxm", max_model_len=8192, gpu_memory_utilization=0.95)
    assert found.kv_cache_bytes / GIB == pytest.approx(58.11, rel=0.01)
    assert found.kv_tokens == pytest.approx(476_016, rel=0.01)
    assert found.max_concurrency == pytest.approx(58.11, rel=0.01)


def test_a_context_longer_than_the_model_has_positions_is_remarked_upon() -> None:
    """vLLM: "User-specified max_model_len (32768) is greater than the derived max_model_len (max_position_embeddings=16384)"."""
    assert not any("positions" in note for note in plan("phi-4", "h100-sxm", max_model_len=16384).notes)
    assert any("16,384 positions" in note for note in plan("phi-4", "h100-sxm", max_model_len=32768).notes)


def test_the_account_closes() -> None:
    found = plan("llama-3.1-8b", "h100-sxm")
    assert found.used_bytes + found.kv_cache_bytes == pytest.approx(found.reserved_bytes)
    assert found.reserved_bytes == pytest.approx(0.9 * found.total_bytes)
    assert sum(found.weights_by_format.values()) == pytest.approx(found.weights_bytes)


def test_graphs_are_deducted_by_the_releases_that_do() -> None:
    before, after = plan("llama-3.1-8b", "h100-sxm", "0.19.0"), plan("llama-3.1-8b", "h100-sxm", "0.30.0")
    assert not before.cuda_graph_deducted
    assert after.cuda_graph_deducted
    assert after.used_bytes >= after.weights_bytes + after.cuda_graph_bytes
    assert not plan("llama-3.1-8b", "h100-sxm", "0.30.0", enforce_eager=True).cuda_graph_deducted


def test_concurrency_at_a_context_counts_whole_blocks() -> None:
    found = plan("llama-3.1-8b", "h100-sxm", max_model_len=8192)
    assert found.concurrency_at(8192) == found.max_concurrency
    assert found.concurrency_at(17) == found.num_gpu_blocks / 2


def test_newer_releases_print_tokens_that_follow_from_the_concurrency() -> None:
    found = plan("llama-3.1-8b", "h100-sxm", "0.22.1", max_model_len=8000)
    assert found.kv_tokens == int(found.max_concurrency * 8000)


def test_blocks_and_bytes_can_be_given() -> None:
    assert plan("llama-3.1-8b", "h100-sxm", num_gpu_blocks_override=1000, max_model_len=8192).kv_tokens == 16_000
    given = plan("llama-3.1-8b", "h100-sxm", kv_cache_memory_bytes=10 * GIB, max_model_len=8192)
    assert given.kv_cache_bytes == 10 * GIB
    assert given.kv_cache_low_bytes == given.kv_cache_high_bytes


def test_weights_that_do_not_fit_say_so_with_remedies_that_do() -> None:
    found = plan("llama-3.1-70b", "h100-sxm", max_model_len=8192)
    assert found.outcome == "weights_do_not_fit"
    assert "CUDA out of memory" in found.reason
    assert found.num_gpu_blocks == 0
    changes = [remedy.change for remedy in found.remedies]
    assert changes == ["quantization gptq-int4", "tensor_parallel_size 2", "gpu b200-sxm"]


def test_what_a_remedy_gives_is_what_planning_it_gives() -> None:
    found = plan("llama-3.1-70b", "h100-sxm", max_model_len=8192)
    remedy = next(r for r in found.remedies if r.change == "tensor_parallel_size 2")
    again = plan("llama-3.1-70b", "h100-sxm", max_model_len=8192, tensor_parallel_size=2)
    assert again.starts
    assert f"{again.kv_tokens:,} KV tokens" in remedy.gives


def test_nothing_left_for_the_cache_quotes_vllm() -> None:
    found = plan("llama-3.1-8b", "h100-sxm", gpu_memory_utilization=0.2)
    assert found.outcome == "no_kv_blocks"
    assert "No available memory for the cache blocks" in found.reason
    assert any(remedy.change.startswith("gpu_memory_utilization") for remedy in found.remedies)


def test_a_context_too_long_is_answered_with_the_longest_that_fits() -> None:
    found = plan("llama-3.1-8b", "rtx-4090", **{**RTX4090, "max_model_len": 131072})
    assert found.outcome == "max_model_len_exceeds_kv"
    assert "To serve at least one request with the models's max seq len (131072)" in found.reason
    assert f"estimated maximum model length is {found.longest_sequence}" in found.reason
    assert found.remedies[0].change == f"max_model_len {found.longest_sequence:,}"
    shorter = plan("llama-3.1-8b", "rtx-4090", **{**RTX4090, "max_model_len": found.longest_sequence})
    assert shorter.starts
    assert "kv_cache_dtype fp8" not in [r.change for r in found.remedies], "16 GiB do not fit by halving"


def test_the_older_engine_says_it_in_tokens() -> None:
    found = plan("llama-3.1-8b", "rtx-4090", "0.6.4", max_model_len=32768)
    assert found.outcome == "max_model_len_exceeds_kv"
    assert "maximum number of tokens that can be stored in KV cache" in found.reason


def test_the_tightest_pipeline_stage_decides() -> None:
    """llm-d-planner sweep, Llama-3.1-8B with two stages: 66.54 GiB on the first, 1,075,312 tokens by the last."""
    found = plan("llama-3.1-8b", "h100-sxm", max_model_len=8192, gpu_memory_utilization=0.95, pipeline_parallel_size=2)
    assert found.kv_tokens == pytest.approx(1_075_312, rel=0.01)


def test_a_deployment_counts_its_gpus() -> None:
    found = plan("llama-3.1-8b", "h100-sxm", tensor_parallel_size=2, data_parallel_size=4)
    assert (found.gpus_per_replica, found.gpu_count) == (2, 8)


def test_heads_that_cannot_be_split_are_refused_in_one_line() -> None:
    with pytest.raises(NotModelled, match="tensor_parallel_size 3 does not divide its 32 attention heads") as caught:
        plan("llama-3.1-8b", "h100-sxm", tensor_parallel_size=3)
    assert "\n" not in str(caught.value)


def test_fp8_weights_on_a_gpu_without_fp8_are_noted_as_weight_only() -> None:
    found = plan("llama-3.1-8b", "a100-80gb-sxm", form="fp8")
    assert any("fp8" in note.lower() for note in found.notes)
    assert found.weights_bytes < plan("llama-3.1-8b", "a100-80gb-sxm").weights_bytes


def test_a_format_that_no_kernel_runs_is_refused() -> None:
    with pytest.raises(NotModelled):
        plan("llama-3.1-8b", "v100-16gb-sxm", form="int8-w8a8")


def test_the_arguments_of_a_plan_are_resolved() -> None:
    args = plan("llama-3.1-8b", "h100-sxm").args
    assert (args.max_num_seqs, args.max_num_batched_tokens, args.block_size, args.max_model_len) == (1024, 8192, 16, 131072)


def test_a_model_with_windows_has_blocks_for_a_scheduler_with_one_kind() -> None:
    from support.memory_fixtures import gqa, model_of

    mixed = replace(model_of(*[gqa(head_dim=64, window=128), gqa(head_dim=64)] * 12), name="mixed")
    found = plan_memory(mixed, None, gpu("h100-sxm"), EngineArgs(max_model_len=65536), engine("0.19.0"))
    assert found.scheduler_blocks == int(found.max_concurrency * 65536) // 16
    assert found.kv_tokens < found.scheduler_blocks * 16


def test_more_sequences_than_state_blocks_are_refused_with_how_many_there_are() -> None:
    """Qwen3.8-27B-FP8 on L40S, vLLM 0.26.0 (public log): 184 blocks at 0.90, and 256 sequences by default."""
    given = {"gpu_memory_utilization": 0.9, "max_model_len": 131072}
    found = plan("qwen3.8-27b", "l40s", form="fp8-block", version="0.26.0", **given)
    assert found.outcome == "max_num_seqs_exceeds_state_blocks"
    assert found.num_gpu_blocks == pytest.approx(184, rel=0.1)
    assert f"max_num_seqs (256) exceeds available Mamba cache blocks ({found.num_gpu_blocks})" in found.reason
    remedy = next(remedy for remedy in found.remedies if remedy.change.startswith("max_num_seqs"))
    assert remedy.change == f"max_num_seqs {found.num_gpu_blocks}"
    assert plan("qwen3.8-27b", "l40s", form="fp8-block", version="0.26.0", max_num_seqs=16, **given).starts


@pytest.mark.parametrize("change", [{"enforce_eager": True}, {"cudagraph_mode": "piecewise"}])
def test_state_blocks_are_counted_only_where_whole_steps_are_captured(change: dict[str, object]) -> None:
    given = {"gpu_memory_utilization": 0.9, "max_model_len": 131072, **change}
    assert plan("qwen3.8-27b", "l40s", form="fp8-block", version="0.26.0", **given).starts
    few = {**given, "cudagraph_mode": None, "enforce_eager": False, "max_cudagraph_capture_size": 8}
    before = plan("qwen3.8-27b", "l40s", form="fp8-block", version="0.19.0", **few)
    assert before.starts and before.num_gpu_blocks < 256


def test_profiling_the_graphs_needs_a_block_of_the_kv_cache_for_every_sequence() -> None:
    """Qwen3.8-27B NVFP4 on an RTX 5090 dies there at the default sequences, whatever the share of memory (its recipe of vLLM)."""
    for share in (0.8, 0.93):
        found = plan("qwen3.8-27b", "rtx-5090", "0.26.0", "nvfp4", max_model_len=32768, gpu_memory_utilization=share)
        assert found.outcome == "graph_profiling_does_not_fit"
        assert "profiling the CUDA graphs needs 256 blocks of KV cache, 12.25 GiB" in found.reason
    assert [remedy.change for remedy in found.remedies][:2] == ["max_num_seqs 64", "enforce_eager"]
    assert plan("qwen3.8-27b", "rtx-5090", "0.26.0", "nvfp4", max_model_len=32768, enforce_eager=True).starts


def test_releases_before_0_26_profile_with_a_block_for_every_token_of_the_largest_graph() -> None:
    older = plan("qwen3.8-27b", "l40s", "0.25.0", "fp8-block", max_model_len=131072, max_num_seqs=256)
    assert older.outcome == "graph_profiling_does_not_fit"
    assert "512 blocks" in older.reason


def test_a_card_of_ones_own_says_what_stands_in_for_its_architecture() -> None:
    own = plan("qwen3-8b", "memory_gib=24", form="int8-w8a8")
    assert any("architecture not stated" in note and "ampere" in note for note in own.notes)
    stated = plan("qwen3-8b", "memory_gib=24,architecture=ada", form="int8-w8a8")
    assert stated.starts and not any("architecture" in note for note in stated.notes)


def test_a_card_may_have_other_figures_than_the_catalogs() -> None:
    """Under WSL torch reports the whole memory of a card."""
    under_wsl = plan("qwen3-8b", "rtx-4090,memory_gib=24")
    linux = plan("qwen3-8b", "rtx-4090")
    assert under_wsl.gpu.name == "rtx-4090" and under_wsl.total_bytes == 24 * GIB
    assert under_wsl.kv_cache_bytes - linux.kv_cache_bytes == pytest.approx(0.9 * (24 * GIB - linux.total_bytes))


def test_a_share_that_is_not_free_is_refused_before_anything_else() -> None:
    """nosana-ci/pipeline-templates#170: 18.78 of 23.5 GiB free, utilization 0.9."""
    found = plan("qwen3.5-9b", "rtx-4090", version="0.22.0", gpu_memory_utilization=0.9, memory_used_gib=4.3)
    assert found.outcome == "too_little_free_memory"
    assert "Free memory on the device (18.78/23.52 GiB) on startup is less than desired" in found.reason
    assert found.remedies[-1].change.startswith("gpu ")
    assert plan("qwen3-0.6b", "rtx-4090", version="0.22.0", gpu_memory_utilization=0.7, memory_used_gib=4.3).starts
    lower = plan("qwen3-0.6b", "rtx-4090", version="0.22.0", gpu_memory_utilization=0.9, memory_used_gib=4.3)
    assert lower.remedies[0].change == "gpu_memory_utilization 0.79"


def test_a_need_inside_the_plans_own_band_is_no_plain_yes() -> None:
    longest = plan("llama-3.1-8b", "rtx-4090", version="0.27.1").longest_sequence
    close = plan("llama-3.1-8b", "rtx-4090", version="0.27.1", max_model_len=longest - 64)
    assert close.outcome == "may_not_start" and close.starts
    assert close.reason.startswith("may not start: needs ")
    assert close.reason in close.notes
    assert plan("llama-3.1-8b", "rtx-4090", version="0.27.1", max_model_len=longest // 2).outcome == "starts"


def test_a_kv_cache_set_by_hand_must_fit_beside_the_weights() -> None:
    found = plan("llama-3.1-8b", "rtx-4090", kv_cache_memory_bytes=9 * 2**30)
    assert found.outcome == "weights_do_not_fit"
    assert "the KV cache that is asked for 9.00 GiB" in found.reason
    assert plan("llama-3.1-8b", "rtx-4090", kv_cache_memory_bytes=6 * 2**30, max_model_len=8192).starts


def test_tensorrt_llm_keeps_its_own_rules() -> None:
    """Blocks of 32 tokens, fewer tokens a step than sequences, and a share of what is free beside what others hold."""
    release = engine("tensorrt-llm-0.19.0")
    args = EngineArgs(max_num_seqs=2048, max_num_batched_tokens=1024)
    alone = plan_memory(model("llama-3.1-8b"), quantization("fp8"), gpu("rtx-5090"), args, release)
    assert alone.starts and alone.layout.block_size == 32
    shared = plan_memory(model("llama-3.1-8b"), quantization("fp8"), gpu("rtx-5090"), replace(args, memory_used_gib=2.0), release)
    assert alone.kv_cache_bytes - shared.kv_cache_bytes == pytest.approx(0.9 * 2 * GIB)


def test_a_cache_of_exactly_one_full_sequence_starts_and_of_a_byte_less_does_not() -> None:
    """4,096 tokens of 131,072 bytes each."""
    exact = 4096 * 131_072
    fits, lacks = (
        plan("llama-3.1-8b", "h100-sxm", max_model_len=4096, kv_cache_memory_bytes=given) for given in (exact, exact - 1)
    )
    assert (fits.outcome, fits.kv_tokens) == ("starts", 4096)
    assert lacks.outcome == "max_model_len_exceeds_kv"


def test_ranks_of_context_parallelism_hold_as_many_times_the_tokens_in_the_plan_too() -> None:
    args = {"max_model_len": 4096, "tensor_parallel_size": 8, "kv_cache_memory_bytes": 2 * GIB}
    one, eight = (plan("deepseek-v3", "h200-sxm", decode_context_parallel_size=size, **args) for size in (1, 8))
    assert eight.num_gpu_blocks == one.num_gpu_blocks
    assert eight.kv_tokens == 8 * one.kv_tokens


def test_the_blocks_of_context_parallel_ranks_are_told_from_the_tokens_that_all_of_them_print() -> None:
    args = {"max_model_len": 4096, "tensor_parallel_size": 8, "kv_cache_memory_bytes": 2 * GIB}
    split = plan("deepseek-v3", "h200-sxm", version="0.19.0", decode_context_parallel_size=8, **args)
    assert blocks_printed_as(split, split.kv_tokens) == split.num_gpu_blocks
