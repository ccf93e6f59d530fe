"""What is refused of a scenario that each field alone does not tell: it could not run, or would run for ever."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from simulator import catalog
from simulator.amounts import number
from simulator.catalog.engines import EngineArgs
from simulator.catalog.prices import providers
from simulator.document import Document, Location
from simulator.errors import NotModelled, ScenarioError, SimulatorError, UnknownName
from simulator.latency import calibration
from simulator.latency.target import Target
from simulator.memory.plan import plan_memory
from simulator.scenario.specs import Deployment, Prices, Scenario
from simulator.workload.arrivals import Recorded
from simulator.workload.tracefile import TraceFile
from simulator.workload.workload import Workload

_MOST_ENGINES, _MOST_TOKENS = 10_000, 10_000_000
_MOST_REQUESTS, _MOST_PER_S = 20_000_000, 1e9


def refuse(scenario: Scenario, document: Document) -> None:
    """Raise ScenarioError, with its place, for what no run could come of. Too little memory is a result and passes."""
    _refuse_endless(scenario.workload, document)
    _refuse_missing(scenario.workload, document)
    _refuse_unreadable(scenario.calibration, document)
    _refuse_unknown(scenario.prices, {d.gpu.name for d in scenario.deployments}, document)
    for index, deployment in enumerate(scenario.deployments):
        try:
            _refuse_impossible(scenario, deployment)
        except SimulatorError as problem:
            raise document.error(_culprit(document, index, str(problem)), f"deployments[{index}]: {problem}") from None


def _culprit(document: Document, index: int, problem: str) -> Location:
    """The argument that a refusal speaks of, where it is written: of the deployment, or of all; else the deployment."""
    arguments = ["replicas", *(f.name for f in dataclasses.fields(EngineArgs))]
    for within in (("deployments", index), ("engine",)):
        named: list[Location] = [(*within, name) for name in arguments if name in problem]
        if written := [location for location in named if document.written(location) == location]:
            return min(written, key=lambda location: problem.index(str(location[-1])))
    return ("deployments", index)


def _refuse_unreadable(path: Path | None, document: Document) -> None:
    """Raise for a calibration that cannot be read, before anything is simulated with it."""
    try:
        if path is not None:
            calibration.load(path)
    except SimulatorError as problem:
        raise document.error(("calibration",), f"calibration: {problem}") from None


def _refuse_endless(workload: Workload, document: Document) -> None:
    """Raise for rates that nobody has, and more requests than a computer has room for, before they are drawn."""
    arrivals = (workload.arrivals, *(c.arrivals for c in workload.classes))
    recorded = workload.trace is not None or any(isinstance(a, Recorded) for a in arrivals)
    rate = None if recorded else workload.mean_rate()
    if rate and not 1 / _MOST_PER_S <= rate <= _MOST_PER_S:
        raise document.error(
            ("workload", "arrivals"), f"workload.arrivals: {number(rate, 6)} requests a second; is that the unit?"
        )
    by_duration = rate * workload.duration if rate and workload.duration else math.inf
    expected = min(workload.requests or math.inf, by_duration)
    if math.inf > expected > _MOST_REQUESTS:
        field = "duration" if by_duration <= expected else "requests"
        raise document.error(
            ("workload", field), f"workload.{field}: about {expected:,.0f} requests; at most {_MOST_REQUESTS:,} are simulated"
        )


def _refuse_missing(workload: Workload, document: Document) -> None:
    """Raise for a trace that is not there."""
    traces: list[tuple[Location, TraceFile | None]] = [(("workload",), workload.trace)]
    if isinstance(workload.arrivals, Recorded):
        traces.append((("workload", "arrivals"), workload.arrivals.trace))
    for within, trace in traces:
        if trace is not None and not Path(trace.path).exists():
            raise document.error((*within, "trace", "path"), f"{'.'.join(map(str, within))}.trace: {trace.path}: no such file")


def _refuse_unknown(prices: Prices, gpus: set[str], document: Document) -> None:
    """Raise for a price of a GPU that neither the catalog nor the scenario has, and for a provider without prices."""
    for name in prices.usd_per_gpu_hour.keys() - gpus:
        try:
            catalog.gpu(name)
        except SimulatorError as problem:
            raise document.error(("prices", "usd_per_gpu_hour", name), f"prices.usd_per_gpu_hour: {problem}") from None
    if prices.provider is not None and prices.provider.lower() not in providers():
        unknown = UnknownName("provider", prices.provider, providers())
        raise document.error(("prices", "provider"), f"prices.provider: {unknown}")


def _refuse_untimed(deployment: Deployment) -> None:
    """Raise for what takes memory that is modelled, and time that is not."""
    for field, what in (("spec_method", "speculative decoding"), ("spec_model", "speculative decoding"), ("enable_lora", "LoRA")):
        if getattr(deployment, field):
            raise NotModelled(f"{field}: the time of {what} is not modelled; `sim memory` answers for its memory")


def _refuse_impossible(scenario: Scenario, deployment: Deployment) -> None:
    """Raise for what no engine would start with and for what has no model; too little memory is a result and passes."""
    _refuse_untimed(deployment)
    model = scenario.model_of(deployment)
    quantization = deployment.quantization or model.quantization
    plan = plan_memory(model, quantization, deployment.gpu, deployment.engine_args(), scenario.engine)
    if (plan.args.max_num_batched_tokens or 0) > _MOST_TOKENS:
        raise ScenarioError(
            f"max_num_batched_tokens {plan.args.max_num_batched_tokens:,} exceeds the {_MOST_TOKENS:,} modelled; lower it"
        )
    scenario.latency.bind(Target(model, quantization, deployment.gpu, plan.args, scenario.engine))
    if (engines := deployment.replicas * deployment.data_parallel_size) > _MOST_ENGINES:
        raise ScenarioError(f"{engines:,} engines; at most {_MOST_ENGINES:,} are simulated, so lower replicas")
    longest = plan.args.max_model_len or model.max_position
    prompts = (traffic.prompt_law().expected() for traffic in scenario.workload.mix())
    if (prompt := max(prompts, default=0.0)) >= longest:
        raise ScenarioError(f"prompts of {prompt:,.0f} tokens exceed max_model_len {longest:,}; shorten the prompts or raise it")
