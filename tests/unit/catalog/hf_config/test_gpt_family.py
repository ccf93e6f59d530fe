"""GPT-2 and what came after it, and models whose language model is inside: parameters as the model cards give them."""

import pytest

from simulator.catalog import model
from simulator.catalog.hf_config.reading import build
from simulator.catalog.models import DenseMlp, GroupedQueryAttention
from simulator.memory.weights import parameters


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-xl", 1_557_611_200),
        ("gpt-j-6b", 6_050_882_784),
        ("bloom-7b1", 7_069_016_064),
        ("bloom", 176_247_271_424),
        ("mpt-7b", 6_649_286_656),
    ],
)
def test_parameters_are_those_of_the_checkpoint(name: str, count: int) -> None:
    assert parameters(model(name)) == count


@pytest.mark.parametrize(
    ("name", "billions"), [("gpt-3", 174.6), ("mpt-30b", 29.96), ("gemma-4-12b", 11.907), ("step-3.7-flash", 196.9)]
)
def test_parameters_are_the_number_in_the_name_where_the_exact_one_is_not_public(name: str, billions: float) -> None:
    assert parameters(model(name)) / 1e9 == pytest.approx(billions, rel=0.001)


def test_qwen3_omni_is_its_thinker_without_the_sound_encoder() -> None:
    """31.72 billion with the sound encoder, of which the approximation tells."""
    omni = model("qwen3-omni-30b-a3b")
    counted = (parameters(omni) + omni.vision_parameters) / 1e9
    assert counted == pytest.approx(31.72 * 0.98, rel=0.002)
    assert any("sound encoder" in text for text in omni.approximations)


def test_the_language_model_of_qwen3_omni_is_read_where_its_config_has_it() -> None:
    text = {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "decoder_sparse_step": 1,
        "vocab_size": 152064,
        "max_position_embeddings": 65536,
        "tie_word_embeddings": False,
    }
    config = {
        "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
        "dtype": "bfloat16",
        "thinker_config": {"text_config": text},
        "talker_config": {"text_config": {"hidden_size": 1024}},
    }
    assert parameters(build("omni", config, source="test")) == parameters(model("qwen3-omni-30b-a3b"))


def test_a_width_that_is_stated_counts_before_the_usual_one() -> None:
    shape = {"n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 128, "vocab_size": 100}
    usual = build("a", {"architectures": ["GPT2LMHeadModel"], **shape}, source="test").layers[0].mlp
    stated = build("b", {"architectures": ["GPT2LMHeadModel"], "n_inner": 96, **shape}, source="test").layers[0].mlp
    assert isinstance(usual, DenseMlp)
    assert isinstance(stated, DenseMlp)
    assert (usual.width, stated.width) == (256, 96)


def test_mpt_states_its_ratio_and_its_kv_heads() -> None:
    config = {
        "architectures": ["MPTForCausalLM"],
        "d_model": 64,
        "n_layers": 1,
        "n_heads": 8,
        "max_seq_len": 128,
        "vocab_size": 100,
        "expansion_ratio": 2,
        "attn_config": {"kv_n_heads": 2},
    }
    layer = build("mpt", config, source="test").layers[0]
    assert isinstance(layer.mlp, DenseMlp)
    assert isinstance(layer.mixer, GroupedQueryAttention)
    assert (layer.mlp.width, layer.mixer.kv_heads) == (128, 2)
