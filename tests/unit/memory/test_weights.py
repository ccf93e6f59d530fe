"""Weights: parameters worked out by hand, and what one GPU holds of them."""

from dataclasses import replace

import pytest

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.memory_overheads import mxfp4_kernel
from simulator.catalog.models import (
    CompressedAttention,
    DenseMlp,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    Mamba1,
    Mamba2,
    Model,
    MoeMlp,
    model,
)
from simulator.catalog.quantizations import Quantization, WeightFormat, quantization
from simulator.errors import NotModelled
from simulator.memory.tensors import layer_tensors, tensors
from simulator.memory.weights import active_parameters, allocated, parameters, stage_of_layer, weight_bytes
from simulator.units import GIB

ONE = EngineArgs()
FP8 = WeightFormat(name="fp8", bits=8, compute="fp8", activation_bits=8, kernel="fp8")


def parallel(tp: int = 1, pp: int = 1, **more: int | bool) -> EngineArgs:
    return EngineArgs(tensor_parallel_size=tp, pipeline_parallel_size=pp, **more)


def small(*layers: Layer, tied: bool = False, vocabulary: int = 640) -> Model:
    return Model(
        name="small",
        architecture="test",
        hidden=64,
        vocabulary=vocabulary,
        layers=layers,
        tied_embeddings=tied,
        max_position=512,
        source="by hand",
    )


GQA = GroupedQueryAttention(heads=4, kv_heads=2, head_dim=16, value_head_dim=16)
DENSE = Layer(mixer=GQA, mlp=DenseMlp(width=128))


def counted(layer: Layer) -> dict[str, int]:
    found: dict[str, int] = {}
    for tensor in layer_tensors(layer, 64):
        found[tensor.module] = found.get(tensor.module, 0) + tensor.parameters
    return found


def test_grouped_query_attention_counts_heads_times_head_dim_and_not_hidden_squared() -> None:
    wide = replace(GQA, head_dim=32, value_head_dim=32)
    assert counted(Layer(mixer=wide, norms=0)) == {"qkv_proj": 64 * (4 + 2 + 2) * 32, "o_proj": 4 * 32 * 64}


def test_biases_and_head_norms_are_counted() -> None:
    biased = replace(GQA, qkv_bias=True, output_bias=True, query_key_norm=True, sinks=True)
    assert counted(Layer(mixer=biased, norms=0))["attention_vectors"] == (4 + 2 + 2) * 16 + 64 + 2 * 16 + 4


def test_one_projection_for_keys_and_values_is_stored_once_and_a_shared_cache_not_at_all() -> None:
    assert counted(Layer(mixer=replace(GQA, key_is_value=True), norms=0))["qkv_proj"] == 64 * (4 + 2) * 16
    assert counted(Layer(mixer=replace(GQA, shares_kv=True), norms=0))["qkv_proj"] == 64 * 4 * 16


def test_a_gated_query_is_twice_as_wide() -> None:
    assert counted(Layer(mixer=replace(GQA, gated=True), norms=0))["qkv_proj"] == 64 * (8 + 2 + 2) * 16


def test_latent_attention_goes_down_to_the_latents_and_up_to_the_heads() -> None:
    mla = LatentAttention(heads=4, q_lora_rank=24, kv_lora_rank=32, nope_dim=16, rope_dim=8, value_head_dim=16)
    assert counted(Layer(mixer=mla, norms=0)) == {
        "q_a_proj": 64 * 24,
        "q_b_proj": 24 * 4 * (16 + 8),
        "kv_a_proj": 64 * (32 + 8),
        "kv_b_proj": 32 * 4 * (16 + 16),
        "o_proj": 4 * 16 * 64,
        "attention_vectors": 24 + 32,
    }
    assert "q_proj" in counted(Layer(mixer=replace(mla, q_lora_rank=0), norms=0))


def test_compressed_attention_counts_its_compressors_twice_as_wide_at_ratio_4() -> None:
    plain = CompressedAttention(heads=4, head_dim=32, rope_dim=8, q_lora_rank=16, o_lora_rank=16, o_groups=2, window=128)
    assert "compressor" not in counted(Layer(mixer=plain, norms=0))
    at_128 = counted(Layer(mixer=replace(plain, ratio=128), norms=0))["compressor"]
    assert at_128 == 2 * 64 * 32 + 128 * 32 + 32
    at_4 = counted(Layer(mixer=replace(plain, ratio=4), norms=0))["compressor"]
    assert at_4 == 2 * 64 * 64 + 4 * 64 + 32


def test_state_space_blocks_count_their_projections() -> None:
    mamba2 = Mamba2(heads=4, head_dim=16, state_size=32, groups=2, conv_kernel=4)
    assert counted(Layer(mixer=mamba2, norms=0))["in_proj"] == 64 * (2 * 64 + 4 + 2 * 2 * 32)
    mamba1 = Mamba1(inner=128, state_size=16, conv_kernel=4, time_step_rank=4)
    assert counted(Layer(mixer=mamba1, norms=0))["in_proj"] == 64 * 2 * 128
    delta = GatedDeltaNet(key_heads=2, value_heads=4, key_head_dim=16, value_head_dim=16, conv_kernel=4)
    assert counted(Layer(mixer=delta, norms=0))["in_proj_qkvz"] == 64 * 2 * (32 + 64)


def test_experts_are_stored_all_and_active_a_few() -> None:
    moe = small(Layer(mixer=GQA, mlp=MoeMlp(experts=8, experts_per_token=2, width=32, shared_width=16)))
    one = 3 * 64 * 32
    experts = [t for t in tensors(moe) if t.group == "experts"]
    assert sum(t.parameters for t in experts) == 8 * one
    assert sum(t.active_parameters for t in experts) == 2 * one
    assert parameters(moe) - active_parameters(moe) == 6 * one + 640 * 64


def test_latent_experts_work_in_the_latent_width() -> None:
    latent = counted(Layer(mlp=MoeMlp(experts=8, experts_per_token=2, width=32, gated=False, latent=16), norms=0))
    assert latent["experts_up"] + latent["experts_down"] == 8 * 2 * 16 * 32
    assert latent["latent_proj"] == 2 * 64 * 16


def test_a_tied_embedding_is_stored_once_and_active() -> None:
    untied, tied = small(DENSE), small(DENSE, tied=True)
    assert parameters(untied) - parameters(tied) == 640 * 64
    assert active_parameters(untied) == active_parameters(tied)


def test_draft_layers_and_vision_tower_are_not_in_the_number_of_parameters() -> None:
    plain = small(DENSE)
    more = replace(plain, draft_layers=(DENSE,), draft_other_parameters=1000, vision_parameters=5000)
    assert parameters(more) == parameters(plain)
    assert weight_bytes(more, None, ONE).bytes - weight_bytes(plain, None, ONE).bytes == 5000 * 2


def test_published_parameter_counts_come_out_to_the_last_one() -> None:
    assert parameters(model("llama-3.1-8b")) == 8_030_261_248
    assert parameters(model("llama-2-7b")) == 6_738_415_616
    assert parameters(model("qwen2.5-7b")) == 7_615_616_512


def test_safetensors_totals_come_out_to_the_last_byte() -> None:
    """total_size of model.safetensors.index.json in the repositories of these models, as published."""
    totals = {
        "llama-3.1-8b": 16_060_522_496,
        "mixtral-8x7b": 93_405_585_408,
        "qwen3-30b-a3b": 61_064_245_248,
        "deepseek-v2-lite": 31_412_968_448,
        "gpt-oss-120b": 65_248_815_744,
    }
    for name, total in totals.items():
        whole = model(name)
        stored = whole.quantization
        bits = sum(t.parameters * (form.bits if stored and (form := stored.format(t.group)) else 16.0) for t in tensors(whole))
        assert bits == 8 * total, name


def test_the_rotary_table_is_counted_with_the_weights() -> None:
    weights = weight_bytes(model("llama-3.1-8b"), None, ONE)
    assert weights.by_format["rope-cache"] == 131072 * 128 * 2
    assert weights.bytes / GIB == pytest.approx(14.9888, abs=1e-4)


def test_a_float32_model_has_a_float32_rotary_table() -> None:
    weights = weight_bytes(model("llama-3.1-8b"), quantization("fp32"), ONE)
    assert weights.bytes / GIB == pytest.approx(29.98, abs=0.005)


def test_the_allocator_keeps_up_to_a_mib_of_the_pages_it_took() -> None:
    mib = 2**20
    assert allocated(9.5 * mib) == 9.5 * mib
    assert allocated(31.5 * mib) == 32 * mib
    assert allocated(259 * mib) == 260 * mib
    assert allocated(24.5 * mib) == 24.5 * mib


def test_qwen2_5_7b_takes_what_vllm_printed_for_it() -> None:
    """14.2487 GiB, where parameters and rotary table come to 14.193: 2 MiB a layer stay unused in the allocator's pages."""
    weights = weight_bytes(model("qwen2.5-7b"), None, ONE)
    assert weights.bytes / GIB == pytest.approx(14.2487, abs=5e-4)
    assert weights.by_format["allocator"] == 57 * 2**20


def test_kv_heads_are_replicated_once_there_are_more_gpus_than_heads() -> None:
    layer = Layer(mixer=GroupedQueryAttention(heads=16, kv_heads=2, head_dim=16, value_head_dim=16), norms=0)
    half, eighth = (weight_bytes(small(layer), None, parallel(tp)).by_group["attention"] for tp in (2, 8))
    queries_and_output, keys_and_values = 2 * 64 * 16 * 16, 64 * 2 * 2 * 16
    assert half == 2 * (queries_and_output / 2 + keys_and_values / 2)
    assert eighth == 2 * (queries_and_output / 8 + keys_and_values / 2)


def test_norms_and_down_projections_are_whole_on_every_gpu() -> None:
    mla = LatentAttention(heads=4, q_lora_rank=24, kv_lora_rank=32, nope_dim=16, rope_dim=8, value_head_dim=16)
    layer = Layer(mixer=mla)
    one, two = (weight_bytes(small(layer), None, parallel(tp)) for tp in (1, 2))
    assert one.by_group["norm"] == two.by_group["norm"]
    whole = 2 * 64 * (24 + 32 + 8)
    assert two.by_group["attention"] - whole == (one.by_group["attention"] - whole) / 2


def test_a_vocabulary_is_padded_to_64_before_it_is_divided() -> None:
    padded = weight_bytes(small(DENSE, vocabulary=641), None, parallel(2)).by_group["embedding"]
    assert padded == 704 * 64 * 2 / 2


def test_experts_are_cut_by_tensor_parallelism_and_dealt_out_by_expert_parallelism() -> None:
    moe = small(Layer(mixer=GQA, mlp=MoeMlp(experts=6, experts_per_token=2, width=32)))
    whole = 6 * 3 * 64 * 32 * 2
    assert weight_bytes(moe, None, parallel(4)).by_group["experts"] == whole / 4
    dealt = weight_bytes(moe, None, parallel(4, enable_expert_parallel=True)).by_group["experts"]
    assert dealt == whole / 6 * 2
    spread = weight_bytes(moe, None, parallel(1, data_parallel_size=2, enable_expert_parallel=True)).by_group["experts"]
    assert spread == whole / 2


def test_left_over_layers_go_to_the_stages_before_the_last() -> None:
    assert stage_of_layer(32, 4) == [stage for stage in range(4) for _ in range(8)]
    assert stage_of_layer(61, 4).count(3) == 15
    assert [stage_of_layer(7, 3).count(stage) for stage in range(3)] == [2, 3, 2]


def test_the_fullest_pipeline_stage_is_the_one_that_counts() -> None:
    weights = weight_bytes(model("llama-3.1-8b"), None, parallel(pp=4))
    assert weights.bytes / GIB == pytest.approx(4.26, abs=0.005)
    assert weights.stage == 3


def test_a_tied_embedding_stands_on_the_first_and_the_last_stage() -> None:
    weights = weight_bytes(small(DENSE, DENSE, tied=True), None, parallel(pp=2))
    assert weights.by_group["embedding"] == 640 * 64 * 2


def test_a_quantization_names_the_format_of_every_byte() -> None:
    weights = weight_bytes(model("llama-3.1-8b"), quantization("awq-int4"), ONE)
    linear = parameters(model("llama-3.1-8b")) - 2 * 128256 * 4096 - 65 * 4096
    assert weights.by_format["awq-int4"] == linear * 4.15625 / 8
    assert weights.by_format["bf16"] == (2 * 128256 * 4096 + 65 * 4096) * 2


def test_a_layer_that_a_checkpoint_leaves_out_stays_in_16_bits() -> None:
    stored = Quantization(name="q", formats={"mlp": FP8}, exceptions=frozenset({(1, "mlp")}), source="by hand")
    weights = weight_bytes(small(DENSE, DENSE), stored, ONE)
    assert weights.by_group["mlp"] == 3 * 64 * 128 * (1 + 2)


def test_the_checkpoints_exact_bytes_win_where_they_are_known() -> None:
    plain = small(DENSE)
    counted_bytes = weight_bytes(plain, None, ONE).bytes
    exact = replace(plain, checkpoint_bytes=round(counted_bytes * 1.1))
    assert weight_bytes(exact, None, ONE).bytes == pytest.approx(counted_bytes * 1.1, rel=1e-4)
    assert weight_bytes(exact, None, parallel(2)).bytes == pytest.approx(
        weight_bytes(plain, None, parallel(2)).bytes * 1.1, rel=1e-4
    )


def test_the_checkpoints_bytes_say_nothing_of_another_format() -> None:
    exact = replace(small(DENSE), checkpoint_bytes=1)
    assert weight_bytes(exact, quantization("fp8"), ONE) == weight_bytes(small(DENSE), quantization("fp8"), ONE)


def test_mxfp4_experts_are_padded_as_their_kernel_wants_them() -> None:
    oss = model("gpt-oss-120b")
    one, four = (weight_bytes(oss, None, parallel(tp)) for tp in (1, 4))
    assert one.bytes / GIB == pytest.approx(65.97, rel=0.002)
    assert four.bytes / GIB == pytest.approx(17.22, rel=0.005)
    assert weight_bytes(oss, None, ONE, "triton").bytes / GIB == pytest.approx(64.38, rel=0.002)
    assert weight_bytes(oss, None, parallel(8), "trtllm").bytes > weight_bytes(oss, None, parallel(8)).bytes


@pytest.mark.parametrize(
    ("release", "card", "kernel"),
    [("0.11.2", "h100", "marlin"), ("0.12.0", "h100", "triton"), ("0.12.0", "a100-80gb", "marlin"), ("0.20.1", "b200", "trtllm")],
)
def test_the_kernel_of_mxfp4_experts_follows_the_release_and_the_card(release: str, card: str, kernel: str) -> None:
    assert mxfp4_kernel(engine(f"vllm {release}"), gpu(card)) == kernel


def test_latent_attention_keeps_its_up_projection_twice() -> None:
    mla = LatentAttention(heads=4, q_lora_rank=0, kv_lora_rank=32, nope_dim=16, rope_dim=8, value_head_dim=16)
    stored = sum(t.parameters for t in layer_tensors(Layer(mixer=mla, norms=0), 64) if t.group == "attention")
    weights = weight_bytes(small(Layer(mixer=mla, norms=0)), None, ONE)
    assert weights.by_group["attention"] == 2 * (stored + 32 * 4 * 32)


def test_mistrals_own_vision_tower_is_not_divided_and_a_quantized_one_is() -> None:
    small_mistral = model("mistral-small-3.1-24b")
    tower = small_mistral.vision_parameters * 2
    assert weight_bytes(small_mistral, None, parallel(2)).by_group["vision"] == tower
    assert weight_bytes(small_mistral, quantization("w8a8"), parallel(2)).by_group["vision"] == tower / 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (parallel(3), "tensor_parallel_size 3 does not divide its 32 attention heads"),
        (parallel(pp=33), "pipeline_parallel_size 33 exceeds its 32 layers"),
    ],
)
def test_sizes_that_cannot_divide_the_model_are_refused(args: EngineArgs, said: str) -> None:
    with pytest.raises(NotModelled, match=said):
        weight_bytes(model("llama-3.1-8b"), None, args)


def test_kimi_linear_has_the_parameters_that_it_is_published_with() -> None:
    """49B on the hub, of which a token uses 3B; every fourth layer and the last have latent attention."""
    kimi = model("kimi-linear-48b-a3b")
    assert parameters(kimi) / 1e9 == pytest.approx(49.1, abs=0.05)
    assert active_parameters(kimi) / 1e9 == pytest.approx(3.1, abs=0.1)
    kinds = ["full" if isinstance(layer.mixer, LatentAttention) else "linear" for layer in kimi.layers]
    assert [index + 1 for index, kind in enumerate(kinds) if kind == "full"] == [4, 8, 12, 16, 20, 24, 27]


def test_gates_out_of_a_bottleneck_are_smaller_than_projected_ones() -> None:
    whole = GatedDeltaNet(key_heads=2, value_heads=2, key_head_dim=16, value_head_dim=16, conv_kernel=4)
    found = counted(Layer(mixer=replace(whole, gate_rank=16), norms=0))
    assert found["in_proj_qkv"] == 64 * 3 * 32
    assert (found["gates_a"], found["gates_b"], found["in_proj_b"]) == (2 * 64 * 16, 16 * 64, 64 * 2)
