"""`sim trace`: what is in a trace, and a workload that stands for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.options import Json, save_file

if TYPE_CHECKING:
    from simulator.workload.traces.trace_file import TraceFile


def trace_command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="CSV (.gz too), JSON lines, JSON, Parquet, a ServeGen folder, or inference-perf's .yaml."
        ),
    ] = None,
    command: Annotated[str | None, typer.Option(metavar="TEXT", help="Instead of a file: 'vllm bench serve ...'.")] = None,
    column: Annotated[
        list[str],
        typer.Option(
            "--column", metavar="ROLE=NAME", help="Where a column is: arrival, prompt, output, hashes or label. Repeatable."
        ),
    ] = [],  # noqa: B006
    time_unit: Annotated[str | None, typer.Option(help="Unit of the file's times: s, ms, us or ns.")] = None,
    block_size: Annotated[int | None, typer.Option(min=1, help="Tokens that one hash id stands for.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out broken lines however many there are.")] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The model's tokenizer.json, where a file has text (ShareGPT). Extra [tokenizer].")
    ] = None,
    page: Annotated[Path | None, typer.Option("--report", metavar="PAGE", help="Draw it as a page in this file.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what is in a trace (rates, bursts, lengths, prefix reuse), with a workload that stands for it to paste into a
    scenario."""
    from simulator.errors import MeasurementError

    if (file is None) == (command is None):
        raise MeasurementError("name a trace FILE, or give a benchmark's --command; one of the two")
    if command is not None or (file is not None and file.suffix in (".yaml", ".yml")):
        _print_benchmark(file, command, as_json=as_json)
    elif file is not None:
        _print_trace(file, _trace_file(file, column, time_unit, block_size, skip_bad, tokenizer), page, as_json=as_json)


def _print_trace(file: Path, spec: TraceFile, page: Path | None, *, as_json: bool) -> None:
    import json

    from simulator.cli.trace_output import print_portrait, trace_data
    from simulator.errors import MeasurementError
    from simulator.workload.fit.statistics import portrait
    from simulator.workload.fit.workload import Fit, fit
    from simulator.workload.streams import Streams
    from simulator.workload.traces.replay import recording

    seen = recording(spec, Streams(0))
    figures = portrait(seen)
    fitted: Fit | str
    try:
        fitted = fit(seen)
    except MeasurementError as problem:
        fitted = str(problem)
    if page is not None:
        from simulator.report.pages.trace import trace_page

        save_file(page, trace_page(file.name, figures, fitted), "--report")
    if as_json:
        print(json.dumps(trace_data(file, figures, fitted), indent=2))
    else:
        print_portrait(file, figures, fitted)


def _print_benchmark(file: Path | None, command: str | None, *, as_json: bool) -> None:
    """The block of a benchmark's workload."""
    import json

    from simulator.document import read_document
    from simulator.workload.benchmarks import workload_of_command, workload_of_inference_perf
    from simulator.workload.fit.yaml import workload_yaml

    if command is not None:
        block = workload_yaml(workload_of_command(command))
    else:
        assert file is not None
        block = workload_yaml(workload_of_inference_perf(read_document(file).plain()))
    print(json.dumps({"yaml": block}) if as_json else block)


def _trace_file(
    file: Path, columns: list[str], time_unit: str | None, block_size: int | None, skip_bad: bool, tokenizer: Path | None
) -> TraceFile:
    """The options as a TraceFile. Raises MeasurementError that tells which is wrong."""
    from pydantic import TypeAdapter, ValidationError

    from simulator.errors import MeasurementError
    from simulator.spec import first_mistake
    from simulator.workload.traces.trace_file import TraceFile

    roles = {}
    for pair in columns:
        role, equals, name = pair.partition("=")
        if not equals:
            raise MeasurementError(f"--column {pair}: expected ROLE=NAME, such as --column prompt=tokens_in")
        roles[role.strip()] = name.strip()
    given = {"time_unit": time_unit, "block_size": block_size, "columns": roles or None}
    given |= {"tokenizer": str(tokenizer) if tokenizer else None}
    try:
        return TypeAdapter(TraceFile).validate_python({"path": str(file), "skip_bad": skip_bad, **given})
    except ValidationError as problem:
        raise MeasurementError(str(first_mistake(problem))) from None
