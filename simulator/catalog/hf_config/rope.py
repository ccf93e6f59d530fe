"""The table of cosines and sines that vLLM keeps on the GPU and counts among the weights."""

from __future__ import annotations

from simulator.catalog.hf_config.fields import Fields
from simulator.errors import ConfigError


def cache_elements(fields: Fields, head_dim: int) -> int:
    """Values in the rotary table: one row of `rotary dimensions` values for every position.

    YaRN tables have original_max_position_embeddings * factor rows, linear and dynamic ones max_position_embeddings * factor.
    Source: vLLM vllm/model_executor/layers/rotary_embedding, read November 2026.
    """
    partial = fields.get("partial_rotary_factor", "rotary_pct")
    rotary = fields.count("qk_rope_head_dim", "rotary_dim", default=0) or int(head_dim * (partial or 1.0))
    return rows(fields) * rotary


def rows(fields: Fields) -> int:
    """Positions the table covers."""
    longest = fields.positive("max_position_embeddings", "n_positions", "seq_length")
    scaling = fields.inner("rope_scaling", "rope_parameters")
    kind = scaling.get("rope_type", "type") if scaling else None
    factor = float(scaling.get("factor") or 1.0) if scaling else 1.0
    if scaling and kind in ("yarn", "deepseek_yarn"):
        return int(scaling.positive("original_max_position_embeddings", default=longest) * factor)
    if kind in ("linear", "dynamic"):
        return int(longest * factor)
    if scaling and kind == "longrope":
        return longest + fields.positive("original_max_position_embeddings")
    if kind in (None, "default", "llama3", "mrope", "su", "proportional"):
        return longest
    raise ConfigError(f"{fields.where}: rope type {kind!r} is not known")
