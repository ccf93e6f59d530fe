"""quantization_config: which tensors are stored in which format, layer by layer, by every method we know."""

from typing import Any

import pytest

from simulator.catalog import hf_config
from simulator.catalog.quantizations import Quantization
from simulator.errors import ConfigError

DENSE = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
MOE = {**DENSE, "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def stored(quantization: dict[str, Any], base: dict[str, Any] | None = None) -> Quantization:
    config = {**(base or DENSE), "quantization_config": quantization}
    found = hf_config.build("m", config, source="config.json").quantization
    assert found is not None
    return found


def bits(quantization: Quantization, group: Any, layer: int | None = None, module: str = "") -> float | None:
    form = quantization.format(group, layer, module)
    return form.bits if form else None


@pytest.mark.parametrize(
    ("config", "expected", "kernel"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, 4 + 16 / 128, "int4_wo"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False}, 4 + 16 / 128 + 4 / 128, "int4_wo"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True}, 8.0, "int8_wo"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, 4 + 20 / 128, "int4_wo"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True}, 4 + 20 / 64, "int4_wo"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, 4.125, "int4_wo"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, 8.0, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 16384, "fp8_block"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5, "nvfp4"),
        ({"quant_algo": "FP8"}, 8.0, "fp8"),
        ({"quant_algo": "MXFP8"}, 8 + 8 / 32, "fp8_block"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, 4.5, "nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8.0, "int8_wo"),
    ],
)
def test_every_method_costs_its_bits_with_scales_and_zeros(config: dict[str, Any], expected: float, kernel: str) -> None:
    quantization = stored(config)
    assert quantization.formats["mlp"].bits == pytest.approx(expected)
    assert quantization.formats["mlp"].kernel == kernel


def test_embeddings_norms_router_and_lm_head_stay_in_16_bits() -> None:
    quantization = stored({"quant_method": "fp8"}, MOE)
    assert {group for group in ("embedding", "norm", "router", "lm_head") if bits(quantization, group)} == set()
    assert bits(quantization, "experts") == bits(quantization, "attention") == 8.0


def test_gptq_may_quantize_the_lm_head() -> None:
    assert bits(stored({"quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": True}), "lm_head") == 4.125


def test_gptq_may_leave_single_modules_out() -> None:
    dynamic = {"-:.*layers\\.1\\.self_attn.*": {}}
    quantization = stored({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": dynamic})
    assert [bits(quantization, "attention", layer) for layer in range(3)] == [4.125, None, 4.125]


def test_gptq_that_changes_single_modules_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dynamic '\+:.*only '-:' exclusions"):
        stored({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"+:.*down.*": {"bits": 8}}})


def test_mxfp4_covers_the_experts_alone() -> None:
    ignored = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    quantization = stored(
        {"quant_method": "mxfp4", "modules_to_not_convert": ignored}, {**MOE, "architectures": ["GptOssForCausalLM"]}
    )
    assert set(quantization.formats) == {"experts"}
    assert quantization.formats["experts"].bits == 4.25


def test_expressions_of_compressed_tensors_leave_groups_out() -> None:
    weights = {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group", "symmetric": True}
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}},
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
    }
    quantization = stored(config, {**MOE, "mlp_only_layers": [0]})
    assert bits(quantization, "experts", 1) == 4.5
    assert bits(quantization, "attention", 1) is None
    assert bits(quantization, "mlp", 0) is None


@pytest.mark.parametrize(
    ("weights", "activations", "name"),
    [
        ({"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}, {"num_bits": 8, "type": "int"}, "int8"),
        ({"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}, None, "int8-channel"),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, {"num_bits": 8, "type": "float"}, "fp8"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, {"num_bits": 4, "type": "float"}, "nvfp4"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, None, "nvfp4-w4a16"),
        ({"num_bits": 8, "type": "float", "block_structure": [128, 128]}, {"num_bits": 8, "type": "float"}, "fp8-block"),
    ],
)
def test_compressed_tensors_are_told_apart_by_type_and_activations(weights: Any, activations: Any, name: str) -> None:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    quantization = stored({"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]})
    assert quantization.formats["mlp"].name == name


def test_one_layer_left_out_is_an_exception_and_the_others_keep_their_format() -> None:
    quantization = stored({"quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.1.self_attn*", "model.layers.2*"]})
    assert [bits(quantization, "attention", layer) for layer in range(3)] == [4.5, None, None]
    assert [bits(quantization, "mlp", layer) for layer in range(3)] == [4.5, 4.5, None]
    assert quantization.exceptions == {(1, "attention"), (2, "attention"), (2, "mlp")}


def test_a_layer_number_does_not_match_the_numbers_it_begins() -> None:
    config = {**DENSE, "num_hidden_layers": 12}
    quantization = stored({"quant_algo": "NVFP4", "ignore": ["model.layers.1.*"]}, config)
    assert [layer for layer in range(12) if bits(quantization, "mlp", layer) is None] == [1]


def test_one_module_left_out_is_an_override_of_that_module() -> None:
    quantization = stored({"quant_algo": "NVFP4", "ignore": ["model.layers.0.self_attn.o_proj"]})
    assert bits(quantization, "attention", 0, "o_proj") is None
    assert bits(quantization, "attention", 0, "qkv_proj") == 4.5


def test_a_fused_projection_is_left_out_when_a_part_of_it_is() -> None:
    quantization = stored({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.self_attn.k_proj"]})
    assert bits(quantization, "attention", 0, "qkv_proj") is None


def test_a_name_counts_as_a_whole_word_only() -> None:
    quantization = stored({"quant_method": "fp8", "modules_to_not_convert": ["gate", "lm_head"]}, MOE)
    assert bits(quantization, "experts", 0) == 8.0
    assert bits(quantization, "mlp") is None


def test_mixed_precision_gives_each_listed_module_its_own_format() -> None:
    layers = {f"model.layers.{i}.self_attn.{p}_proj": {"quant_algo": "FP8"} for i in range(3) for p in "qkvo"}
    layers |= {f"model.layers.{i}.mlp.{p}_proj": {"quant_algo": "W4A16_NVFP4"} for i in (0, 1) for p in ("gate", "up", "down")}
    config = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": {**layers, "lm_head": {"quant_algo": "FP8"}},
    }
    quantization = stored(config)
    assert bits(quantization, "attention", 2) == 8.0
    assert [bits(quantization, "mlp", layer) for layer in range(3)] == [4.5, 4.5, None]
    assert bits(quantization, "lm_head") == 8.0


def test_a_layer_in_another_format_is_an_override_of_its_group() -> None:
    layers = {f"model.layers.{i}.mlp": {"quant_algo": "FP8" if i == 2 else "NVFP4"} for i in range(3)}
    quantization = stored({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert [bits(quantization, "mlp", layer) for layer in range(3)] == [4.5, 4.5, 8.0]


def test_draft_layers_are_quantized_unless_they_are_named() -> None:
    with_draft = {**MOE, "num_nextn_predict_layers": 1}
    assert bits(stored({"quant_algo": "NVFP4"}, with_draft), "draft") == 4.5
    assert bits(stored({"quant_algo": "NVFP4", "ignore": ["mtp*"]}, with_draft), "draft") is None
    assert bits(stored({"quant_algo": "NVFP4", "ignore": ["model.layers.3*"]}, with_draft), "draft") is None


def test_the_kv_cache_a_checkpoint_asks_for_is_kept() -> None:
    scheme = {"num_bits": 8, "type": "float", "dynamic": False}
    assert stored({"quant_algo": "NVFP4", "kv_cache_scheme": scheme}).kv_cache_dtype == "fp8"
    assert stored({"quant_algo": "NVFP4"}).kv_cache_dtype is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quant_method": "quip"}, r"quant_method 'quip' is not known; known: gptq, awq"),
        ({"bits": 4}, r"quant_method is missing"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, r"3-bit GPTQ has no kernel"),
        ({"quant_method": "gptq", "bits": 4}, r"group_size is None"),
        ({"quant_method": "modelopt", "quant_algo": "W2"}, r"quant_algo 'W2' is not known"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, r"quantized_layers is missing"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP2"}, r"KV cache scheme 'FP2' is not known"),
        ({"quant_method": "bitsandbytes"}, r"neither load_in_4bit nor load_in_8bit; one of them would settle it"),
        ({"quant_method": "compressed-tensors"}, r"config_groups is missing"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "marlin-24",
                "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}},
            },
            r"2:4 sparse",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        stored(config)
    assert "\n" not in str(refused.value)
