"""Command-line options that several commands share, and how errors leave the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Set a value of the scenario by its path: slo.ttft_s=0.5. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; the scenario's own when not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that run folders are written into.")]


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
