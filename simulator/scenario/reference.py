"""Reference: the fields of a scenario, their kinds, defaults and meaning, read from the specs and their docstrings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.errors import ScenarioError, did_you_mean, nearest_names
from simulator.scenario.explaining import schema, schemas_at
from simulator.scenario.shipped import shipped_scenarios

_SIMPLE = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "nothing"}


@dataclass(frozen=True, slots=True)
class FieldReference:
    """A field: its name, what it may be, and its default in words; "" where it must be given."""

    name: str
    type: str
    default: str


@dataclass(frozen=True, slots=True)
class KindReference:
    """One thing that may stand at a place: its kind ("" where there is only one), what it is, and its fields."""

    kind: str
    meaning: str
    fields: tuple[FieldReference, ...]


def reference(path: str) -> tuple[KindReference, ...]:
    """What may stand at a dotted path, such as `workload.arrivals`, or `""` for a whole scenario.

    A path may end in a kind: `workload.arrivals.gamma`. Raises ScenarioError for a place that is not there.
    """
    parts = [part for part in path.replace("[0]", "").split(".") if part]
    found: list[KindReference] = []
    wanted = ""
    location: tuple[str | int, ...] = ()
    for part in parts:
        known = _below(location)
        if part not in known:
            kinds = {kind.kind for kind in found}
            if part in kinds:
                wanted = part
                break
            place = ".".join(map(str, location)) or "a scenario"
            offered = did_you_mean(nearest_names(part, [*known, *kinds])) or f"; it has {', '.join([*known, *sorted(kinds)])}"
            raise ScenarioError(f"{path}: '{part}' is not in {place}{offered}")
        location = (*location, *_steps(location, part))
        found = _kinds(location)
    found = found or _kinds(())
    return tuple(kind for kind in found if not wanted or kind.kind == wanted)


def example(path: str) -> str:
    """What the first shipped scenario writes at a path, as YAML; "" where none does."""
    parts = [part for part in path.replace("[0]", "").split(".") if part]
    for name, root in _shipped():
        found = _inside(root, parts)
        if found is not None and parts:
            return f"# {name}\n{_yaml({parts[-1]: found})}"
    return ""


def _inside(node: Any, parts: list[str]) -> Any:
    for part in parts:
        node = node[0] if isinstance(node, list) and node else node
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _shipped() -> list[tuple[str, Any]]:
    from simulator.document import read_document

    return [(file.name, read_document(file).root) for file in shipped_scenarios().values()]


def _yaml(node: Any) -> str:
    from ruamel.yaml import YAML

    text = io.StringIO()
    YAML().dump(node, text)
    return "\n".join(line for line in text.getvalue().splitlines() if line.strip() and not line.strip().startswith("#"))


def _steps(location: tuple[str | int, ...], part: str) -> tuple[str | int, ...]:
    """A part of a path as a step of the schema: into a list's entries where it leads to a list."""
    node: dict[str, Any] = next((n["properties"][part] for n in schemas_at(location) if part in n.get("properties", {})), {})
    return (part, 0) if node.get("type") == "array" and "items" in node else (part,)


def _below(location: tuple[str | int, ...]) -> list[str]:
    nodes = schemas_at(location)
    return list(dict.fromkeys(name for node in nodes for name in node.get("properties", {}) if name != "kind"))


def _kinds(location: tuple[str | int, ...]) -> list[KindReference]:
    found = []
    for node in schemas_at(location):
        properties = node.get("properties", {})
        kind = str(properties.get("kind", {}).get("const", ""))
        required = node.get("required", [])
        fields = tuple(_field(name, inner, name in required) for name, inner in properties.items() if name != "kind")
        if fields or node.get("description") or kind:
            found.append(KindReference(kind, str(node.get("description", "")), fields))
        elif node.get("type") != "null":
            found.append(KindReference("", f"{_type(node)}", ()))
    return found


def _field(name: str, node: dict[str, Any], required: bool) -> FieldReference:
    default = "" if required else _default(node.get("default"))
    return FieldReference(name, _type(node), default)


def _default(value: Any) -> str:
    if value is None:
        return "left open"
    if value == "":
        return "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(node: dict[str, Any]) -> str:
    """What a field may be, in words."""
    if "$ref" in node:
        target = schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return str(target.get("title", "mapping"))
    if "enum" in node:
        return " | ".join(map(str, node["enum"]))
    if variants := node.get("anyOf", node.get("oneOf")):
        return " | ".join(dict.fromkeys(_type(v) for v in variants if v.get("type") != "null"))
    if node.get("type") == "string" and " " in node.get("title", ""):
        return str(node["title"])
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}" if node.get("items") else "list"
    bounds = [f"{sign} {node[key]:g}" for key, sign in _BOUNDS.items() if key in node]
    word = _SIMPLE.get(str(node.get("type")), "mapping" if node.get("type") == "object" else "anything")
    return f"{word}{' ' + ' and '.join(bounds) if bounds else ''}"


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
