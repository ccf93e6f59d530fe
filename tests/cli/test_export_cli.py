"""What a run is written as is read back: by our own readers, and by what the formats say of themselves."""

import dataclasses
import json
import math
import re
from pathlib import Path

import polars as pl
import pytest
from support.planning_fixtures import small

from simulator import review
from simulator.catalog import engine, gpu, model
from simulator.catalog.engine_args import EngineArgs
from simulator.document import parse_yaml
from simulator.errors import SimulatorError
from simulator.latency.client import FrontEnd
from simulator.planning.export import TOOLS, write_export
from simulator.planning.machines.pool import InProcess
from simulator.planning.manifests import MANIFESTS, manifest
from simulator.results.model import RunResult
from simulator.scenario import load
from simulator.scenario.serve_line import fields_of, parse
from simulator.validation.calibrate import calibrate
from simulator.validation.protocols import MeasuredServer
from simulator.validation.readers.bench_files import read_bench_file
from simulator.validation.readers.calibration_points import read_points


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return review(small(tmp_path_factory.mktemp("export")), machine=InProcess(), curve=False)


@pytest.mark.parametrize("form", ["vllm-bench", "llm-d"])
def test_a_benchmark_result_reads_back_to_the_metrics_of_the_run(form: str, run: RunResult, tmp_path: Path) -> None:
    (path,) = write_export(run, form, tmp_path, ["L40S"])
    (back,) = read_bench_file(path)
    metrics = run.deployment("L40S").metrics
    assert metrics is not None
    trace = run.deployment("L40S").trace
    assert trace is not None
    assert back.model == run.checkpoint_of(run.deployment("L40S"))
    assert back.rate == run.workload.rate_per_s
    assert back.prompt.mean() == pytest.approx(trace.requests["prompt_tokens"].mean(), abs=0.5)
    e2e = back.values["ttft_ms"] + back.values["tpot_ms"] * (back.output.mean() - 1)
    assert back.values["e2e_ms"] == pytest.approx(e2e, rel=0.02)


def test_a_simulated_result_calibrates_to_no_correction(tmp_path: Path) -> None:
    ours = [("latency: {kind: linear, step_ms: 10, token_us: 1}\n", ""), ("frontend: {queue: false}\n", "")]
    run = review(small(tmp_path, *ours), machine=InProcess(), curve=False)
    (path,) = write_export(run, "vllm-bench", tmp_path, ["H100"])
    scenario = load(small(tmp_path))
    args = EngineArgs(max_model_len=4096, max_num_seqs=64)
    server = MeasuredServer(model("llama-3.1-8b"), None, gpu("h100"), engine(scenario.engine.name), args, client=FrontEnd())
    points, skipped = read_points([path], server)
    assert not skipped
    report = calibrate(points)
    assert max(report.before.values()) < 3.0
    assert report.calibration.factors[0].decode[0].factor == pytest.approx(1.0, abs=0.03)


def test_metrics_are_openmetrics_under_the_names_that_boards_ask_for(run: RunResult, tmp_path: Path) -> None:
    (path,) = write_export(run, "openmetrics", tmp_path)
    lines = path.read_text().splitlines()
    assert lines[-1] == "# EOF"
    sample = re.compile(r'^vllm:[a-z0-9_]+\{[^}]*deployment="[^"]*"[^}]*\} \S+ \d+\.\d{3}$')
    assert all(line.startswith("# TYPE") or sample.match(line) for line in lines[:-1])
    totals = [float(line.split()[1]) for line in lines if line.startswith("vllm:generation_tokens_total") and '"L40S"' in line]
    assert totals == sorted(totals)
    trace = run.deployment("L40S").trace
    assert trace is not None
    assert totals[-1] == trace.requests["output_tokens"].sum()
    count = next(
        line for line in reversed(lines) if line.startswith("vllm:e2e_request_latency_seconds_count") and '"L40S"' in line
    )
    assert float(count.split()[1]) == len(trace)
    used = [float(line.split()[1]) for line in lines if line.startswith("vllm:kv_cache_usage_perc")]
    assert all(0 <= value <= 1 for value in used) and max(used) > 0


def test_tables_and_the_trace_are_written_and_read(run: RunResult, tmp_path: Path) -> None:
    deployments, requests = write_export(run, "csv", tmp_path)
    assert pl.read_csv(deployments)["deployment"].to_list() == [d.name for d in run.deployments]
    same = write_export(run, "parquet", tmp_path)[1]
    assert pl.read_parquet(same).height == pl.read_csv(requests).height == run.requests.height
    (trace,) = write_export(run, "mooncake", tmp_path)
    assert len(trace.read_text().splitlines()) == run.workload.requests


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_serves_what_was_simulated_and_invents_nothing(kind: str, run: RunResult, tmp_path: Path) -> None:
    written = {path.name: path for path in write_export(run, kind, tmp_path)}
    assert len(written) == sum(d.runs for d in run.deployments), "what does not start has no manifest"
    text = manifest(run, run.deployment("L40S"), kind)
    documents = [parse_yaml(part, tmp_path / "m.yaml") for part in text.split("---\n")]
    assert "FILL-IN" in text and "nvidia.com/gpu" in text
    assert run.checkpoint_of(run.deployment("L40S")) in text
    if kind == "kubernetes":
        container = documents[0]["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "vllm/vllm-openai:v0.19.0"
        stated = fields_of(parse([str(word) for word in container["args"]]))
        assert (stated["max_model_len"], stated["max_num_seqs"]) == (4096, 64)
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_what_would_not_start_is_refused_with_its_reason(run: RunResult, tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="T4 would not start, and no manifest is written: CUDA out of memory"):
        write_export(run, "kubernetes", tmp_path, ["T4"])
    with pytest.raises(SimulatorError, match="T4: does not fit; there is no run to write"):
        write_export(run, "vllm-bench", tmp_path, ["T4"])
    with pytest.raises(SimulatorError, match="unknown format 'xml'; there are vllm-bench"):
        write_export(run, "xml", tmp_path)
    assert len(TOOLS) == 11 and math.isfinite(json.loads(write_export(run, "vllm-bench", tmp_path)[0].read_text())["duration"])


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)"])
def test_a_name_is_no_formula_in_a_spreadsheet(tmp_path: Path, name: str) -> None:
    scenario = load(small(tmp_path, ("requests: 400", "requests: 5")))
    named = dataclasses.replace(scenario.deployments[0], name=name)
    run = review(dataclasses.replace(scenario, deployments=(named,)), machine=InProcess(), curve=False)
    for path in write_export(run, "csv", tmp_path / "csv"):
        cells = pl.read_csv(path).select(pl.col(pl.String)).unpivot()["value"].drop_nulls()
        assert f"'{name}" in cells
        assert not cells.str.contains(r"^[=+\-@]").any()
    for path in write_export(run, "parquet", tmp_path / "parquet"):
        assert name in pl.read_parquet(path)["deployment"]
