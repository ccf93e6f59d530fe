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
    fields: Fields, beside: Mapping[str, Any] | None, layers: Sequence[Layer], has_drafts: bool, architecture: str
) -> Quantization | None:
    """The checkpoint's quantization, None where it is not quantized.

    `quantization_config` counts; `hf_quant_config.json` where there is none, as in vLLM.
    Raises ConfigError for a method, or a setting of one, that we do not know.
    """
    stated = fields.inner("quantization_config", "compression_config")
    if stated is None and beside is not None:
        inner = beside.get("quantization")
        values = inner if isinstance(inner, Mapping) else beside
        stated = Fields({"quant_method": "modelopt", **values}, f"{fields.where}: hf_quant_config.json")
    if stated is None:
        return None
    plan = scheme(stated, fields)
    formats, exceptions, overrides = _summed_up(_places(plan, layers, architecture))
    formats |= _outside(plan, len(layers), has_drafts)
    return Quantization(
        name=plan.name,
        formats=formats,
        exceptions=frozenset(exceptions),
        overrides=overrides,
        kv_cache_dtype=plan.kv_cache_dtype,
        source=fields.where,
        note=plan.note,
    )


def _places(plan: Scheme, layers: Sequence[Layer], architecture: str) -> list[tuple[Site, Stored]]:
    """Every linear layer with its format; looked up once where layers are alike and no pattern tells them apart."""
    by_number = any(patterns.by_layer for patterns, _ in plan.rules)
    first: dict[Layer, int] = {}
    alike = [index if by_number else first.setdefault(layer, index) for index, layer in enumerate(layers)]
    known: dict[tuple[int, str], Stored] = {}
    places = []
    for site in sites(layers, architecture):
        key = (alike[site.layer], site.module)
        if key not in known:
            known[key] = _stored(plan, site)
        places.append((site, known[key]))
    return places


def _stored(plan: Scheme, site: Site) -> Stored:
    for patterns, stored in plan.rules:
        if patterns.match_any(site.paths):
            return stored
    return plan.groups.get(site.group, plan.default)


def _summed_up(
    places: Sequence[tuple[Site, Stored]],
) -> tuple[dict[TensorGroup, WeightFormat], set[tuple[int, TensorGroup]], dict[tuple[int, str], Stored]]:
    """The commonest format of each group, the layers that leave a group out, and the layers or modules with another format."""
    counts: defaultdict[TensorGroup, Counter[WeightFormat]] = defaultdict(Counter)
    in_layer: defaultdict[tuple[int, TensorGroup], dict[str, Stored]] = defaultdict(dict)
    for site, stored in places:
        in_layer[site.layer, site.group][site.module] = stored
        if stored is not None:
            counts[site.group][stored] += 1
    formats = {group: count.most_common(1)[0][0] for group, count in counts.items()}
    exceptions: set[tuple[int, TensorGroup]] = set()
    overrides: dict[tuple[int, str], Stored] = {}
    for (layer, group), modules in in_layer.items():
        found = set(modules.values())
        if group not in formats or found == {formats[group]}:
            continue
        if found == {None}:
            exceptions.add((layer, group))
        elif len(found) == 1:
            overrides[layer, group] = found.pop()
        else:
            overrides |= {(layer, module): stored for module, stored in modules.items() if stored != formats[group]}
    return formats, exceptions, overrides


def _outside(plan: Scheme, layers: int, has_drafts: bool) -> dict[TensorGroup, WeightFormat]:
    """Formats of the lm_head, which must be named to be quantized, and of draft layers, which must be named not to be."""
    found: dict[TensorGroup, WeightFormat] = {}
    head = plan.lm_head or next((stored for patterns, stored in plan.rules if "lm_head" in patterns.names), None)
    if head is not None:
        found["lm_head"] = head
    drafts = (f"layers.{layers}.mlp.experts.0.up_proj", "mtp.layers.0.mlp.experts.0.up_proj", "mtp.0.ffn.experts.0.w1")
    stored = plan.groups.get("experts", plan.default)
    left_out = any(patterns.match_any(drafts) for patterns, unquantized in plan.rules if unquantized is None)
    if has_drafts and stored is not None and not left_out:
        found["draft"] = stored
    return found
