"""`sim memory` from the outside."""

import inspect
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simulator.catalog import gpu
from simulator.cli.memory import memory_command
from simulator.errors import NotModelled, SimulatorError
from simulator.memory.training.plan import Training

app = typer.Typer()
app.command(context_settings={"ignore_unknown_options": True})(memory_command)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def plans(*arguments: str) -> list[dict]:
    return json.loads(run(*arguments, "--json"))["plans"]


def test_every_gpu_is_planned_with_every_quantization() -> None:
    found = plans(
        "llama-3.1-70b", "--gpu", "h100-sxm", "--gpu", "a100-80gb-sxm", "--quantization", "bf16", "--quantization", "gptq-int4"
    )
    assert [(p["gpu"], p["quantization"]) for p in found] == [
        ("h100-sxm", "bf16"),
        ("h100-sxm", "gptq-int4"),
        ("a100-80gb-sxm", "bf16"),
        ("a100-80gb-sxm", "gptq-int4"),
    ]
    assert found[0]["outcome"] == "weights_do_not_fit"
    assert found[0]["remedies"]


def test_arguments_have_the_names_that_vllm_gives_them() -> None:
    found = plans(
        *("llama-3.1-8b", "--gpu", "h100-sxm", "--engine", "vllm-0.19.0"),
        *("--tensor-parallel-size", "2", "--pipeline-parallel-size", "2", "--data-parallel-size", "2"),
        *("--max-model-len", "8192", "--max-num-seqs", "64", "--max-num-batched-tokens", "4096"),
        *("--gpu-memory-utilization", "0.8", "--kv-cache-dtype", "fp8", "--block-size", "32", "--enforce-eager"),
    )[0]
    wanted = {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
        "data_parallel_size": 2,
        "max_model_len": 8192,
        "max_num_seqs": 64,
    }
    assert found["args"].items() >= wanted.items()
    assert found["args"]["kv_cache_dtype"] == "fp8"
    assert found["deployment"]["gpus"] == 8
    assert found["deployment"]["kv_tokens"] == 2 * found["kv_tokens"]
    assert found["per_gpu_gib"]["cuda_graph"] == 0


def test_parts_add_up_to_what_is_reserved() -> None:
    gib = plans("llama-3.1-8b", "--gpu", "h100-sxm", "--engine", "vllm-0.19.0", "--max-model-len", "8192")[0]["per_gpu_gib"]
    parts = gib["weights"] + gib["activation"] + gib["non_torch"] + gib["kv_cache"]
    assert parts == pytest.approx(gib["reserved"])


def test_sequences_are_counted_at_the_contexts_asked_for() -> None:
    found = plans("llama-3.1-8b", "--gpu", "h100-sxm", "--max-model-len", "8192", "--context", "1000", "--context", "8192")[0]
    assert list(found["concurrency"]) == ["1000", "8192"]
    assert found["concurrency"]["8192"] == found["max_concurrency"]


def test_the_table_names_the_parts_and_the_way_out() -> None:
    shown = run("llama-3.1-70b", "--gpu", "h100-sxm")
    for words in ("weights", "KV cache", "reserved", "needed", "weights_do_not_fit", "tensor_parallel_size 4"):
        assert words in shown


def test_a_deployment_of_several_gpus_is_counted_whole() -> None:
    assert "8 GPUs = 4 x 2" in run(
        "llama-3.1-8b", "--gpu", "h100-sxm", "--tensor-parallel-size", "2", "--data-parallel-size", "4"
    )


def test_whatever_describes_a_training_run_is_an_option() -> None:
    known = inspect.signature(memory_command).parameters
    assert set(Training.__dataclass_fields__) - set(known) == {"method"}


def test_gpt_3_takes_the_well_known_4_6_million_dollars() -> None:
    """28 TFLOP/s of a V100, 1.5 dollars an hour: the widely quoted estimate of 2020."""
    given = ["--train", "--tokens", "300B", "--usd-per-gpu-hour", "1.5"]
    share = str(28e12 / gpu("v100").flops["fp16"])
    for rate in (["--tflops", "28"], ["--utilization", share]):
        cost = plans("gpt-3", "--gpu", "v100", *given, *rate)[0]["cost"]
        assert cost["usd"] == pytest.approx(4.6e6, rel=0.02)
    with pytest.raises(SimulatorError, match=r"--tflops 900: .* has a peak of 125"):
        run("gpt-3", "--gpu", "v100", *given, "--tflops", "900")


def test_a_run_that_may_not_fit_says_so() -> None:
    given = ["--qlora", "--sequence-length", "2816", "--loss", "chunked", "--lora-targets", "query-value"]
    plan = plans("llama-3.1-8b", "--gpu", "rtx-4090", *given)[0]
    assert plan["needed_low_gib"] < plan["gpu_gib"] < plan["needed_high_gib"]
    assert plan["outcome"] == "may not fit"


def test_training_is_planned_too() -> None:
    found = plans("llama-3.1-8b", "--gpu", "rtx-4090", "--train", "--qlora", "--activation-checkpointing", "full")[0]
    assert found["fits"]
    assert found["training"]["method"] == "qlora"
    assert "needed" in run("llama-3.1-8b", "--gpu", "rtx-4090", "--train", "--lora")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lama-3.1-8b", "--gpu", "h100-sxm"], "did you mean 'llama-3.1-8b'"),
        (["llama-3.1-8b", "--gpu", "h10"], "did you mean"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--kv-cache-dtype", "fp9"], "--kv-cache-dtype fp9: input should be 'auto'"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization 1.5"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--tensor-parallel-size", "5"], "does not divide its 32 attention heads"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--train", "--optimizer", "magic"], "--optimizer magic"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--optimizer", "lion"], "--optimizer is of a training run; add --train"),
        (["llama-3.1-8b", "--gpu", "h100-sxm", "--train", "--offload-weights"], "offload_weights needs zero_stage 3"),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pasted_line_is_planned_on_the_gpu_that_is_named_or_on_the_commonly_rented() -> None:
    line = ("--", "vllm", "serve", "Qwen/Qwen3-8B", "--max_model_len", "8k", "--max-num-seqs", "32", "--port", "80")
    found = plans_of("--gpu", "h100", "--json", *line)[0]
    assert (found["model"], found["args"]["max_model_len"], found["args"]["max_num_seqs"]) == ("qwen3-8b", 8000, 32)
    assert "no effect on memory: --port" in found["notes"]
    assert len(plans_of("--json", *line)) > 5


def test_arguments_of_vllm_without_an_option_here_are_taken_too() -> None:
    found = plans("qwen3-8b", "-g", "h100", "--enable-lora", "--max-lora-rank", "64")[0]
    assert found["args"]["enable_lora"] and found["args"]["max_lora_rank"] == 64
    assert found["per_gpu_gib"]["weights"] > plans("qwen3-8b", "-g", "h100")[0]["per_gpu_gib"]["weights"]


def test_limits_of_steps_and_of_the_queue_are_read_and_change_no_memory() -> None:
    line = ("-g", "h100", "--engine", "vllm-main", "--json", "--", "vllm", "serve", "qwen3-8b")
    limits = (
        *("--watermark", "0.01", "--max-num-active-seqs", "16", "--max-num-queued-reqs", "64", "--max-num-queued-tokens", "32k"),
        *("--prefill-schedule-interval", "4", "--max-num-scheduled-tokens=2K", "--long-prefill-token-threshold-adaptive"),
    )
    (plain,), (limited,) = plans_of(*line), plans_of(*line, *limits)
    assert limited["args"].items() >= {
        ("watermark", 0.01),
        ("max_num_active_seqs", 16),
        ("max_num_queued_reqs", 64),
        ("max_num_queued_tokens", 32_000),
        ("prefill_schedule_interval", 4),
        ("max_num_scheduled_tokens", 2048),
        ("long_prefill_token_threshold_adaptive", True),
    }
    assert limited["per_gpu_gib"] == plain["per_gpu_gib"]
    assert "vllm-main is taken for 0.33.0, the newest release known here" in limited["notes"]


def test_the_engine_may_be_named_before_a_pasted_line() -> None:
    (found,) = plans_of("-e", "vllm-0.19.0", "-g", "h100", "--json", "--", "vllm", "serve", "Qwen/Qwen3-8B")
    assert found["engine"] == "vllm-0.19.0"


def test_memory_that_others_hold_is_subtracted() -> None:
    alone, shared = (plans("qwen3-8b", "-g", "l40s", "--used-gib", used)[0] for used in ("0", "6"))
    assert alone["outcome"] == "starts" and shared["outcome"] == "too_little_free_memory"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("qwen3-8b",), "missing option '--gpu'"),
        (("qwen3-8b", "-g", "h100", "--max-num-sequences", "4"), "unknown argument --max-num-sequences"),
        (("-g", "h100", "--", "vllm", "serve", "m", "--cpu-offload-gb", "4"), "not modelled"),
        (("-g", "h100", "--", "vllm", "serve", "--port", "80"), "names no model"),
        (("qwen3-8b", "-x", "3", "-g", "h100", "--", "vllm", "serve", "m"), "'qwen3-8b' stands before"),
        (
            ("-e", "vllm-0.19.0", "-g", "h100", "--", "docker", "run", "vllm/vllm-openai:v0.20.0", "m"),
            "--engine vllm-0.19.0: the line is of vllm-0.20.0; leave one of the two out",
        ),
        (("-e", "sglang", "-g", "h100", "--", "vllm", "serve", "m"), "--engine sglang: the line is of vllm"),
        (("-g", "h100", "--", "vllm", "serve", "m", "--watermark", "much"), "--watermark: 'much' is not a number"),
        (("-g", "h100", "--", "vllm", "serve", "qwen3-8b", "--watermark", "1"), "watermark.*less than 1"),
        (
            ("-g", "h100", "--", "docker", "run", "vllm/vllm-openai:v0.23.0", "qwen3-8b", "--watermark", "0.1"),
            "vllm-0.23.0 has no watermark: vLLM 0.24.0 introduced it",
        ),
        (
            ("-g", "h100", "--engine", "vllm-0.30.0", "--", "vllm", "serve", "qwen3-8b", "--max-num-active-seqs", "3"),
            "vllm-0.30.0 has no max_num_active_seqs: vLLM 0.31.0 introduced it",
        ),
        (
            ("-g", "h100", "--engine", "vllm-0.27.0", "--", "vllm", "serve", "qwen3-8b", "--max-num-partial-prefills", "3"),
            "vllm-0.27.0 has no max_num_partial_prefills: vLLM 0.27.0 removed it",
        ),
        (
            ("-g", "h100", "--", "vllm", "serve", "qwen3-8b", "--max-num-active-seqs", "9", "--max-num-seqs", "8"),
            "max_num_active_seqs 9 is above max_num_seqs 8",
        ),
    ],
)
def test_a_line_that_cannot_be_planned_says_why(arguments: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(SimulatorError, match=complaint):
        run(*arguments)


def plans_of(*arguments: str) -> list[dict]:
    return json.loads(run(*arguments))["plans"]


def test_a_line_of_llama_server_is_planned() -> None:
    line = ["llama-server", "-m", "Qwen3.8-27B-Q4_K_M.gguf", "-c", "131072", "-ctk", "q8_0", "-ctv", "q8_0", "--port", "8080"]
    found = json.loads(run("--gpu", "rtx-3090", "--json", "--", *line))["plans"][0]
    assert (found["engine"], found["model"], found["quantization"]) == ("llama.cpp", "qwen3.8-27b", "q4_k_m")
    assert found["gpu_gib"]["kv_cache"] == pytest.approx(4.25)
    shown = run("--gpu", "rtx-3090", "--", *line)
    assert "no effect on memory: -port" in shown
    assert "64 of 64" in shown


def test_llama_cpp_takes_a_model_of_the_catalog_and_a_type() -> None:
    found = plans(
        "qwen3-8b", "-g", "rtx-3060-12gb", "--engine", "llama.cpp", "-q", "q4_k_m", "-q", "q8_0", "--max-model-len", "8192"
    )
    assert [plan["quantization"] for plan in found] == ["q4_k_m", "q8_0"]
    assert all(plan["args"]["n_ctx"] == 8192 for plan in found)
    with pytest.raises(SimulatorError, match="--enforce-eager is an argument of vLLM"):
        run("qwen3-8b", "-g", "rtx-3090", "--engine", "llama.cpp", "-q", "q4_k_m", "--enforce-eager")


def test_a_run_of_llama_cpp_is_refused_by_name() -> None:
    from simulator.catalog import engine

    with pytest.raises(NotModelled, match="the time of llama.cpp is not modelled; `sim memory -- llama-server"):
        engine("llama.cpp-b6000")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (["llama-3.1-8b", "-g", "rtx-4090", "-g", "a100-80gb-sxm", "--train", "--tokens", "1B"], "may take"),
        (["llama-3.1-70b", "-g", "h100-sxm"], "does not start"),
        (["qwen3-8b", "-g", "rtx-3090", "--engine", "llama.cpp", "-q", "q4_k_m"], "compute buffer"),
    ],
)
def test_the_answer_is_written_as_a_page_too(tmp_path: Path, question: list[str], said: str) -> None:
    page = tmp_path / "memory.html"
    run(*question, "--report", str(page))
    text = page.read_text("utf-8")
    assert said in text
    assert "Where the bytes go" in text
    assert "http://" not in text.split("<script>")[0]


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"--report .*/nowhere/page.html: No such file or directory"):
        run("qwen3-8b", "-g", "rtx-3090", "--report", str(tmp_path / "nowhere" / "page.html"))


def test_lengths_are_read_as_vllm_reads_them() -> None:
    for written, tokens in (("32k", 32_000), ("32K", 32_768), ("8192", 8192)):
        assert plans("qwen3-8b", "-g", "l40s", "--max-model-len", written)[0]["args"]["max_model_len"] == tokens
    longest = plans("llama-3.1-8b", "-g", "rtx-4090", "--max-model-len", "auto")[0]
    assert longest["outcome"] in ("starts", "may_not_start")
    assert 0 < longest["args"]["max_model_len"] < 131072
