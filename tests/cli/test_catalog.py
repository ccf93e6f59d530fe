"""`sim catalog`: a table for people, JSON for programs."""

import json

import pytest
from typer.testing import CliRunner

from simulator.cli.catalog import app

KINDS = ("gpus", "models", "quantizations", "engines", "prices")


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_every_entry_with_its_source(kind: str) -> None:
    result = CliRunner().invoke(app, [kind, "--json"])
    assert result.exit_code == 0, result.output
    entries = json.loads(result.stdout)
    assert len(entries) >= 10
    assert all(entry["source"] for entry in entries)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("gpus", "79.18"),
        ("models", "llama-3.1-8b"),
        ("quantizations", "bnb-nf4"),
        ("engines", "vllm-0.20.0"),
        ("prices", "2026-11-09"),
    ],
)
def test_the_table_shows_what_one_came_for(kind: str, shown: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [kind])
    assert result.exit_code == 0, result.output
    assert shown in result.stdout


def test_an_unknown_kind_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["gpu"]).exit_code == 2
