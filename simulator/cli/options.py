"""Command-line options that several commands share, and how errors leave the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.budget import Budget

Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Set a value of the scenario by its path: slo.ttft_s=0.5. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; the scenario's own when not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that run folders are written into.")]


MaxRequests = Annotated[
    int, typer.Option("--max-requests", min=1, metavar="N", help="Requests that may be simulated, of up to 10,000 tokens each.")
]
MaxMemory = Annotated[float, typer.Option("--max-memory", min=0.1, metavar="GB", help="Memory that one simulation may take.")]
MAX_REQUESTS, MAX_MEMORY_GB = 20_000_000, 6.0


def budget_of(max_requests: int, max_memory_gb: float) -> Budget:
    """What a simulation may cost, as the options say it."""
    from simulator.budget import Budget
    from simulator.units import GB

    return Budget(max_requests, max_memory_gb * GB)


def parsed_settings(settings: list[str]) -> list[tuple[str, str]]:
    """`a.b=c` as (path, text) pairs. Raises ScenarioError for one without a path."""
    from simulator.errors import ScenarioError

    pairs = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not (path and equals):
            raise ScenarioError(f"--set {setting}: expected PATH=VALUE, e.g. --set workload.arrivals.rate=6/s")
        pairs.append((path.strip(), text))
    return pairs


def save_file(path: Path, text: str, option: str) -> None:
    """Write a file whole or not at all. Raises SimulatorError where that cannot be; `option` is what names the file."""
    from simulator.errors import SimulatorError
    from simulator.files import write_file

    try:
        write_file(path, text)
    except OSError as problem:
        raise SimulatorError(f"cannot write {path}: {problem.strerror or problem}; choose another with {option}") from None


def check_page(path: Path | None) -> None:
    """Raises SimulatorError for a page that cannot be written; better before the work than after."""
    from simulator.errors import SimulatorError
    from simulator.results.files import unwritable

    if path is None:
        return
    if why := "it is a folder" if path.is_dir() else unwritable(path.absolute().parent):
        raise SimulatorError(f"--report {path}: cannot be written, {why}; name a file in another place")
