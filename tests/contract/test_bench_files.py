"""Every reader of a benchmark tool's result: the same run in each tool's words is the same run here."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import bench_results as told
from support import fuzz_measured
from typer.testing import CliRunner

from simulator import catalog
from simulator.catalog.engine_args import EngineArgs
from simulator.cli import application
from simulator.engine.load import ClosedLoop
from simulator.errors import MeasurementError
from simulator.latency.client import FrontEnd
from simulator.validation.measured_run import MeasuredRun
from simulator.validation.protocols import Bench, MeasuredServer
from simulator.validation.readers.bench_files import Unsaid, read_bench_file
from simulator.validation.readers.calibration_points import read_points
from simulator.validation.readers.metrics_text import read_metrics_text
from simulator.validation.readers.startup_log import read_startup_log
from simulator.workload.streams import Streams
from simulator.workload.traces.replay import recording
from simulator.workload.traces.trace_file import TraceFile

TOOLS: dict[str, dict[str, Any]] = {
    "vllm": told.VLLM, "vllm detailed": told.VLLM_DETAILED, "sglang": told.SGLANG, "guidellm": told.GUIDELLM,
    "aiperf": told.AIPERF, "inference-perf": told.INFERENCE_PERF, "llm-d": told.LLMD, "trtllm-bench": told.TRTLLM,
}  # fmt: skip
SERVER = MeasuredServer(
    catalog.model("llama-3.1-8b"), None, catalog.gpu("h100"), catalog.engine("vllm-0.19.0"), EngineArgs(), client=FrontEnd()
)


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("tool", TOOLS)
def test_a_run_is_the_same_whatever_tool_tells_it(tool: str, tmp_path: Path) -> None:
    (run,) = read_bench_file(write(tmp_path / "result.json", TOOLS[tool]))
    assert (run.prompt.mean(), run.output.mean()) == (512, 128)
    assert run.values["ttft_ms"] == pytest.approx(told.TTFT_MS)
    assert run.values["tpot_ms"] == pytest.approx(told.TPOT_MS)
    assert run.values.get("e2e_ms", told.E2E_MS) == pytest.approx(told.E2E_MS)
    assert run.values["output_tok_s"] == 850
    requests, load = run.load()
    assert load == ClosedLoop(concurrency=8)
    assert len(requests) == (79 if tool == "vllm detailed" else 80)
    assert run.each == (tool in ("vllm detailed", "guidellm"))
    assert bool(run.notes) == (tool == "guidellm")
    assert (run.model == "") == (tool in ("sglang", "inference-perf"))


@pytest.mark.parametrize("tool", ["vllm", "guidellm", "llm-d"])
def test_a_tools_file_is_a_point_to_calibrate_with(tool: str, tmp_path: Path) -> None:
    (point,), skipped = read_points([write(tmp_path / "result.json", TOOLS[tool])], SERVER)
    assert not skipped
    assert (point.concurrency, point.tpot_ms, point.ttft_ms) == (8, pytest.approx(told.TPOT_MS), pytest.approx(told.TTFT_MS))


def test_a_report_of_llm_d_made_from_guidellm_has_its_tpot_made_again(tmp_path: Path) -> None:
    data = json.loads(json.dumps(told.LLMD))
    data["scenario"]["load"]["standardized"]["tool"] = "guidellm"
    data["results"]["request_performance"]["aggregate"]["latency"]["time_per_output_token"]["mean"] = told.E2E_MS / told.OUTPUT
    (run,) = read_bench_file(write(tmp_path / "report.json", data))
    assert run.values["tpot_ms"] == pytest.approx(told.TPOT_MS)
    assert "made again" in run.notes[0]


def test_lines_of_sglang_are_a_run_each(tmp_path: Path) -> None:
    path = tmp_path / "sglang.jsonl"
    path.write_text(f"{json.dumps(told.SGLANG)}\n{json.dumps({**told.SGLANG, 'max_concurrency': None, 'request_rate': 4.0})}\n")
    first, second = read_bench_file(path)
    assert (first.concurrency, first.rate, second.concurrency, second.rate) == (8, None, None, 4.0)
    assert second.row == 2


def test_what_a_file_does_not_say_is_asked_for_by_its_option(tmp_path: Path) -> None:
    throughput, latency = write(tmp_path / "t.json", told.THROUGHPUT), write(tmp_path / "l.json", told.LATENCY)
    with pytest.raises(MeasurementError, match="give --prompt-tokens and --output-tokens"):
        read_bench_file(throughput)
    with pytest.raises(MeasurementError, match="give --batch-size, --prompt-tokens, --output-tokens"):
        read_bench_file(latency)
    (batch,) = read_bench_file(latency, Unsaid(512, 128, 8))
    assert batch.values == {"e2e_ms": 1200.0, "output_tok_s": pytest.approx(853.3, rel=1e-3)}
    (many,) = read_bench_file(throughput, Unsaid(512, 128))
    assert many.values["output_tok_s"] == pytest.approx(853.76)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON: .*; was the run cut short"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": 1}', r"written by no tool that is known here \(it has a\); known are vllm bench serve"),
        ("[1, 2]", "written by no tool that is known here"),
        (json.dumps({**told.VLLM, "completed": 0}), "completed is missing or not above 0; vllm bench serve --save-result"),
        (json.dumps({**told.VLLM, "request_rate": "fast"}), "request_rate 'fast' is not a number or inf"),
        (json.dumps({**told.LLMD, "version": "0.1"}), "version 0.1 of the report; 0.2 and 0.2.1 are read"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_missing(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(MeasurementError, match=said) as problem:
        read_bench_file(path)
    assert "\n" not in str(problem.value)


def test_predictions_stand_beside_a_tools_result(tmp_path: Path) -> None:
    path = write(tmp_path / "result.json", told.GUIDELLM)
    app = application("validate")
    printed = CliRunner().invoke(app, ["validate", str(path), "--gpu", "h100", "--engine", "vllm-0.19.0", "--json"])
    assert printed.exit_code == 0, printed.output
    metrics = {group["metric"] for group in json.loads(printed.stdout)["groups"]}
    assert {"ttft_ms", "tpot_ms", "e2e_ms", "output_tok_s", "ttft_ms_p99"} <= metrics
    with pytest.raises(MeasurementError, match="does not say what it was measured on: give --gpu"):
        CliRunner().invoke(app, ["validate", str(path)], catch_exceptions=False)


def test_a_prediction_has_every_metric_that_tools_have() -> None:
    from simulator.validation.measured_run import MeasuredRun, mean_lengths, predicted

    run = MeasuredRun("a", 1, "x", {}, *mean_lengths(40, 512, 128), concurrency=8)
    ours = predicted(run, SERVER, Bench()).values
    assert ours["tpot_ms"] == pytest.approx((ours["e2e_ms"] - ours["ttft_ms"]) / 127, rel=1e-6)
    assert ours["total_tok_s"] == pytest.approx(5 * ours["output_tok_s"])
    assert ours["request_rate"] == pytest.approx(ours["output_tok_s"] / 128)
    assert ours["itl_ms"] == pytest.approx(ours["tpot_ms"], rel=0.05)


LOG = """INFO 11-01 10:00:00 [api_server.py:1351] vLLM API server version 0.19.0
INFO [core.py:71] Initializing a V1 LLM engine (v0.19.0) with config: model='meta-llama/Llama-3.1-8B-Instruct', \
dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, pipeline_parallel_size=1, kv_cache_dtype=auto, enforce_eager=False
INFO [gpu_model_runner.py:1801] Model loading took 14.9889 GiB and 3.1 seconds
INFO [gpu_worker.py:227] Available KV cache memory: 54.36 GiB
INFO [kv_cache_utils.py:715] GPU KV cache size: 445,312 tokens
INFO [kv_cache_utils.py:719] Maximum concurrency for 8,192 tokens per request: 54.36x
"""
METRICS = """# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",gpu_memory_utilization="0.9",num_gpu_blocks="27832"} 1.0
"""


def test_a_start_up_log_stands_beside_the_memory_plan(tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    path.write_text(LOG)
    app = application("validate")
    printed = CliRunner().invoke(app, ["validate", str(path), "--gpu", "h100", "--json"])
    assert printed.exit_code == 0, printed.output
    groups = {group["metric"]: group for group in json.loads(printed.stdout)["groups"]}
    assert groups["weights_gib"]["median_percent"] < 1
    assert groups["kv_tokens"]["median_percent"] < 3


def test_metrics_say_the_blocks_and_ask_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "metrics.txt"
    path.write_text(METRICS)
    app = application("validate")
    with pytest.raises(MeasurementError, match="metrics.txt does not say what it is of: give --gpu and --model"):
        CliRunner().invoke(app, ["validate", str(path)], catch_exceptions=False)
    told_ = ["--gpu", "h100", "--model", "llama-3.1-8b", "--engine", "vllm-0.19.0", "--max-model-len", "8192", "--json"]
    printed = CliRunner().invoke(app, ["validate", str(path), *told_])
    assert printed.exit_code == 0, printed.output
    assert "kv_tokens" in {group["metric"] for group in json.loads(printed.stdout)["groups"]}
    path.write_text("nothing of it")
    with pytest.raises(MeasurementError, match="neither a start-up log of vLLM"):
        CliRunner().invoke(app, ["validate", str(path)], catch_exceptions=False)


def test_agents_inside_of_agents_are_requests_at_their_times(tmp_path: Path) -> None:
    inner = [{"t": 1.0, "in": 70, "out": 7}, {"t": 4.0, "in": 80, "out": 8}]
    session = {"id": "a", "block_size": 64, "requests": [
        {"t": 0.0, "in": 100, "out": 1, "hash_ids": [1]}, {"type": "subagent", "t": 10.0, "requests": inner},
        {"t": 20.0, "in": 200, "out": 2, "hash_ids": [1, 2, 3]}]}  # fmt: skip
    seen = recording(TraceFile(path=str(write(tmp_path / "trace.json", session))), Streams(0)).requests
    assert seen.arrival_s.tolist() == [0.0, 11.0, 14.0, 20.0]
    assert seen.prompt_tokens.tolist() == [100, 70, 80, 200]


def test_logs_of_a_proxy_are_a_trace(tmp_path: Path) -> None:
    rows = [{"startTime": f"2026-11-01 10:00:0{i}.500", "model": "m", "usage": {"prompt_tokens": 9 + i, "completion_tokens": 3}}
            for i in range(3)]  # fmt: skip
    seen = recording(TraceFile(path=str(write(tmp_path / "litellm.json", rows))), Streams(0)).requests
    assert (seen.arrival_s.tolist(), seen.prompt_tokens.tolist()) == ([0.0, 1.0, 2.0], [9, 10, 11])


def histogram(tmp_path: Path, *changes: tuple[str, str]) -> MeasuredRun:
    text = fuzz_measured.METRICS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "metrics.prom"
    path.write_text(text)
    return read_metrics_text(path)


def test_a_bucket_whose_edge_is_no_number_is_left_out(tmp_path: Path) -> None:
    whole, without = histogram(tmp_path), histogram(tmp_path, ('le="0.02"', 'le="soon"'))
    assert without.values["ttft_ms"] == whole.values["ttft_ms"]
    assert without.values["ttft_ms_p50"] < whole.values["ttft_ms_p50"]
    assert histogram(tmp_path, ('le="0.06"', 'le="nan"')).values.keys() < whole.values.keys()


def test_a_negative_sum_is_no_latency(tmp_path: Path) -> None:
    found = histogram(tmp_path, ("} 90.0", "} -90.0"))
    assert "e2e_ms" not in found.values and "ttft_ms" in found.values


def test_a_report_whose_blocks_are_no_objects_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    report = json.loads(json.dumps(told.LLMD))
    report["scenario"]["load"] = [8]
    del report["results"]["request_performance"]["aggregate"]["latency"]["time_to_first_token"]
    (run,) = read_bench_file(write(tmp_path / "result.json", report))
    assert run.concurrency is None and "tpot_ms" in run.values
    report["results"]["request_performance"]["aggregate"]["latency"]["request_latency"] = 7
    with pytest.raises(MeasurementError, match="request_latency has units None"):
        read_bench_file(write(tmp_path / "result.json", report))


def test_a_figure_that_no_measurement_has_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"result\.json: ttft_ms: 1e-300 cannot be"):
        read_bench_file(write(tmp_path / "result.json", {**told.VLLM, "mean_ttft_ms": 1e-300}))


def test_a_log_with_a_number_of_thousands_of_digits_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    path.write_text(LOG.replace("tensor_parallel_size=1", f"tensor_parallel_size={'9' * 5000}"))
    with pytest.raises(MeasurementError, match=r"serve\.log: tensor_parallel_size: '9999.* is not a whole number") as problem:
        read_startup_log(path, {"gpu": "h100"})
    assert len(str(problem.value)) < 200
