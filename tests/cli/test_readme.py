"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_lines_run_and_recommend_what_the_shown_output_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(block("python"), {})
    recommended = capsys.readouterr().out.split(":")[0]
    assert f"{recommended}: the " in block("text")


def test_every_verb_that_is_shown_exists() -> None:
    from typer.main import get_command

    from simulator.cli import application

    shown = {line.split()[1] for line in README.splitlines() if line.startswith("sim ")}
    assert len(shown) >= 8
    assert shown <= set(get_command(application()).commands)  # type: ignore[attr-defined]


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
