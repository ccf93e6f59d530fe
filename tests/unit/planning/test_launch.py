"""The printed line starts what was simulated: it is read back to the same model and arguments."""

import dataclasses
import shlex
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator import catalog
from simulator.catalog.models import replace
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.launch import serve_command
from simulator.scenario import Scenario, load
from simulator.scenario.serve_line import fields_of, parse

DECISIVE = ("gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens")


def line_of(scenario: Scenario, **changes: object) -> str:
    deployment = scenario.deployments[0].with_pool(**changes)
    return serve_command(scenario, deployment.pool, plan_fleet(scenario, deployment).plan)


def of_model(tmp_path: Path, name: str, *more: tuple[str, str]) -> Scenario:
    return load(small(tmp_path), [("model", name), ("deployments.0.gpu", "h100-sxm"), *more])


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ"),
        ("RedHatAI/Qwen3-8B-quantized.w4a16", "RedHatAI/Qwen3-8B-quantized.w4a16"),
        ("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B-FP8"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("qwen3-32b-awq", "<a awq-int4 checkpoint of Qwen/Qwen3-32B>"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
    ],
)
def test_the_line_has_the_checkpoint_as_it_was_written(written: str, printed: str, tmp_path: Path) -> None:
    words = shlex.split(line_of(of_model(tmp_path, written)))
    assert words[2] == printed
    assert "--quantization" not in words


def test_a_quantized_checkpoint_is_not_quantized_again(tmp_path: Path) -> None:
    words = shlex.split(line_of(of_model(tmp_path, "Qwen/Qwen3-8B-AWQ"), quantization=catalog.quantization("fp8")))
    assert words[2] == "<a fp8 checkpoint of Qwen/Qwen3-8B>"
    assert "--quantization" not in words


def test_a_folder_is_served_and_a_file_is_served_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "config.json").write_text(LLAMA)
    for written in (folder, folder / "config.json"):
        assert shlex.split(line_of(of_model(tmp_path, str(written))))[2] == "tuned"


LLAMA = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "head_dim": 64,
"max_position_embeddings": 131072, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}"""

FORMS: list[dict[str, object]] = [
    {},
    {"tensor_parallel_size": 2, "enforce_eager": True, "enable_prefix_caching": False},
    {"kv_cache_dtype": "fp8", "max_model_len": 2048, "gpu_memory_utilization": 0.8},
    {"cudagraph_mode": "full_decode_only", "cudagraph_capture_sizes": (1, 2, 4), "max_num_seqs": 32},
    {"custom_ops": ("+quant_fp8", "+rms_norm")},
    {"max_cudagraph_capture_size": 64, "block_size": 32, "async_scheduling": False},
    {"long_prefill_token_threshold": 512, "max_num_partial_prefills": 2, "scheduling_policy": "priority"},
    {"num_gpu_blocks_override": 4000, "data_parallel_size": 2, "enable_expert_parallel": True},
    {"quantization": catalog.quantization("fp8"), "max_num_batched_tokens": 4096, "enable_chunked_prefill": True},
]


@pytest.mark.parametrize("changes", FORMS, ids=lambda c: ",".join(c) or "none")
def test_a_line_of_vllm_reads_back_to_the_same_arguments(changes: dict[str, object], tmp_path: Path) -> None:
    scenario = of_model(tmp_path, "Qwen/Qwen3-8B")
    deployment = scenario.deployments[0].with_pool(**changes)
    plan = plan_fleet(scenario, deployment).plan
    stated = fields_of(parse(serve_command(scenario, deployment.pool, plan)))
    assert stated.pop("model") == scenario.model
    again = dataclasses.replace(deployment.pool, **{**dict.fromkeys(DECISIVE), "quantization": None, **stated})
    expected = dataclasses.replace(deployment.pool, **{name: getattr(plan.args, name) for name in DECISIVE})
    assert again == expected


@pytest.mark.parametrize(
    ("engine", "changes"),
    [
        ("sglang", {}),
        ("sglang", {"tensor_parallel_size": 4, "enable_prefix_caching": False, "block_size": 1, "enforce_eager": True}),
        ("sglang", {"tensor_parallel_size": 2, "data_parallel_size": 2, "enable_expert_parallel": True}),
        ("sglang", {"tensor_parallel_size": 2, "enable_expert_parallel": True, "cudagraph_capture_sizes": (1, 8)}),
        ("tensorrt-llm", {}),
        ("tensorrt-llm", {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "max_num_seqs": 128}),
    ],
)
def test_a_line_of_another_engine_reads_back_too(engine: str, changes: dict[str, object], tmp_path: Path) -> None:
    scenario = of_model(tmp_path, "Qwen/Qwen3-30B-A3B", ("engine.version", engine))
    deployment = scenario.deployments[0].with_pool(**changes)
    plan = plan_fleet(scenario, deployment).plan
    line = serve_command(scenario, deployment.pool, plan)
    assert "Qwen/Qwen3-30B-A3B" in line and "#" not in line
    stated = fields_of(parse(line))
    assert stated.pop("model") == scenario.model
    again = dataclasses.replace(deployment.pool, **{**dict.fromkeys(DECISIVE), **stated})
    assert again == dataclasses.replace(deployment.pool, **{name: getattr(plan.args, name) for name in DECISIVE})


def test_what_an_engine_has_no_flag_for_is_said_behind_its_line(tmp_path: Path) -> None:
    scenario = of_model(tmp_path, "qwen3-8b", ("engine.version", "tensorrt-llm"))
    assert line_of(scenario, enforce_eager=True).endswith("  # no flag for enforce_eager=True")


def test_tf32_is_an_environment_variable_and_static_batching_no_server(tmp_path: Path) -> None:
    scenario = of_model(tmp_path, "qwen3-8b")
    assert line_of(scenario, float32_matmul_precision="high").startswith("VLLM_FLOAT32_MATMUL_PRECISION=high vllm serve")
    static = {"scheduling_policy": "static", "enable_prefix_caching": False, "enable_chunked_prefill": False}
    assert line_of(scenario, **static, max_num_batched_tokens=65536) == ""


def test_a_model_loaded_in_another_type_says_so(tmp_path: Path) -> None:
    scenario = of_model(tmp_path, "Qwen/Qwen3-8B")
    half = dataclasses.replace(scenario, model=replace(scenario.model, dtype="fp16"))
    assert "--dtype float16" in line_of(half)
