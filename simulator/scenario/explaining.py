"""A failed validation as one line: where, which field, what is wrong, what would be right."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.catalog.engines import EngineArgs
from simulator.document import Document, Location
from simulator.errors import ScenarioError, did_you_mean, nearest_names
from simulator.scenario.specs import Scenario

UNKNOWN_FIELD = {"unexpected_keyword_argument", "extra_forbidden"}


def explained(document: Document, problem: ValidationError, within: Location = ()) -> ScenarioError:
    """The first mistake of a failed validation as one line; a misspelt field before the field it was meant for."""
    errors = sorted(problem.errors(), key=lambda error: error["type"] not in UNKNOWN_FIELD)
    first, others = errors[0], errors[1:]
    location = document.written((*within, *first["loc"]))
    if first["type"] == "missing":
        location = (*location, str(first["loc"][-1]))
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    more = f" (and {len(others)} more)" if others else ""
    return document.error(location, f"{field or 'scenario'}: {_say(first, location)}{more}")


def _say(error: Any, location: Location) -> str:
    """What is wrong and what would be right, in the words of the reader."""
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return "is missing"
    if kind in UNKNOWN_FIELD:
        known = _fields_at(location[:-1])
        offered = did_you_mean(nearest_names(str(location[-1]), known)) or f"; known: {', '.join(known)}"
        return f"unknown field{offered}"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = (
        "" if isinstance(value, dict | list) or dataclasses.is_dataclass(value) or str(value) in message else f", not {value!r}"
    )
    return message[0].lower() + message[1:] + shown if kind != "value_error" else message


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    return TypeAdapter(Scenario).json_schema()


def _fields_at(location: Location) -> list[str]:
    """The names of the fields that may stand at a location."""
    if location == ("engine",):
        return sorted(["version", *(f.name for f in dataclasses.fields(EngineArgs))])
    return sorted({name for node in _schemas_at(location) for name in node.get("properties", {}) if name != "kind"})


def _schemas_at(location: Location) -> list[dict[str, Any]]:
    """The schema nodes a location leads to; more than one where a union has variants."""
    nodes = _expand(schema())
    for part in location:
        below: list[dict[str, Any]] = []
        for node in nodes:
            step = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
            below += _expand(step) if isinstance(step, dict) else []
        nodes = below or nodes
    return nodes


def _expand(node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _expand(schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    variants = node.get("anyOf", node.get("oneOf"))
    return [n for variant in variants for n in _expand(variant)] if variants else [node]
