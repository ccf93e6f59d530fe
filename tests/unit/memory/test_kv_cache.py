"""KV cache layout, worked by hand, and against what published logs printed."""

import dataclasses

import pytest
from support.memory_fixtures import GDN, gqa, mla, model_of, resolved

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import CompressedAttention, GroupedQueryAttention, Mamba2, Model, catalog_model
from simulator.errors import NotModelled
from simulator.memory.kv_cache import attention_block_size, kv_layout, state_bytes
from simulator.memory.kv_layout import KvLayout
from simulator.units import GIB


def layout(model: Model, args: ResolvedArgs | None = None, version: str = "0.19.0", card: str = "h100-sxm") -> KvLayout:
    release, hardware = engine(version), gpu(card)
    block_size = attention_block_size(model, release, hardware)
    args = dataclasses.replace(args or resolved(), block_size=block_size)
    return kv_layout(model.layers, model, model.quantization, args, release, hardware)


def test_a_token_costs_keys_and_values_of_every_layer() -> None:
    assert layout(model_of(*[gqa()] * 32)).bytes_per_token == 2 * 32 * 8 * 128 * 2


@pytest.mark.parametrize(("ranks", "heads"), [(1, 8), (2, 4), (8, 1), (16, 1)])
def test_kv_heads_are_split_over_ranks_and_then_replicated(ranks: int, heads: int) -> None:
    found = layout(model_of(gqa()), resolved(tensor_parallel_size=ranks))
    assert found.bytes_per_token == 2 * heads * 128 * 2


@pytest.mark.parametrize(("stored", "each"), [("auto", 2.0), ("fp8", 1.0), ("nvfp4", 0.5625), ("int8", 1 + 4 / 128)])
def test_the_type_of_the_cache_is_its_own(stored: str, each: float) -> None:
    found = layout(model_of(gqa()), resolved(kv_cache_dtype=stored))
    assert found.bytes_per_token == 2 * 8 * 128 * each


def test_keys_and_values_may_differ_in_width() -> None:
    mixer = GroupedQueryAttention(heads=64, kv_heads=4, head_dim=192, value_head_dim=128)
    assert layout(model_of(mixer)).bytes_per_token == 4 * (192 + 128) * 2


def test_a_layer_that_reads_anothers_cache_has_none() -> None:
    sharing = GroupedQueryAttention(heads=8, kv_heads=2, head_dim=128, value_head_dim=128, shares_kv=True)
    assert layout(model_of(gqa(), sharing)).block_bytes == layout(model_of(gqa())).block_bytes


def test_a_latent_is_replicated_on_every_rank() -> None:
    """Kimi-K2 at TP 8: 70272 bytes a token (vllm-project/recipes, Kimi-K2-Think.md)."""
    found = layout(model_of(*[mla()] * 61), resolved(tensor_parallel_size=8), version="0.11.0")
    assert found.bytes_per_token == 70272
    assert found.block_size == 64


def test_a_latent_is_not_stored_in_four_bits() -> None:
    with pytest.raises(NotModelled, match="kv_cache_dtype nvfp4 has no kernel"):
        layout(model_of(mla()), resolved(kv_cache_dtype="nvfp4"))


def test_decode_context_parallel_ranks_share_the_tokens() -> None:
    alone = layout(model_of(*[mla()] * 61), resolved(tensor_parallel_size=8))
    shared = layout(model_of(*[mla()] * 61), resolved(tensor_parallel_size=8, decode_context_parallel_size=8))
    assert shared.block_bytes == alone.block_bytes
    assert shared.blocks_for(8192) * 8 == alone.blocks_for(8192)


def test_sparse_latent_attention_in_fp8_keeps_656_bytes_and_the_indexer_132() -> None:
    """GLM-5.1: 19.55 GiB hold 341,504 tokens (vLLM 0.20.2rc1, RTX PRO 6000)."""
    found = layout(
        model_of(*[mla(indexer=True)] * 78), resolved(kv_cache_dtype="fp8", tensor_parallel_size=8), card="rtx-pro-6000-server"
    )
    assert found.bytes_per_token == 78 * (656 + 132)
    assert found.blocks_in(19.55 * GIB) * 64 == pytest.approx(341_504, rel=2e-4)


def gpt_oss_20b() -> Model:
    return model_of(*[gqa(head_dim=64, window=128), gqa(head_dim=64)] * 12)


def test_sliding_and_full_layers_share_a_pool_in_groups_of_equal_size() -> None:
    """gpt-oss-20b with 8192 tokens a request: 54.44x from 282,624 tokens (vLLM 0.13, GB10)."""
    found = layout(gpt_oss_20b(), version="0.13.0")
    assert [group.kind for group in found.groups] == ["sliding", "full"]
    assert found.block_bytes == 12 * 16 * 8 * 64 * 2 * 2
    assert found.blocks_for(8192) == 8192 // 16 + (2047 + 128 + 15) // 16 + 1
    assert 35329 / found.blocks_for(8192) == pytest.approx(54.44, abs=0.005)


def test_a_window_never_holds_more_than_the_context() -> None:
    found = layout(gpt_oss_20b())
    assert found.blocks_for(100) == 7 + 7 + 1


def test_five_sliding_layers_for_each_full_one_make_six_groups() -> None:
    found = layout(model_of(*[*[gqa(window=1024)] * 5, gqa()] * 4))
    assert len(found.groups) == 6
    assert found.block_bytes == 4 * 16 * 8 * 128 * 2 * 2


def test_nearly_equal_counts_are_padded_to_the_larger() -> None:
    found = layout(model_of(*[gqa(window=1024)] * 12, *[gqa()] * 13))
    assert len(found.groups) == 2
    assert found.block_bytes == 13 * 16 * 8 * 128 * 2 * 2


@pytest.mark.parametrize("version", ["0.6.6", "0.9.0"])
def test_before_the_hybrid_manager_a_window_saves_nothing(version: str) -> None:
    found = layout(gpt_oss_20b(), version=version)
    assert [group.kind for group in found.groups] == ["full"]
    assert found.blocks_for(8192) == 512


def llama_4_scout() -> Model:
    return model_of(*[*[gqa(chunk=8192)] * 3, gqa()] * 12)


def test_chunked_layers_were_kept_in_full_by_default_from_0_10_to_0_13() -> None:
    found = layout(llama_4_scout(), resolved(tensor_parallel_size=4), version="0.13.0")
    assert found.block_bytes == 786_432
    assert len(found.groups) == 1


@pytest.mark.parametrize("version", ["0.14.0", "0.33.0"])
def test_chunked_layers_keep_one_chunk_and_what_is_in_flight(version: str) -> None:
    """Llama 4 Scout at TP 4: 786,305 bytes for 16 tokens in vLLM 0.19, which is all 48 layers."""
    found = layout(llama_4_scout(), resolved(tensor_parallel_size=4), version=version)
    assert [group.kind for group in found.groups].count("chunked") == 3
    assert found.block_bytes == 786_432 / 4
    assert found.blocks_for(131_072) == 8192 + 3 * (8192 + found.in_flight) // 16


def test_chunked_layers_are_kept_in_full_beside_a_head_that_drafts() -> None:
    drafting = resolved(tensor_parallel_size=4, spec_method="eagle3", spec_tokens=3)
    assert len(layout(llama_4_scout(), drafting, version="0.27.0").groups) == 1


def test_smaller_pages_take_more_tokens_a_block() -> None:
    found = layout(model_of(*[gqa(kv_heads=4, head_dim=256, window=1024)] * 5, gqa(kv_heads=8, head_dim=256)))
    assert {group.block_size for group in found.groups} == {16, 32}
    assert len({group.page_bytes for group in found.groups}) == 1


def test_pages_that_do_not_divide_are_refused() -> None:
    with pytest.raises(NotModelled, match="cannot share a pool"):
        layout(model_of(gqa(head_dim=192, window=1024), gqa(head_dim=128)))


def qwen36_27b() -> Model:
    return model_of(*[*[GDN] * 3, gqa(kv_heads=4, head_dim=256)] * 16)


def test_recurrent_layers_grow_the_attention_block_until_pages_match() -> None:
    """Qwen3.6-27B-FP8: block size 784; 41.03 GiB give 71.42x of 4096 tokens with prefix caching (vLLM 0.27.1, H100)."""
    found = layout(qwen36_27b(), resolved(max_model_len=4096, enable_prefix_caching=True), version="0.27.1")
    assert found.block_size == 784
    assert found.blocks_in(41.03 * GIB) == 857
    assert 857 / found.blocks_for(4096) == pytest.approx(71.42, abs=0.005)


def test_without_prefix_caching_a_state_is_kept_once() -> None:
    found = layout(qwen36_27b(), resolved(enable_prefix_caching=False), version="0.27.1")
    assert found.blocks_for(4096) == 6 + 3
    assert found.blocks_for(1) == 1 + 3


def test_mamba_states_are_cached_by_the_block() -> None:
    mamba = Mamba2(heads=64, head_dim=64, state_size=128, groups=8, conv_kernel=4)
    found = layout(model_of(mamba, gqa(), mamba, gqa()), resolved(enable_prefix_caching=True))
    assert found.block_size % 256 == 0
    assert found.blocks_for(10 * found.block_size) == 2 * 10


def test_a_state_is_heads_times_dimensions_and_a_short_convolution() -> None:
    assert state_bytes(GDN, model_of(GDN), resolved()) == 48 * 128 * 128 * 4 + (2 * 16 * 128 + 48 * 128) * 3 * 2
    assert state_bytes(GDN, model_of(GDN), resolved(tensor_parallel_size=2)) * 2 == state_bytes(GDN, model_of(GDN), resolved())


def test_groups_of_a_state_are_extended_to_every_rank() -> None:
    mamba = Mamba2(heads=64, head_dim=64, state_size=128, groups=1, conv_kernel=4)
    two = state_bytes(mamba, model_of(mamba), resolved(tensor_parallel_size=2))
    assert two == 32 * 64 * 128 * 2 + (4096 + 2 * 2 * 128) // 2 * 3 * 2


def test_windows_and_states_cost_nothing_per_further_token() -> None:
    assert layout(gpt_oss_20b()).bytes_per_token == 12 * 8 * 64 * 2 * 2
    assert layout(qwen36_27b(), version="0.27.1").bytes_per_token == 16 * 4 * 256 * 2 * 2


def deepseek_v4_flash() -> Model:
    """43 layers: windows everywhere, every fourth token compressed in 21, every 128th in 20."""
    base = {"heads": 64, "head_dim": 512, "rope_dim": 64, "q_lora_rank": 1024, "o_lora_rank": 1024, "o_groups": 8, "window": 128}
    fine = CompressedAttention(**base, ratio=4, index_heads=64, index_dim=128, index_top_k=512)
    return model_of(*[CompressedAttention(**base)] * 2, *[fine, CompressedAttention(**base, ratio=128)] * 20, fine)


def test_compressed_attention_needs_what_vllm_said() -> None:
    """vllm-project/vllm#44376, DeepSeek-V4-Flash: 30,000 tokens need 6.66 GiB, 5.44 GiB would do for 13,528."""
    found = layout(deepseek_v4_flash(), resolved(max_num_batched_tokens=16384, kv_cache_dtype="fp8"), version="0.22.1")
    assert found.bytes_for(30_000) / GIB == pytest.approx(6.66, abs=0.005)
    assert found.longest_in(5.44 * GIB, 30_000) == pytest.approx(13_528, abs=16)


def test_packed_blocks_are_as_large_as_the_largest_group() -> None:
    packed = layout(deepseek_v4_flash(), resolved(kv_cache_dtype="fp8"), version="0.27.1")
    assert packed.block_bytes == 21 * (37440 + 8640) + 20 * 1728


def test_other_compression_ratios_are_refused() -> None:
    odd = CompressedAttention(
        heads=64, head_dim=512, rope_dim=64, q_lora_rank=1024, o_lora_rank=1024, o_groups=8, window=128, ratio=16
    )
    with pytest.raises(NotModelled, match="ratio 16"):
        layout(model_of(odd))


def test_the_longest_sequence_is_the_longest_that_still_fits() -> None:
    found = layout(gpt_oss_20b())
    longest = found.longest_in(500 * found.block_bytes, at_most=131072)
    assert found.bytes_for(longest) <= 500 * found.block_bytes < found.bytes_for(longest + 1)
    assert found.longest_in(found.block_bytes, at_most=131072) == 0


def test_two_batches_in_flight_keep_two_batches_behind_the_window() -> None:
    earlier = layout(gpt_oss_20b(), resolved(async_scheduling=True), version="0.22.1")
    later = layout(gpt_oss_20b(), resolved(async_scheduling=True), version="0.27.1")
    assert later.blocks_for(8192) - earlier.blocks_for(8192) == 2048 // 16


@pytest.mark.parametrize(
    ("version", "release", "reached"),
    [
        ("0.19.0", "0.19", True),
        ("0.9.2", "0.10", False),
        ("0.20.2rc1.dev249+g68b", "0.20.2", True),
        ("0.6.3.post1", "0.6.4", False),
    ],
)
def test_releases_are_compared_by_number(version: str, release: str, reached: bool) -> None:
    assert engine(version).at_least(release) is reached


def test_the_types_of_recurrent_states_can_be_set() -> None:
    state, convolution = 48 * 128 * 128, (2 * 16 * 128 + 48 * 128) * 3
    assert state_bytes(GDN, model_of(GDN), resolved(mamba_ssm_cache_dtype="float16")) == 2 * (state + convolution)
    assert state_bytes(GDN, model_of(GDN), resolved(mamba_cache_dtype="float32")) == 4 * (state + convolution)


def test_a_request_of_a_hybrid_with_cached_states_takes_what_a_log_says() -> None:
    """Qwen3-Next-80B on CMP 170HX, vLLM 0.27.1: 5.85 GiB hold 242,534 tokens at a length of 65,536, states in float16."""
    args = resolved(max_model_len=65536, enable_prefix_caching=True, mamba_ssm_cache_dtype="float16", mamba_cache_mode="align")
    found = layout(catalog_model("qwen3-next-80b-a3b"), args, "0.27.1", "a100-80gb-sxm")
    assert found.bytes_for(65536) / GIB == pytest.approx(5.85 * 65536 / 242534, rel=0.003)
