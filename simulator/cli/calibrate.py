"""`sim calibrate`: factors on step times from measured runs, for scenarios to use."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.measured import (
    EngineName,
    GpuName,
    MaxModelLen,
    MaxNumBatchedTokens,
    MaxNumSeqs,
    ModelName,
    OutputTokens,
    PromptTokens,
    QuantizationName,
    TensorParallel,
    measured_server,
)
from simulator.cli.options import MAX_MEMORY_GB, MAX_REQUESTS, MaxMemory, MaxRequests, budget_of

if TYPE_CHECKING:
    from rich.table import Table

    from simulator.catalog.engines import EngineArgs
    from simulator.validation.calibrate import Report


Measurements = Annotated[
    list[Path],
    typer.Argument(metavar="MEASUREMENTS", help="CSV files as `sim validate` reads them, or a benchmark tool's results."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The calibration file to write.")]
Arg = Annotated[
    list[str] | None,
    typer.Option("--arg", help="Any other engine argument of benchmark results, as in a scenario: kv_cache_dtype=fp8."),
]


def calibrate_command(
    measurements: Measurements,
    out: Out = Path("calibration.yaml"),
    gpu: GpuName = None,
    model: ModelName = None,
    quantization: QuantizationName = None,
    engine: EngineName = "vllm",
    tensor_parallel_size: TensorParallel = 1,
    max_num_seqs: MaxNumSeqs = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    max_model_len: MaxModelLen = None,
    prompt_tokens: PromptTokens = None,
    output_tokens: OutputTokens = None,
    arg: Arg = None,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Fit factors to your own runs, best two a configuration at low and high concurrency; use the
    file as `calibration:`.

    Results of vllm bench serve, SGLang, guidellm, aiperf, inference-perf, llm-d and trtllm-bench
    are read as they are.
    """
    from simulator.cli.console import console
    from simulator.cli.options import save_file
    from simulator.latency.calibration import dump_calibration
    from simulator.validation.calibrate import calibrate as fit
    from simulator.validation.readers.bench_files import Unsaid
    from simulator.validation.readers.calibration_points import read_points

    unsaid = Unsaid(prompt_tokens, output_tokens)
    server = measured_server(
        measurements, gpu, model, quantization, engine, tensor_parallel_size, max_num_seqs, max_num_batched_tokens,
        max_model_len, unsaid,
    )  # fmt: skip
    if server is not None and arg:
        server = replace(server, args=with_arguments(server.args, arg))
    report = fit(*read_points(measurements, server, unsaid, budget_of(max_requests, max_memory)))
    save_file(out, dump_calibration(report.calibration), "--out")
    printer = console()
    printer.print(_table(report))
    for line in (*report.refused, *(f"skipped {s.source} row {s.row}: {s.reason}" for s in report.skipped)):
        printer.print(line)
    printer.print(f"wrote {out}")


def with_arguments(args: EngineArgs, written: list[str]) -> EngineArgs:
    """The arguments with NAME=VALUE each. Raises SimulatorError for one that is unknown or cannot
    have its value."""
    from pydantic import TypeAdapter, ValidationError

    from simulator.catalog.engines import EngineArgs
    from simulator.document import Document, parse_yaml
    from simulator.errors import SimulatorError, did_you_mean, nearest_names
    from simulator.spec import first_mistake

    known = [field.name for field in fields(EngineArgs)]
    named = {name: getattr(args, name) for name in known}
    for each in written:
        name, equals, value = each.partition("=")
        if not equals:
            raise SimulatorError(f"--arg {each}: write NAME=VALUE, such as kv_cache_dtype=fp8")
        if (field := name.strip().removeprefix("--").replace("-", "_")) not in known:
            raise SimulatorError(f"--arg {each}: unknown argument{did_you_mean(nearest_names(field, known))}")
        named[field] = Document(Path("--arg"), {field: parse_yaml(value, Path(f"--arg {name}"))}).plain()[field]
    try:
        return TypeAdapter(EngineArgs).validate_python(named)
    except ValidationError as problem:
        mistake = first_mistake(problem)
        raise SimulatorError(f"--arg {mistake.place}: {mistake.said}") from None


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
