"""quantization_config, or hf_quant_config.json beside it, read into formats by tensor group, layer and module."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.hf_config.modules import Site, sites
from simulator.catalog.hf_config.schemes import Scheme, scheme
from simulator.catalog.models import Layer
from simulator.catalog.quantizations import Quantization, TensorGroup, WeightFormat

Stored = WeightFormat | None


def read_quantization(
    fields: Fields, beside: Mapping[str, Any] | None, layers: Sequence[Layer], architecture: str
) -> Quantization | None:
    """The checkpoint's quantization, None where it is not quantized.

    `quantization_config` counts; `hf_quant_config.json` where there is none, as in vLLM.
    Raises ConfigError for a method, or a setting of one, that we do not know.
    """
    stated = fields.inner("quantization_config", "compression_config")
    if stated is None and beside is not None:
        inner = beside.get("quantization", beside)
        stated = Fields(inner if isinstance(inner, Mapping) else {}, f"{fields.where}: hf_quant_config.json")
        stated = Fields({"quant_method": "modelopt", **stated.values}, stated.where)
    if stated is None:
        return None
    plan = scheme(stated, fields)
    alike = _alike(plan, layers)
    known: dict[tuple[int, str], Stored] = {}
    places = {}
    for site in sites(layers, architecture):
        key = (alike[site.layer], site.module)
        if key not in known:
            known[key] = _stored(plan, site)
        places[site.layer, site.module] = (site, known[key])
    return _summed_up(plan, places, fields, len(layers))


def _alike(plan: Scheme, layers: Sequence[Layer]) -> list[int]:
    """For each layer the first one with the same modules in the same formats."""
    if any(patterns.by_layer for patterns, _ in plan.rules):
        return list(range(len(layers)))
    first: dict[Layer, int] = {}
    return [first.setdefault(layer, index) for index, layer in enumerate(layers)]


def _stored(plan: Scheme, site: Site) -> Stored:
    for patterns, stored in plan.rules:
        if patterns.match_any(site.paths):
            return stored
    return plan.groups.get(site.group, plan.default)


def _summed_up(plan: Scheme, places: Mapping[tuple[int, str], tuple[Site, Stored]], fields: Fields, layers: int) -> Quantization:
    """Formats by group, and what deviates from them: whole groups left out of a layer, and single modules."""
    by_group: defaultdict[TensorGroup, Counter[WeightFormat]] = defaultdict(Counter)
    in_layer: defaultdict[tuple[int, TensorGroup], list[tuple[str, Stored]]] = defaultdict(list)
    for (layer, module), (site, stored) in places.items():
        in_layer[layer, site.group].append((module, stored))
        if stored is not None:
            by_group[site.group][stored] += 1
    formats: dict[TensorGroup, WeightFormat] = {group: counts.most_common(1)[0][0] for group, counts in by_group.items()}
    exceptions: set[tuple[int, TensorGroup]] = set()
    overrides: dict[tuple[int, str], Stored] = {}
    for (layer, group), modules in in_layer.items():
        if group in formats and all(stored is None for _, stored in modules):
            exceptions.add((layer, group))
        elif group in formats:
            overrides |= {(layer, module): stored for module, stored in modules if stored != formats[group]}
    return Quantization(
        name=plan.name,
        formats={**formats, **_outside(plan, layers)},
        exceptions=frozenset(exceptions),
        overrides=overrides,
        kv_cache_dtype=plan.kv_cache_dtype,
        source=fields.where,
        note=plan.note,
    )


def _outside(plan: Scheme, layers: int) -> dict[TensorGroup, WeightFormat]:
    """Formats of the lm_head, which must be named to be quantized, and of draft layers, which must be named not to be."""
    found: dict[TensorGroup, WeightFormat] = {}
    head = plan.lm_head or next((stored for patterns, stored in plan.rules if "lm_head" in patterns.names), None)
    if head is not None:
        found["lm_head"] = head
    drafts = (f"layers.{layers}.mlp.experts.0.up_proj", "mtp.layers.0.mlp.experts.0.up_proj", "mtp.0.ffn.experts.0.w1")
    stored = plan.groups.get("experts", plan.default)
    left_out = any(patterns.match_any(drafts) for patterns, unquantized in plan.rules if unquantized is None)
    if stored is not None and not left_out:
        found["draft"] = stored
    return found
