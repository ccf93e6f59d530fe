"""Ways in: a scenario from a few figures, from a shipped one, and what can be written at all."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support.command_line import Finished, sim

from simulator.document import read_document
from simulator.scenario import load
from simulator.scenario.json_schema import file_schema
from simulator.scenario.reference import reference
from simulator.scenario.shipped import SCHEMA, shipped_folder, shipped_scenarios

SHIPPED = sorted(shipped_scenarios().items())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `sim` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: sim(capsys, monkeypatch, *words)


def test_a_question_is_answered_in_one_line_and_leaves_its_scenario(run, tmp_path: Path) -> None:
    left: Finished = run("ask", "Qwen/Qwen3-8B-AWQ", "--users", "60", "--each", "12/h", "--prompt", "400", "--output", "20",
                         "--ttft", "2", "--gpu", "l40s,t4", "--requests", "60")  # fmt: skip
    assert left.code == 0, left.err
    assert re.search(r"Take (l40s|t4): 1 GPU = 1 replica x 1 GPU", left.out)
    scenario = load(tmp_path / "qwen3-8b-awq.yaml")
    assert scenario.model.checkpoint == "Qwen/Qwen3-8B-AWQ"
    assert scenario.workload.mean_rate() == pytest.approx(0.2)
    again = run("ask", "Qwen/Qwen3-8B-AWQ", "--rate", "1/s")
    assert (again.code, "qwen3-8b-awq.yaml exists; add --force" in again.err) == (2, True)


@pytest.mark.parametrize("name", [name for name, _ in SHIPPED])
def test_every_shipped_scenario_is_copied_with_its_files(name: str, run, tmp_path: Path) -> None:
    assert run("init", "--from", name, "mine/case.yaml").code == 0
    load(tmp_path / "mine" / "case.yaml")


def test_figures_make_a_scenario_and_none_say_what_is_missing(run, tmp_path: Path) -> None:
    assert run("init", "--model", "qwen3-32b", "--rate", "90/min", "--gpu", "l40s,h100-sxm").code == 0
    scenario = load(tmp_path / "qwen3-32b.yaml")
    assert [d.pool.tensor_parallel_size for d in scenario.deployments] == [2, 1]
    assert "needs --from NAME" in run("init").err
    assert "in one way: --rate 4/s, --users" in run("init", "--model", "qwen3-8b").err
    assert "did you mean 'rag'" in run("init", "--from", "ragg").err


def test_what_may_stand_at_a_place_is_told_with_units_defaults_and_an_example(run) -> None:
    said = run("explain", "workload.arrivals").out
    kinds = re.findall(r"\(kind: (\w+)\)", said)
    assert len(kinds) == 12 and "diurnal" in kinds
    assert "rate  number | text such as 4/s, 1.2 rps or 240/min; required" in said
    assert "Example, from " in said
    assert "burstiness" in run("explain", "workload.arrivals.gamma").out
    assert "max_num_seqs" in run("explain", "deployments").out
    assert "did you mean 'arrivals'" in run("explain", "workload.arivals").err
    assert json.loads(run("explain", "slo", "--json").out)[0]["fields"][0]["name"] == "ttft_s"


def test_every_place_of_a_scenario_can_be_explained() -> None:
    seen, waiting = set(), [""]
    while waiting:
        path = waiting.pop()
        for kind in reference(path):
            for field in kind.fields:
                below = f"{path}.{field.name}".lstrip(".")
                if below not in seen and below.count(".") < 3 and "model" not in below and "gpu" not in below:
                    seen.add(below)
                    with contextlib.suppress(RecursionError):
                        waiting.append(below) if reference(below)[0].fields else None
    assert len(seen) > 100


@pytest.mark.parametrize("path", [path for _, path in SHIPPED], ids=[name for name, _ in SHIPPED])
def test_shipped_scenarios_are_valid_against_the_schema_that_they_name(path: Path) -> None:
    assert path.read_text().startswith(f"# yaml-language-server: $schema={SCHEMA}\n")
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(file_schema()).iter_errors(
        read_document(path).plain())]  # fmt: skip
    assert errors == []


def test_the_schema_beside_them_is_that_of_the_code_and_refuses_a_slip(run) -> None:
    schema = json.loads((shipped_folder() / SCHEMA).read_text())
    assert schema == file_schema() == json.loads(run("schema").out)
    Draft202012Validator.check_schema(schema)
    wrong = {"model": "x", "workload": {"arrivals": "4/s", "promt": 5}, "deployments": [{"gpu": "l4", "tensor_paralel": 2}]}
    said = " ".join(e.message for e in Draft202012Validator(schema).iter_errors(wrong))
    assert "promt" in said and "tensor_paralel" in said


def test_the_doctor_finds_this_installation_well(run) -> None:
    left = run("doctor")
    assert left.code == 0
    assert "FAIL" not in left.out and f"shipped scenarios: {len(SHIPPED)} load" in left.out


def test_the_package_runs_as_a_module() -> None:
    assert subprocess.run([sys.executable, "-m", "simulator", "--version"], capture_output=True, text=True).stdout[:4] == "sim "


@pytest.mark.parametrize("option", ["--prompt", "--output", "--max-model-len"])
@pytest.mark.parametrize("value", ["9223372036854775808", "9" * 400, "10000001"])
def test_more_tokens_than_anybody_has_are_one_line(run, option, value):
    left = run("init", "new.yaml", "--model", "llama-3.1-8b", "--gpu", "l4", "--rate", "4/s", option, value)
    assert left.code == 2 and left.err.startswith(f"error: {option}: ") and left.err.count("\n") == 1
