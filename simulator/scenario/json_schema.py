"""The JSON Schema of a scenario file as people write it: names for catalog entries, units, short names."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from simulator.catalog.gpus import own_gpu_fields
from simulator.catalog.own_engine import own_engine_fields
from simulator.scenario.explaining import schema
from simulator.scenario.shorthand import pool_names, slo_names

Node = dict[str, Any]
_TEXT: Node = {"type": "string"}
_AMOUNT: Node = {"type": "string", "pattern": r"^\s*[$pP]?\s*\d"}
_OWN_ENGINE: Node = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {} for name in own_engine_fields()},
    "required": ["name", "like"],
}
_NAMED_UNIONS = ("arrivals", "router")


@cache
def file_schema() -> Node:
    """The schema of what stands in a file, for editors; `sim run` says more, and with the line."""
    found = copy.deepcopy(schema())
    definitions = found["$defs"]
    pool, slo = definitions["Pool"], definitions["Slo"]
    for name in ("Pool", "Slo", "Workload", "TrafficClass", "Prices", "Deployment"):
        _with_amounts(definitions[name])
    deployment = definitions["Deployment"]
    _with_short_names(deployment, pool_names())
    _with_short_names(pool, pool_names())
    _with_short_names(slo, slo_names())
    engine = {name: node for name, node in pool["properties"].items() if name not in _around_the_engine()}
    definitions["Engine"] = _or_text(
        {"type": "object", "additionalProperties": False, "properties": {"version": {"anyOf": [_TEXT, _OWN_ENGINE]}, **engine}},
        "An engine and its version, such as vllm-0.19.0, or that as `version` with arguments for every deployment.",
    )
    definitions["Model"] = _or_text(
        {"type": "object", "additionalProperties": False, "properties": {"name": _TEXT, "dtype": _TEXT}, "required": ["name"]},
        "A name of the catalog or of a repository, or the path of a config.json; with the type it is loaded in.",
    )
    definitions["Quantization"] = {**_TEXT, "description": "A name, as in `sim catalog quantizations`, or auto."}
    fields: Node = {name: {} for name in own_gpu_fields()}
    definitions["Gpu"] = _or_text(
        {"type": "object", "additionalProperties": False, "properties": fields, "required": ["memory_gib"]},
        "The name of a GPU, as in `sim catalog gpus`, or the fields of one of your own.",
    )
    _loosen(found)
    used = _used(found)
    found["$defs"] = {name: node for name, node in definitions.items() if name in used}
    found["required"] = ["workload", "deployments"]
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "A scenario of the inference sizing simulator"
    return found


def _around_the_engine() -> set[str]:
    return {"gpu", "quantization", "replicas", "router", "link_gb_per_s", "network", "usd_per_gpu_hour", "price", "count"}


def _or_text(node: Node, description: str) -> Node:
    return {"anyOf": [_TEXT, node], "description": description}


def _with_amounts(definition: Node) -> None:
    """Numbers may carry their unit: `16k`, `$2.5`, `99%`."""
    for name, node in definition["properties"].items():
        kinds = node.get("anyOf", [node])
        if any(kind.get("type") in ("integer", "number") for kind in kinds):
            extra = {key: value for key, value in node.items() if key in ("default", "title", "description")}
            bare = [{key: value for key, value in kind.items() if key not in extra} for kind in kinds]
            definition["properties"][name] = {"anyOf": [*bare, _AMOUNT], **extra}


def _with_short_names(definition: Node, names: dict[str, str]) -> None:
    properties = definition["properties"]
    for short, full in names.items():
        if full in properties:
            properties.setdefault(short, properties[full])


def _loosen(node: Any, name: str = "") -> None:
    """A bare rate, length or router instead of a mapping with its kind, a path instead of a trace, the name of a link."""
    if isinstance(node, list):
        for item in node:
            _loosen(item, name)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "properties":
            for field, inner in value.items():
                _loosen(inner, field)
        elif key != "mapping":
            _loosen(value, name)
    kinds = set(node.get("discriminator", {}).get("mapping", {}))
    if kinds & {"fixed", "poisson", "round_robin"}:
        union = {"oneOf": node.pop("oneOf")}
        node.pop("discriminator")
        node["anyOf"] = [union, _TEXT, {"type": "number"}]
    if node.get("$ref", "").endswith(("/TraceFile", "/LinkSpec")):
        reference = node.pop("$ref")
        node["anyOf"] = [{"$ref": reference}, _TEXT]


def _used(found: Node) -> set[str]:
    """The definitions that the schema leads to."""
    used: set[str] = set()
    waiting: list[Any] = [{key: value for key, value in found.items() if key != "$defs"}]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rsplit("/", 1)[-1]
            if name and name not in used:
                used.add(name)
                waiting.append(found["$defs"][name])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return used
