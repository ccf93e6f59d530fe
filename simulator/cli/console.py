"""The console of stdout: as wide as the terminal, and wide enough for whole lines where it is piped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

_PIPED_WIDTH = 200
_LEAST_WIDTH = 44


def console() -> Console:
    """Where results are printed. COLUMNS has the last word, if a figure has room in it."""
    from rich.console import Console

    made = Console()
    if made.is_terminal or "COLUMNS" in os.environ:
        made.width = max(made.width, _LEAST_WIDTH)
        return made
    return Console(width=_PIPED_WIDTH)


def widths(table: Table) -> Measurement:
    """Characters a table takes without cutting a word (`minimum`) and without breaking a line (`maximum`)."""
    from rich.console import Console

    return Console(width=10_000).measure(table)
