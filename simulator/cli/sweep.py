"""`sim sweep`: a scenario over a grid of settings, as a table and a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.machines import ClusterAddress, Workers, machine_of
from simulator.cli.options import (
    MAX_MEMORY_GB,
    MAX_REQUESTS,
    Json,
    MaxMemory,
    MaxRequests,
    Out,
    Quiet,
    Seed,
    Settings,
    budget_of,
    check_page,
    parsed_settings,
    save_file,
)
from simulator.cli.progress import counted
from simulator.text import number, plural, visible

if TYPE_CHECKING:
    import polars as pl

_SHOWN = {
    "deployment": "deployment",
    "verdict": "verdict",
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "out tok/s",
    "ttft_p99_s": "p99 TTFT s",
    "tpot_p99_s": "p99 TPOT s",
    "goodput_share": "good",
    "unanswered_share": "unanswered",
    "kv_use_peak": "KV peak",
    "queueing_point_per_s": "queues at /s",
    "recovers_below_per_s": "recovers below /s",
    "slo_capacity_per_s": "SLO to /s",
    "usd_per_million_output_tokens": "$/M out",
}


File = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file.", show_default=False)]
Over = Annotated[
    list[str],
    typer.Option(
        "--over", metavar="PATH=VALUES", help="What to go over: PATH=a,b,c, =1:10:1, =1:64:x2, or deployments. Repeatable."
    ),
]
Limits = Annotated[bool, typer.Option("--limits", help="Also search queueing point and SLO capacity of every row.")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the sweep's page to this file.")]


def sweep_command(
    file: File,
    over: Over,
    settings: Settings = [],  # noqa: B006
    seed: Seed = None,
    limits: Limits = False,
    out: Out = Path("reports"),
    report: Report = None,
    workers: Workers = None,
    cluster: ClusterAddress = None,
    as_json: Json = False,
    quiet: Quiet = False,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Run a scenario over every combination of values. Interrupted, the same command goes on where
    it stopped."""
    import sys

    from simulator.planning.axes import axis
    from simulator.planning.sweep import PARQUET
    from simulator.planning.sweep import sweep as compute

    check_page(report)
    axes = [axis(text) for text in over]
    paths = [a.path for a in axes if a.path != "deployments"]
    folder = out / f"{file.stem}-sweep"
    with counted(f"sweeping {file.stem}", quiet=quiet) as progress:
        try:
            frame = compute(
                file,
                axes,
                settings=parsed_settings(settings),
                seed=seed,
                limits=limits,
                folder=folder,
                machine=machine_of(workers, cluster),
                progress=progress,
                budget=budget_of(max_requests, max_memory),
            )
        except KeyboardInterrupt:
            kept = visible(str(folder))
            print(f"finished points are kept in {kept}; the same command goes on from there", file=sys.stderr)
            raise
    if report is not None:
        from simulator.report.pages.sweep import sweep_page

        save_file(report, sweep_page(file.stem, frame, paths), "--report")
    if as_json:
        print(frame.write_json())
    elif not quiet:
        _print(frame, paths, folder / PARQUET)


def _print(frame: pl.DataFrame, paths: list[str], parquet: Path) -> None:
    from rich.table import Table

    from simulator.cli.console import WIDE, console

    shown = {name: title for name, title in _SHOWN.items() if name in frame.columns and frame[name].null_count() < frame.height}
    table = Table(header_style="bold")
    for title in [*(path.rsplit(".", 1)[-1] for path in paths), *shown.values()]:
        table.add_column(title, overflow="fold")
    done = frame.filter(frame["status"] == "done")
    for row in done.iter_rows(named=True):
        table.add_row(*(_cell(row[name]) for name in [*paths, *shown]))
    out = console(WIDE)
    out.print(table)
    for row in frame.filter(frame["status"] == "failed").iter_rows(named=True):
        point = ", ".join(f"{path}={_cell(row[path])}" for path in paths)
        failed = f"failed: {point} ({row['deployment']}): {row['reason']}"
        out.print(failed, soft_wrap=True)
    out.print(f"{plural(frame.height, 'row')} in {parquet}", soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return number(value, 4) if isinstance(value, float) else str(value)
