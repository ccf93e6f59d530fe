"""`sim report`, end to end."""

from pathlib import Path

import pytest
import typer
from support.report_fixtures import chatbot, nothing_fits
from typer.testing import CliRunner

from simulator.cli.report import report_command
from simulator.errors import SimulatorError
from simulator.results.files import write_run

app = typer.Typer()
app.command()(report_command)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(chatbot(), tmp_path / "chatbot", {"index.html": "old"})


def asked(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_a_run_is_redrawn_in_its_folder(run):
    assert asked(run).strip() == str(run / "index.html")
    assert (run / "index.html").read_text("utf-8").startswith("<!doctype html>")


def test_markdown_goes_where_it_is_asked_for(run, tmp_path):
    asked(run, "--format", "md", "--out", tmp_path / "a" / "b.md")
    assert (tmp_path / "a" / "b.md").read_text("utf-8").startswith("# chatbot")


def test_each_chart_that_draws_becomes_an_image(tmp_path):
    folder = write_run(nothing_fits(), tmp_path / "run", {})
    assert asked(folder, "-f", "png").split() == [str(folder / "charts" / "memory.png")]


def test_what_exists_is_replaced_only_with_force(run, tmp_path):
    (tmp_path / "mine.md").write_text("mine")
    with pytest.raises(SimulatorError, match="--force"):
        asked(run, "-f", "md", "--out", tmp_path / "mine.md")
    asked(run, "-f", "md", "--out", tmp_path / "mine.md", "--force")
    assert (tmp_path / "mine.md").read_text("utf-8") != "mine"


def test_an_incomplete_run_says_what_is_missing(run):
    (run / "steps.parquet").unlink()
    with pytest.raises(SimulatorError, match=r"steps\.parquet missing; run the scenario again"):
        asked(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(SimulatorError, match="no such folder"):
        asked(tmp_path / "nowhere")
