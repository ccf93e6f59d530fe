"""`sim calibrate` from the outside."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simulator.catalog.engines import EngineArgs
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.cli.calibrate import calibrate_command, with_arguments
from simulator.errors import MeasurementError, SimulatorError
from simulator.latency.calibration import load_calibration
from simulator.validation.compare import validate

app = typer.Typer()
app.command()(calibrate_command)
HEAD = (
    "model,gpu,engine,engine_version,tensor_parallel_size,gemm_dtype,"
    "input_len,output_len,concurrency,ttft_ms_mean,tpot_ms_mean,source"
)
BENCH = {
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "max_concurrency": 8,
    "request_rate": "inf",
    "duration": 12.0,
    "completed": 80,
    "total_input_tokens": 80 * 512,
    "total_output_tokens": 80 * 128,
    "mean_ttft_ms": 90.0,
    "mean_tpot_ms": 9.0,
}


def rows(*points: tuple[int, float, float]) -> str:
    start = "meta-llama/Llama-3.1-8B-Instruct,h100_sxm,vllm,0.19.0,1,bfloat16,512,128"
    return "\n".join([HEAD, *(f"{start},{users},{ttft},{tpot},mine" for users, ttft, tpot in points)]) + "\n"


def run(tmp_path: Path, *arguments: str) -> str:
    given = [*arguments, "-o", str(tmp_path / "calibration.yaml")]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_two_points_give_two_factors_and_the_error_that_is_left(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((1, 60.0, 9.0), (64, 900.0, 16.0)))
    shown = run(tmp_path, str(file))
    (factors,) = load_calibration(tmp_path / "calibration.yaml").factors
    assert [point.sequences for point in factors.decode] == [1, 64]
    assert all(0 < point.percent < 10 for point in factors.decode)
    for words in ("llama-3.1-8b", "h100-sxm", "TPOT error before", "left out", "wrote"):
        assert words in shown


def test_a_calibrated_prediction_is_nearer_than_one_without(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((1, 60.0, 9.0), (64, 900.0, 16.0)))
    run(tmp_path, str(file))
    before, after = (
        [abs(c.error_percent) for c in validate(file, found).comparisons if c.metric == "tpot_ms"]
        for found in (None, load_calibration(tmp_path / "calibration.yaml"))
    )
    assert max(after) < 0.5 * min(before)


def test_one_point_gives_one_factor(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((16, 100.0, 9.5)))
    run(tmp_path, str(file))
    (factors,) = load_calibration(tmp_path / "calibration.yaml").factors
    assert [point.sequences for point in factors.decode] == [16]


def test_prefill_stays_as_predicted_where_rows_do_not_tell_it(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((1, 60.0, 9.0)))
    assert "prefill is not told by these rows and stays as predicted" in run(tmp_path, str(file))
    assert load_calibration(tmp_path / "calibration.yaml").factors[0].prefill is None


def test_a_long_prompt_by_itself_tells_prefill(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((1, 300.0, 7.5)).replace(",512,128,", ",8192,128,"))
    run(tmp_path, str(file))
    (factors,) = load_calibration(tmp_path / "calibration.yaml").factors
    assert factors.prefill is not None
    assert factors.prefill > 1.05, "our prediction is about 240 ms"


def test_rows_that_cannot_be_are_named_and_the_rest_is_fitted(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((1, 60.0, 9.0), (2, 60.0, 0.0)))
    assert "skipped runs.csv row 2: column tpot_ms_mean: 0 cannot be" in run(tmp_path, str(file))


def test_a_result_of_vllm_bench_serve_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(BENCH))
    run(tmp_path, str(file), "--gpu", "h100", "--engine", "vllm 0.19.0")
    (factors,) = load_calibration(tmp_path / "calibration.yaml").factors
    assert (factors.model, factors.gpu) == (model("llama-3.1-8b").name, gpu("h100").name)
    assert factors.decode[0].sequences == 8


@pytest.mark.parametrize(
    ("told", "arguments", "said"),
    [
        (BENCH, [], "does not say what it was measured on: give --gpu"),
        ({**BENCH, "mean_tpot_ms": 0}, ["--gpu", "h100"], "has no time per output token to calibrate with"),
        ({"model_id": "llama-3.1-8b"}, ["--gpu", "h100"], "written by no tool that is known here"),
        ({key: value for key, value in BENCH.items() if key != "model_id"}, ["--gpu", "h100"], "give --model"),
    ],
)
def test_a_result_that_does_not_say_enough_is_refused(
    tmp_path: Path, told: dict[str, object], arguments: list[str], said: str
) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(told))
    with pytest.raises(MeasurementError, match=said):
        run(tmp_path, str(file), *arguments)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((16, 100.0, 9.5)))
    with pytest.raises(SimulatorError, match=r"cannot write .*c.yaml: not a directory"):
        CliRunner().invoke(app, [str(file), "-o", str(file / "c.yaml")], catch_exceptions=False)


def test_any_engine_argument_may_be_given_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    found = with_arguments(EngineArgs(max_num_seqs=7), ["kv-cache-dtype=fp8", "--enable_expert_parallel=true"])
    assert (found.max_num_seqs, found.kv_cache_dtype, found.enable_expert_parallel) == (7, "fp8", True)
    with pytest.raises(SimulatorError, match="--arg max_seqs"):
        with_arguments(EngineArgs(), ["max_seqs=3"])
    with pytest.raises(SimulatorError, match="write NAME=VALUE"):
        with_arguments(EngineArgs(), ["max_num_seqs"])


@pytest.mark.parametrize("value", ["[", "{a: [", "*x", "!!python/object:os.system x", "\t", "{[1]: 2}"])
def test_a_value_that_is_no_yaml_is_one_line(value: str) -> None:
    with pytest.raises(SimulatorError, match="--arg ") as problem:
        with_arguments(EngineArgs(), [f"kv_cache_dtype={value}"])
    assert "\n" not in str(problem.value)


def test_a_point_that_would_take_too_much_is_left_out_before_it_is_simulated(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(rows((16, 100.0, 9.5), (900_000, 100.0, 9.5)))
    shown = " ".join(run(tmp_path, str(file)).split())
    assert "skipped runs.csv row 2: about 9,000,000 requests would take 9.9 GB of this computer's memory" in shown
    with pytest.raises(MeasurementError, match="about 160 requests; at most 100 are simulated unless --max-requests is higher"):
        run(tmp_path, str(file), "--max-requests", "100")
