"""Shorthand: short names and units as people write them, before a scenario is validated: `tp: 2`, `16k`, `$2.5`, `99%`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.catalog import stanzas
from simulator.document import Document, Location
from simulator.errors import SimulatorError
from simulator.scenario.serve_line import whole_number

_ARGUMENTS = ("tp", "pp", "dp", "dcp", "ep", "gpu_memory_usage", "kv_cache_memory", "max_context_len")
_POOL = {"price": "usd_per_gpu_hour", "count": "replicas"}
_SLO = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "tpot_s", "e2e": "e2e_s", "e2el": "e2e_s", "latency": "e2e_s"}
_TEXTS = {"name", "description", "model", "gpu", "quantization", "version", "path", "label", "format", "provider", "serve"}
_TOKENS = re.compile(r"\d+(?:\.\d+)?[kKM](?:\s*tokens)?")
_DOLLARS = re.compile(r"\$\s*(\d+(?:\.\d+)?)(?:\s*/\s*h(?:our)?)?")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_PERCENTILE = re.compile(r"[pP](\d+(?:\.\d+)?)")


def spelled_out(data: dict[str, Any], document: Document) -> dict[str, Any]:
    """The data of a scenario with names and units in full.

    Raises ScenarioError where a field is written twice, under a short name and its own.
    """
    whole: dict[str, Any] = _values(data)
    if isinstance(engine := whole.get("engine"), dict):
        whole["engine"] = _renamed(engine, pool_names(), ("engine",), document)
    if isinstance(slo := whole.get("slo"), dict):
        whole["slo"] = _renamed(slo, _SLO, ("slo",), document)
    if isinstance(workload := whole.get("workload"), dict) and isinstance(classes := workload.get("classes"), list):
        workload["classes"] = [_class(each, ("workload", "classes", i), document) for i, each in enumerate(classes)]
    if isinstance(deployments := whole.get("deployments"), list):
        whole["deployments"] = [_deployment(each, ("deployments", i), document) for i, each in enumerate(deployments)]
    return whole


def pool_names() -> dict[str, str]:
    """The fields of a deployment by their short names."""
    long: Mapping[str, str] = stanzas.load_entry("serve_arguments", "abbreviations")["names"]
    return {**{short: long[short] for short in _ARGUMENTS}, **_POOL}


def slo_names() -> dict[str, str]:
    """The terms of an SLO by their short names."""
    return dict(_SLO)


def short_names() -> dict[str, tuple[str, ...]]:
    """The short names of each field, by its own."""
    found: dict[str, tuple[str, ...]] = {}
    for short, full in {**pool_names(), **_SLO}.items():
        found[full] = (*found.get(full, ()), short)
    return found


def _class(given: Any, location: Location, document: Document) -> Any:
    if not isinstance(given, dict) or not isinstance(given.get("slo"), dict):
        return given
    return {**given, "slo": _renamed(given["slo"], _SLO, (*location, "slo"), document)}


def _deployment(given: Any, location: Location, document: Document) -> Any:
    if not isinstance(given, dict):
        return given
    if isinstance(pools := given.get("pools"), list):
        inner = [(p, (*location, "pools", i)) for i, p in enumerate(pools)]
        named = [_renamed(p, pool_names(), at, document) if isinstance(p, dict) else p for p, at in inner]
        return {**given, "pools": named}
    if apart := {name: given[name] for name in ("prefill", "decode") if isinstance(given.get(name), dict)}:
        return {**given, **{name: _renamed(p, pool_names(), (*location, name), document) for name, p in apart.items()}}
    return _renamed(given, pool_names(), location, document)


def _renamed(given: dict[str, Any], names: Mapping[str, str], location: Location, document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        full = names.get(name, name)
        if full in found or (full != name and full in given):
            place = f"{location[0]}[{location[1]}]" if len(location) > 1 else str(location[0])
            raise document.error((*location, name), f"{place}: {name} is {full}, which is written too; write one of them")
        found[full] = value
    return found


def _values(node: Any, key: str = "") -> Any:
    """Amounts with their units as numbers; what is no such amount is left for its field to judge."""
    if isinstance(node, dict):
        return {name: _values(value, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_values(item, key) for item in node]
    if not isinstance(node, str) or key in _TEXTS:
        return node
    return _amount(node.strip(), key, node)


def _amount(text: str, key: str, node: str) -> Any:
    if _TOKENS.fullmatch(text):
        try:
            return whole_number(text.removesuffix("tokens").strip(), key)
        except SimulatorError:
            return node
    if dollars := _DOLLARS.fullmatch(text):
        return float(dollars[1])
    if percent := _PERCENT.fullmatch(text):
        return float(percent[1]) / 100
    if key == "percentile" and (percentile := _PERCENTILE.fullmatch(text)):
        return float(percentile[1])
    return node
