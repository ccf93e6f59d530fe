"""The package as it is used from Python: every public name, short texts, frames, charts, and errors that help."""

import inspect
from pathlib import Path

import pytest
from support.planning_fixtures import small

import simulator as sim
from simulator.errors import SimulatorError, UnknownName
from simulator.planning.machines.pool import InProcess


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory):
    return sim.review(small(tmp_path_factory.mktemp("package")), machine=InProcess(), curve=False)


def test_every_public_name_is_there_after_the_package_has_been_used(result) -> None:
    found = {name: getattr(sim, name) for name in sim.__all__}
    assert all(callable(value) for name, value in found.items() if name != "__version__")
    assert inspect.isfunction(sim.engine)
    assert sim.engine("vllm-0.19.0").version == "0.19.0"
    assert dir(sim) == sorted(sim.__all__)
    with pytest.raises(AttributeError, match="did you mean 'load'"):
        sim.laod  # noqa: B018


def test_what_is_printed_is_short(result, tmp_path: Path) -> None:
    scenario = sim.load(small(tmp_path))
    plan = sim.plan_memory(scenario.model, None, sim.gpu("h100-sxm"), sim.EngineArgs(), scenario.engine)
    for thing in (result, result.deployments[0], scenario, scenario.model, scenario.engine, sim.gpu("l4"), plan):
        assert len(repr(thing)) < 400, type(thing)
    assert "<td>" in plan._repr_html_() and "KV tokens" in plan._repr_html_()
    assert "<td>L40S</td>" in result._repr_html_()


def test_a_result_is_frames_charts_and_a_folder(result, tmp_path: Path) -> None:
    frame = result.frame()
    assert frame["deployment"].to_list() == [d.name for d in result.deployments]
    assert {"verdict", "ttft_p99_s", "usd_per_hour"} <= set(frame.columns)
    ran = [d for d in result.deployments if d.trace is not None]
    assert result.requests.height == sum(len(d.trace) for d in ran)
    assert "vconcat" in result.chart("distributions").to_dict(validate=False)
    with pytest.raises(UnknownName, match="unknown chart 'distribution'; did you mean 'distributions'"):
        result.chart("distribution")
    folder = result.save(tmp_path / "run")
    assert {"index.html", "summary.json", "scenario.yaml"} <= {p.name for p in folder.iterdir()}


def test_mistakes_in_python_offer_what_was_meant(result) -> None:
    with pytest.raises(KeyError, match="unknown deployment 'L40'; did you mean 'L40S'"):
        result.deployment("L40")
    with pytest.raises(SimulatorError, match="unknown field 'max_nm_seqs'; did you mean 'max_num_seqs'"):
        sim.EngineArgs(max_nm_seqs=3)
    with pytest.raises(ValueError, match="unknown field 'replica'; did you mean 'replicas'"):
        sim.Deployment(gpu="l4", replica=3)


def test_a_sweep_takes_a_file_or_a_scenario_and_axes_as_text(tmp_path: Path) -> None:
    path = small(tmp_path)
    plain = sim.sweep(str(path), machine=InProcess())
    assert plain["deployment"].to_list() == [d.name for d in sim.load(path).deployments]
    over = sim.sweep(sim.load(path), ["deployments=L40S", "workload.arrivals.rate=2,4"], machine=InProcess())
    assert over["workload.arrivals.rate"].to_list() == [2, 4]
