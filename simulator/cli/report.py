"""`sim report`: a finished run drawn again, in another format or by a newer version."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from simulator.text import visible


class ExportFormat(StrEnum):
    """What a run can be written as."""

    HTML = "html"
    MARKDOWN = "md"
    PDF = "pdf"
    PNG = "png"


_OWN = {
    ExportFormat.HTML: "index.html",
    ExportFormat.MARKDOWN: "summary.md",
    ExportFormat.PDF: "report.pdf",
    ExportFormat.PNG: "charts",
}


def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, as `sim run` writes it.", show_default=False)],
    format_: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="png: an image a chart; pdf needs Chromium.")
    ] = ExportFormat.HTML,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; for png a folder. In RUN when not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out.")] = False,
) -> None:
    """Draw a finished run again from its folder, without simulating."""
    from simulator.report.export import export
    from simulator.results.files import read_run

    found = read_run(run)
    for path in export(found, format_.value, out or run / _OWN[format_], force=force or out is None):
        typer.echo(visible(str(path)))
