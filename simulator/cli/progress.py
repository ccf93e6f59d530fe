"""Progress on stderr, so that stdout holds results only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """A bar that advances with each name it is told; None, and no bar, when quiet or when stderr is not a terminal."""
    from rich.console import Console

    if quiet or not (console := Console(stderr=True)).is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)

        def done(name: str) -> None:
            bar.update(task, advance=1, description=f"{title}: {name}")

        yield done
