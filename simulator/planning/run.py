"""Review: a scenario in, a RunResult out: each deployment bound, simulated, searched for its
limits, priced; one recommended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from simulator.errors import SimulatorError
from simulator.planning.costs import cost
from simulator.planning.deployment import examine
from simulator.planning.machines.pool import Machine, Processes, each
from simulator.planning.serve_command import NOT_MODELLED, defaults, demand, title, wording
from simulator.results.model import DeploymentResult, RunResult, WorkloadSummary
from simulator.results.recommend import recommend
from simulator.scenario import Deployment, Scenario, dump, dumped, load
from simulator.scenario.doubts import doubts
from simulator.scenario.refusals import impossible
from simulator.workload.requests import Requests
from simulator.workload.sample import sample


def review(
    scenario: Scenario | str | Path,
    *,
    seed: int | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
    curve: bool = True,
    machine: Machine | None = None,
) -> RunResult:
    """Answer a scenario, or the one in a file.

    All deployments see the same requests, drawn once from `seed` (the scenario's own without it).

    `curve` also looks for queueing point, SLO capacity and the curve around them. `progress` is
    told the name of each deployment that is done. `machine` says where the deployments are
    computed; the result is the same on each.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load(scenario)
    scenario = dataclasses.replace(
        scenario,
        deployments=named(scenario.deployments),
        seed=scenario.seed if seed is None else seed,
    )
    requests = sample(scenario.workload, scenario.seed)
    tasks = [(scenario, deployment, requests, curve) for deployment in scenario.deployments]
    outcomes = {}
    for index, outcome in each(_examine, tasks, machine or Processes(at_most=len(tasks))):
        outcomes[index] = outcome.value()
        if progress:
            progress(scenario.deployments[index].name)
    return _result(scenario, requests, [outcomes[index] for index in sorted(outcomes)], command)


def _examine(task: tuple[Scenario, Deployment, Requests, bool]) -> DeploymentResult:
    scenario, deployment, requests, curve = task
    if len(scenario.deployments) > 1 and (problem := impossible(scenario, deployment)):
        return _refused(scenario, deployment, problem)
    return examine(scenario, deployment, requests, curve=curve)


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
    return RunResult(
        name=scenario.name,
        description=scenario.description,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seed=scenario.seed,
        engine=scenario.engine.name,
        taken_for=scenario.engine.taken_for,
        workload=WorkloadSummary(
            sentence=demand(scenario, requests),
            requests=len(requests),
            rate_per_s=scenario.workload.mean_rate(),
            prompt_tokens_mean=float(requests.prompt_tokens.mean()),
            output_tokens_mean=float(requests.output_tokens.mean()),
            concurrency=loop.concurrency if loop else None,
        ),
        slo=scenario.promises,
        deployments=tuple(results),
        recommendation=recommend(results, scenario.workload.mean_rate()),
        scenario_yaml=dump(scenario, resolved, Path.cwd()),
        scenario=dumped(scenario, Path.cwd()).plain(),
        command=command,
        not_modelled=NOT_MODELLED,
        defaults=defaults(scenario, resolved),
        doubts=doubts(scenario, requests),
    )
