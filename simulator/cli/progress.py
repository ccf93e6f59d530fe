"""Progress on stderr, so that stdout holds results only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulator.text import visible


@contextmanager
def progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """A bar that advances with each name it is told; None, and no bar, when quiet or when stderr is not a terminal."""
    from simulator.cli.console import error_console, progress_columns

    if quiet or not (console := error_console()).is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(*progress_columns(), console=console, transient=True) as bar:
        task = bar.add_task(visible(title), total=total)

        def done(name: str) -> None:
            bar.update(task, advance=1, description=visible(f"{title}: {name}"))

        yield done
