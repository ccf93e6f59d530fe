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
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.document import Document
from simulator.errors import SimulatorError
from simulator.scenario.reading import FILE_FIELDS
from simulator.scenario.specs import Deployment, Scenario


def dump(scenario: Scenario, here: Path | None = None) -> str:
    """The scenario as YAML with every default filled in; `load` reads it back to an equal scenario.

    With `here`, files are named from that folder, or by their name alone where they are not in it: what is passed on says
    nothing of where this user keeps things.
    """
    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.dump(dumped(scenario, here).root, text)
    return text.getvalue()


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
        return {key: shown_path(named[key], here) if key in named else _from(value, here) for key, value in node.items()}
    return [_from(item, here) for item in node] if isinstance(node, list) else node


def _written(value: Any) -> Any:
    """A spec as plain data: catalog entries by name, absent values left out."""
    if isinstance(value, Gpu | Model | Quantization | Engine):
        return _name_or_fields(value)
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
    look_up = {Gpu: catalog.gpu, Model: catalog.model, Quantization: catalog.quantization, Engine: catalog.engine}[type(entry)]
    try:
        if look_up(entry.name) == entry:
            return entry.name
    except SimulatorError:
        pass
    return _written(gpu_to_fields(entry)) if isinstance(entry, Gpu) else entry.source
