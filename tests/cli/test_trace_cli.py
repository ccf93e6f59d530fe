"""`sim trace` from the outside."""

import json

import pytest
import typer
from support.shared import SHARED, needs_shared
from support.workloads import workload, write_json_lines, write_lines
from typer.testing import CliRunner

from simulator.cli.trace import trace_command
from simulator.errors import MeasurementError
from simulator.workload.sample import sample

app = typer.Typer()
app.command()(trace_command)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def log(tmp_path):
    drawn = sample(workload(dataset="sharegpt", requests=600), 1)
    rows = zip(drawn.arrival_s, drawn.prompt_tokens, drawn.output_tokens, strict=True)
    return write_lines(tmp_path / "log.csv", ["arrival_s,input_len,output_len", *(f"{s:.6f},{p},{o}" for s, p, o in rows)])


def test_a_trace_is_told_in_tables_and_a_block_to_paste(log):
    told = run(log)
    assert "log.csv: 600 requests, read as columns" in told
    assert "requests/s" in told
    assert "\nworkload:\n  arrivals: {kind: poisson, rate: 3.8" in told
    assert "how well it fits" in told
    assert "lost:" in told


def test_the_same_as_json_and_nothing_else(log):
    data = json.loads(run(log, "--json"))
    assert (data["requests"], data["format"], data["broken"], data["reuse"]) == (600, "columns", 0, None)
    assert data["fit"]["yaml"].startswith("workload:\n")
    assert {d["name"] for d in data["fit"]["distances"]} >= {"requests/s", "prompt tokens, mean", "output tokens, p99"}


def test_broken_lines_are_told_and_skipped_on_demand(log):
    write_lines(log, [*log.read_text().splitlines()[:40], *["nonsense"] * 3])
    with pytest.raises(MeasurementError, match="more than 1 %"):
        run(log)
    assert "3 of 42 lines left out: line 41: arrival 'nonsense' cannot be read" in run(log, "--skip-bad")


def test_images_of_requests_are_counted_and_what_they_cost_is_said(tmp_path):
    rows = [f"2025-01-01 00:00:{i:02d}.0,{i % 3},{300 + i},{20 + i}" for i in range(60)]
    path = write_lines(tmp_path / "azure.csv", ["TIMESTAMP,NumImages,ContextTokens,GeneratedTokens", *rows])
    data = json.loads(run(path, "--json"))
    assert (data["images"], data["with_images"], data["format"]) == (60, 40, "azure")
    told = " ".join(run(path).split())
    assert "40 requests bring 60 images: their tokens are in the prompts" in told


def test_columns_units_and_block_sizes_can_be_said(tmp_path):
    path = write_json_lines(
        tmp_path / "t.jsonl", [{"when": 1000 * i, "n": 64 + i, "m": 5, "hash_ids": [0, 1]} for i in range(50)]
    )
    options = [
        "--column",
        "arrival=when",
        "--column",
        "prompt=n",
        "--column",
        "output=m",
        "--time-unit",
        "ms",
        "--block-size",
        "32",
    ]
    data = json.loads(run(path, *options, "--json"))
    assert data["duration_s"] == 49
    assert data["reuse"]["block_tokens"] == 32


def test_a_trace_without_times_has_no_fit_and_says_why(tmp_path):
    path = write_lines(tmp_path / "t.csv", ["isl,osl", *["5,6", "7,8"] * 20])
    assert "no fitted workload: nothing to fit: 40 requests without times" in " ".join(run(path).split())
    assert json.loads(run(path, "--json"))["fit"] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--column", "prompt"], "expected ROLE=NAME"),
        (["--column", "promt=n"], "columns.promt"),
        (["--time-unit", "minutes"], "time_unit: Input should be 's', 'ms', 'us' or 'ns'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_one_line(log, options, told):
    with pytest.raises(MeasurementError, match=told):
        run(log, *options)


def test_a_benchmark_command_is_a_block_to_paste():
    told = run("--command", "vllm bench serve --dataset-name random --random-input-len 512 --request-rate 4 --num-prompts 200")
    assert told.startswith("workload:\n  arrivals: {kind: poisson, rate: 4}\n")
    assert "prompt: {kind: fixed, tokens: 512}" in told
    assert "requests: 200" in told


def test_an_inference_perf_configuration_is_a_block_to_paste(tmp_path):
    lines = ["load: {type: poisson, stages: [{rate: 2, duration: 30}]}", "data:", "  type: random"]
    lines += [f"  {side}_distribution: {{mean: 50, std_dev: 5, min: 10, max: 90}}" for side in ("input", "output")]
    block = json.loads(run(write_lines(tmp_path / "perf.yaml", lines), "--json"))["yaml"]
    assert "arrivals: {kind: stages, stages: [{rate: 2, duration: 30}]}" in block
    assert "prompt: {kind: normal, mean: 50, std: 5, min: 10, max: 90}" in block


@pytest.mark.parametrize("arguments", [[], ["t.csv", "--command", "vllm bench serve"]])
def test_there_must_be_a_file_or_a_command(arguments):
    with pytest.raises(MeasurementError, match="one of the two"):
        run(*arguments)


@needs_shared
@pytest.mark.parametrize("name", ["azure_llm_2023_conv.csv", "azure_llm_2023_code.csv", "mooncake_conversation.jsonl"])
def test_published_traces_are_told(name):
    told = run(SHARED / "traces" / name)
    assert "\nworkload:\n" in told
    assert ("prefix reuse in blocks of 512" in told) == name.startswith("mooncake")
