"""Sweeps: tidy rows, resumed where they stopped, and failures that are rows."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest
from support.planning_fixtures import small

from simulator.errors import ScenarioError
from simulator.planning import sweep as sweeps
from simulator.planning.axes import axis
from simulator.planning.machines.finished_points import FILE
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.planning.sweep import PARQUET, sweep
from simulator.scenario import load

RATES = axis("workload.arrivals.rate=5,10")


def test_a_sweep_has_a_row_for_each_point_and_deployment_in_order(tmp_path: Path) -> None:
    frame = sweep(small(tmp_path), [RATES, axis("seed=1,2")], machine=InProcess())
    assert frame.height == 2 * 2 * 3
    assert frame["workload.arrivals.rate"].to_list() == [5] * 6 + [10] * 6
    assert frame["deployment"].to_list() == ["H100", "L40S", "T4"] * 4
    assert set(frame["status"]) == {"done"}
    assert frame.filter(pl.col("deployment") == "T4")["verdict"].unique().to_list() == ["does not fit"]


def test_a_row_is_what_a_run_of_the_scenario_says(tmp_path: Path) -> None:
    path = small(tmp_path)
    frame = sweep(path, [RATES, axis("deployments=L40S")], machine=InProcess())
    run = review(load(path, [("workload.arrivals.rate", "10")]), curve=False, machine=InProcess())
    assert frame["ttft_p99_s"].to_list()[1] == (run.deployment("L40S").metrics or {})["ttft_p99_s"]


def test_a_path_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="max_num_seqs"):
        sweep(small(tmp_path), [axis("engine.max_num_sequences=1,2")], machine=InProcess())
    with pytest.raises(ScenarioError, match="--over deployments=H10"):
        sweep(small(tmp_path), [axis("deployments=H10")], machine=InProcess())


def test_a_path_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="--over seed: given twice"):
        sweep(small(tmp_path), [axis("seed=1"), axis("seed=2")], machine=InProcess())


def test_a_point_that_fails_is_a_row_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    frame = sweep(small(tmp_path), [axis("workload.arrivals.rate=5,-1"), axis("deployments=H100")], machine=InProcess())
    assert frame["status"].to_list() == ["done", "failed"]
    assert "greater than 0" in frame["reason"].to_list()[1]
    assert frame["ttft_p99_s"].to_list()[1] is None


def test_an_error_of_ours_is_a_failed_row_that_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    out = tmp_path / "out"
    monkeypatch.setattr(sweeps, "examine", broken)
    frame = sweep(small(tmp_path), [RATES], folder=out, machine=InProcess())
    assert frame["reason"].unique().to_list() == ["internal error, ZeroDivisionError: oh"]
    monkeypatch.undo()
    assert set(sweep(small(tmp_path), [RATES], folder=out, machine=InProcess())["status"]) == {"done"}


class Stop(Exception):
    """In place of Ctrl-C."""


def test_an_interrupted_sweep_goes_on_and_computes_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out, computed = small(tmp_path), tmp_path / "out", []
    compute = sweeps.compute

    def watched(point: sweeps.GridPoint) -> sweeps.Row:
        computed.append(point.key())
        return compute(point)

    def stop_after_four(done: int, total: int) -> None:
        if done == 4:
            raise Stop

    monkeypatch.setattr(sweeps, "compute", watched)
    with pytest.raises(Stop):
        sweep(path, [RATES], folder=out, machine=InProcess(), progress=stop_after_four)
    assert len(computed) == 4
    resumed = sweep(path, [RATES], folder=out, machine=InProcess())
    assert len(computed) == len(set(computed)) == 6
    assert resumed.equals(sweep(path, [RATES], machine=InProcess()))
    assert pl.read_parquet(out / PARQUET).equals(resumed)


def test_a_changed_scenario_is_computed_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep(small(tmp_path), [RATES], folder=out, machine=InProcess())
    lines = len((out / FILE).read_text().splitlines())
    sweep(small(tmp_path, ("output: 20", "output: 21")), [RATES], folder=out, machine=InProcess())
    assert len((out / FILE).read_text().splitlines()) == lines + 6


def test_points_that_are_the_same_are_computed_once(tmp_path: Path) -> None:
    """Only the first deployment depends on the axis: the other two are the same at each of its values."""
    out = tmp_path / "out"
    frame = sweep(small(tmp_path), [axis("deployments.H100.max_num_seqs=8,16,32")], folder=out, machine=InProcess())
    assert frame.height == 9
    assert len((out / FILE).read_text().splitlines()) == 1 + 3 + 2


def test_a_seed_makes_other_points(tmp_path: Path) -> None:
    point = sweeps.GridPoint(sweeps._base(small(tmp_path), (), sweeps.Budget()), (), 0, 1, False)
    assert point.key() != dataclasses.replace(point, seed=2).key()
