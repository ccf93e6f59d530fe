"""`sim export`: a finished run for other tools: benchmark results, metrics, tables, manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.text import visible


def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, as `sim run` writes it.", show_default=False)],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            help="vllm-bench, llm-d, openmetrics, mooncake, csv, parquet, kubernetes, production-stack, kserve, leaderworkerset, "
            "llm-d-modelservice.",
        ),
    ],
    deployment: Annotated[list[str], typer.Option("--deployment", "-d", help="Only this one. Repeatable.")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write into; RUN when not given.")] = None,
) -> None:
    """Write a finished run in the format of another tool, a file a deployment."""
    from simulator.planning.export import write_export
    from simulator.results.files import read_run

    for path in write_export(read_run(run), form, out or run, deployment):
        typer.echo(visible(str(path)))
