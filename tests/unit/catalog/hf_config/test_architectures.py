"""Architectures that keep their sizes under names of their own, or put their layers together by rules of their own."""

import pytest
from support.hf_config_cases import attention, built

from simulator.catalog import hf_config
from simulator.catalog.hf_config.architectures import NOT_MODELLED, TRAITS
from simulator.catalog.models import DenseMlp, GroupedQueryAttention, Mamba2, MoeMlp
from simulator.errors import ConfigError


def test_a_list_of_one_number_for_every_layer_is_that_number_and_one_that_varies_is_refused() -> None:
    fields = {"num_experts": 8, "moe_topk": [2] * 4, "moe_intermediate_size": [32] * 4, "num_shared_expert": [1] * 4}
    model = built("HunYuanMoEV1ForCausalLM", use_qk_norm=True, **fields)
    assert model.layers[0].mlp == MoeMlp(experts=8, experts_per_token=2, width=32, shared_width=32)
    with pytest.raises(ConfigError, match="moe_topk differs from layer to layer"):
        built("HunYuanMoEV1ForCausalLM", **{**fields, "moe_topk": [2, 2, 2, 4]})
    with pytest.raises(ConfigError, match="use_cla = True shares keys and values between layers"):
        built("HunYuanMoEV1ForCausalLM", use_cla=True, **fields)


def test_dbrx_keeps_its_sizes_under_names_of_its_own() -> None:
    fields = {"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 256, "vocab_size": 1000}
    inner = {
        "attn_config": {"kv_n_heads": 2},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 8, "moe_top_k": 4},
    }
    model = hf_config.build("m", {"architectures": ["DbrxForCausalLM"], **fields, **inner}, source="config.json")
    assert (model.hidden, len(model.layers), model.max_position) == (64, 4, 256)
    assert (attention(model).heads, attention(model).kv_heads) == (4, 2)
    assert model.layers[0].mlp == MoeMlp(experts=8, experts_per_token=4, width=32)


def test_chatglm_names_its_sizes_its_own_way_and_is_glm_otherwise() -> None:
    own = {
        "num_layers": 4,
        "ffn_hidden_size": 128,
        "multi_query_group_num": 2,
        "kv_channels": 16,
        "padded_vocab_size": 1000,
        "seq_length": 256,
    }
    common = {"hidden_size": 64, "num_attention_heads": 4, "torch_dtype": "bfloat16"}
    old = hf_config.build("m", {"architectures": ["ChatGLMModel"], "add_qkv_bias": True, **own, **common}, source="config.json")
    sizes = {
        "num_hidden_layers": 4,
        "intermediate_size": 128,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 1000,
        "max_position_embeddings": 256,
    }
    new = hf_config.build("m", {"architectures": ["GlmForCausalLM"], **sizes, **common}, source="config.json")
    assert (old.layers, old.vocabulary, old.max_position) == (new.layers, new.vocabulary, new.max_position)
    assert attention(new).qkv_bias
    assert not attention(new).output_bias


def test_exaone_4_has_norms_on_queries_and_keys_and_layers_with_a_window() -> None:
    kinds = ["sliding_attention"] * 3 + ["full_attention"]
    model = built("Exaone4ForCausalLM", layer_types=kinds, sliding_window=64)
    assert [attention(model, layer).window for layer in range(4)] == [64, 64, 64, None]
    assert attention(model).query_key_norm


def test_ernie_routes_from_a_first_to_a_last_layer_every_so_many() -> None:
    fields = {"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 2}
    model = built("Ernie4_5_MoeForCausalLM", moe_layer_start_index=1, moe_layer_end_index=-1, **fields)
    assert [type(layer.mlp) for layer in model.layers] == [DenseMlp, MoeMlp, MoeMlp, MoeMlp]
    every_other = built("Ernie4_5_MoeForCausalLM", moe_layer_start_index=0, moe_layer_end_index=2, moe_layer_interval=2, **fields)
    assert [type(layer.mlp) for layer in every_other.layers] == [DenseMlp, MoeMlp, DenseMlp, DenseMlp]


def test_step_has_more_query_heads_in_its_sliding_layers_and_says_what_is_not_counted() -> None:
    fields = {
        "num_attention_groups": 2,
        "head_dim": 16,
        "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 1, "head_dim": 16},
        "layer_types": ["full_attention", *["sliding_attention"] * 3, "full_attention"],
        "sliding_window": 64,
        "moe_layers_enum": "1,3",
        "num_nextn_predict_layers": 1,
    }
    experts = {"moe_num_experts": 8, "moe_top_k": 2, "moe_intermediate_size": 32, "share_expert_dim": 32}
    model = built("Step3p5ForCausalLM", **fields, **experts)
    assert [(attention(model, i).heads, attention(model, i).kv_heads) for i in range(4)] == [(4, 2), (6, 1), (6, 1), (6, 1)]
    assert [attention(model, layer).window for layer in range(4)] == [None, 64, 64, 64]
    assert [type(layer.mlp) for layer in model.layers] == [DenseMlp, MoeMlp, DenseMlp, MoeMlp]
    assert model.draft_layers == ()
    assert any("draft layers" in said for said in model.approximations)


def test_granite_4_without_positions_keeps_no_rotary_table() -> None:
    fields = {"layer_types": ["mamba", "mamba", "attention", "mamba"], "shared_intermediate_size": 64, "num_local_experts": 4}
    state = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_d_conv": 4}
    nope = built("GraniteMoeHybridForCausalLM", **fields, **state, num_experts_per_tok=2, position_embedding_type="nope")
    assert [type(layer.mixer) for layer in nope.layers] == [Mamba2, Mamba2, GroupedQueryAttention, Mamba2]
    assert nope.rope_cache_elements == 0
    rope = built("GraniteMoeHybridForCausalLM", **fields, **state, num_experts_per_tok=2, position_embedding_type="rope")
    assert rope.rope_cache_elements == 512 * 16


def test_the_longest_sequence_is_the_least_length_stated_and_model_max_length_overrules_it() -> None:
    assert built(max_seq_len=256).max_position == 256
    assert built(max_seq_len=1024).max_position == 512
    assert built("CohereForCausalLM", model_max_length=2048).max_position == 2048


@pytest.mark.parametrize("kind", ["linear", "dynamic"])
def test_linear_and_dynamic_scaling_lengthen_the_longest_sequence_and_the_others_are_counted_in_it(kind: str) -> None:
    assert built(rope_scaling={"type": kind, "factor": 2.5}).max_position == 1280
    assert built(rope_scaling={"rope_type": "llama3", "factor": 2.5}).max_position == 512
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    assert built(rope_scaling=yarn).max_position == 512
    assert built("Gemma3ForCausalLM", head_dim=16, rope_scaling={"rope_type": kind, "factor": 8.0}).max_position == 512


def test_nemotron_h_keeps_its_state_in_32_bits_unless_the_file_says_otherwise() -> None:
    fields = {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 16, "n_groups": 2, "conv_kernel": 4}
    state = built("NemotronHForCausalLM", hybrid_override_pattern="M-*-", head_dim=16, **fields).layers[0].mixer
    assert isinstance(state, Mamba2)
    assert state.state_dtype == "fp32"


@pytest.mark.parametrize(("architecture", "missing"), NOT_MODELLED.items())
def test_an_architecture_that_cannot_be_expressed_is_refused_with_what_is_missing(architecture: str, missing: str) -> None:
    assert architecture not in TRAITS
    with pytest.raises(ConfigError, match=f"'{architecture}' has {missing}; we have no model of that"):
        built(architecture)
