"""Pass or fail, as build servers read it."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.planning_fixtures import small

from simulator.errors import SimulatorError
from simulator.planning.ci_checks import Check, github_summary, junit, run_checks, sizing_checks, write_checks
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.planning.size import Ask, Candidate, Sizing
from simulator.scenario import load

CHECKS = (Check("H100: p99 TTFT", True, "0.3 s against 1 s"), Check("L4 <old> | new", False, "2 s against 1 s"))


def test_junit_counts_failures_and_says_why() -> None:
    root = ElementTree.fromstring(junit("sim run chatbot", CHECKS))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = suite.findall("testcase")
    assert cases[0].find("failure") is None
    failure = cases[1].find("failure")
    assert failure is not None
    assert cases[1].get("name") == "L4 <old> | new"
    assert failure.get("message") == "2 s against 1 s"


def test_the_github_summary_is_a_table_whose_cells_stay_cells() -> None:
    text = github_summary("sim run chatbot", CHECKS)
    assert text.startswith("## sim run chatbot\n")
    assert "| ✅ | H100: p99 TTFT | 0.3 s against 1 s |" in text
    assert "L4 \\<old\\> \\| new" in text


def test_checks_are_written_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    write_checks("title", CHECKS, junit_file=tmp_path / "out.xml", github=True)
    assert (tmp_path / "out.xml").read_text().startswith("<?xml")
    assert step.read_text().startswith("before\n## title")


def test_a_summary_outside_of_github_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    with pytest.raises(SimulatorError, match="GITHUB_STEP_SUMMARY is not set"):
        write_checks("title", CHECKS, junit_file=None, github=True)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match="cannot be written"):
        write_checks("title", CHECKS, junit_file=tmp_path / "file" / "out.xml", github=False)


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    write_checks("title", CHECKS, junit_file=tmp_path / "new" / "out.xml", github=False)
    assert (tmp_path / "new" / "out.xml").is_file()


def test_a_run_is_checked_term_by_term_and_what_does_not_start_fails(tmp_path: Path) -> None:
    run = review(load(small(tmp_path)), curve=False, machine=InProcess())
    checks = {check.name: check for check in run_checks(run)}
    assert checks["L40S: p95 TTFT"].passed
    assert checks["L40S: goodput share"].passed
    assert not checks["T4: keeps up"].passed
    assert "out of memory" in checks["T4: keeps up"].message.lower()


def test_a_sizing_passes_within_its_budget_only(tmp_path: Path) -> None:
    scenario = load(small(tmp_path))
    best = Candidate(scenario.deployments[0], "1 GPU = 1 replica x 1 GPU", 1, 1, 3.0, 3.0, "", "")
    sizing = Sizing(scenario, Ask(), (best,))
    assert [c.passed for c in sizing_checks(sizing)] == [True]
    assert [c.passed for c in sizing_checks(sizing, 3.0)] == [True, True]
    assert [c.passed for c in sizing_checks(sizing, 2.99)] == [True, False]
    lost = dataclasses.replace(best, replicas=None, why="does not start: too small")
    nothing = sizing_checks(Sizing(scenario, Ask(), (lost,)), 3.0)
    assert [c.passed for c in nothing] == [False]
    assert "H100: does not start: too small" in nothing[0].message
