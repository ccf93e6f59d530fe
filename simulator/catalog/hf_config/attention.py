"""Attention and its substitutes: the mixer of every layer."""

from __future__ import annotations

from typing import Literal

from simulator.catalog.hf_config.architectures import Switch, Traits
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import GatedDeltaNet, GroupedQueryAttention, LatentAttention, Mixer
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


def switched(fields: Fields, switch: Switch) -> bool:
    """Whether an architecture's feature is on."""
    return switch if isinstance(switch, bool) else fields.flag(switch)


def mixers(fields: Fields, traits: Traits) -> list[Mixer]:
    """The mixer of each layer, in order."""
    kinds = layer_kinds(fields, traits)
    if fields.has("kv_lora_rank"):
        return [_latent(fields, layer) for layer in range(len(kinds))]
    shared_from = len(kinds) - fields.count("num_kv_shared_layers", default=0)
    return [_mixer(fields, traits, kind, layer >= shared_from) for layer, kind in enumerate(kinds)]


def layer_kinds(fields: Fields, traits: Traits) -> list[Kind]:
    """Which tokens each layer sees, from the list of layer types or the rule that stands for one."""
    layers = fields.positive("num_hidden_layers", "n_layer")
    if listed := fields.items("layer_types"):
        return _listed(fields, listed, layers)
    if pattern := fields.items("hybrid_layer_pattern"):
        return _same_length(fields, "hybrid_layer_pattern", ["sliding" if slides else "full" for slides in pattern], layers)
    if interval := fields.count("full_attention_interval", default=0):
        return ["full" if (layer + 1) % interval == 0 else "linear" for layer in range(layers)]
    if fields.has("attention_chunk_size"):
        every = fields.positive("no_rope_layer_interval", default=4)
        return ["full" if (layer + 1) % every == 0 else "chunked" for layer in range(layers)]
    if not fields.has("sliding_window"):
        return ["full"] * layers
    if every := fields.count("sliding_window_pattern", "_sliding_window_pattern", default=0):
        return ["full" if (layer + 1) % every == 0 else "sliding" for layer in range(layers)]
    return [_by_rule(fields, traits, layer) for layer in range(layers)]


def _listed(fields: Fields, listed: list[str], layers: int) -> list[Kind]:
    unknown = next((kind for kind in listed if kind not in _KINDS), None)
    if unknown is not None:
        raise ConfigError(f"{fields.where}: layer_types has {unknown!r}; we know {', '.join(_KINDS)}")
    return _same_length(fields, "layer_types", [_KINDS[kind] for kind in listed], layers)


def _same_length(fields: Fields, name: str, kinds: list[Kind], layers: int) -> list[Kind]:
    if len(kinds) < layers:
        raise ConfigError(f"{fields.where}: {name} lists {len(kinds)} layers; num_hidden_layers is {layers}")
    return kinds[:layers]


def _by_rule(fields: Fields, traits: Traits, layer: int) -> Kind:
    if traits.sliding == "all" or (traits.sliding == "even" and layer % 2 == 0):
        return "sliding"
    if traits.sliding == "switched" and fields.flag("use_sliding_window"):
        return "sliding" if layer >= fields.count("max_window_layers", default=0) else "full"
    return "full"


def _mixer(fields: Fields, traits: Traits, kind: Kind, shares_kv: bool) -> Mixer:
    return gated_delta_net(fields) if kind == "linear" else grouped_query(fields, traits, kind, shares_kv)


def grouped_query(fields: Fields, traits: Traits, kind: Kind = "full", shares_kv: bool = False) -> GroupedQueryAttention:
    """Softmax attention of one layer; sliding layers (MiMo) and global layers (Gemma 4) may have head sizes of their own."""
    prefix = ("swa_",) if kind == "sliding" else ("global_",) if kind == "full" else ()
    heads = fields.positive(*(f"{p}num_attention_heads" for p in prefix), "num_attention_heads", "n_head")
    head_dim = _head_dim(fields, prefix, heads)
    kv_names = {"sliding": ("swa_num_key_value_heads",), "full": ("num_global_key_value_heads",)}.get(kind, ())
    kv_heads = fields.positive(*kv_names, "num_key_value_heads", "num_kv_heads", default=heads)
    if heads % kv_heads:
        raise ConfigError(f"{fields.where}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=fields.positive(*(f"{p}v_head_dim" for p in prefix), "v_head_dim", default=head_dim),
        window=fields.positive("sliding_window") if kind == "sliding" and fields.has("sliding_window") else None,
        chunk=fields.positive("attention_chunk_size") if kind == "chunked" else None,
        qkv_bias=switched(fields, traits.qkv_bias),
        output_bias=switched(fields, traits.output_bias),
        query_key_norm=switched(fields, traits.query_key_norm),
        gated=switched(fields, traits.output_gate),
        sinks=traits.sinks,
        shares_kv=shares_kv,
        key_is_value=kind == "full" and fields.flag("attention_k_eq_v"),
    )


def _head_dim(fields: Fields, prefix: tuple[str, ...], heads: int) -> int:
    if size := fields.count(*(f"{p}head_dim" for p in prefix), "head_dim", "attention_head_dim", default=0):
        return size
    hidden = fields.positive("hidden_size", "n_embd")
    if hidden % heads:
        raise ConfigError(f"{fields.where}: hidden_size {hidden} does not divide into {heads} heads; head_dim would settle it")
    return hidden // heads


def _latent(fields: Fields, layer: int) -> LatentAttention:
    shares_index = layer < len(types := fields.items("indexer_types")) and types[layer] == "shared"
    return LatentAttention(
        heads=fields.positive("num_attention_heads"),
        q_lora_rank=fields.count("q_lora_rank", default=0),
        kv_lora_rank=fields.positive("kv_lora_rank"),
        nope_dim=fields.positive("qk_nope_head_dim"),
        rope_dim=fields.positive("qk_rope_head_dim"),
        value_head_dim=fields.positive("v_head_dim"),
        index_heads=0 if shares_index else fields.count("index_n_heads", default=0),
        index_dim=0 if shares_index else fields.count("index_head_dim", default=0),
        index_top_k=fields.count("index_topk", default=0),
    )


def gated_delta_net(fields: Fields) -> GatedDeltaNet:
    """Linear attention of Qwen3-Next and Qwen3.5."""
    return GatedDeltaNet(
        key_heads=fields.positive("linear_num_key_heads"),
        value_heads=fields.positive("linear_num_value_heads"),
        key_head_dim=fields.positive("linear_key_head_dim"),
        value_head_dim=fields.positive("linear_value_head_dim"),
        conv_kernel=fields.positive("linear_conv_kernel_dim"),
        state_dtype="fp32" if fields.get("mamba_ssm_dtype") == "float32" else "bf16",
    )
