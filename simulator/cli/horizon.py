"""`sim horizon`: days and weeks of traffic, from the hours that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.machines import ClusterAddress, Workers, machine_of
from simulator.cli.options import (
    MAX_MEMORY_GB,
    MAX_REQUESTS,
    Json,
    MaxMemory,
    MaxRequests,
    Quiet,
    Seed,
    Settings,
    budget_of,
    check_page,
    parsed_settings,
    save_file,
)
from simulator.cli.progress import counted

File = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file.", show_default=False)]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the page to this file.")]


def horizon_command(
    file: File,
    settings: Settings = [],  # noqa: B006
    seed: Seed = None,
    report: Report = None,
    workers: Workers = None,
    cluster: ClusterAddress = None,
    as_json: Json = False,
    quiet: Quiet = False,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Days and weeks of traffic: SLO, replica-hours, cost, energy by phase and unused capacity, from
    the hours that differ: the quietest and the busiest of each kind are simulated."""
    from simulator.planning.horizon.run import horizon
    from simulator.scenario import load

    check_page(report)
    scenario = load(file, parsed_settings(settings), budget_of(max_requests, max_memory))
    with counted(f"hours of {scenario.name}", quiet=quiet):
        found = horizon(scenario, seed=seed, machine=machine_of(workers, cluster))
    if as_json:
        import json

        from simulator.report.horizon import data_of

        print(json.dumps({"scenario": scenario.name, "deployments": data_of(found)}, indent=1))
    elif not quiet:
        from rich.table import Table

        from simulator.cli.console import console
        from simulator.report.horizon import lines_of, rows_of

        out, (header, rows) = console(), rows_of(found)
        table = Table(title=f"{scenario.name}: {found[0].hours} hours", title_justify="left", header_style="bold")
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        out.print(table)
        for line in (line for each in found for line in lines_of(each)):
            out.print(line, soft_wrap=True)
    if report is not None:
        from simulator.report.pages.horizon import horizon_page

        save_file(report, horizon_page(scenario, found), "--report")
