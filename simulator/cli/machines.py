"""Options that say where many runs are computed, and the bar that shows how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.text import visible

if TYPE_CHECKING:
    from simulator.planning.machines.pool import Machine

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes to use; all cores when not given, 1 for none.")]
ClusterAddress = Annotated[
    str | None, typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler to use instead, such as tcp://host:8786.")
]


def machine_of(workers: int | None, cluster: str | None) -> Machine:
    """Where to compute: a cluster, this process, or processes of this machine."""
    from simulator.planning.machines.pool import Cluster, InProcess, Processes

    if cluster:
        return Cluster(cluster)
    return InProcess() if workers == 1 else Processes(workers)


@contextmanager
def counted(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr that is told how many are done, of how many; None when quiet or when stderr is not a terminal."""
    from simulator.cli.console import error_console, progress_columns

    if quiet or not (console := error_console()).is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(*progress_columns(), console=console, transient=True) as bar:
        task = bar.add_task(visible(title))
        yield lambda done, total: bar.update(task, completed=done, total=total)
