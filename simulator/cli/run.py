"""`sim run` and `sim check`: a scenario in, a report or a memory plan out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.options import Json, Out, Quiet, Seed, Settings, parsed_settings

if TYPE_CHECKING:
    from simulator.results.outcome import RunResult

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scenario files.", show_default=False)]


def run(
    files: Files,
    settings: Settings = [],  # noqa: B006
    seed: Seed = None,
    out: Out = Path("reports"),
    as_json: Json = False,
    quiet: Quiet = False,
    report: Annotated[bool, typer.Option(help="Write the run folder with its report.")] = True,
    fail_on_slo: Annotated[
        bool, typer.Option("--fail-on-slo", help="Exit with 1 when no deployment keeps the SLO.")
    ] = False,
) -> None:
    """Simulate every deployment of a scenario and write reports/NAME/index.html."""
    from simulator.cli.progress import progress
    from simulator.planning.review import review
    from simulator.results.files import check_writable
    from simulator.scenario import load

    scenarios = [load(file, parsed_settings(settings)) for file in files]
    if report:
        for scenario in scenarios:
            check_writable(out / scenario.name)
    kept = True
    for file, scenario in zip(files, scenarios, strict=True):
        with progress(scenario.name, len(scenario.deployments), quiet=quiet) as tell:
            result = review(scenario, seed=seed, command=_command(file, settings, seed), progress=tell)
        folder = _write(result, out) if report else None
        _show(result, folder, as_json=as_json, quiet=quiet)
        kept = kept and any(d.slo_met is not False for d in result.deployments)
    if fail_on_slo and not kept:
        raise typer.Exit(1)


def _write(result: RunResult, out: Path) -> Path:
    from simulator.report.page import html
    from simulator.report.text import markdown
    from simulator.results.files import write_run

    return write_run(result, out / result.name, {"index.html": html(result), "summary.md": markdown(result)})


def _show(result: RunResult, folder: Path | None, *, as_json: bool, quiet: bool) -> None:
    import json

    if as_json:
        from simulator.results.summary import to_summary

        print(json.dumps(to_summary(result), indent=2, allow_nan=False))
    elif not quiet:
        from rich.console import Console

        from simulator.report.text import terminal

        console = Console()
        console.print(terminal(result))
        if folder is not None:
            console.print(f"\nReport: {folder / 'index.html'}", soft_wrap=True, highlight=False)


def check(
    files: Files,
    settings: Settings = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Validate a scenario and show the memory plan of each deployment, without simulating."""
    from simulator.cli.memory_output import print_plans
    from simulator.scenario import load
    from simulator.simulation import bind

    for file in files:
        scenario = load(file, parsed_settings(settings))
        print_plans([bind(scenario, deployment).plan for deployment in scenario.deployments], (), as_json)


def _command(file: Path, settings: list[str], seed: int | None) -> str:
    """The command line that makes this run again."""
    import shlex

    words = ["sim", "run", str(file)]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words + (["--seed", str(seed)] if seed is not None else []))
