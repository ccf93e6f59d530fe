"""The tables of cosines and sines that vLLM keeps on the GPU and counts among the weights.

Source: vLLM vllm/model_executor/layers/rotary_embedding, read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable

from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import CompressedAttention, GroupedQueryAttention, Layer
from simulator.errors import ConfigError

_PLAIN = (None, "default", "llama3", "mrope", "su", "ntk", "proportional")


def cache_elements(fields: Fields, layers: Iterable[Layer]) -> int:
    """Values in the rotary tables: a row of `rotary dimensions` values for every position, a table for each kind of layer."""
    sizes = {_rotary(fields, layer) for layer in layers if layer.mixer is not None}
    return sum(rows(fields, local) * rotary for local, rotary in sizes if rotary)


def _rotary(fields: Fields, layer: Layer) -> tuple[bool, int]:
    """Whether the layer has a rotary base of its own, and the dimensions it rotates."""
    mixer = layer.mixer
    if isinstance(mixer, GroupedQueryAttention):
        local = mixer.window is not None and fields.has("rope_local_base_freq", "swa_rope_theta", "global_head_dim")
        return local, int(mixer.head_dim * _partial(fields)) if not fields.has("rotary_dim") else fields.count("rotary_dim")
    if isinstance(mixer, CompressedAttention):
        return mixer.ratio == 0, mixer.rope_dim
    return False, fields.count("qk_rope_head_dim", default=0)


def _partial(fields: Fields) -> float:
    nested = fields.inner("rope_parameters")
    share = fields.get("partial_rotary_factor", "rotary_pct") or (nested.get("partial_rotary_factor") if nested else None)
    return float(share or 1.0)


def rows(fields: Fields, local: bool = False) -> int:
    """Positions a table covers; scaling stretches the global table only."""
    longest = fields.positive("max_position_embeddings", "n_positions", "seq_length", "max_sequence_length")
    scaling = fields.inner("rope_scaling", "rope_parameters")
    if scaling is None or local:
        return longest
    kind = scaling.get("rope_type", "type")
    factor = float(scaling.get("factor") or 1.0)
    if kind in ("yarn", "deepseek_yarn"):
        return int(scaling.positive("original_max_position_embeddings", default=longest) * factor)
    if kind in ("linear", "dynamic"):
        return int(longest * factor)
    if kind == "longrope":
        return longest + scaling.positive("original_max_position_embeddings", default=_original(fields))
    if kind not in _PLAIN:
        raise ConfigError(f"{fields.where}: rope type {kind!r} is not known; known: {', '.join(str(k) for k in _PLAIN if k)}")
    return longest * (4 if scaling.has("mrope_section") else 1)


def _original(fields: Fields) -> int:
    return fields.positive("original_max_position_embeddings")
