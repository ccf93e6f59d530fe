"""From a YAML file to a scenario."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.catalog.engines import EngineArgs
from simulator.document import Document, Location, read_document
from simulator.errors import ScenarioError, SimulatorError
from simulator.latency import calibration
from simulator.memory.plan import plan_memory
from simulator.scenario.explaining import explained
from simulator.scenario.specs import Deployment, Scenario
from simulator.workload.arrivals import Recorded
from simulator.workload.workload import Workload

_MOST_ENGINES, _MOST_TOKENS = 10_000, 10_000_000
_MOST_REQUESTS, _MOST_PER_S = 20_000_000, 1e9


def load(path: str | Path, settings: Iterable[tuple[str, str]] = ()) -> Scenario:
    """The scenario of a YAML file, with values set over it by dotted path.

    Raises ScenarioError: one line with file, line, column, field, what is wrong and what would be right.
    """
    document = read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    return scenario_of(document)


def scenario_of(document: Document) -> Scenario:
    """Validate a document as a scenario."""
    data = _beside(document.plain(), document.path.parent)
    data.setdefault("name", document.path.stem)
    arguments = _take_engine_arguments(data, document)
    try:
        scenario = TypeAdapter(Scenario).validate_python(_with_defaults(data, arguments))
    except ValidationError as problem:
        raise explained(document, problem) from None
    _refuse_endless(scenario.workload, document)
    _refuse_unreadable(scenario.calibration, document)
    for index, deployment in enumerate(scenario.deployments):
        try:
            _refuse_impossible(scenario, deployment)
        except SimulatorError as problem:
            raise document.error(_culprit(document, index, str(problem)), f"deployments[{index}]: {problem}") from None
    return scenario


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
        raise document.error(("workload", "arrivals"), f"workload.arrivals: {rate:g} requests a second; is that the unit?")
    by_duration = rate * workload.duration if rate and workload.duration else math.inf
    expected = min(workload.requests or math.inf, by_duration)
    if math.inf > expected > _MOST_REQUESTS:
        field = "duration" if by_duration <= expected else "requests"
        raise document.error(
            ("workload", field), f"workload.{field}: about {expected:,.0f} requests; at most {_MOST_REQUESTS:,} are simulated"
        )


def _refuse_impossible(scenario: Scenario, deployment: Deployment) -> None:
    """Raise for what no engine would start with and for what has no model; too little memory is a result and passes."""
    model = scenario.model_of(deployment)
    quantization = deployment.quantization or model.quantization
    plan = plan_memory(model, quantization, deployment.gpu, deployment.engine_args(), scenario.engine)
    if (plan.args.max_num_batched_tokens or 0) > _MOST_TOKENS:
        raise ScenarioError(
            f"max_num_batched_tokens {plan.args.max_num_batched_tokens:,} exceeds the {_MOST_TOKENS:,} modelled; lower it"
        )
    scenario.latency.bind(model, quantization, deployment.gpu, plan.args, scenario.engine)
    if (engines := deployment.replicas * deployment.data_parallel_size) > _MOST_ENGINES:
        raise ScenarioError(f"{engines:,} engines; at most {_MOST_ENGINES:,} are simulated, so lower replicas")
    longest = plan.args.max_model_len or model.max_position
    prompts = (traffic.prompt_law().expected() for traffic in scenario.workload.mix())
    if (prompt := max(prompts, default=0.0)) >= longest:
        raise ScenarioError(f"prompts of {prompt:,.0f} tokens exceed max_model_len {longest:,}; shorten the prompts or raise it")


def _take_engine_arguments(data: dict[str, Any], document: Document) -> dict[str, Any]:
    """Split `engine: {version: ..., max_num_seqs: ...}` into a name, left in `data`, and arguments for all deployments."""
    written = data.get("engine")
    if not isinstance(written, dict):
        return {}
    arguments = {key: value for key, value in written.items() if key != "version"}
    data["engine"] = written.get("version", "vllm")
    try:
        TypeAdapter(EngineArgs).validate_python(arguments)
    except ValidationError as problem:
        raise explained(document, problem, within=("engine",)) from None
    return arguments


def _with_defaults(data: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    deployments = data.get("deployments")
    if not isinstance(deployments, list):
        return data
    filled = [{**arguments, **d} if isinstance(d, dict) else d for d in deployments]
    return {**data, "deployments": filled}


def _beside(node: Any, folder: Path) -> Any:
    """Make file names that exist beside the scenario absolute, so that a scenario can be run from anywhere."""
    if isinstance(node, dict):
        return {key: _beside_file(key, value, folder) for key, value in node.items()}
    return [_beside(item, folder) for item in node] if isinstance(node, list) else node


def _beside_file(key: str, value: Any, folder: Path) -> Any:
    if key in {"model", "path", "trace", "calibration"} and isinstance(value, str) and not Path(value).exists():
        return str((folder / value).resolve()) if (folder / value).exists() else value
    return _beside(value, folder)
