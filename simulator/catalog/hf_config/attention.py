"""Attention and its substitutes: the mixer of every layer."""

from __future__ import annotations

from typing import Literal

from simulator.catalog.hf_config.architectures import Switch, Traits
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import (
    CompressedAttention,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Mamba1,
    Mamba2,
    Mixer,
)
from simulator.errors import ConfigError

Kind = Literal["full", "sliding", "chunked", "linear"]

_KINDS: dict[str, Kind] = {
    "full_attention": "full",
    "attention": "full",
    "deepseek_sparse_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
}
MOST_LAYERS = 1_000
_HEADS = ("num_attention_heads", "n_head")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")


def switched(fields: Fields, switch: Switch) -> bool:
    """Whether an architecture's feature is on."""
    return switch if isinstance(switch, bool) else fields.flag(switch)


def layer_count(fields: Fields) -> int:
    """How many layers the model has."""
    layers = fields.positive("num_hidden_layers", "n_layer", "num_layers")
    if layers > MOST_LAYERS:
        raise ConfigError(f"{fields.where}: {layers:,} layers; at most {MOST_LAYERS:,} are read")
    return layers


def mixers(fields: Fields, traits: Traits) -> list[Mixer]:
    """The mixer of each layer, in order."""
    kinds = layer_kinds(fields, traits)
    if fields.has("kv_lora_rank"):
        return [delta_attention(fields) if kind == "linear" else latent(fields, layer) for layer, kind in enumerate(kinds)]
    shared_from = len(kinds) - fields.count("num_kv_shared_layers", default=0)
    return [
        gated_delta_net(fields) if kind == "linear" else grouped_query(fields, traits, kind, layer, layer >= shared_from)
        for layer, kind in enumerate(kinds)
    ]


def layer_kinds(fields: Fields, traits: Traits) -> list[Kind]:
    """Which tokens each layer sees, from the list of layer types or the rule that stands for one."""
    layers = layer_count(fields)
    if listed := fields.items("layer_types"):
        return _listed(fields, listed, layers)
    if (linear := fields.inner("linear_attn_config")) is not None and (full := linear.items("full_attn_layers")):
        return ["full" if layer + 1 in full else "linear" for layer in range(layers)]
    if pattern := fields.items("hybrid_layer_pattern"):
        return _of_length(fields, "hybrid_layer_pattern", ["sliding" if slides else "full" for slides in pattern], layers)
    if interval := fields.count("full_attention_interval", default=0):
        return ["full" if (layer + 1) % interval == 0 else "linear" for layer in range(layers)]
    if fields.has("attention_chunk_size"):
        every = fields.positive("no_rope_layer_interval", default=4)
        return ["full" if (layer + 1) % every == 0 else "chunked" for layer in range(layers)]
    if fields.count("sliding_window", default=0) in range(1, fields.count("max_position_embeddings", default=0)):
        return _sliding(fields, traits, layers)
    return ["full"] * layers


def _sliding(fields: Fields, traits: Traits, layers: int) -> list[Kind]:
    if every := fields.count("sliding_window_pattern", "_sliding_window_pattern", default=0):
        return ["full" if (layer + 1) % every == 0 else "sliding" for layer in range(layers)]
    return [_by_rule(fields, traits, layer) for layer in range(layers)]


def _listed(fields: Fields, listed: list[str], layers: int) -> list[Kind]:
    unknown = next((kind for kind in listed if kind not in _KINDS), None)
    if unknown is not None:
        raise ConfigError(f"{fields.where}: layer_types has {unknown!r}; we know {', '.join(_KINDS)}")
    return _of_length(fields, "layer_types", [_KINDS[kind] for kind in listed], layers)


def _of_length(fields: Fields, name: str, kinds: list[Kind], layers: int) -> list[Kind]:
    if len(kinds) < layers:
        raise ConfigError(f"{fields.where}: {name} lists {len(kinds)} layers; num_hidden_layers is {layers}")
    return kinds[:layers]


def _by_rule(fields: Fields, traits: Traits, layer: int) -> Kind:
    if traits.sliding == "all" or (traits.sliding == "even" and layer % 2 == 0):
        return "sliding"
    if traits.sliding == "switched" and fields.flag("use_sliding_window"):
        return "sliding" if layer >= fields.count("max_window_layers", default=0) else "full"
    return "full"


def grouped_query(
    fields: Fields, traits: Traits, kind: Kind = "full", layer: int = 0, shares_kv: bool = False
) -> GroupedQueryAttention:
    """Softmax attention of one layer; sliding layers (MiMo) and global layers (Gemma 4) may have head sizes of their own."""
    own = {"sliding": "swa_", "full": "global_"}.get(kind, "")
    heads = fields.positive(f"{own}num_attention_heads", *_HEADS)
    head_dim = _head_dim(fields, own, heads)
    kv_heads = _kv_heads(fields, kind, heads)
    index_heads, index_dim, index_top_k = _indexer(fields, layer)
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=fields.positive(f"{own}v_head_dim", "v_head_dim", default=head_dim),
        window=fields.positive("sliding_window") if kind == "sliding" and fields.has("sliding_window") else None,
        chunk=fields.positive("attention_chunk_size") if kind == "chunked" else None,
        qkv_bias=switched(fields, traits.qkv_bias),
        output_bias=switched(fields, traits.output_bias),
        query_key_norm=switched(fields, traits.query_key_norm),
        gated=switched(fields, traits.output_gate),
        sinks=traits.sinks or fields.flag(f"add_{'swa' if kind == 'sliding' else 'full'}_attention_sink_bias"),
        shares_kv=shares_kv,
        key_is_value=kind == "full" and fields.flag("attention_k_eq_v"),
        index_heads=index_heads,
        index_dim=index_dim,
        index_top_k=index_top_k,
    )


def _head_dim(fields: Fields, own: str, heads: int) -> int:
    if size := fields.count(f"{own}head_dim", "head_dim", "attention_head_dim", default=0):
        return size
    hidden = fields.positive("hidden_size", "n_embd")
    if hidden % heads:
        raise ConfigError(f"{fields.where}: hidden_size {hidden} does not divide into {heads} heads; head_dim would settle it")
    return hidden // heads


def _kv_heads(fields: Fields, kind: Kind, heads: int) -> int:
    own = {"sliding": "swa_num_key_value_heads", "full": "num_global_key_value_heads"}.get(kind, _KV_HEADS[0])
    grouped = fields.flag("new_decoder_architecture") or not fields.flag("multi_query")
    kv_heads = fields.positive(own, *_KV_HEADS, default=heads) if grouped else 1
    if heads % kv_heads:
        raise ConfigError(f"{fields.where}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    return kv_heads


def _indexer(fields: Fields, layer: int) -> tuple[int, int, int]:
    """Heads, width and tokens of MiniMax-M3's block-sparse indexer in one layer, zeros without one."""
    sparse = fields.inner("sparse_attention_config")
    if sparse is None or not sparse.flag("use_sparse_attention"):
        return 0, 0, 0
    listed = sparse.items("sparse_attention_freq")
    if layer < len(listed) and not listed[layer]:
        return 0, 0, 0
    top_k = sparse.positive("sparse_topk_blocks") * sparse.positive("sparse_block_size")
    return sparse.positive("sparse_num_index_heads"), sparse.positive("sparse_index_dim"), top_k


def latent(fields: Fields, layer: int) -> LatentAttention:
    """Multi-head latent attention, with the sparse indexer where there is one."""
    shares_index = _shares_index(fields, layer)
    return LatentAttention(
        heads=fields.positive(*_HEADS),
        q_lora_rank=fields.count("q_lora_rank", default=0),
        kv_lora_rank=fields.positive("kv_lora_rank"),
        nope_dim=fields.positive("qk_nope_head_dim"),
        rope_dim=fields.positive("qk_rope_head_dim"),
        value_head_dim=fields.positive("v_head_dim"),
        index_heads=0 if shares_index else fields.count("index_n_heads", default=0),
        index_dim=0 if shares_index else fields.count("index_head_dim", default=0),
        index_top_k=fields.count("index_topk", default=0),
    )


def _shares_index(fields: Fields, layer: int) -> bool:
    """Whether a layer reuses the tokens that an earlier layer's indexer chose (GLM-5.2: all but every fourth)."""
    if types := fields.items("indexer_types"):
        return layer < len(types) and types[layer] == "shared"
    every = fields.count("index_topk_freq", default=1)
    first = fields.count("index_skip_topk_offset", default=every - 1)
    return every > 1 and layer >= first and (layer - first + 1) % every != 0


def compressed(fields: Fields, ratio: int) -> CompressedAttention:
    """DeepSeek-V4 attention of one layer; only layers of ratio 4 have an indexer."""
    indexed = ratio == 4
    return CompressedAttention(
        heads=fields.positive(*_HEADS),
        head_dim=fields.positive("head_dim"),
        rope_dim=fields.positive("qk_rope_head_dim"),
        q_lora_rank=fields.positive("q_lora_rank"),
        o_lora_rank=fields.positive("o_lora_rank"),
        o_groups=fields.positive("o_groups"),
        window=fields.positive("sliding_window"),
        ratio=ratio,
        index_heads=fields.positive("index_n_heads") if indexed else 0,
        index_dim=fields.positive("index_head_dim") if indexed else 0,
        index_top_k=fields.positive("index_topk") if indexed else 0,
    )


def gated_delta_net(fields: Fields) -> GatedDeltaNet:
    """Linear attention of Qwen3-Next and Qwen3.5."""
    return GatedDeltaNet(
        key_heads=fields.positive("linear_num_key_heads"),
        value_heads=fields.positive("linear_num_value_heads"),
        key_head_dim=fields.positive("linear_key_head_dim"),
        value_head_dim=fields.positive("linear_value_head_dim"),
        conv_kernel=fields.positive("linear_conv_kernel_dim"),
        state_dtype=_state_dtype(fields),
    )


def delta_attention(fields: Fields) -> GatedDeltaNet:
    """Linear attention of Kimi-Linear: every key has a decay, and gates come out of a bottleneck as wide as a head."""
    linear = fields.inner("linear_attn_config")
    if linear is None:
        raise fields.missing("linear_attn_config")
    if linear.flag("use_full_rank_gate"):
        raise linear.refused("use_full_rank_gate", "projects the gates of Kimi-K3; we have no model of that")
    heads, width = linear.positive("num_heads"), linear.positive("head_dim")
    return GatedDeltaNet(
        key_heads=heads,
        value_heads=heads,
        key_head_dim=width,
        value_head_dim=width,
        conv_kernel=linear.positive("short_conv_kernel_size"),
        gate_rank=width,
        state_dtype="fp32",
    )


def mamba2(fields: Fields) -> Mamba2:
    """A Mamba-2 block (Nemotron-H, Granite 4, Bamba)."""
    return Mamba2(
        heads=fields.positive("mamba_num_heads", "mamba_n_heads"),
        head_dim=fields.positive("mamba_head_dim", "mamba_d_head"),
        state_size=fields.positive("ssm_state_size", "mamba_d_state"),
        groups=fields.positive("n_groups", "mamba_n_groups"),
        conv_kernel=fields.positive("conv_kernel", "mamba_d_conv"),
        conv_bias=fields.flag("use_conv_bias", "mamba_conv_bias", default=True),
        bias=fields.flag("use_bias", "mamba_proj_bias"),
        state_dtype=_state_dtype(fields),
    )


def mamba1(fields: Fields) -> Mamba1:
    """A Mamba-1 block (Jamba)."""
    hidden = fields.positive("hidden_size")
    return Mamba1(
        inner=fields.positive("mamba_expand") * hidden,
        state_size=fields.positive("mamba_d_state"),
        conv_kernel=fields.positive("mamba_d_conv"),
        time_step_rank=fields.positive("mamba_dt_rank", default=-(-hidden // 16)),
        inner_norms=True,
        conv_bias=fields.flag("mamba_conv_bias", default=True),
        bias=fields.flag("mamba_proj_bias"),
        state_dtype=_state_dtype(fields),
    )


def _state_dtype(fields: Fields) -> Literal["fp32", "bf16"]:
    return "fp32" if fields.get("mamba_ssm_dtype", "mamba_ssm_cache_dtype") == "float32" else "bf16"
