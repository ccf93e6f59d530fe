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
) -> None:
    """Fit factors to your own runs, best two a configuration at low and high concurrency; use the file as `calibration:`."""
    from simulator.catalog.engines import EngineArgs
    from simulator.cli.console import console
    from simulator.cli.options import save_file
    from simulator.latency.calibration import dump_calibration
    from simulator.validation.calibrate import calibrate as fit
    from simulator.validation.readers.calibration_points import read_points

    args = EngineArgs(
        tensor_parallel_size=tensor_parallel_size, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens
    )
    server = _server(gpu, model or _model_in(measurements), quantization, engine, args) if gpu else None
    report = fit(*read_points(measurements, server))
    save_file(out, dump_calibration(report.calibration), "--out")
    printer = console()
    printer.print(_table(report))
    for line in (*report.refused, *(f"skipped {s.source} row {s.row}: {s.reason}" for s in report.skipped)):
        printer.print(line)
    printer.print(f"wrote {out}")


def _server(gpu: str, model: str, quantization: str | None, engine: str, args: EngineArgs) -> MeasuredServer:
    from simulator import catalog
    from simulator.validation.protocols import MeasuredServer

    base = catalog.model(model)
    form = catalog.quantization(quantization) if quantization else base.quantization
    return MeasuredServer(base, form, catalog.gpu(gpu), catalog.engine(engine), args)


def _model_in(measurements: list[Path]) -> str:
    """The model that the first JSON file names."""
    from simulator.errors import MeasurementError
    from simulator.files import DATA_BYTES, read_json

    for path in measurements:
        if path.suffix.lower() == ".json" and path.is_file():
            told = read_json(path, most=DATA_BYTES)
            if isinstance(told, dict) and isinstance(named := told.get("model_id"), str):
                return named
    raise MeasurementError("no JSON file names its model in model_id: give --model")


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table(title="Factors on predicted step times", title_justify="left", header_style="bold")
    for name in ("model", "dtype", "GPU", "tp", "rows", "decode", "prefill", "TPOT error before", "after", "left out"):
        table.add_column(name, justify="left" if name in ("model", "dtype", "GPU", "decode", "prefill") else "right")
    for f in report.calibration.factors:
        key = f.model, f.gpu, f.quantization, f.tensor_parallel_size
        decode = ", ".join(f"{p.factor:.3f} ± {p.percent:.0f} % at {p.sequences}" for p in f.decode)
        prefill = "as predicted" if f.prefill is None else f"{f.prefill:.3f} ± {f.prefill_percent:.0f} %"
        errors = [f"{values[key]:.1f} %" if key in values else "" for values in (report.before, report.after, report.left_out)]
        table.add_row(f.model, f.quantization, f.gpu, str(f.tensor_parallel_size), str(f.rows), decode, prefill, *errors)
    return table
