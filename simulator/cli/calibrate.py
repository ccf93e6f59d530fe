"""`sim calibrate`: factors on step times from measured runs, for scenarios to use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from simulator.catalog.engines import EngineArgs
    from simulator.validation.calibrate import Report
    from simulator.validation.protocols import MeasuredServer


def calibrate_command(
    measurements: Annotated[
        list[Path],
        typer.Argument(metavar="MEASUREMENTS", help="CSV files as `sim validate` reads them, or JSON of `vllm bench serve`."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The calibration file to write.")] = Path("calibration.yaml"),
    gpu: Annotated[str | None, typer.Option("--gpu", help="The GPU that JSON files were measured on.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model served, when a JSON file's model_id is not its name.")
    ] = None,
    quantization: Annotated[str | None, typer.Option("--quantization", help="The quantization served.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Engine and version of JSON files.")] = "vllm",
    tensor_parallel_size: Annotated[int, typer.Option("--tensor-parallel-size", "--tp", min=1)] = 1,
    max_num_seqs: Annotated[int | None, typer.Option("--max-num-seqs", min=1)] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option("--max-num-batched-tokens", min=1)] = None,
    max_model_len: Annotated[int | None, typer.Option("--max-model-len", min=1)] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(
            "--arg", help="Any other engine argument, as in a scenario: kv_cache_dtype=fp8, enable_expert_parallel=true."
        ),
    ] = None,
) -> None:
    """Fit factors to your own runs, best two a configuration at low and high concurrency; use the file as `calibration:`."""
    from simulator.cli.console import console
    from simulator.errors import MeasurementError
    from simulator.latency.calibration import dump_calibration
    from simulator.validation.calibrate import calibrate as fit
    from simulator.validation.readers.calibration_points import read_points

    named = {
        "tensor_parallel_size": tensor_parallel_size,
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": max_num_batched_tokens,
        "max_model_len": max_model_len,
    }
    args = _engine_arguments({**named, **_pairs(arg or [])})
    server = _server(gpu, model or _model_in(measurements), quantization, engine, args) if gpu else None
    report = fit(*read_points(measurements, server))
    try:
        out.write_text(dump_calibration(report.calibration), "utf-8")
    except OSError as problem:
        raise MeasurementError(f"{out}: cannot be written: {problem.strerror}") from None
    printer = console()
    printer.print(_table(report))
    for line in (*report.refused, *(f"skipped {s.source} row {s.row}: {s.reason}" for s in report.skipped)):
        printer.print(line)
    printer.print(f"wrote {out}")


def _pairs(written: list[str]) -> dict[str, object]:
    from ruamel.yaml import YAML

    from simulator.errors import SimulatorError

    found: dict[str, object] = {}
    for each in written:
        name, equals, value = each.partition("=")
        if not equals:
            raise SimulatorError(f"--arg {each}: write NAME=VALUE, such as kv_cache_dtype=fp8")
        found[name.strip().removeprefix("--").replace("-", "_")] = YAML(typ="safe", pure=True).load(value)
    return found


def _engine_arguments(named: dict[str, object]) -> EngineArgs:
    """The engine arguments by name. Raises SimulatorError for one that is unknown or cannot have its value."""
    from pydantic import TypeAdapter, ValidationError

    from simulator.catalog.engines import EngineArgs
    from simulator.errors import SimulatorError
    from simulator.spec import first_mistake

    try:
        return TypeAdapter(EngineArgs).validate_python(named)
    except ValidationError as problem:
        mistake = first_mistake(problem)
        raise SimulatorError(f"--arg {mistake.place}: {mistake.said}") from None


def _server(gpu: str, model: str, quantization: str | None, engine: str, args: EngineArgs) -> MeasuredServer:
    from simulator import catalog
    from simulator.validation.protocols import MeasuredServer

    base = catalog.model(model)
    form = catalog.quantization(quantization) if quantization else base.quantization
    return MeasuredServer(base, form, catalog.gpu(gpu), catalog.engine(engine), args)


def _model_in(measurements: list[Path]) -> str:
    """The model that the first JSON file names."""
    import json

    from simulator.errors import MeasurementError

    for path in measurements:
        if path.suffix.lower() == ".json" and path.is_file():
            try:
                return str(json.loads(path.read_text("utf-8"))["model_id"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
    raise MeasurementError("no JSON file names its model in model_id: give --model")


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table(title="Factors on predicted step times", title_justify="left", header_style="bold")
    for name in ("model", "dtype", "GPU", "engine", "tp", "rows", "decode", "prefill", "TPOT error before", "after", "left out"):
        table.add_column(name, justify="left" if name in ("model", "dtype", "GPU", "engine", "decode", "prefill") else "right")
    for f in report.calibration.factors:
        key, split = f.key, f"{f.tensor_parallel_size}{' ep' if f.enable_expert_parallel else ''}"
        decode = ", ".join(f"{p.factor:.3f} ± {p.percent:.0f} % at {p.sequences}" for p in f.decode)
        prefill = "as predicted" if f.prefill is None else f"{f.prefill:.3f} ± {f.prefill_percent:.0f} %"
        errors = [f"{values[key]:.1f} %" if key in values else "" for values in (report.before, report.after, report.left_out)]
        table.add_row(f.model, f.quantization, f.gpu, f.engine, split, str(f.rows), decode, prefill, *errors)
    return table
