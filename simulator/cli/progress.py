"""Progress on stderr, so that stdout holds results only: a bar on a terminal, else a line now and
then; and the first verdicts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from simulator.text import visible

if TYPE_CHECKING:
    from simulator.results.model import DeploymentResult

EVERY_S = 10.0
"""Seconds between two lines where stderr is no terminal."""


class Listeners(NamedTuple):
    """Who is told of what is done; None where nobody is: the name of a deployment that is answered,
    and before that its result without limits."""

    done: Callable[[str], None] | None
    verdict: Callable[[DeploymentResult], None] | None


@contextmanager
def verdicts_first(title: str, total: int, *, first: bool, quiet: bool) -> Iterator[Listeners]:
    """Progress that advances with each deployment that is done; with `first` it says what is known
    of each before its limits are searched."""
    with _shown(title, total, quiet=quiet) as shown:
        if shown is None:
            yield Listeners(None, None)
            return
        update, say = shown

        def done(name: str) -> None:
            update(advance=1, description=visible(f"{title}: {name}"))

        yield Listeners(done, _sayer(say) if first else None)


def _sayer(say: Callable[[str], None]) -> Callable[[DeploymentResult], None]:
    """What says the verdicts from the first on that has limits to wait for."""
    held: list[str] = []
    begun = False

    def verdict(d: DeploymentResult) -> None:
        nonlocal begun
        held.append(_first_verdict(d))
        begun = begun or bool(d.metrics and d.metrics["finished"])
        while begun and held:
            say(held.pop(0))

    return verdict


def _first_verdict(d: DeploymentResult) -> str:
    """What is known of a deployment before its limits: `L40S, FP8: stable, SLO met; ...`."""
    from simulator.report.words import judged_line, slo_phrase

    memory = f"{d.memory.kv_tokens:,} KV tokens" if d.runs and d.memory else ""
    said = [f"{d.verdict}{slo_phrase(d)}", d.reason if not d.runs else "", judged_line(d), memory]
    return visible(f"{d.name}: {'; '.join(filter(None, said))}")


@contextmanager
def counted(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Progress that is told how many are done, of how many."""
    with _shown(title, None, quiet=quiet) as shown:
        yield shown and (lambda done, total: shown[0](completed=done, total=total))


_Shown = tuple[Callable[..., None], Callable[[str], None]]


@contextmanager
def _shown(title: str, total: int | None, *, quiet: bool) -> Iterator[_Shown | None]:
    """A function that moves the progress, and one that says a line; None when quiet."""
    from simulator.cli.console import error_console, progress_columns

    if quiet:
        yield None
        return
    console = error_console()
    if not console.is_terminal:
        with _lines(title, total) as update:
            yield update, partial(print, file=sys.stderr, flush=True)
        return
    from rich.progress import Progress

    with Progress(*progress_columns(), console=console, transient=True) as bar:
        update = partial(bar.update, bar.add_task(visible(title), total=total))
        yield update, partial(bar.console.print, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _lines(title: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A line every EVERY_S seconds: how many are done, of how many, and since when."""
    begun, state, over = time.monotonic(), {"done": 0, "total": total}, threading.Event()

    def update(
        *,
        advance: int = 0,
        completed: int | None = None,
        total: int | None = None,
        description: str = "",
    ) -> None:
        state["done"] = (state["done"] or 0) + advance if completed is None else completed
        state["total"] = state["total"] if total is None else total

    def tell() -> None:
        while not over.wait(EVERY_S):
            share = f"{state['done']} of {state['total']} done, " if state["total"] else ""
            seconds = time.monotonic() - begun
            print(visible(f"{title}: {share}{seconds:.0f} s"), file=sys.stderr, flush=True)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield update
    finally:
        over.set()
