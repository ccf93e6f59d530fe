"""`sim sweep`, as a user runs it."""

import json
from pathlib import Path

import polars as pl
import pytest
from support.command_line import sim
from support.planning_fixtures import small

OVER = ("--over", "workload.arrivals.rate=5,10")


def test_a_sweep_prints_a_table_and_leaves_a_parquet_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = small(tmp_path)
    left = sim(capsys, monkeypatch, "sweep", str(path), *OVER, "--out", str(tmp_path / "out"), "--workers", "1")
    assert left.code == 0, left.err
    assert "p99 TTFT s" in left.out
    assert "6 rows in" in left.out
    frame = pl.read_parquet(tmp_path / "out" / "small-sweep" / "sweep.parquet")
    assert frame.height == 6


def test_json_is_one_list_of_rows_on_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = (
        "sweep",
        str(small(tmp_path)),
        *OVER,
        "--over",
        "deployments=L40S",
        "--out",
        str(tmp_path),
        "--workers",
        "1",
        "--json",
    )
    rows = json.loads(sim(capsys, monkeypatch, *words).out)
    assert [row["workload.arrivals.rate"] for row in rows] == [5, 10]


def test_a_failed_point_is_told_below_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("sweep", str(small(tmp_path)), "--over", "workload.arrivals.rate=5,0", "--out", str(tmp_path), "--workers", "1")
    left = sim(capsys, monkeypatch, *words)
    assert left.code == 0
    assert "failed: workload.arrivals.rate=0 (H100): " in left.out


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("engine.max_num_sequences=1", "max_num_seqs"),
        ("workload.arrivals.rate=9:1:1", "is empty"),
        ("workload.arrivals.rate", "expected PATH=VALUES"),
        ("deployments=L40", "did you mean 'L40S'"),
        ("deployments.L40.max_num_seqs=8", "L40S"),
        ("gpus=h100", "unknown field"),
    ],
)
def test_an_axis_that_will_not_do_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, over: str, message: str
) -> None:
    left = sim(capsys, monkeypatch, "sweep", str(small(tmp_path)), "--over", over, "--out", str(tmp_path), "--workers", "1")
    assert left.code == 2
    assert message in left.err
    assert left.err.count("\n") == 1


def test_a_folder_of_another_version_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "small-sweep"
    folder.mkdir()
    (folder / "points.jsonl").write_text('{"format": 1}\n')
    left = sim(capsys, monkeypatch, "sweep", str(small(tmp_path)), *OVER, "--out", str(tmp_path), "--workers", "1")
    assert left.code == 2
    assert left.err.count("\n") == 1
    assert "written by version 0.1.0 in format 1" in left.err


def test_a_cluster_that_does_not_answer_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed (extra `dask`)")
    monkeypatch.setattr("simulator.planning.machines.pool.CONNECT_S", 1.0)
    words = ("sweep", str(small(tmp_path)), *OVER, "--out", str(tmp_path), "--cluster", "tcp://127.0.0.1:9")
    left = sim(capsys, monkeypatch, *words)
    assert left.code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s" in left.err
    assert list(tmp_path.iterdir()) == [tmp_path / "small.yaml"]
