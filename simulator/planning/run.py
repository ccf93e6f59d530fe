"""Review: a scenario in, a RunResult out: each deployment bound, simulated, searched for its
limits, priced; one recommended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from simulator.errors import SimulatorError
from simulator.planning.costs import cost
from simulator.planning.deployment import AtDemand, at_demand
from simulator.planning.machines.pool import IN_PROCESS, ItemOutcome, Machine, Processes, each
from simulator.planning.serve_command import NOT_MODELLED, defaults, demand, title, wording
from simulator.results.model import SEARCH_INTERRUPTED, DeploymentResult, RunResult, WorkloadSummary
from simulator.results.recommend import recommend
from simulator.scenario import Deployment, Scenario, dump, dumped, load
from simulator.scenario.doubts import doubts
from simulator.scenario.refusals import impossible
from simulator.workload.rates import known_rates
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

_SOON = 50_000
"""Requests that are simulated before worker processes would have started."""


def review(
    scenario: Scenario | str | Path,
    *,
    seed: int | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
    verdicts: Callable[[DeploymentResult], None] | None = None,
    curve: bool = True,
    machine: Machine | None = None,
) -> RunResult:
    """Answer a scenario, or the one in a file.

    All deployments see the same requests, drawn once from `seed` (the scenario's own without it).

    Each is first simulated at this traffic; `verdicts` is told what comes of it, without limits.
    `curve` then looks for queueing point, SLO capacity and the curve around them; where a
    KeyboardInterrupt ends that, the results without limits say so. `progress` is told the name of
    each deployment that is done. `machine` says where they are computed; the result is the same on
    each.
    """
    scenario = _prepared(scenario, seed)
    requests = sample(scenario.workload, scenario.seed)
    told = _Told(progress or _silent, verdicts or _silent)
    found = _at_demand(scenario, requests, machine, told, last=not curve)
    results = _limits(found, machine, told) if curve else {i: _answer(f) for i, f in found.items()}
    return _result(scenario, requests, [results[index] for index in sorted(results)], command)


class _Told(NamedTuple):
    """Who is told of what is done: the name of a deployment, and its result before its limits."""

    done: Callable[[str], None]
    verdict: Callable[[DeploymentResult], None]


def _silent(done: object) -> None:
    """For whoever did not ask to be told."""


def _prepared(scenario: Scenario | str | Path, seed: int | None) -> Scenario:
    """The scenario with the names of its deployments, and this seed where one is given."""
    read = scenario if isinstance(scenario, Scenario) else load(scenario)
    seed = read.seed if seed is None else seed
    return dataclasses.replace(read, deployments=named(read.deployments), seed=seed)


def _at_demand(
    scenario: Scenario, requests: Requests, machine: Machine | None, told: _Told, *, last: bool
) -> dict[int, AtDemand | DeploymentResult]:
    """Each deployment at this traffic, or as it was refused, by its place."""
    tasks = [(scenario, deployment, requests) for deployment in scenario.deployments]
    found: dict[int, AtDemand | DeploymentResult] = {}
    small = len(requests) * len(tasks) <= _SOON
    here = IN_PROCESS if small else Processes(at_most=len(tasks))
    for index, outcome in each(_examine, tasks, machine or here):
        found[index] = outcome.value()
        told.verdict(_answer(found[index]))
        if last:
            told.done(scenario.deployments[index].name)
    return found


def _limits(
    found: dict[int, AtDemand | DeploymentResult], machine: Machine | None, told: _Told
) -> dict[int, DeploymentResult]:
    """The results with limits, by place; what an interrupt leaves out says so."""
    searched = {i: at for i, at in found.items() if isinstance(at, AtDemand) and at.has_limits}
    results = {index: _answer(at) for index, at in found.items() if index not in searched}
    for result in results.values():
        told.done(result.name)
    where = machine or Processes(at_most=len(searched))
    places = list(searched)
    try:
        for turn, outcome in _each_limited(list(searched.values()), where):
            results[places[turn]] = outcome.value()
            told.done(results[places[turn]].name)
    except KeyboardInterrupt:
        left = {
            i: at.answered(note=SEARCH_INTERRUPTED)
            for i, at in searched.items()
            if i not in results
        }
        results |= left
    return results


def _each_limited(
    searched: Sequence[AtDemand], machine: Machine
) -> Iterable[tuple[int, ItemOutcome[DeploymentResult]]]:
    """Several deployments beside each other; of a single one its simulations."""
    if len(searched) != 1:
        return each(_limited, [(at, IN_PROCESS) for at in searched], machine)
    whole = Processes(machine.workers) if isinstance(machine, Processes) else machine
    return each(_limited, [(searched[0], whole)], IN_PROCESS)


def _limited(task: tuple[AtDemand, Machine]) -> DeploymentResult:
    at, machine = task
    return at.limited(machine)


def _answer(found: AtDemand | DeploymentResult) -> DeploymentResult:
    return found.answered() if isinstance(found, AtDemand) else found


def _examine(task: tuple[Scenario, Deployment, Requests]) -> AtDemand | DeploymentResult:
    scenario, deployment, _ = task
    problem = impossible(scenario, deployment) if len(scenario.deployments) > 1 else None
    return _refused(scenario, deployment, problem) if problem else at_demand(*task)


def _refused(
    scenario: Scenario, deployment: Deployment, problem: SimulatorError
) -> DeploymentResult:
    """The result of a deployment that no engine starts with, or that has no model, beside others
    that run."""
    pool = deployment.pool
    form = pool.quantization or scenario.model_of(deployment).quantization
    return DeploymentResult(
        name=deployment.name,
        title=title(deployment, form.name if form else scenario.model_of(deployment).dtype),
        wording=wording(deployment),
        gpu=pool.gpu.name,
        gpus=deployment.gpus,
        replicas=pool.replicas,
        verdict="cannot run",
        reason=str(problem),
        cost=cost(deployment, scenario.prices),
    )


def named(deployments: Sequence[Deployment]) -> tuple[Deployment, ...]:
    """The deployments, each with a name of its own: what it runs on where none was given, numbered
    where that repeats."""
    names: list[str] = []
    for d in deployments:
        names.append(_unused(d.name or _own_title(d), names))
    pairs = zip(deployments, names, strict=True)
    return tuple(dataclasses.replace(d, name=name) for d, name in pairs)


def _own_title(deployment: Deployment) -> str:
    form = deployment.pool.quantization
    return title(deployment, form.name if form else "as published")


def _unused(name: str, names: Sequence[str]) -> str:
    """The name, numbered where others have it."""
    taken = sum(n == name or n.startswith(f"{name} (") for n in names)
    return f"{name} ({taken + 1})" if taken else name


def _result(
    scenario: Scenario, requests: Requests, results: list[DeploymentResult], command: str
) -> RunResult:
    from simulator import __version__

    resolved = {r.name: r.memory.args for r in results if r.memory}
    loop = scenario.workload.closed_loop
    asked = WorkloadSummary(
        sentence=demand(scenario, requests),
        requests=len(requests),
        rate_per_s=scenario.workload.mean_rate(),
        prompt_tokens_mean=float(requests.prompt_tokens.mean()),
        output_tokens_mean=float(requests.output_tokens.mean()),
        concurrency=loop.concurrency if loop else None,
        rates=known_rates(scenario.workload),
    )
    return RunResult(
        name=scenario.name,
        description=scenario.description,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seed=scenario.seed,
        engine=scenario.engine.name,
        taken_for=scenario.engine.taken_for,
        workload=asked,
        slo=scenario.promises,
        deployments=tuple(results),
        recommendation=recommend(results, asked.rate_per_s, asked.peak_per_s),
        scenario_yaml=dump(scenario, resolved, Path.cwd()),
        scenario=dumped(scenario, Path.cwd()).plain(),
        command=command,
        not_modelled=NOT_MODELLED,
        defaults=defaults(scenario, resolved),
        doubts=doubts(scenario, requests),
    )
