"""`sim validate` from the outside."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simulator.cli.validate import validate_command
from simulator.errors import MeasurementError

app = typer.Typer()
app.command()(validate_command)
ROWS = """engine_version,model,quantization,gpu,tp,gpu_memory_utilization,max_model_len,kv_tokens,outcome,mood
0.19.0,meta-llama/Llama-3.1-8B,none,NVIDIA H100 80GB HBM3,1,0.95,8192,476016,ok,fine
0.19.0,Nobody-9000,none,NVIDIA H100 80GB HBM3,1,0.95,8192,476016,ok,fine
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "140"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_errors_skipped_rows_and_unknown_columns_are_shown(tmp_path: Path) -> None:
    (tmp_path / "startup.csv").write_text(ROWS)
    shown = run(str(tmp_path))
    for words in ("kv_tokens", "median", "p90", "100.0 %", "skipped startup.csv row 2: unknown model", "columns not used: mood"):
        assert words in shown


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "startup.csv"
    file.write_text(ROWS)
    found = json.loads(run(str(file), "--json"))
    assert [row["metric"] for row in found["rows"]] == ["kv_tokens", "outcome"]
    assert found["skipped"][0]["row"] == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("a,b\n1,2\n", "no reader for its columns"),
        (ROWS.splitlines()[0], "there are no rows"),
    ],
)
def test_a_file_with_nothing_to_compare_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "odd.csv"
    file.write_text(content)
    with pytest.raises(MeasurementError, match=said):
        CliRunner().invoke(app, [str(file)], catch_exceptions=False)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no such file"):
        CliRunner().invoke(app, [str(tmp_path / "gone.csv")], catch_exceptions=False)


CLOSED = "model,gpu,engine_version,input_len,output_len,concurrency,num_prompts,tpot_ms_mean\n"


def test_a_row_that_would_take_too_much_is_skipped_before_it_is_simulated(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    row = "llama-3.1-8b,h100,0.19.0,100,20,4,{},9\n"
    file.write_text(CLOSED + row.format(20) + row.format(9_000_000))
    shown = " ".join(run(str(file)).split())
    assert "skipped runs.csv row 2: about 9,000,000 requests would take 9.9 GB" in shown
    assert "unless --max-memory is higher" in shown
    with pytest.raises(MeasurementError, match="about 20 requests; at most 10 are simulated unless --max-requests is higher"):
        run(str(file), "--max-requests", "10")


def test_more_engines_than_can_be_simulated_are_refused_in_a_measured_row_too(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(CLOSED.replace("tpot", "attention_dp_size,tpot") + "llama-3.1-8b,h100,0.19.0,100,20,4,20,1000000000000,9\n")
    with pytest.raises(MeasurementError, match="1,000,000,000,000 engines; at most 10,000 are simulated"):
        run(str(file))
