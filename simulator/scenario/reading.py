"""From a YAML file to a scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.budget import Budget
from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import is_path
from simulator.document import Document, Location, read_document
from simulator.errors import SimulatorError
from simulator.scenario.explaining import explained
from simulator.scenario.own_catalog import own_catalog
from simulator.scenario.refusals import refuse
from simulator.scenario.serve_line import ServeLine, fields_of, parse
from simulator.scenario.shorthand import short_names, spelled_out
from simulator.scenario.specs import Scenario


def load(path: str | Path, settings: Iterable[tuple[str, str]] = (), budget: Budget = Budget()) -> Scenario:  # noqa: B008
    """The scenario of a YAML file, with values set over it by dotted path, if its simulation stays within the budget.

    Raises ScenarioError: one line with file, line, column, field, what is wrong and what would be right.
    """
    document = read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    return scenario_of(document, budget)


def scenario_of(document: Document, budget: Budget = Budget()) -> Scenario:  # noqa: B008
    """Validate a document as a scenario whose simulation stays within a budget. Raises ScenarioError."""
    document = dataclasses.replace(document, short=short_names())
    data = spelled_out(_beside(document.plain(), document.path.parent), document)
    data.setdefault("name", document.path.stem)
    arguments = _take_engine_arguments(data, document)
    data = own_catalog(document, data.pop("catalog", None)).put_into(data)
    try:
        scenario = TypeAdapter(Scenario).validate_python(_with_defaults(_with_lines(data, document), arguments))
    except ValidationError as problem:
        raise explained(document, problem) from None
    refuse(scenario, document, budget)
    return scenario


def own_gpus(path: str | Path, settings: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The fields of the GPUs that a scenario's own catalog has, by name."""
    document = read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    return dict(own_catalog(document, document.plain().get("catalog")).gpus)


def arguments_for_all(path: str | Path, settings: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The arguments that a scenario's `engine:` gives to every deployment, as they are written."""
    document = read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    return _take_engine_arguments(spelled_out(document.plain(), document), document)


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
    return {**data, "deployments": [_filled(deployment, arguments) for deployment in deployments]}


def _filled(deployment: Any, arguments: dict[str, Any]) -> Any:
    """A deployment with the arguments for all in it, or in each of its pools; what it says itself wins."""
    if not isinstance(deployment, dict):
        return deployment
    if apart := {name: deployment[name] for name in ("prefill", "decode") if isinstance(deployment.get(name), dict)}:
        return {**deployment, **{name: {**arguments, **pool} for name, pool in apart.items()}}
    if "pools" not in deployment:
        return {**arguments, **deployment}
    if not isinstance(pools := deployment["pools"], list):
        return deployment
    return {**deployment, "pools": [{**arguments, **p} if isinstance(p, dict) else p for p in pools]}


def _with_lines(data: dict[str, Any], document: Document) -> dict[str, Any]:
    """With what each deployment's pasted `serve:` line states, where the deployment does not say otherwise.

    The scenario's model and engine are those of the first line, where it names none.
    """
    deployments = data.get("deployments")
    if not isinstance(deployments, list):
        return data
    filled = [_with_line(d, ("deployments", index), document) for index, d in enumerate(deployments)]
    stated = [line for _, line in filled if line is not None]
    usual: dict[str, Any] = {}
    for name in ("model", "engine"):
        if named := [getattr(line, name) for line in stated if getattr(line, name) is not None]:
            usual[name] = named[0]
    return {**usual, **data, "deployments": [deployment for deployment, _ in filled]}


def _with_line(deployment: Any, location: Location, document: Document) -> tuple[Any, ServeLine | None]:
    if not isinstance(deployment, dict) or "serve" not in deployment:
        return deployment, None
    explicit = {name: value for name, value in deployment.items() if name != "serve"}
    try:
        if not isinstance(text := deployment["serve"], str):
            raise SimulatorError(f"must be a line of `vllm serve`, not {text!r:.60}")
        line = parse(text)
        if line.model is not None:
            line = dataclasses.replace(line, model=_beside_file("model", line.model, document.path.parent))
        return {**fields_of(line), **explicit}, line
    except (SimulatorError, ValueError) as problem:
        raise document.error((*location, "serve"), f"{location[0]}[{location[1]}].serve: {problem}") from None


_FILES = ("path", "trace", "calibration", "tokenizer")
FILE_FIELDS = frozenset({"model", *_FILES})


def _beside(node: Any, folder: Path) -> Any:
    """Make file names absolute, those from here or else from beside the scenario, so that it reads the same from anywhere."""
    if isinstance(node, dict):
        return {key: _beside_file(key, value, folder) for key, value in node.items()}
    return [_beside(item, folder) for item in node] if isinstance(node, list) else node


def _beside_file(key: str, value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        named = isinstance(value, dict) and key == "model" and "name" in value
        read = {**value, "name": _beside_file("model", value["name"], folder)} if named else value
        return _beside(read, folder)
    places = (Path(value), folder / value) if value else ()
    if key == "model":
        return next((str(place.resolve()) for place in places if is_path(str(place)) and place.exists()), value)
    if key in _FILES:
        return next((str(place.resolve()) for place in places if place.exists()), value)
    return value
