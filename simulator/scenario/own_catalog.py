"""A catalog of one's own beside the scenario: GPUs, models, engines and prices under names that the scenario uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.catalog.gpus import gpu_from_fields
from simulator.catalog.models import is_path, model_from_fields
from simulator.catalog.own_engine import engine_from_fields
from simulator.catalog.prices import Offer
from simulator.document import Document, read_document
from simulator.errors import ScenarioError, SimulatorError, did_you_mean, nearest_names
from simulator.spec import first_mistake

_SECTIONS = ("gpus", "models", "engines", "prices")


@dataclass(frozen=True, slots=True)
class OwnCatalog:
    """What a file of one's own names, as the fields that a scenario would have in place of the name."""

    gpus: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    engines: Mapping[str, Any] = field(default_factory=dict)
    prices: tuple[Mapping[str, Any], ...] = ()

    def put_into(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data of a scenario with its names of own entries replaced by what they stand for, and the own prices in it."""
        whole = {**data}
        if isinstance(deployments := whole.get("deployments"), list):
            whole["deployments"] = [self._in_deployment(each) for each in deployments]
        if self.prices:
            prices = whole.get("prices") or {}
            whole["prices"] = (
                {**prices, "offers": [*prices.get("offers", ()), *self.prices]} if isinstance(prices, dict) else prices
            )
        return self._named(self._named(whole, "model", self.models), "engine", self.engines)

    def _in_deployment(self, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = self._named(self._named(given, "gpu", self.gpus), "model", self.models)
        for role in ("prefill", "decode"):
            if isinstance(found.get(role), dict):
                found[role] = self._named(found[role], "gpu", self.gpus)
        if isinstance(pools := found.get("pools"), list):
            found["pools"] = [self._named(p, "gpu", self.gpus) if isinstance(p, dict) else p for p in pools]
        return found

    @staticmethod
    def _named(given: dict[str, Any], key: str, entries: Mapping[str, Any]) -> dict[str, Any]:
        name = given.get(key)
        return {**given, key: entries[name]} if isinstance(name, str) and name in entries else dict(given)


def own_catalog(document: Document, named: Any) -> OwnCatalog:
    """The catalog that a scenario's `catalog:` names: a file here, or beside the scenario.

    Raises ScenarioError with the place in that file of what is missing, unknown or impossible.
    """
    if named is None:
        return OwnCatalog()
    if not isinstance(named, str) or not named:
        raise document.error(("catalog",), f"catalog: must be the path of a YAML file, not {named!r:.60}")
    places = (Path(named), document.path.parent / named)
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise document.error(("catalog",), f"catalog: {named}: no such file here or beside the scenario")
    found = read_document(path)
    data = found.plain()
    if unknown := [name for name in data if name not in _SECTIONS]:
        offered = did_you_mean(nearest_names(unknown[0], _SECTIONS)) or f"; known: {', '.join(_SECTIONS)}"
        raise found.error((unknown[0],), f"{unknown[0]}: unknown section{offered}")
    models = {name: _beside(fields, path.parent) for name, fields in _section(found, data, "models").items()}
    return OwnCatalog(
        gpus=_read(found, "gpus", _called(_section(found, data, "gpus")), gpu_from_fields),
        models=_read(found, "models", models, _as_model),
        engines=_read(found, "engines", _called(_section(found, data, "engines")), engine_from_fields),
        prices=_prices(found, data.get("prices")),
    )


def _section(document: Document, data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = data.get(name) or {}
    if not isinstance(section, Mapping):
        raise document.error((name,), f"{name}: must be a mapping of names to fields, such as {{our-card: {{memory_gib: 31.4}}}}")
    return section


def _called(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"name": name, **fields} if isinstance(fields, Mapping) else fields for name, fields in section.items()}


def _beside(fields: Any, folder: Path) -> Any:
    """A model's fields, or its name alone, with a path made absolute: from here, or from beside the catalog."""
    given = {"name": fields} if isinstance(fields, str) else fields
    if not isinstance(given, Mapping) or not isinstance(name := given.get("name"), str):
        return given
    places = (Path(name), folder / name)
    return {**given, "name": next((str(p.resolve()) for p in places if is_path(str(p)) and p.exists()), name)}


def _as_model(fields: Mapping[str, Any]) -> object:
    return model_from_fields(fields)


def _read(
    document: Document, section: str, entries: Mapping[str, Any], read: Callable[[Mapping[str, Any]], object]
) -> dict[str, Any]:
    """The entries of a section as they are written, each of which can be read."""
    for name, fields in entries.items():
        try:
            if not isinstance(fields, Mapping):
                raise ScenarioError(f"must be a mapping of fields, not {fields!r:.60}")
            read(fields)
        except SimulatorError as problem:
            raise document.error((section, name), f"{section}.{name}: {problem}") from None
    return dict(entries)


def _prices(document: Document, given: Any) -> tuple[Mapping[str, Any], ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise document.error(("prices",), "prices: must be a list, such as [{gpu: l40s, usd_per_gpu_hour: 0.80, provider: ours}]")
    names = [f.name for f in dataclasses.fields(Offer)]
    for index, offer in enumerate(given):
        if not isinstance(offer, Mapping):
            raise document.error(("prices", index), f"prices[{index}]: must be a mapping with {', '.join(names)}")
        try:
            TypeAdapter(Offer).validate_python(offer)
        except ValidationError as problem:
            raise document.error(("prices", index), f"prices[{index}]: {first_mistake(problem)}") from None
    return tuple(given)
