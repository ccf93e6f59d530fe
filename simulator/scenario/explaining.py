"""A failed validation, a line a mistake: where, which field, what is wrong, what would be right."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.catalog import stanzas
from simulator.catalog.engines import EngineArgs
from simulator.document import Document, Location
from simulator.errors import ScenarioError, did_you_mean, nearest_names
from simulator.latency.sampling import SAMPLING_NOT_MODELLED
from simulator.scenario.specs import Scenario

UNKNOWN_FIELD = {"unexpected_keyword_argument", "extra_forbidden"}
_MOST_SHOWN = 60
_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("tuple_type", "list_type", "frozen_set_type"), "must be a list"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("dict_type", "mapping_type", "dataclass_type", "model_attributes_type"), "must be a mapping"),
    "string_type": "must be text (in quotes where it reads as something else)",
    "too_short": "must have at least one entry",
}


def explained(document: Document, problem: ValidationError, within: Location = ()) -> ScenarioError:
    """The mistakes of a failed validation, a line each; misspelt fields before the fields that they were meant for."""
    errors = sorted(_causes(problem.errors()), key=lambda error: error["type"] not in UNKNOWN_FIELD)
    meant = {place for error in errors for place in _meant(document, error, within)}
    left = [error for error in errors if error["type"] != "missing" or error["loc"] not in meant]
    first, *others = [_explained(document, error, within) for error in left]
    return first.also(others)


def _meant(document: Document, error: Any, within: Location) -> list[Location]:
    """The fields that a misspelt one may have been meant for, which are therefore not missing."""
    if error["type"] not in UNKNOWN_FIELD:
        return []
    *above, name = error["loc"]
    place = as_written(document, (*within, *error["loc"]))
    known = _fields_at(document.written(place)[:-1], variant=error["loc"][-2:-1])
    return [(*above, near) for near in nearest_names(str(name), known)]


def as_written(document: Document, location: Location) -> Location:
    """A location in a deployment's pools where they are written as `prefill` and `decode`."""
    if location[:1] != ("deployments",) or location[2:3] != ("pools",) or len(location) < _IN_A_POOL:
        return location
    name = ("prefill", "decode")[location[3] == 1]
    written = (*location[:2], name)
    return (*written, *location[4:]) if document.written(written) == written else location


_IN_A_POOL = 4


def _explained(document: Document, error: Any, within: Location) -> ScenarioError:
    location = document.written(as_written(document, (*within, *error["loc"])))
    if error["type"] == "missing":
        location = (*location, str(error["loc"][-1]))
    if location == ("engine",) and document.written((*location, "version")) != location:
        location = ("engine", "version")
    return document.error(location, f"{_name(location) or 'scenario'}: {_say(error, location)}")


def _causes(errors: Sequence[Any]) -> list[Any]:
    """The errors without those that only follow from one further in, as pydantic calls a list with a bad entry too short."""
    places = [error["loc"] for error in errors]
    return [e for e in errors if not any(len(place) > len(e["loc"]) and place[: len(e["loc"])] == e["loc"] for place in places)]


def _name(location: Location) -> str:
    """A location as it is read: `deployments[0].gpu`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _say(error: Any, location: Location) -> str:
    """What is wrong and what would be right, in the words of the reader."""
    kind, value, message = error["type"], error["input"], str(error["msg"])
    if kind == "missing":
        return "is missing"
    if kind in UNKNOWN_FIELD:
        if location[0] in ("engine", "deployments") and (known := _known_elsewhere(str(location[-1]))):
            return known
        if location[0] == "sampling" and location[-1] in SAMPLING_NOT_MODELLED:
            return "not modelled; leave it out, and expect steps to take longer than predicted"
        return f"unknown field{_offer(str(location[-1]), _fields_at(location[:-1], variant=error['loc'][-2:-1]))}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind.startswith("union_tag"):
        return _say_kind(error["ctx"].get("tag"), location)
    said = _WORDS.get(kind) or message[0].lower() + message[1:].replace("should be", "must be")
    said = said.replace("input must", "must")
    if kind == "too_short":
        return said
    if said == "must be a mapping" and (kinds := _kinds_at(location)):
        said += f" with a kind, such as {{kind: {kinds[0]}, ...}}"
    return said + _shown(value, said)


def _known_elsewhere(name: str) -> str:
    """What to say of an argument that an engine has and a deployment has not; "" for one that no engine has."""
    tables = {kind: stanzas.load_entry("serve_arguments", kind)["names"] for kind in ("harmless", "not-modelled")}
    if reason := tables["not-modelled"].get(name):
        return f"an argument of vLLM that is not modelled ({reason}); leave it out to plan without"
    if name in tables["harmless"]:
        return "an argument of vLLM that changes nothing that is simulated here; leave it out"
    for family in ("sglang", "tensorrt-llm"):
        meant = stanzas.load_entry("serve_arguments", family)["names"].get(name)
        if meant == "not-modelled":
            return f"an argument of {family} that is not modelled; leave it out to plan without"
        if meant == "harmless":
            return f"an argument of {family} that changes nothing that is simulated here; leave it out"
        if meant:
            return f"is {family}'s name; write {meant}"
    return ""


def _say_kind(tag: str | None, location: Location) -> str:
    kinds = _kinds_at(location)
    if tag is None:
        return f"say its kind: {', '.join(kinds)}"
    return f"unknown kind '{tag}'{_offer(str(tag), kinds)}"


def _offer(name: str, known: list[str]) -> str:
    return did_you_mean(nearest_names(name, known)) or f"; known: {', '.join(known)}"


def _shown(value: Any, said: str) -> str:
    """The value that was written, where it is short enough to help and not said already."""
    if dataclasses.is_dataclass(value) or str(value) in said.split():
        return ""
    if isinstance(value, Mapping):
        return ", not a mapping"
    text = repr(value) if not isinstance(value, list | tuple) else "a list"
    return f", not {text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + '...'}" if value is not None else ", not empty"


_A_POOL = {"$ref": "#/$defs/Pool"}


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors. A deployment has pools, or the fields of its only one."""
    found = TypeAdapter(Scenario).json_schema()
    deployment, pool = (found["$defs"][name] for name in ("Deployment", "Pool"))
    deployment["properties"] |= pool["properties"] | {"prefill": _A_POOL, "decode": _A_POOL}
    apart = {"anyOf": [{"required": ["prefill"]}, {"required": ["decode"]}]}
    deployment["if"] = {"not": {"anyOf": [{"required": deployment.pop("required")}, apart]}}
    deployment["then"] = {"required": pool["required"]}
    deployment["dependentRequired"] = {"prefill": ["decode"], "decode": ["prefill"]}
    for properties in (deployment["properties"], pool["properties"]):
        properties["speculative_config"] = {"type": "object", "description": "vLLM's --speculative-config."}
    deployment["properties"]["serve"] = {"type": "string", "description": "A `vllm serve` line."}
    own = "The path of a YAML file with GPUs, models, engines and prices of your own, by the names used here."
    found["properties"]["catalog"] = {"type": "string", "description": own}
    return found


def _fields_at(location: Location, variant: Location = ()) -> list[str]:
    """The names of the fields that may stand at a location, of one variant of a union where `variant` names its kind."""
    if location == ("engine",):
        return sorted(["version", *(f.name for f in dataclasses.fields(EngineArgs))])
    nodes = [node.get("properties", {}) for node in schemas_at(location)]
    nodes = [node for node in nodes if node.get("kind", {}).get("const") in variant] or nodes
    return sorted({name for node in nodes for name in node if name != "kind"})


def _kinds_at(location: Location) -> list[str]:
    """The values that `kind` may have at a location."""
    kinds = [node.get("properties", {}).get("kind", {}) for node in schemas_at(location)]
    return list(dict.fromkeys(kind["const"] for kind in kinds if "const" in kind))


def schemas_at(location: Location) -> list[dict[str, Any]]:
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
