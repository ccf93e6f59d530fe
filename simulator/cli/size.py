"""`sim size`: the cheapest configuration that carries the demand within the SLO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli.machines import ClusterAddress, Workers, machine_of
from simulator.cli.options import (
    MAX_MEMORY_GB,
    MAX_REQUESTS,
    Json,
    MaxMemory,
    MaxRequests,
    Quiet,
    Seed,
    Settings,
    budget_of,
    check_page,
    parsed_settings,
    save_file,
)
from simulator.cli.progress import counted

if TYPE_CHECKING:
    from simulator.planning.changing.size import SizingOverTime
    from simulator.planning.ci_checks import Check
    from simulator.planning.size import Candidate, Sizing
    from simulator.results.model import DeploymentResult
    from simulator.scenario import Deployment


File = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file.", show_default=False)]
Gpus = Annotated[str, typer.Option("--gpus", help="Compare these GPUs instead of the listed deployments: a,b,c.")]
Quantizations = Annotated[str, typer.Option("--quantizations", help="With --gpus: these; auto is the checkpoint's own.")]
TensorParallel = Annotated[str, typer.Option("--tensor-parallel-size", help="With --gpus: these sizes, such as 1,2,4.")]
Over = Annotated[
    list[str], typer.Option("--over", metavar="ARG=VALUES", help="With --gpus: engine arguments, max_num_seqs=64,256.")
]
Spare = Annotated[int, typer.Option("--spare", min=0, help="Replicas that may be lost while the rest carries the demand.")]
Growth = Annotated[float, typer.Option("--growth", min=1, help="Also size for so many times the traffic.")]
Months = Annotated[float, typer.Option("--months", min=0.1, help="When that growth will have happened.")]
Availability = Annotated[
    float | None,
    typer.Option("--availability", min=0, max=1, help="The share of the time in which the SLO is kept, such as 0.999."),
]
MaxReplicas = Annotated[int, typer.Option("--max-replicas", min=1, help="The most replicas to try.")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", min=0, help="Exit with code 1 above these dollars an hour.")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the answer's page to this file.")]
Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write the outcome as JUnit XML.")]
Github = Annotated[bool, typer.Option("--github-summary", help="Append the outcome to the summary of a GitHub step.")]


def size_command(
    file: File,
    settings: Settings = [],  # noqa: B006
    seed: Seed = None,
    gpus: Gpus = "",
    quantizations: Quantizations = "auto",
    tensor_parallel: TensorParallel = "1",
    over: Over = [],  # noqa: B006
    spare: Spare = 0,
    growth: Growth = 1.0,
    months: Months = 12.0,
    availability: Availability = None,
    max_replicas: MaxReplicas = 64,
    max_cost: MaxCost = None,
    report: Report = None,
    junit: Junit = None,
    github: Github = False,
    workers: Workers = None,
    cluster: ClusterAddress = None,
    as_json: Json = False,
    quiet: Quiet = False,
    max_requests: MaxRequests = MAX_REQUESTS,
    max_memory: MaxMemory = MAX_MEMORY_GB,
) -> None:
    """Find the cheapest configuration that carries the demand within the SLO, how many replicas,
    and why the others lost. Where replicas come and go or a rate varies for long, over the time."""
    from simulator.errors import NotModelled
    from simulator.planning.changing.size import goes_over_time, size_over_time
    from simulator.planning.ci_checks import check_outputs, over_time_checks, sizing_checks
    from simulator.planning.size import Ask, answered
    from simulator.planning.size import size as find
    from simulator.scenario import load
    from simulator.scenario.reading import arguments_for_all, own_gpus

    check_outputs(junit, github)
    check_page(report)
    scenario = load(file, parsed_settings(settings), budget_of(max_requests, max_memory))
    for_all = arguments_for_all(file, parsed_settings(settings)) if gpus else {}
    cards = own_gpus(file, parsed_settings(settings)) if gpus else {}
    deployments = _space(gpus, quantizations, tensor_parallel, over, for_all, cards)
    if availability is not None or goes_over_time(scenario, deployments or scenario.deployments):
        if spare or growth > 1:
            raise NotModelled("--spare and --growth of a size over time; give --availability, or more traffic with --set")
        with counted(f"sizing {scenario.name} over time", quiet=quiet) as progress:
            over_time = size_over_time(
                scenario,
                deployments=deployments,
                availability=availability,
                most=max_replicas,
                seed=seed,
                machine=machine_of(workers, cluster),
                progress=progress,
            )
        _over_time(over_time, report, as_json=as_json, quiet=quiet)
        _hold(scenario.name, over_time_checks(over_time, max_cost), junit, github=github)
        return
    ask = Ask(spare=spare, growth=growth, max_replicas=max_replicas)
    with counted(f"sizing {scenario.name}", quiet=quiet) as progress:
        machine = machine_of(workers, cluster)
        sizing = find(scenario, deployments=deployments, ask=ask, seed=seed, machine=machine, progress=progress)
        if report:
            sizing = answered(sizing, machine)
    if as_json:
        import json

        print(json.dumps(_data(sizing), indent=1))
    elif not quiet:
        _print(sizing, months)
    if report is not None:
        from simulator.report.pages.size import size_page

        save_file(report, size_page(sizing, months), "--report")
    _hold(scenario.name, sizing_checks(sizing, max_cost), junit, github=github)


def _hold(name: str, checks: Sequence[Check], junit: Path | None, *, github: bool) -> None:
    """Write the checks where they are asked for, and end with 1 where one fails."""
    from simulator.planning.ci_checks import write_checks

    write_checks(f"sim size {name}", checks, junit_file=junit, github=github)
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def _over_time(sizing: SizingOverTime, report: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Print a size over time, and write its page where one is asked for."""
    if as_json:
        import json

        from simulator.report.sizing_over_time import data

        print(json.dumps(data(sizing), indent=1))
    elif not quiet:
        from simulator.cli.size_over_time import print_over_time

        print_over_time(sizing)
    if report is not None:
        from simulator.report.pages.size_over_time import size_over_time_page

        save_file(report, size_over_time_page(sizing), "--report")


def _space(
    gpus: str,
    quantizations: str,
    tensor_parallel: str,
    over: list[str],
    for_all: dict[str, Any],
    cards: dict[str, Any],
) -> tuple[Deployment, ...] | None:
    """The deployments of the options with the scenario's own arguments for all, None when no GPU is
    named.

    Raises ScenarioError for what cannot be read.
    """
    from simulator.document import parse_yaml
    from simulator.errors import ScenarioError
    from simulator.planning.axes import axis
    from simulator.planning.space import space

    if not gpus:
        if over or quantizations != "auto" or tensor_parallel != "1":
            raise ScenarioError(
                "--quantizations, --tensor-parallel-size and --over make a space with --gpus; give --gpus a,b,c too"
            )
        return None
    sizes = [part.strip() for part in tensor_parallel.split(",") if part.strip()]
    if not all(part.isdigit() and int(part) for part in sizes):
        raise ScenarioError(f"--tensor-parallel-size {tensor_parallel}: expected whole numbers such as 1,2,4")
    arguments = {a.path: [parse_yaml(text, Path("--over")) for text in a.values] for a in map(axis, over)}
    return space(_names(gpus), _names(quantizations), [int(part) for part in sizes], arguments, for_all, cards)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _data(sizing: Sizing) -> dict[str, Any]:
    """The sizing as plain data; `best` is what is surely enough at the least cost, or where nothing is, what should be."""
    from simulator.planning.sure import chosen

    choice = chosen(sizing)
    return {
        "scenario": sizing.scenario.name,
        "rate_per_s": sizing.scenario.workload.mean_rate(),
        "spare": sizing.ask.spare,
        "growth": sizing.ask.growth,
        "best": choice.candidate.deployment.name if choice else None,
        "best_replicas": choice.replicas if choice else None,
        "best_usd_per_hour": _finite(choice.usd_per_hour) if choice else None,
        "best_by_prediction": sizing.best.deployment.name if sizing.best else None,
        "best_grown": sizing.best_grown.deployment.name if sizing.best_grown else None,
        "candidates": [_candidate_data(c, sizing.answer_of(c)) for c in sizing.candidates],
    }


def _candidate_data(c: Candidate, answer: DeploymentResult | None) -> dict[str, Any]:
    return {
        "name": c.deployment.name,
        "wording": c.wording,
        "replicas": c.replicas,
        "gpus": c.deployment.gpus if c.replicas else None,
        "usd_per_hour": _finite(c.usd_per_hour),
        "usd_per_month": _finite(c.usd_per_month),
        "price": c.price,
        "standing": answer.standing if answer else None,
        "chance": answer.assurance.chance if answer and answer.assurance else None,
        "headroom": c.headroom,
        "capacity_per_s": c.capacity.value if c.capacity else None,
        "recovers_below_per_s": c.recovers_below,
        "replicas_grown": c.grown,
        "usd_per_hour_grown": _finite(c.grown_usd_per_hour),
        "why": c.why,
        "unanswered": c.unanswered,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(sizing: Sizing, months: float) -> None:
    from simulator.cli.console import console
    from simulator.planning.sure import chosen
    from simulator.report.sizing import sentences

    out, choice = console(), chosen(sizing)
    taken = choice.candidate if choice else None
    if sizing.fitting:
        out.print(_table(sizing))
    lost = [f"not {c.deployment.name}: {c.why}" for c in sizing.candidates if c not in (sizing.best, taken)]
    for line in [*sentences(sizing, months), *lost]:
        out.print(line, soft_wrap=True)


def _table(sizing: Sizing) -> Any:
    from rich.table import Table

    from simulator.report.sizing import grown, money, standing_words, to_carry

    table = Table(title=f"{sizing.scenario.name}: what carries {to_carry(sizing)}", title_justify="left", header_style="bold")
    growth = sizing.ask.growth
    later = [f"at x{growth:g}"] if growth > 1 else []
    for name in ("configuration", "how many", "how sure", "$/hour", "$/month", "headroom", *later):
        table.add_column(name, justify="right" if name.startswith(("$", "headroom")) else "left", overflow="fold")
    for c in sizing.fitting:
        room = "" if c.headroom is None else f"{c.headroom:+.0%}"
        at_growth = [grown(c)] if later else []
        bill = (money(c.usd_per_hour), money(c.usd_per_month, 0))
        table.add_row(c.deployment.name, c.wording, standing_words(sizing.answer_of(c)), *bill, room, *at_growth)
    return table
