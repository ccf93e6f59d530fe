"""`sim validate`: how far our predictions are from published measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.measured import (
    BatchSize,
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
from simulator.cli.options import MAX_MEMORY_GB, MAX_REQUESTS, Json, MaxMemory, MaxRequests, budget_of, save_file

if TYPE_CHECKING:
    from rich.table import Table

    from simulator.validation.measurements import Findings, Skipped


def validate_command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A CSV file of measurements, a folder of them, a benchmark tool's result, or a start-up log."
        ),
    ],
    worst: Annotated[int, typer.Option("--worst", min=0, help="List this many of the largest errors.")] = 10,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="A file that `sim calibrate` wrote, to predict with.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page of predicted against measured to this file.")
    ] = None,
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
    batch_size: BatchSize = None,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
    as_json: Json = False,
) -> None:
    """Compare predictions with measured start-ups and runs: error by metric, how many values lie in
    the error bands that reports show, worst rows, and rows that were skipped.

    A row of a run names model, gpu, input_len, output_len, and concurrency or request_rate (inf: all at once), with any of
    output_tok_s, total_tok_s, req_s, itl_ms_mean and the mean, median, p90, p95 and p99 of TTFT, TPOT and E2E (ttft_ms_mean,
    e2e_ms_p99). It may state gemm_dtype, engine_version, num_prompts or duration_s, tensor_parallel_size, max_model_len,
    kv_cache_dtype and other arguments of the engine under vLLM's names, random_range_ratio as vLLM means it, link_gb_per_s, in
    place of lengths a dataset (sharegpt, ...), and how answers were sampled (temperature, top_k, top_p). Rows that cannot be are
    compared, listed with the reason, and not counted as fully stated.
    """
    from simulator.latency.calibration import load_calibration
    from simulator.validation.compare import report
    from simulator.validation.compare import validate as compare
    from simulator.validation.readers.bench_files import Unsaid
    from simulator.validation.readers.startup_log import LOG_KINDS

    unsaid = Unsaid(prompt_tokens, output_tokens, batch_size)
    stated = _stated(
        gpu=gpu,
        model=model,
        quantization=quantization,
        engine_version=None if engine == "vllm" else engine.removeprefix("vllm-"),
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        tensor_parallel_size=tensor_parallel_size if tensor_parallel_size > 1 else None,
    )
    server = None if path.suffix.lower() in LOG_KINDS else measured_server(
        [path], gpu, model, quantization, engine, tensor_parallel_size, max_num_seqs, max_num_batched_tokens,
        max_model_len, unsaid,
    )  # fmt: skip
    fitted = None if calibration is None else load_calibration(calibration)
    findings = compare(path, fitted, server, unsaid, stated, budget_of(max_requests, max_memory))
    if page is not None:
        from simulator.report.pages.accuracy import accuracy_page

        save_file(page, accuracy_page(findings, path.name, _lines("skipped", findings.skipped), _doubts(findings)), "--report")
    if as_json:
        import json

        print(json.dumps(report(findings), indent=2))
    else:
        _print(findings, report(findings), worst)


def _stated(**options: object) -> dict[str, str]:
    """What options say of a start-up log, by the columns of start-up tables."""
    return {name: str(value) for name, value in options.items() if value is not None}


def _print(findings: Findings, told: dict[str, Any], worst: int) -> None:
    from simulator.cli.console import WIDE, console

    out = console(WIDE)
    out.print(_groups(told["groups"]))
    if told["coverage"]:
        out.print(_coverage(told["coverage"]))
    if worst:
        out.print(_worst(findings, worst))
    for line in (*_lines("skipped", findings.skipped), *_doubts(findings), *findings.notes):
        out.print(line)


def _doubts(findings: Findings) -> list[str]:
    return _lines("suspect (compared, not counted as fully stated)", findings.suspect)


def _lines(what: str, rows_and_reasons: list[Skipped]) -> list[str]:
    """What was skipped or is suspect and why, rows of one file with the same reason in one line."""
    rows: dict[tuple[str, str], list[str]] = {}
    for skip in rows_and_reasons:
        rows.setdefault((skip.source, skip.reason), []).extend([str(skip.row)] if skip.row else [])
    lines = []
    for (source, reason), numbers in rows.items():
        which = f" row {numbers[0]}" if len(numbers) == 1 else f" {len(numbers)} rows from {numbers[0]} on" if numbers else ""
        lines.append(f"{what} {source}{which}: {reason}")
    return lines


def _groups(groups: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="Absolute error of the predictions, percent", title_justify="left", header_style="bold")
    for name in ("rows", "metric", "n", "median", "mean", "p90", "bias", "right"):
        table.add_column(name, justify="left" if name in ("rows", "metric") else "right")
    for group in groups:
        keys = ("median_percent", "mean_percent", "p90_percent", "bias_percent")
        figures = (f"{group[key]:.2f}" if key in group else "" for key in keys)
        right = f"{group['right_percent']:.1f} %" if "right_percent" in group else ""
        table.add_row(group["group"], group["metric"], str(group["n"]), *figures, right)
    return table


def _coverage(classes: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="Bands that are to hold 80 % of the measured values", title_justify="left", header_style="bold")
    for name in ("class", "band", "n", "inside", "below", "above", ""):
        table.add_column(name, justify="left" if name in ("class", "") else "right")
    for one in classes:
        ends = f"{one['low']:.2f} to {one['high']:.2f}" if "low" in one else ""
        figures = (str(one[key]) for key in ("below", "above"))
        inside = f"{one['inside_percent']:.0f} %"
        table.add_row(one["class"], ends, str(one["n"]), inside, *figures, "" if one["holds"] else "not 75 to 88 %")
    return table


def _worst(findings: Findings, most: int) -> Table:
    from rich.table import Table

    table = Table(title="Largest errors", title_justify="left", header_style="bold")
    for name in ("file", "row", "metric", "measured", "predicted", "error %"):
        table.add_column(name, justify="left" if name in ("file", "metric") else "right")
    ranked = sorted(findings.comparisons, key=lambda c: -abs(c.error_percent))
    for c in ranked[:most]:
        if c.error_percent:
            table.add_row(c.source, str(c.row), c.metric, _value(c.measured), _value(c.predicted), f"{c.error_percent:+.1f}")
    return table


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.2f}"
