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
