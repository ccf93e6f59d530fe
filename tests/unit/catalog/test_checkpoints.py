"""What a repository's name says of the model in it, and of how its layers are stored."""

import pytest

from simulator.catalog.checkpoints import suited
from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.catalog.quantizations import quantization
from simulator.memory.plan import plan_without_remedies
from simulator.memory.weights import weight_bytes
from simulator.units import GIB


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("RedHatAI/Qwen3.6-35B-A3B-NVFP4", 21.88),  # public log, vLLM 0.19
        ("nvidia/Qwen3.6-27B-NVFP4", 19.78),  # public log, vLLM 0.23
        ("RedHatAI/gemma-4-26B-A4B-it-NVFP4", 15.77),  # public log, vLLM 0.19
        ("RedHatAI/Qwen3.8-27B-INT4", 17.71),  # public log, vLLM 0.26
    ],
)
def test_published_files_load_what_logs_say(name: str, loaded: float) -> None:
    assert weight_bytes(model(name), None, EngineArgs()).bytes / GIB == pytest.approx(loaded, rel=0.012)


def test_without_its_tower_a_file_of_groups_of_32_loads_what_its_log_says() -> None:
    """cyankiwi/Qwen3.5-9B-AWQ-4bit, images and videos limited to 0: 7.55 GiB (public log, vLLM 0.30)."""
    args = EngineArgs(limit_mm_per_prompt={"image": 0, "video": 0})
    plan = plan_without_remedies(model("cyankiwi/Qwen3.5-9B-AWQ-4bit"), None, gpu("rtx-4090"), args, engine("0.29.0"))
    assert plan.weights_bytes / GIB == pytest.approx(7.55, rel=0.01)


@pytest.mark.parametrize(
    ("name", "found", "stored"),
    [
        ("zai-org/GLM-5.1-FP8", "glm-5", "fp8-block"),
        ("deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek-v4-flash", "fp8-block with mxfp4 experts"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "qwen3-30b-a3b-2507", "fp8-block"),
        ("Qwen/Qwen3-30B-A3B-20260731", "qwen3-30b-a3b", None),
        ("amd/Llama-3.3-70B-Instruct-MXFP4-Preview", "llama-3.3-70b", "mxfp4-linear"),
        ("someone/Qwen3-Next-80B-A3B-W4A16", "qwen3-next-80b-a3b", "w4a16-hybrid"),
        ("someone/Qwen3-8B-INT4", "qwen3-8b", "w4a16"),
    ],
)
def test_names_with_dates_and_formats_are_read(name: str, found: str, stored: str | None) -> None:
    read = model(name)
    assert (read.name, read.quantization.name if read.quantization else None) == (found, stored)


def test_a_name_with_two_readings_says_so() -> None:
    read = model("Qwen3.6-35B-A3B-NVFP4")
    plan = plan_without_remedies(read, None, gpu("rtx-5090"), EngineArgs(max_model_len=4096), engine("0.24.0"))
    assert any("is read as nvfp4-fp8-attention; files of such names are also stored as nvfp4-hybrid" in n for n in plan.notes)


def test_a_format_typed_for_a_hybrid_leaves_its_linear_attention_out() -> None:
    hybrid, plain = model("qwen3-next-80b-a3b"), model("qwen3-8b")
    assert suited(quantization("w4a16"), hybrid).format("mamba") is None
    assert suited(quantization("w4a16-linear"), hybrid).format("mamba") is not None
    assert suited(quantization("w4a16"), plain) == quantization("w4a16")


def test_mxfp4_of_a_dense_model_is_never_16_bit() -> None:
    plan = plan_without_remedies(
        model("llama-3.1-405b"), quantization("mxfp4"), gpu("mi355x"), EngineArgs(max_model_len=8192), engine("0.28.0")
    )
    assert plan.quantization is not None and plan.quantization.name == "mxfp4-linear"
    assert plan.weights_bytes < 0.3 * weight_bytes(model("llama-3.1-405b"), None, EngineArgs()).bytes
    assert suited(quantization("mxfp4"), model("gpt-oss-20b")).name == "mxfp4"
