"""The tables of cosines and sines that vLLM keeps on the GPU and counts among the weights.

Source: vLLM vllm/model_executor/layers/rotary_embedding, read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable

from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import CompressedAttention, GroupedQueryAttention, LatentAttention, Layer
from simulator.errors import ConfigError

_LONG = ("longrope", "su")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
_PLAIN = ("default", "llama3", "mrope", "ntk", "proportional")
_STRETCHING = ("linear", "dynamic")
_OWN_BASE = ("rope_local_base_freq", "swa_rope_theta")


def longest(fields: Fields, *, stretched: bool) -> int:
    """Tokens of the longest sequence: the least length stated, or model_max_length where there is one.

    Linear and dynamic scaling lengthen it by their factor, unless the length is `stretched` already; the lengths stated with the
    other kinds count it. Source: vLLM 0.11 to 0.30, vllm/config/model.py, _get_and_verify_max_len, read November 2026.
    """
    if fields.has("model_max_length"):
        stated = fields.positive("model_max_length")
    else:
        every = [fields.positive(name) for name in _LENGTHS if fields.has(name)]
        stated = min(every) if every else fields.positive(*_LENGTHS)
    scaling = None if stretched else _scaling(fields, local=False)
    if scaling is None or scaling.word("rope_type", "type", default="default") not in _STRETCHING:
        return stated
    return int(stated * scaling.number("factor", default=1.0))


def cache_elements(fields: Fields, layers: Iterable[Layer]) -> int:
    """Values in the rotary tables: a row of `rotary dimensions` values for every position, a table for each kind of layer."""
    tables = {table for layer in layers if (table := _table(fields, layer)) is not None}
    return sum(rope_positions(fields, local) * width for local, width in tables)


def _table(fields: Fields, layer: Layer) -> tuple[bool, int] | None:
    """Whether a layer rotates by a base of its own kind (sliding layers of Gemma 3), and the dimensions it rotates."""
    match layer.mixer:
        case GroupedQueryAttention() as attention:
            local = attention.window is not None and (fields.has(*_OWN_BASE) or _by_layer_type(fields))
            return local, _width(fields, attention.head_dim, local)
        case CompressedAttention() as attention:
            return attention.ratio == 0, attention.rope_dim
        case LatentAttention() as attention:
            return False, attention.rope_dim
    return None


def _width(fields: Fields, head_dim: int, local: bool) -> int:
    if fields.has("rotary_dim"):
        return fields.count("rotary_dim")
    scaling = _scaling(fields, local)
    if scaling is not None and scaling.word("rope_type") == "proportional":
        return head_dim
    of_all = fields.number("partial_rotary_factor", "rotary_pct", default=1.0)
    return int(head_dim * (scaling.number("partial_rotary_factor", default=of_all) if scaling else of_all))


def _by_layer_type(fields: Fields) -> bool:
    nested = fields.inner("rope_parameters")
    return nested is not None and nested.has("full_attention")


def _scaling(fields: Fields, local: bool) -> Fields | None:
    """The scaling of one kind of layer; what is not nested by layer type belongs to the global layers."""
    if _by_layer_type(fields):
        nested = fields.inner("rope_parameters")
        return nested.inner("sliding_attention" if local else "full_attention") if nested else None
    return None if local else fields.inner("rope_scaling", "rope_parameters")


def before_longrope(fields: Fields) -> int | None:
    """The config's original_max_position_embeddings where LongRoPE extends them, None elsewhere."""
    scaling = _scaling(fields, local=False)
    if scaling is None or scaling.word("rope_type", "type") not in _LONG:
        return None
    return next((n for part in (scaling, fields) if (n := part.count("original_max_position_embeddings", default=0))), None)


def rope_positions(fields: Fields, local: bool = False) -> int:
    """Positions that a table covers.

    YaRN tables cover original_max_position_embeddings * factor, linear and dynamic ones max_position_embeddings * factor,
    multimodal ones four times max_position_embeddings, LongRoPE both its lengths.
    """
    longest = fields.positive("model_max_length", *_LENGTHS)
    scaling = _scaling(fields, local)
    if scaling is None:
        return longest
    kind = scaling.word("rope_type", "type", default="default")
    factor = scaling.number("factor", default=1.0)
    if kind in ("yarn", "deepseek_yarn"):
        return int(scaling.positive("original_max_position_embeddings", default=longest) * factor)
    if kind in _STRETCHING:
        return int(longest * factor)
    if kind in _LONG:
        original = scaling.count("original_max_position_embeddings", default=0)
        return longest + (original or fields.positive("original_max_position_embeddings"))
    if kind not in _PLAIN:
        raise ConfigError(f"{fields.where}: rope type {kind!r} is not known; known: {', '.join(_PLAIN)}, yarn, linear, longrope")
    return longest * (4 if scaling.has("mrope_section") else 1)
