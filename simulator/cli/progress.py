"""Progress on stderr, so that stdout holds results only: a bar with names, or with a count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from simulator.text import visible


@contextmanager
def progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """A bar that advances with each name it is told; None, and no bar, when quiet or when stderr is not a terminal."""
    with _bar(title, total, quiet=quiet) as update:
        yield update and (lambda name: update(advance=1, description=visible(f"{title}: {name}")))


@contextmanager
def counted(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """The same bar, told how many are done, of how many."""
    with _bar(title, None, quiet=quiet) as update:
        yield update and (lambda done, total: update(completed=done, total=total))


@contextmanager
def _bar(title: str, total: int | None, *, quiet: bool) -> Iterator[Callable[..., None] | None]:
    """The function that moves the bar; None where there is none."""
    from simulator.cli.console import error_console, progress_columns

    if quiet or not (console := error_console()).is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(*progress_columns(), console=console, transient=True) as bar:
        yield partial(bar.update, bar.add_task(visible(title), total=total))
