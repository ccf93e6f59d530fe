"""`sim run` and `sim check`: a scenario in, a report or a memory plan out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.options import (
    MAX_MEMORY_GB,
    MAX_REQUESTS,
    Json,
    MaxMemory,
    MaxRequests,
    Out,
    Quiet,
    Seed,
    Settings,
    budget_of,
    parsed_settings,
)
from simulator.text import visible

if TYPE_CHECKING:
    from simulator.budget import Budget
    from simulator.results.model import RunResult
    from simulator.scenario import Scenario

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scenario files.", show_default=False)]


Limits = Annotated[
    bool,
    typer.Option(
        "--limits/--no-limits",
        " /--quick",
        help="Also search queueing point and SLO capacity, and simulate the curve.",
    ),
]
Report = Annotated[bool, typer.Option(help="Write the run folder with its report.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a folder even where it holds something else.")]
FailOnSlo = Annotated[
    bool,
    typer.Option(
        "--fail-on-slo",
        help="Exit with 1 unless some deployment is 90% sure to keep the SLO and answers the requests: what is too close to "
        "call, or of too few requests to say, fails.",
    ),
]
Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write the SLO checks as JUnit XML.")]
Github = Annotated[bool, typer.Option("--github-summary", help="Append them to the summary of a GitHub step.")]


def run_command(
    files: Files,
    settings: Settings = [],  # noqa: B006
    seed: Seed = None,
    out: Out = Path("reports"),
    as_json: Json = False,
    quiet: Quiet = False,
    limits: Limits = True,
    report: Report = True,
    force: Force = False,
    fail_on_slo: FailOnSlo = False,
    junit: Junit = None,
    github: Github = False,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Simulate every deployment of a scenario and write reports/NAME/index.html."""
    from simulator.cli.progress import verdicts_first
    from simulator.planning.ci_checks import check_outputs, run_checks, write_checks
    from simulator.planning.run import review

    check_outputs(junit, github)
    scenarios = _loaded(files, settings, budget_of(max_requests, max_memory))
    _check_names(scenarios, out, report=report, force=force, fail_on_slo=fail_on_slo)
    results = []
    for file, scenario in scenarios:
        with verdicts_first(scenario.name, len(scenario.deployments), first=limits, quiet=quiet) as told:
            results.append(
                review(
                    scenario,
                    seed=seed,
                    command=_command(file, settings, seed),
                    progress=told.done,
                    verdicts=told.verdict,
                    curve=limits,
                )
            )
        folder = _write(results[-1], scenario, out, force=force) if report else None
        if not (as_json or quiet):
            _show(results[-1], folder)
        if results[-1].interrupted:
            break
    if as_json:
        _print_json(results)
    checks = [check for result in results for check in run_checks(result)]
    write_checks(f"sim run {' '.join(result.name for result in results)}", checks, junit_file=junit, github=github)
    if results[-1].interrupted:
        raise KeyboardInterrupt
    if fail_on_slo and not all(any(d.standing == "meets" for d in result.deployments) for result in results):
        raise typer.Exit(1)


def _loaded(files: list[Path], settings: list[str], budget: Budget) -> list[tuple[Path, Scenario]]:
    """Every scenario, read before the first is used."""
    from simulator.scenario import load

    return [(file, load(file, parsed_settings(settings), budget)) for file in files]


def _check_names(scenarios: list[tuple[Path, Scenario]], out: Path, *, report: bool, force: bool, fail_on_slo: bool) -> None:
    """Raise ScenarioError for what would only fail after the simulation: folders, and an SLO that
    is asked for and not there."""
    from simulator.errors import ScenarioError
    from simulator.results.files import check_writable

    seen: dict[str, Path] = {}
    for file, scenario in scenarios:
        if report and (first := seen.setdefault(scenario.name, file)) is not file:
            raise ScenarioError(f"{file}: called '{scenario.name}' as {first} is; give one of them another name: line")
        if report:
            check_writable(out / scenario.name, force=force)
        if fail_on_slo and not scenario.promises:
            raise ScenarioError(
                f"{file}: has no slo to fail on; add one such as slo: {{ttft_s: 1.0}}, or leave out --fail-on-slo"
            )


def _write(result: RunResult, scenario: Scenario, out: Path, *, force: bool) -> Path:
    from simulator.planning.bench_command import TRACE
    from simulator.report.pages.run import run_page
    from simulator.report.terminal import markdown
    from simulator.results.files import write_run
    from simulator.workload.sample import sample
    from simulator.workload.traces.writing import mooncake_trace

    files = {"index.html": run_page(result), "summary.md": markdown(result)}
    if any(TRACE in d.bench_command for d in result.deployments):
        files[TRACE] = mooncake_trace(sample(scenario.workload, result.seed))
    return write_run(result, out / result.name, files, force=force)


def _print_json(results: list[RunResult]) -> None:
    """One run as an object, several as a list."""
    import json

    from simulator.results.summary import to_summary

    summaries = [to_summary(result) for result in results]
    print(json.dumps(summaries[0] if len(summaries) == 1 else summaries, indent=2, allow_nan=False))


def _show(result: RunResult, folder: Path | None) -> None:
    from simulator.cli.console import console
    from simulator.report.terminal import terminal

    out = console()
    out.print(terminal(result))
    if folder is not None:
        out.print(f"\nReport: {folder / 'index.html'}", soft_wrap=True)


def check_command(
    files: Files,
    settings: Settings = [],  # noqa: B006
    as_json: Json = False,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Validate a scenario and show the memory plan of each deployment, without simulating."""
    from simulator.cli.memory_output import print_plans
    from simulator.planning.fleet_plan import plan_fleet
    from simulator.planning.run import named
    from simulator.scenario.refusals import impossible

    scenarios = [scenario for _, scenario in _loaded(files, settings, budget_of(max_requests, max_memory))]
    _ask(scenarios)
    everyone = [(s, d, impossible(s, d)) for s in scenarios for d in named(s.deployments)]
    called = {id(d): d.name if len(scenarios) == 1 else f"{s.name}: {d.name}" for s, d, _ in everyone}
    possible = [(s, d) for s, d, problem in everyone if problem is None]
    plans = [plan_fleet(scenario, deployment).plan for scenario, deployment in possible]
    print_plans(plans, (), as_json, [called[id(d)] for _, d in possible])
    for _, d, problem in everyone:
        if problem is not None:
            typer.echo(visible(f"{called[id(d)]} cannot run: {problem}"), err=True)


def _ask(scenarios: list[Scenario]) -> None:
    """Say on stderr what of the scenarios may not be meant."""
    import sys

    from simulator.scenario.doubts import doubts
    from simulator.text import visible
    from simulator.workload.sample import sample

    for scenario in scenarios:
        for doubt in doubts(scenario, sample(scenario.workload, scenario.seed)):
            print(f"is it meant? {scenario.name}: {visible(doubt)}", file=sys.stderr)


def _command(file: Path, settings: list[str], seed: int | None) -> str:
    """The command line that makes this run again."""
    import shlex

    from simulator.scenario.writing import shown_path

    words = ["sim", "run", shown_path(file, Path.cwd())]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words + (["--seed", str(seed)] if seed is not None else []))
