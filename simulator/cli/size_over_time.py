"""`sim size` of fleets over time: what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.planning.changing.size import SizingOverTime


def print_over_time(sizing: SizingOverTime) -> None:
    """Print the tables and the answer."""
    from rich.table import Table

    from simulator.cli.console import console
    from simulator.report import sizing_over_time as said

    out = console()
    title = f"{sizing.scenario.name}: what keeps {said.asked_words(sizing)}"
    header, rows = said.table_rows(sizing)
    tables = [(title, header, rows)] if rows else []
    for fleet in sizing.fleets:
        if fleet.spares and fleet.spares.rows:
            cells = [said.spare_cells(row) for row in fleet.spares.rows]
            tables.append((f"{fleet.deployment.name}: spares", said.SPARE_COLUMNS, cells))
    for name, columns, cells in tables:
        table = Table(title=name, title_justify="left", header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*row)
        out.print(table)
    for line in said.sentences_over_time(sizing):
        out.print(line, soft_wrap=True)
