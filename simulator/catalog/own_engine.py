"""An engine of one's own: a release with some of its defaults and overheads changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from simulator.catalog import stanzas
from simulator.catalog.engines import Engine, engine
from simulator.catalog.kernels import Overheads, overheads
from simulator.errors import ScenarioError, SimulatorError, did_you_mean, nearest_names
from simulator.spec import first_mistake

_OF_THE_RELEASE = {
    *("name", "family", "version", "generation", "source", "checked"),
    *("note", "taken_for", "extrapolated", "like", "own_overheads"),
}
_DEFAULTS = tuple(f.name for f in dataclasses.fields(Engine) if f.name not in _OF_THE_RELEASE)
_SAID = ("name", "like", "overheads", "source", "checked", "note")
_OVERHEADS = tuple(f.name for f in dataclasses.fields(Overheads) if f.type in ("Positive", "NonNegative"))


def own_engine_fields() -> tuple[str, ...]:
    """The names of the fields that an engine of one's own may have."""
    return (*_SAID, *_DEFAULTS)


def engine_from_fields(fields: Mapping[str, Any]) -> Engine:
    """An engine of one's own: `like` a release, with what it does otherwise.

    Any field of the catalog's engines may be changed, and `overheads` by the names of the catalog's:
    what is not written is the release's. It starts on every card as it is described.
    Raises ScenarioError naming the field that is missing, unknown or impossible.

    >>> engine_from_fields({"name": "ours", "like": "vllm-0.19.0", "block_size": 32}).block_size
    32
    """
    name = fields.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ScenarioError("an engine of one's own needs a name, as in {name: our-fork, like: vllm-0.19.0}")
    if _is_release(name):
        raise ScenarioError(f"engine {name}: is the name of a release; call your own otherwise")
    if unknown := [field for field in fields if field not in own_engine_fields()]:
        offered = (
            did_you_mean(nearest_names(str(unknown[0]), own_engine_fields())) or f"; known: {', '.join(own_engine_fields())}"
        )
        raise ScenarioError(f"engine {name}: unknown field '{unknown[0]}'{offered}")
    if not isinstance(like := fields.get("like"), str):
        raise ScenarioError(f"engine {name}: like missing: the release that it is like, such as vllm-0.19.0")
    release = engine(like)
    changed = {field: value for field, value in fields.items() if field in _DEFAULTS}
    said = {field: str(fields[field]) for field in ("source", "checked", "note") if fields.get(field)}
    _refuse_rules(name, changed.get("scheduler_rules"))
    whole = {f.name: getattr(release, f.name) for f in dataclasses.fields(Engine)}
    own = _own_overheads(name, release, fields.get("overheads", {}))
    told = ", ".join([*changed, *(f"overheads.{field}" for field, _ in own)]) or "nothing"
    whole |= {"source": "given by the user", "checked": "", "note": "", **said, **changed}
    whole |= {"name": name, "like": like, "own_overheads": own, "taken_for": f"{name} is {like} with its own {told}"}
    try:
        return Engine(**whole)
    except ValidationError as problem:
        raise ScenarioError(f"engine {name}: {first_mistake(problem)}") from None


def engine_to_fields(entry: Engine) -> dict[str, Any]:
    """The fields that `engine_from_fields` reads back to an equal engine of one's own."""
    release = engine(entry.like)
    changed = {field: getattr(entry, field) for field in _DEFAULTS if getattr(entry, field) != getattr(release, field)}
    said = {field: text for field in ("source", "checked", "note") if (text := getattr(entry, field))}
    own = {"overheads": dict(entry.own_overheads)} if entry.own_overheads else {}
    return {"name": entry.name, "like": entry.like, **changed, **own, **said}


def _is_release(name: str) -> bool:
    try:
        engine(name)
    except SimulatorError:
        return False
    return True


def _refuse_rules(name: str, rules: Any) -> None:
    """Raises ScenarioError for a rule of the scheduler that no release has."""
    if rules is None:
        return
    known = {
        rule for entry in stanzas.stanzas("engines") for rule in stanzas.load_entry("engines", entry).get("scheduler_rules", ())
    }
    if not isinstance(rules, list | tuple):
        raise ScenarioError(f"engine {name}: scheduler_rules must be a list; known: {', '.join(sorted(known))}")
    if unknown := [rule for rule in rules if rule not in known]:
        raise ScenarioError(f"engine {name}: no release has the scheduler rule '{unknown[0]}'; known: {', '.join(sorted(known))}")


def _own_overheads(name: str, release: Engine, given: Any) -> tuple[tuple[str, float], ...]:
    """Overheads by name, those that are not the release's own. Raises ScenarioError for what is none."""
    if not isinstance(given, Mapping):
        raise ScenarioError(f"engine {name}: overheads must be a mapping such as {{step_us: 300}}")
    if unknown := [field for field in given if field not in _OVERHEADS]:
        offered = did_you_mean(nearest_names(str(unknown[0]), _OVERHEADS)) or f"; known: {', '.join(_OVERHEADS)}"
        raise ScenarioError(f"engine {name}: overheads: unknown field '{unknown[0]}'{offered}")
    usual = overheads(release)
    try:
        checked = dataclasses.replace(usual, **given)
    except ValidationError as problem:
        raise ScenarioError(f"engine {name}: overheads: {first_mistake(problem)}") from None
    return tuple((field, getattr(checked, field)) for field in given if getattr(checked, field) != getattr(usual, field))
