"""The console: as wide as the terminal, or wide enough for whole lines, and names as they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.progress import ProgressColumn
    from rich.table import Table

NARROW, WIDE = 80, 200
_LEAST_WIDTH = 44


def console(piped_width: int = NARROW) -> Console:
    """Where results are printed, `piped_width` wide where that is no terminal.

    COLUMNS has the last word, if a figure has room in it.
    """
    from simulator.cli.plain_console import PlainConsole

    made = PlainConsole(highlight=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        made.width = max(made.width, _LEAST_WIDTH)
    else:
        made.width = piped_width
    return made


def error_console() -> Console:
    """Where progress is shown."""
    from simulator.cli.plain_console import PlainConsole

    return PlainConsole(stderr=True)


def progress_columns() -> tuple[ProgressColumn, ...]:
    """What a bar of progress says: its name as it is, how much is done of how much, the time."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    name = TextColumn("{task.description}", markup=False)
    return name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()


def widths(table: Table) -> Measurement:
    """Characters a table takes without cutting a word (`minimum`) and without breaking a line (`maximum`)."""
    from simulator.cli.plain_console import PlainConsole

    return PlainConsole(width=10_000).measure(table)
