"""A config.json is read field by field, and refused by name where it is not understood."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.hf_config_cases import BASE, attention, built

from simulator.catalog import hf_config
from simulator.catalog.models import (
    CompressedAttention,
    DenseMlp,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Mamba1,
    Mamba2,
    MoeMlp,
)
from simulator.errors import ConfigError

LATENT = {"kv_lora_rank": 32, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
EXPERTS = {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def test_absent_kv_heads_mean_one_for_each_query_head() -> None:
    assert attention(built()).kv_heads == 4


def test_absent_head_dim_is_the_hidden_size_shared_among_the_heads() -> None:
    assert attention(built()).head_dim == 16
    assert attention(built(head_dim=32)).head_dim == 32


def test_fields_of_the_language_model_inside_count_over_those_around_it() -> None:
    inner = {"hidden_size": 128, "tie_word_embeddings": None}
    model = built("Qwen3VLForConditionalGeneration", text_config=inner, tie_word_embeddings=True)
    assert (model.hidden, model.tied_embeddings) == (128, True)


def test_a_float32_checkpoint_is_served_in_16_bits_as_vllm_does() -> None:
    assert built(torch_dtype="float32").dtype == "bf16"
    assert built(torch_dtype="float16").dtype == "fp16"


def test_a_sliding_window_wider_than_the_context_is_none() -> None:
    assert attention(built("MistralForCausalLM", num_key_value_heads=2, sliding_window=128)).window == 128
    assert attention(built("MistralForCausalLM", num_key_value_heads=2, sliding_window=512)).window is None


def test_qwen2_slides_only_where_it_is_switched_on() -> None:
    assert attention(built("Qwen2ForCausalLM", sliding_window=128, use_sliding_window=False)).window is None
    model = built("Qwen2ForCausalLM", sliding_window=128, use_sliding_window=True, max_window_layers=2)
    assert [attention(model, layer).window for layer in range(4)] == [None, None, 128, 128]


def test_a_list_of_layer_types_decides_which_layers_slide() -> None:
    model = built("GptOssForCausalLM", sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 2)
    assert [attention(model, layer).window for layer in range(4)] == [128, None, 128, None]


def test_llama_4_chunks_three_layers_of_four() -> None:
    model = built("Llama4ForCausalLM", attention_chunk_size=256, num_local_experts=2, num_experts_per_tok=1)
    assert [attention(model, layer).chunk for layer in range(4)] == [256, 256, 256, None]
    assert model.layers[0].mlp == MoeMlp(experts=2, experts_per_token=1, width=128, shared_width=128)


def test_mimo_has_other_kv_heads_in_its_sliding_layers() -> None:
    fields = {
        "head_dim": 24,
        "v_head_dim": 16,
        "num_key_value_heads": 1,
        "sliding_window": 128,
        "hybrid_layer_pattern": [0, 1, 1, 1],
    }
    model = built("MiMoV2FlashForCausalLM", **fields, swa_num_key_value_heads=2, swa_head_dim=24, swa_v_head_dim=16)
    assert [attention(model, layer).kv_heads for layer in range(4)] == [1, 2, 2, 2]
    assert attention(model).value_head_dim == 16


def test_gemma_4_global_layers_have_heads_of_their_own_and_one_projection_for_keys_and_values() -> None:
    fields = {
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "sliding_window": 64,
    }
    types = ["sliding_attention"] * 3 + ["full_attention"]
    model = built("Gemma4ForCausalLM", **fields, attention_k_eq_v=True, layer_types=types)
    assert (attention(model).kv_heads, attention(model).head_dim, attention(model).key_is_value) == (2, 16, False)
    assert (attention(model, 3).kv_heads, attention(model, 3).head_dim, attention(model, 3).key_is_value) == (1, 32, True)


def test_latent_attention_is_read_where_there_is_a_kv_lora_rank() -> None:
    mixer = built("DeepseekV3ForCausalLM", **LATENT, **EXPERTS, first_k_dense_replace=1).layers[0].mixer
    assert mixer == LatentAttention(heads=4, q_lora_rank=16, kv_lora_rank=32, nope_dim=8, rope_dim=4, value_head_dim=8)


def test_the_first_layers_of_deepseek_are_dense_and_the_rest_route() -> None:
    model = built("DeepseekV3ForCausalLM", **LATENT, **EXPERTS, first_k_dense_replace=1)
    assert model.layers[0].mlp == DenseMlp(width=128)
    assert all(isinstance(layer.mlp, MoeMlp) and layer.mlp.shared_width == 32 for layer in model.layers[1:])


def test_layers_that_share_an_indexer_have_none_of_their_own() -> None:
    sparse = {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 64, "indexer_types": ["full", "full", "shared", "shared"]}
    layers = built("GlmMoeDsaForCausalLM", **LATENT, **EXPERTS, **sparse).layers
    assert [getattr(layer.mixer, "index_heads", None) for layer in layers] == [2, 2, 0, 0]
    assert {getattr(layer.mixer, "index_top_k", None) for layer in layers} == {64}


def test_deepseek_v4_compresses_layer_by_layer() -> None:
    fields = {
        "head_dim": 32,
        "num_key_value_heads": 1,
        "qk_rope_head_dim": 8,
        "q_lora_rank": 16,
        "o_lora_rank": 16,
        "o_groups": 2,
        "sliding_window": 128,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_topk": 64,
        "hc_mult": 4,
        "compress_ratios": [0, 4, 128, 4],
    }
    model = built("DeepseekV4ForCausalLM", **EXPERTS, **fields)
    mixers = [layer.mixer for layer in model.layers]
    assert [m.ratio for m in mixers if isinstance(m, CompressedAttention)] == [0, 4, 128, 4]
    assert [m.index_heads for m in mixers if isinstance(m, CompressedAttention)] == [0, 2, 0, 2]
    assert model.approximations


def test_nemotron_h_puts_mixers_and_feed_forwards_in_layers_of_their_own() -> None:
    fields = {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 16, "n_groups": 2, "conv_kernel": 4}
    model = built("NemotronHForCausalLM", hybrid_override_pattern="M-*E", head_dim=16, **EXPERTS, **fields)
    halves = [(type(layer.mixer), type(layer.mlp)) for layer in model.layers]
    absent = type(None)
    assert halves == [(Mamba2, absent), (absent, DenseMlp), (GroupedQueryAttention, absent), (absent, MoeMlp)]
    assert model.layers[1].mlp == DenseMlp(width=128, gated=False)


def test_jamba_places_attention_and_experts_by_period_and_offset() -> None:
    fields = {"attn_layer_period": 4, "attn_layer_offset": 2, "expert_layer_period": 2, "expert_layer_offset": 1}
    state = {"mamba_expand": 2, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_dt_rank": 4}
    model = built("JambaForCausalLM", num_experts=4, num_experts_per_tok=2, **fields, **state)
    assert [type(layer.mixer) for layer in model.layers] == [Mamba1, Mamba1, GroupedQueryAttention, Mamba1]
    assert [type(layer.mlp) for layer in model.layers] == [DenseMlp, MoeMlp] * 2


def test_qwen_hybrids_attend_in_full_at_every_fourth_layer() -> None:
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
    model = built("Qwen3_5ForCausalLM", **heads, linear_conv_kernel_dim=4, mamba_ssm_dtype="float32")
    assert [type(layer.mixer) for layer in model.layers] == [GatedDeltaNet] * 3 + [GroupedQueryAttention]
    assert getattr(model.layers[0].mixer, "state_dtype", None) == "fp32"
    assert attention(model, 3).gated


def test_llama_nemotron_blocks_leave_halves_out() -> None:
    attends = {"no_op": False, "n_heads_in_group": 2}
    blocks = [
        {"attention": attends, "ffn": {"no_op": False, "ffn_mult": 6.0}},
        {"attention": {"no_op": True}, "ffn": {"no_op": False, "ffn_mult": 3.0}},
    ]
    model = built("DeciLMForCausalLM", block_configs=blocks)
    assert [type(layer.mixer) for layer in model.layers] == [GroupedQueryAttention, type(None)]
    assert attention(model).kv_heads == 2
    assert [layer.mlp.width for layer in model.layers if isinstance(layer.mlp, DenseMlp)] == [256, 256]


def test_a_vision_tower_that_is_described_is_counted_and_one_that_is_not_is_said_so() -> None:
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    with_tower = built("Gemma3ForConditionalGeneration", vision_config=tower, sliding_window=64)
    patch = 3 * 14 * 14 * 16 + 16
    layer = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 4 * 16
    assert with_tower.vision_parameters == patch + 4 * 16 + layer + 2 * 16 + 16 * 64 + 16
    without = built("Gemma3ForConditionalGeneration", sliding_window=64)
    assert without.vision_parameters == 0
    assert any("vision" in said for said in without.approximations)


@pytest.mark.parametrize(
    ("scaling", "rows"),
    [
        ({}, 512),
        ({"rope_type": "llama3", "factor": 8.0}, 512),
        ({"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 256}, 256 * 40),
        ({"rope_type": "linear", "factor": 4.0}, 512 * 4),
        ({"type": "default", "mrope_section": [2, 3, 3]}, 512 * 4),
    ],
)
def test_the_rotary_table_has_a_row_for_every_position_it_is_stretched_to(scaling: dict[str, Any], rows: int) -> None:
    assert built(rope_scaling=scaling or None).rope_cache_elements == rows * 16


def test_gemma_3_keeps_a_second_rotary_table_for_its_sliding_layers() -> None:
    model = built(
        "Gemma3ForCausalLM",
        num_hidden_layers=6,
        sliding_window=64,
        head_dim=16,
        rope_scaling={"rope_type": "linear", "factor": 8.0},
    )
    assert model.rope_cache_elements == (512 * 8 + 512) * 16


def test_draft_layers_are_kept_apart_from_the_model() -> None:
    model = built("DeepseekV3ForCausalLM", **LATENT, **EXPERTS, num_nextn_predict_layers=1)
    assert (len(model.layers), len(model.draft_layers)) == (4, 1)
    assert model.draft_other_parameters == 2 * 64 * 64 + 3 * 64 + 2 * 1000 * 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["FooForCausalLM"]}, r"architecture 'FooForCausalLM' is not known.*`architectures` settles it"),
        ({"architectures": ["LlamaForCausaLM"]}, r"did you mean 'LlamaForCausalLM'"),
        ({"architectures": None}, r"architectures is missing"),
        ({"hidden_size": None}, r"hidden_size .*is missing"),
        ({"hidden_size": "big"}, r"hidden_size is 'big'; it must be a whole number"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers is 0; it must be 1 or more"),
        ({"num_attention_heads": 5}, r"hidden_size 64 does not divide into 5 heads; head_dim would settle it"),
        ({"num_key_value_heads": 3}, r"num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"layer_types": ["full_attention"] * 3}, r"layer_types lists 3 layers; num_hidden_layers is 4"),
        ({"layer_types": ["odd_attention"] * 4}, r"layer_types has 'odd_attention'; we know"),
        ({"rope_scaling": {"rope_type": "new"}}, r"rope type 'new' is not known"),
        ({"torch_dtype": "int8"}, r"torch_dtype is 'int8'; we know"),
        ({"num_experts": 4, "num_experts_per_tok": 8}, r"a token visits 8 of 4 experts"),
        ({"hidden_size_per_layer_input": 256}, r"hidden_size_per_layer_input = 256 adds an embedding to every layer"),
        ({"num_experts": 4}, r"num_experts_per_tok .*is missing"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        hf_config.build("m", {**BASE, **change}, source="config.json")
    assert "\n" not in str(refused.value)


def written(folder: Path, **files: Any) -> Path:
    for name, content in {"config": BASE, **files}.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_safetensors_index_gives_the_exact_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 123456}}))
    assert hf_config.read(written(tmp_path)).checkpoint_bytes == 123456


def test_a_float32_checkpoint_counts_half_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 123456}}))
    assert hf_config.read(written(tmp_path, config={**BASE, "torch_dtype": "float32"})).checkpoint_bytes == 61728


def test_a_language_model_that_is_not_read_inside_an_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model_type = 'llama' is not read inside this architecture; 'granite' is"):
        built("LlavaNextForConditionalGeneration", text_config={"model_type": "llama"})


@pytest.mark.parametrize("index", [{}, {"metadata": {}}, {"metadata": {"total_size": 0}}, {"weight_map": {}}])
def test_an_index_without_a_total_is_refused_and_says_what_would_settle_it(tmp_path: Path, index: dict[str, Any]) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"no metadata\.total_size; that field.*would settle it"):
        hf_config.read(written(tmp_path))


def test_a_file_that_is_not_json_is_pointed_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json:1:2: not JSON"):
        hf_config.read(written(tmp_path, config="{oops}"))


def test_a_list_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a JSON object"):
        hf_config.read(written(tmp_path, config="[]"))


def test_a_separate_quantization_file_counts_where_the_config_has_none(tmp_path: Path) -> None:
    own = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    stored = hf_config.read(written(tmp_path, hf_quant_config=own)).quantization
    assert stored is not None
    assert (stored.formats["mlp"].name, stored.kv_cache_dtype) == ("fp8", "fp8")
