"""Runs side by side: a difference counts when it is larger than the noise of a run."""

import dataclasses
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.errors import SimulatorError
from simulator.planning.compare import Difference, compare, pairs
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.model import RunResult
from simulator.scenario import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparing")


def _run(folder: Path, *settings: tuple[str, str], seed: int | None = None) -> RunResult:
    return review(load(small(folder), settings), curve=False, seed=seed, machine=InProcess())


def _find(differences: tuple[Difference, ...], deployment: str, metric: str) -> Difference:
    return next(d for d in differences if (d.deployment, d.metric) == (deployment, metric))


def test_a_run_does_not_differ_from_itself(folder: Path) -> None:
    run = _run(folder)
    for difference in compare([run, run]):
        assert difference.change(1) == 0
        assert difference.larger_than_noise(1) is False


def test_a_faster_step_is_more_than_noise(folder: Path) -> None:
    found = compare([_run(folder), _run(folder, ("latency.step_ms", "9.5"))])
    tpot = _find(found, "H100", "tpot_mean_s")
    assert tpot.change(1) == pytest.approx(-0.0005, rel=0.05)
    assert tpot.larger_than_noise(1) is True


def test_requests_without_an_answer_are_compared(folder: Path) -> None:
    longer = ("workload.prompt", "{kind: uniform, min: 100, max: 6000}")
    found = _find(compare([_run(folder), _run(folder, longer)]), "L40S", "unanswered_share")
    assert found.values[0] == 0.0
    assert found.values[1] is not None
    assert found.values[1] > 0.2
    assert found.larger_than_noise(1) is True


def test_another_seed_alone_is_noise(folder: Path) -> None:
    """Twelve statistics at 95 %: more than three beyond their noise happen in under one of fifty pairs."""
    found = compare([_run(folder), _run(folder, seed=8)])
    beyond = [d.metric for d in found if d.deployment == "H100" and d.larger_than_noise(1)]
    assert len(beyond) <= 3


def test_the_same_requests_are_compared_batch_by_batch(folder: Path) -> None:
    """A change of 1 % in the step drowns between runs of different requests, and shows between runs of the same."""
    varied, slower = ("workload.output", "{kind: uniform, min: 5, max: 60}"), ("latency.step_ms", "10.1")
    base, paired, unpaired = _run(folder, varied), _run(folder, varied, slower), _run(folder, varied, slower, seed=8)
    first = _find(compare([base, paired]), "H100", "e2e_mean_s")
    second = _find(compare([base, unpaired]), "H100", "e2e_mean_s")
    assert first.noise[1] is not None
    assert second.noise[1] is not None
    assert first.noise[1] < second.noise[1] / 2
    assert first.larger_than_noise(1) is True


def test_costs_are_exact(folder: Path) -> None:
    found = compare([_run(folder), _run(folder, ("prices.usd_per_gpu_hour.l40s", "1.01"))])
    cost = _find(found, "L40S", "usd_per_hour")
    assert cost.change(1) == pytest.approx(0.01)
    assert cost.larger_than_noise(1) is True


def test_a_run_without_its_traces_has_unknown_noise(folder: Path) -> None:
    run = _run(folder)
    bare = dataclasses.replace(run, deployments=tuple(dataclasses.replace(d, trace=None) for d in run.deployments))
    assert _find(compare([run, bare]), "H100", "ttft_p50_s").larger_than_noise(1) is None


def test_deployments_are_matched_by_name_and_a_single_one_by_being_single(folder: Path) -> None:
    run = _run(folder)
    h100, l40s = (dataclasses.replace(run, deployments=(run.deployment(name),)) for name in ("H100", "L40S"))
    assert [[d.name for d in row] for row in pairs([run, h100])] == [["H100", "H100"]]
    assert [[d.name for d in row] for row in pairs([h100, l40s])] == [["H100", "L40S"]]


def test_runs_with_nothing_in_common_are_refused(folder: Path) -> None:
    run = _run(folder)
    two, other = (dataclasses.replace(run, deployments=some) for some in (run.deployments[:2], run.deployments[2:]))
    with pytest.raises(SimulatorError, match="no deployment in common"):
        compare([two, other])
    with pytest.raises(SimulatorError, match="two runs or more"):
        compare([run])
