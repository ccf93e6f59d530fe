"""Real config.json files: every one is read, and its parameters agree with the number in its name."""

import re
from pathlib import Path

import pytest
from support.shared import SHARED, needs_shared

from simulator.catalog import hf_config
from simulator.catalog.engines import EngineArgs
from simulator.memory.weights import Weights, active_parameters, parameters, weight_bytes

CONFIGS = sorted(path for path in (SHARED / "configs").glob("*.json") if not path.name.endswith("hf_quant_config.json"))
each = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)

# Where the name has a rounded number, or none: billions of parameters as the model card gives them.
CARDS = {
    "llama-2-7b": (6.74, None),
    "qwen2.5-7b": (7.61, None),
    "qwen3-14b": (14.8, None),
    "gpt-oss-20b": (20.9, 3.6),
    "gpt-oss-120b": (116.8, 5.1),
    "Nemotron-3-Nano-30B-A3B": (31.6, 3.2),
    "DeepSeek-V3": (671, 37),
    "DeepSeek-R1": (671, 37),
    "DeepSeek-V4-Flash": (284, 13),
    "DeepSeek-V4-Pro": (1600, 49),
    "deepseek-v2-lite": (15.7, 2.4),
    "GLM-5": (744, 40),
    "Kimi-K2": (1026, 32),
    "Llama-4-Scout": (109, 17),
    "MiniMax-M2": (229, 10),
    "MiMo-V2": (309, 15),
    "Mixtral-8x22B": (141, 39),
    "Mixtral-8x7B": (46.7, 12.9),
    "mistral-nemo": (12.2, None),
    "MiniMax-M3": (428, None),
}


def expected(name: str) -> tuple[float | None, float | None]:
    for part, numbers in CARDS.items():
        if part in name:
            return numbers
    total = re.search(r"[-_](\d+(?:\.\d+)?)[bB](?![a-z])", name)
    active = re.search(r"A(\d+(?:\.\d+)?)B", name)
    return (float(total[1]) if total else None, float(active[1]) if active else None)


@needs_shared
def test_there_are_files_to_read() -> None:
    assert len(CONFIGS) >= 50


@needs_shared
@each
def test_a_real_config_is_read_and_its_parameters_agree_with_its_name(path: Path) -> None:
    model = hf_config.read(path)
    total, active = expected(path.name)
    assert total is not None
    assert parameters(model) / 1e9 == pytest.approx(total, rel=0.03)
    if active is not None:
        without = active_parameters(model) / 1e9
        either = (without, without + model.vocabulary * model.hidden / 1e9)
        assert any(abs(count / active - 1) <= 0.03 or round(count) == round(active) for count in either), either


@needs_shared
@each
def test_a_real_config_gives_weights_for_eight_gpus(path: Path) -> None:
    model = hf_config.read(path)
    heads = {getattr(layer.mixer, "heads", 8) for layer in model.layers}
    tp = 8 if all(count % 8 == 0 for count in heads) else 2
    one, many = (_without_slack(weight_bytes(model, None, EngineArgs(tensor_parallel_size=size))) for size in (1, tp))
    assert one / tp < many < one


def _without_slack(weights: Weights) -> float:
    return weights.bytes - weights.by_format.get("allocator", 0.0)


@needs_shared
@pytest.mark.parametrize(
    ("file", "group", "bits"),
    [
        ("Qwen--Qwen3-32B-FP8_config.json", "mlp", 8 + 32 / 16384),
        ("Qwen--Qwen3-32B-FP8-Static-PerTensor_config.json", "attention", 8.0),
        ("nvidia--Llama-3.1-70B-Instruct-FP8_config.json", "mlp", 8.0),
        ("nvidia--DeepSeek-V3.1-NVFP4_config.json", "experts", 4.5),
        ("nvidia--Kimi-K2.5-NVFP4_config.json", "attention", None),
        ("nvidia--GLM-5.2-NVFP4_config.json", "shared_experts", None),
        ("nvidia--Qwen3.6-27B-NVFP4_config.json", "mamba", 8.0),
        ("nvidia--Qwen3.6-27B-NVFP4_config.json", "mlp", 4.5),
        ("nvidia--DeepSeek-V4-Flash-NVFP4_config.json", "experts", 4.5),
        ("nvidia--DeepSeek-V4-Flash-NVFP4_config.json", "attention", 8 + 32 / 16384),
        ("deepseek-ai--DeepSeek-V4-Flash_config.json", "experts", 4.25),
        ("moonshotai--Kimi-K2.5_config.json", "experts", 4.5),
        ("openai--gpt-oss-120b_config.json", "attention", None),
        ("zai-org--GLM-5.1-FP8_config.json", "experts", 8 + 32 / 16384),
    ],
)
def test_a_real_quantization_is_read_group_by_group(file: str, group: str, bits: float | None) -> None:
    stored = hf_config.read(SHARED / "configs" / file).quantization
    assert stored is not None
    form = stored.format(group, 10)  # type: ignore[arg-type]
    assert (form.bits if form else None) == bits


@needs_shared
def test_deepseeks_output_projection_is_quantized_though_the_rest_of_attention_is_not() -> None:
    stored = hf_config.read(SHARED / "configs" / "nvidia--DeepSeek-V3.1-NVFP4_config.json").quantization
    assert stored is not None
    form = stored.format("attention", 10, "o_proj")
    assert form is not None
    assert form.bits == 4.5
    assert stored.format("attention", 10, "kv_b_proj") is None
