"""A capacity review that gates a deployment: what a build server reads of `sim run`."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.command_line import sim
from support.planning_fixtures import small


def test_a_run_leaves_junit_and_a_github_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    words = (
        "run",
        str(small(tmp_path)),
        "--no-report",
        "--no-limits",
        "--quiet",
        "--junit",
        str(tmp_path / "run.xml"),
        "--github-summary",
    )
    left = sim(capsys, monkeypatch, *words)
    assert left.code == 0, left.err
    cases = ElementTree.parse(tmp_path / "run.xml").getroot().iter("testcase")
    assert {"H100: p95 TTFT", "L40S: goodput share", "T4: keeps up"} <= {case.get("name") for case in cases}
    assert "| ✅ | H100: p95 TTFT |" in (tmp_path / "step.md").read_text()


def test_a_summary_outside_of_github_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    left = sim(capsys, monkeypatch, "run", str(small(tmp_path)), "--github-summary")
    assert left.code == 2
    assert "GITHUB_STEP_SUMMARY is not set" in left.err
    assert not (tmp_path / "reports").exists()
