"""A scenario back to YAML, with every default filled in."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator import catalog
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu, gpu_to_fields
from simulator.catalog.models import Model, model_to_fields
from simulator.catalog.own_engine import engine_to_fields
from simulator.catalog.quantizations import Quantization
from simulator.document import Document
from simulator.errors import SimulatorError
from simulator.scenario.reading import FILE_FIELDS
from simulator.scenario.specs import Deployment, Scenario


def dump(scenario: Scenario, resolved: Mapping[str, Mapping[str, Any]] | None = None, here: Path | None = None) -> str:
    """The scenario as YAML with every default filled in; `load` reads it back to an equal scenario.

    With `here`, files are named from that folder, or by their name alone where they are not in it: what is passed on says
    nothing of where this user keeps things.

    `resolved`: the engine arguments that deployments run with, by their names. What the engine filled in of
    them stands in a comment above each, so that the file still means the engine's own defaults.
    Raises SimulatorError for a model, quantization or engine that was made by hand and that no name leads to.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq

    data = _written(scenario) if here is None else _from(_written(scenario), here)
    data["deployments"] = listed = CommentedSeq(data["deployments"])
    for index, deployment in enumerate(scenario.deployments):
        if filled := _filled(deployment, (resolved or {}).get(deployment.name, {})):
            listed.yaml_set_comment_before_after_key(index, before=f"{scenario.engine.name} fills in {filled}")
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.dump(data, text)
    return text.getvalue()


def _filled(deployment: Deployment, resolved: Mapping[str, Any]) -> str:
    """The engine's own defaults: `max_num_seqs 256, block_size 16`."""
    asked = deployment.pools[0].engine_args()
    found = {name: value for name, value in resolved.items() if getattr(asked, name) is None and value is not None}
    return ", ".join(f"{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in found.items())


def dumped(scenario: Scenario, here: Path | None = None) -> Document:
    """What `dump` writes, without writing it."""
    written = _written(scenario)
    return Document(Path(f"{scenario.name}.yaml"), written if here is None else _from(written, here))


def shown_path(path: str | Path, here: Path) -> str:
    """A path as it is passed on: as it is where it is relative, from a folder where it is in that, else its name alone."""
    path = Path(path)
    if not path.is_absolute():
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def _from(node: Any, here: Path) -> Any:
    if isinstance(node, dict):
        named = {key: value for key, value in node.items() if key in FILE_FIELDS and isinstance(value, str)}
        if isinstance(model := node.get("model"), dict) and isinstance(model.get("name"), str):
            node = {**node, "model": {**model, "name": shown_path(model["name"], here)}}
        return {key: shown_path(named[key], here) if key in named else _from(value, here) for key, value in node.items()}
    return [_from(item, here) for item in node] if isinstance(node, list) else node


def _written(value: Any) -> Any:
    """A spec as plain data: catalog entries by name, absent values left out."""
    if isinstance(value, Gpu | Model | Quantization | Engine):
        return _name_or_fields(value)
    if isinstance(value, Deployment) and value.apart:
        prefill, decode = value.pools
        pools = {"prefill": prefill, "decode": decode, "link": value.link, "routing": value.routing}
        parts = {"name": value.name, "model": value.model, **pools}
        return {key: _written(item) for key, item in parts.items() if item is not None}
    if isinstance(value, Deployment) and len(value.pools) == 1:
        own = {"name": value.name, "model": value.model}
        return {**{key: _written(item) for key, item in own.items() if item is not None}, **_written(value.pools[0])}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _written(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_written(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _name_or_fields(entry: Gpu | Model | Quantization | Engine) -> Any:
    """The name that is looked up again, else the fields. Raises SimulatorError for what neither of them says."""
    if isinstance(entry, Model):
        return model_to_fields(entry)
    if isinstance(entry, Quantization):
        return _quantization_name(entry)
    try:
        if (catalog.gpu(entry.name) if isinstance(entry, Gpu) else catalog.engine(entry.name)) == entry:
            return entry.name
    except SimulatorError:
        pass
    if isinstance(entry, Gpu):
        return _written(gpu_to_fields(entry))
    if entry.like:
        return {"version": _written(engine_to_fields(entry))}
    raise SimulatorError(f"the engine {entry.name} was made by hand, and cannot be written to a file")


def _quantization_name(entry: Quantization) -> str:
    """Its name; a note on how a file of that name is read comes back with the file."""
    try:
        if dataclasses.replace(catalog.quantization(entry.name), note=entry.note) == entry:
            return entry.name
    except SimulatorError:
        pass
    raise SimulatorError(
        f"the quantization {entry.name} is a checkpoint's own: name that checkpoint as the model, and leave quantization out"
    )
