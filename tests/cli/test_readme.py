"""What the README shows is what happens."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli import application
from simulator.planning import run
from simulator.results.model import RunResult
from simulator.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """The scenarios that were reviewed; the same one is answered once."""
    asked: list[Scenario] = []
    answers: list[RunResult] = []
    review = run.review

    def answered(scenario: Scenario, **how: Any) -> RunResult:
        asked.append(scenario)
        if asked[0] != scenario or len(asked) == 1:
            answers.append(review(scenario, **how))
        return answers[-1]

    monkeypatch.setattr(run, "review", answered)
    return asked


def test_the_output_and_the_python_lines_that_are_shown_do_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[Scenario]
) -> None:
    """To the word; figures within 5 %, for processors differ in the last bit of a logarithm."""
    monkeypatch.chdir(ROOT)
    arguments = ["run", "scenarios/chatbot.yaml", "--no-report", "--out", str(tmp_path)]
    printed = CliRunner().invoke(application(), arguments, env={"COLUMNS": "200"}).stdout
    said = [line.rstrip() for line in printed.splitlines()]
    shown = block("text").splitlines()
    first = next(number for number, line in enumerate(said) if line.startswith(shown[0][:1]))
    came = said[first : first + len(shown)]
    assert [NUMBER.sub("#", line) for line in came] == [NUMBER.sub("#", line) for line in shown]
    figures = [[float(figure.replace(",", "")) for line in lines for figure in NUMBER.findall(line)] for lines in (came, shown)]
    assert figures[0] == pytest.approx(figures[1], rel=0.05)
    exec(block("python"), {})
    recommended = capsys.readouterr().out.split(":")[0]
    assert f"{recommended}: the " in block("text")
    assert asked[0] == asked[1]


def test_every_verb_that_is_shown_exists() -> None:
    from typer.main import get_command

    shown = {line.split()[1] for line in README.splitlines() if line.startswith("sim ")}
    assert len(shown) >= 8
    assert shown <= set(get_command(application()).commands)  # type: ignore[attr-defined]


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_traffic_that_is_written_there_can_be_asked(tmp_path: Path) -> None:
    from simulator.scenario import load

    file = tmp_path / "asked.yaml"
    file.write_text(f"name: asked\nmodel: llama-3.1-8b\n{block('yaml')}deployments: [{{name: one, gpu: h100-sxm}}]\n")
    scenario = load(file)
    assert [each.name for each in scenario.workload.classes] == ["chat", "reports"]
    assert scenario.workload.mean_rate() == pytest.approx(200 * 12 / 3600)
    assert scenario.promises == ("chat: p99 TTFT ≤ 0.5 s", "chat: p99 TPOT ≤ 0.03 s", "reports: p99 E2E ≤ 60 s")
