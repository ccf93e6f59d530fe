"""Models are found by the names people write, by their repository, or by the path of their config.json."""

import json
from pathlib import Path

import pytest

from simulator import catalog
from simulator.catalog.checkpoints import checkpoint
from simulator.catalog.models import GatedDeltaNet, GroupedQueryAttention, LatentAttention, Mamba2, model
from simulator.errors import ConfigError, UnknownName

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize(
    "spelling",
    ["llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", "Meta-Llama-3.1-8B", "Llama 3.1 8B", "LLAMA_3.1_8B_INSTRUCT"],
)
def test_a_model_is_found_however_it_is_written(spelling: str) -> None:
    assert model(spelling).name == "llama-3.1-8b"


def test_a_misspelt_model_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*qwen3-8b"):
        model("qwen3-8bb")


def test_a_model_that_is_one_already_is_returned_as_it_is() -> None:
    llama = model("llama-3.1-8b")
    assert model(llama) is llama


def test_the_path_of_a_config_or_of_its_folder_works_where_a_name_does(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    by_folder, by_file = catalog.model(str(folder)), catalog.model(folder / "config.json")
    assert by_folder == by_file
    assert (by_folder.name, by_folder.hidden, len(by_folder.layers)) == ("my-model", 64, 2)


def test_a_file_that_is_not_there_is_said_so() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: no such file"):
        model("nowhere.json")


@pytest.mark.parametrize(
    ("repository", "base", "stored"),
    [
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.3-70b", "fp8"),
        ("redhatai/Llama-3.3-70B-Instruct-quantized.w8a8", "llama-3.3-70b", "int8-w8a8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a16", "llama-3.1-8b", "int8-weight-only"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "llama-3.1-8b", "w4a16"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "qwen2.5-72b", "gptq-int8"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "qwen2.5-7b", "gptq-int4"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "qwen2.5-32b", "awq-int4"),
        ("TheBloke/Llama-2-7B-GPTQ", "llama-2-7b", "gptq-int4"),
        ("unsloth/QwQ-32B-unsloth-bnb-4bit", "qwq-32b", "bnb-nf4"),
        ("nvidia/Qwen3-32B-NVFP4", "qwen3-32b", "nvfp4"),
        ("Qwen/Qwen3-8B", "qwen3-8b", None),
    ],
)
def test_a_repository_names_its_model_and_how_the_weights_are_stored(repository: str, base: str, stored: str | None) -> None:
    found, quantization = checkpoint(repository)
    assert found.name == base
    assert (quantization.name if quantization else None) == stored


def test_fp8_means_blocks_where_the_publisher_scales_by_blocks() -> None:
    assert checkpoint("Qwen/Qwen3-235B-A22B-FP8")[1] == catalog.quantization("fp8-block")
    assert checkpoint("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")[1] == catalog.quantization("fp8")


def test_nvfp4_of_a_mixture_of_experts_leaves_attention_in_16_bits() -> None:
    _, stored = checkpoint("lukealonso/GLM-5.1-NVFP4-MTP")
    assert stored is not None
    assert stored.format("experts") is not None
    assert stored.format("attention") is None


def test_a_quantized_repository_gives_a_model_with_that_quantization() -> None:
    awq = model("Qwen/Qwen3-8B-AWQ")
    assert awq.quantization == catalog.quantization("awq-int4")
    assert model("Qwen/Qwen3-8B").quantization is None


def test_a_suffix_does_not_make_an_unknown_model_known() -> None:
    with pytest.raises(UnknownName, match="unheard-of"):
        model("someone/Unheard-of-7B-AWQ")


def test_a_checkpoint_that_is_quantized_by_birth_says_so() -> None:
    oss = model("gpt-oss-120b")
    assert oss.quantization is not None
    assert set(oss.quantization.formats) == {"experts"}
    assert oss.quantization.formats["experts"].bits == 4.25


def test_layers_of_mixed_models_come_in_their_order() -> None:
    gemma = [layer.mixer for layer in model("gemma-3-12b").layers]
    assert [m.window for m in gemma[:6] if isinstance(m, GroupedQueryAttention)] == [1024] * 5 + [None]
    qwen = [type(layer.mixer) for layer in model("qwen3-next-80b-a3b").layers]
    assert qwen[:4] == [GatedDeltaNet] * 3 + [GroupedQueryAttention]
    nemotron = [type(layer.mixer) for layer in model("nemotron-h-56b").layers]
    assert nemotron[:9] == [Mamba2, type(None)] * 3 + [Mamba2, GroupedQueryAttention, type(None)]
    assert {type(layer.mixer) for layer in model("deepseek-v3").layers} == {LatentAttention}


def test_a_model_that_nobody_has_facts_of_is_refused_with_what_would_settle_it() -> None:
    with pytest.raises(UnknownName, match=r"unknown model 'kimi-k3'; did you mean .*\? Any other: the path of its config.json"):
        model("kimi-k3")
