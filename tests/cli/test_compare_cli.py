"""`sim compare`, as a user runs it."""

import json
from pathlib import Path

import pytest
from support.bench_results import TTFT_MS, VLLM
from support.command_line import sim
from support.planning_fixtures import small

from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.files import write_run
from simulator.scenario import load


def test_a_finished_run_and_a_scenario_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = small(tmp_path)
    write_run(review(load(path), curve=False, machine=InProcess()), tmp_path / "before", {})
    after = small(tmp_path, ("step_ms: 10", "step_ms: 12"), name="after.yaml")
    left = sim(capsys, monkeypatch, "compare", str(tmp_path / "before"), str(after), "--json")
    assert left.code == 0, left.err
    tpot = next(d for d in json.loads(left.out) if (d["deployment"], d["metric"]) == ("H100", "tpot_mean_s"))
    assert tpot["runs"][1]["change"] == pytest.approx(0.002, rel=0.05)
    assert tpot["runs"][1]["larger_than_noise"] is True
    table = sim(capsys, monkeypatch, "compare", str(tmp_path / "before"), str(after)).out
    assert "H100: against before" in table
    assert "+19" in table or "+20" in table


def test_runs_of_one_name_are_told_apart_by_their_folders(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("monday", "friday"):
        (tmp_path / folder).mkdir()
    files = [str(small(tmp_path / folder)) for folder in ("monday", "friday")]
    table = sim(capsys, monkeypatch, "compare", *files).out
    assert "H100: against monday/small" in table
    assert "friday/small" in table


def test_a_measured_file_stands_beside_every_deployment_of_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scenario, measured = small(tmp_path), tmp_path / "bench.json"
    measured.write_text(json.dumps(VLLM))
    left = sim(capsys, monkeypatch, "compare", str(measured), str(scenario), "--json")
    assert left.code == 0, left.err
    found = {(d["deployment"], d["metric"]): d["runs"] for d in json.loads(left.out)}
    for name in ("H100", "L40S"):
        first, ours = found[name, "ttft_mean_s"]
        assert first["run"] == "bench"
        assert first["value"] == pytest.approx(TTFT_MS / 1e3)
        assert ours["change"] == pytest.approx(ours["value"] - TTFT_MS / 1e3)
    assert found["H100", "output_tokens_per_s"][0]["value"] == 850.0
    assert found["H100", "requests_per_s"][0]["value"] == 6.6
    alone = sim(capsys, monkeypatch, "compare", str(measured), str(measured))
    assert alone.code == 2
    assert "takes a run folder or a scenario beside them" in alone.err


def test_one_run_alone_or_a_folder_without_a_run_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = sim(capsys, monkeypatch, "compare", str(small(tmp_path)))
    assert alone.code == 2
    assert "two runs or more" in alone.err
    (tmp_path / "empty").mkdir()
    empty = sim(capsys, monkeypatch, "compare", str(tmp_path / "empty"), str(tmp_path / "empty"))
    assert empty.code == 2
    assert empty.err.count("\n") == 1


METRICS_TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_preemptions_total{engine="0",model_name="m"} 3.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 90.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 10.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 51200.0
vllm:generation_tokens_total{engine="0",model_name="m"} 12800.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="m"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.06",model_name="m"} 80.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 100.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 100.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 5.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 100.0
"""


def test_what_a_server_counted_stands_beside_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scraped = tmp_path / "metrics.prom"
    scraped.write_text(METRICS_TEXT)
    left = sim(capsys, monkeypatch, "compare", str(scraped), str(small(tmp_path)), "--json")
    assert left.code == 0, left.err
    assert "metrics.prom: 7 running when it was read, 2 waiting when it was read, 3 preemptions since the start" in left.err
    found = {d["metric"]: d["runs"][0]["value"] for d in json.loads(left.out) if d["deployment"] == "H100"}
    assert found["ttft_mean_s"] == pytest.approx(0.05)
    assert found["ttft_p50_s"] == pytest.approx(0.02 + 0.04 * 50 / 80)
    assert found["ttft_p99_s"] == pytest.approx(0.06 + 0.04 * 19 / 20)
    scraped.write_text("vllm:num_requests_running 0.0\n")
    empty = sim(capsys, monkeypatch, "compare", str(scraped), str(small(tmp_path)))
    assert empty.code == 2
    assert "no histogram of vLLM" in empty.err
