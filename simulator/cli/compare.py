"""`sim compare`: runs side by side, and which differences are more than noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.options import Json, Seed
from simulator.text import number

if TYPE_CHECKING:
    from simulator.planning.compare import Compared, Difference
    from simulator.results.model import RunResult


def compare_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...", help="Run folders, scenario files, or results of benchmark tools.", show_default=False
        ),
    ],
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs, scenarios, or what a benchmark tool measured (JSON of vllm bench, guidellm, aiperf, SGLang, ...),
    with the first of them."""
    from simulator.planning.compare import compare as find

    columns = _columns(runs, seed)
    differences = find([column for _, column in columns])
    names = [name for name, _ in columns]
    if as_json:
        import json

        print(json.dumps([_data(d, names) for d in differences], indent=1))
        return
    from simulator.cli.console import console

    out = console()
    for deployment in dict.fromkeys(d.deployment for d in differences):
        out.print(_table(deployment, [d for d in differences if d.deployment == deployment], names))


def _columns(paths: list[Path], seed: int | None) -> list[tuple[str, Compared]]:
    """What is compared, with its name: measured files have a column a run, beside every deployment of the others."""
    from simulator.errors import SimulatorError
    from simulator.planning.compare_measured import measured_beside
    from simulator.validation.readers.bench_files import read_bench_file

    simulated = {path: _read(path, seed) for path in paths if not _is_measured(path)}
    if not simulated:
        raise SimulatorError("comparing measurements takes a run folder or a scenario beside them")
    names = list(dict.fromkeys(d.name for run in simulated.values() for d in run.deployments))
    columns: list[tuple[str, Compared]] = []
    for path, name in zip(paths, _told_apart(paths), strict=True):
        if path in simulated:
            columns.append((name, simulated[path]))
            continue
        measured = read_bench_file(path)
        for i, run in enumerate(measured, start=1):
            columns.append((f"{name}, run {i}" if len(measured) > 1 else name, measured_beside(run, names)))
    return columns


def _is_measured(path: Path) -> bool:
    """Whether a path is a benchmark tool's file: JSON, which no scenario is."""
    return path.suffix.lower() in (".json", ".jsonl", ".ndjson") and not path.is_dir()


def _read(path: Path, seed: int | None) -> RunResult:
    """A finished run from its folder, or a scenario simulated now."""
    if path.is_dir():
        from simulator.results.files import read_run

        return read_run(path)
    from simulator.planning.run import review
    from simulator.scenario import load

    return review(load(path), seed=seed, curve=False)


def _told_apart(runs: list[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart; the whole of what is named twice."""
    plain = [path.parent / path.stem if path.is_file() else path for path in runs]
    most = max(len(path.parts) for path in plain)
    for depth in range(1, most + 1):
        names = ["/".join(path.parts[-depth:]) for path in plain]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in plain]


def _data(d: Difference, names: list[str]) -> dict[str, Any]:
    runs = [
        {
            "run": name,
            "value": d.values[i],
            "change": d.change(i),
            "noise": d.noise[i],
            "larger_than_noise": d.larger_than_noise(i),
        }
        for i, name in enumerate(names)
    ]
    return {"deployment": d.deployment, "metric": d.metric, "unit": d.unit, "runs": runs}


def _table(deployment: str, differences: list[Difference], names: list[str]) -> Any:
    from rich.table import Table

    table = Table(title=f"{deployment}: against {names[0]}", title_justify="left", header_style="bold")
    for title in ("metric", "unit", *names):
        table.add_column(title, justify="left" if title in ("metric", "unit") else "right")
    for d in differences:
        table.add_row(d.metric, d.unit, *(_cell(d, i) for i in range(len(names))))
    return table


def _cell(d: Difference, run: int) -> str:
    value, change, first = d.values[run], d.change(run), d.values[0]
    if value is None:
        return "-"
    if run == 0 or change is None or not first:
        return number(value, 4)
    verdict = {True: "", False: " (noise)", None: " (noise unknown)"}[d.larger_than_noise(run)]
    return f"{number(value, 4)} {change / first:+.1%}{verdict}" if change else f"{number(value, 4)} same"
