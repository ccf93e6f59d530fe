"""Feed-forward blocks: which layers have experts, and how wide everything is."""

from __future__ import annotations

from simulator.catalog.hf_config.architectures import Traits
from simulator.catalog.hf_config.attention import layer_count, switched
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import DenseMlp, Mlp, MoeMlp
from simulator.errors import ConfigError
from simulator.numbers import integer

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
EXPERTS_PER_TOKEN = (
    "num_experts_per_tok",
    "experts_per_token",
    "top_k_experts",
    "num_experts_per_token",
    "moe_top_k",
    "moe_topk",
    "moe_k",
)
EXPERT_WIDTH = ("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
DENSE_WIDTH = ("dense_intermediate_size", "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
SHARED_WIDTH = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)


def mlps(fields: Fields, traits: Traits) -> list[Mlp]:
    """The feed-forward block of each layer, in order."""
    layers = layer_count(fields)
    if not fields.count(*EXPERTS, default=0):
        return [dense(fields, traits)] * layers
    sparse = moe_layers(fields, layers)
    moe = experts(fields, traits)
    return [moe if layer in sparse else dense(fields, traits) for layer in range(layers)]


def moe_layers(fields: Fields, layers: int) -> set[int]:
    """Indices of the layers that route to experts."""
    if listed := fields.items("mlp_layer_types"):
        return {layer for layer, kind in enumerate(listed) if kind == "sparse"}
    if fields.has("moe_layers_enum", "moe_layer_start_index"):
        return _counted(fields, layers)
    first = fields.count("first_k_dense_replace", default=0)
    frequency = fields.get("moe_layer_freq")
    if isinstance(frequency, list):
        if len(frequency) < layers:
            raise ConfigError(f"{fields.where}: moe_layer_freq lists {len(frequency)} layers; num_hidden_layers is {layers}")
        return {layer for layer in range(layers) if frequency[layer]}
    if step := fields.count("decoder_sparse_step", "interleave_moe_layer_step", default=0):
        dense_layers = fields.items("mlp_only_layers")
        return {layer for layer in range(layers) if (layer + 1) % step == 0 and layer not in dense_layers}
    every = fields.positive("moe_layer_freq", default=1)
    return {layer for layer in range(first, layers) if layer % every == 0}


def _counted(fields: Fields, layers: int) -> set[int]:
    """Layers listed in a string (Step-3.5), or every so many from a first to a last (ERNIE 4.5)."""
    if enumerated := fields.get("moe_layers_enum"):
        where = f"{fields.where}: moe_layers_enum"
        return {integer(layer, where, ConfigError, most=layers) for layer in str(enumerated).split(",")}
    every, last = fields.positive("moe_layer_interval", default=1), fields.get("moe_layer_end_index")
    last = layers - 1 if last in (None, -1) else fields.count("moe_layer_end_index")
    return {layer for layer in range(fields.count("moe_layer_start_index"), last + 1) if (layer + 1) % every == 0}


def dense(fields: Fields, traits: Traits) -> DenseMlp:
    """A dense feed-forward block."""
    usual = None
    if traits.expansion:
        usual = fields.positive("expansion_ratio", default=traits.expansion) * fields.positive("hidden_size", "n_embd")
    return DenseMlp(
        width=fields.positive(*DENSE_WIDTH, default=usual), gated=traits.gated, bias=switched(fields, traits.mlp_bias)
    )


def experts(fields: Fields, traits: Traits) -> MoeMlp:
    """A mixture of experts with what every token visits beside it."""
    width = fields.positive(*EXPERT_WIDTH)
    count, per_token = fields.positive(*EXPERTS), fields.positive(*EXPERTS_PER_TOKEN)
    if per_token > count:
        raise ConfigError(f"{fields.where}: a token visits {per_token} of {count} experts")
    shared = fields.count(*SHARED, default=0)
    shared_width = fields.count(*SHARED_WIDTH, default=0) or shared * width
    return MoeMlp(
        experts=count,
        experts_per_token=per_token,
        width=width,
        gated=traits.gated,
        bias=traits.expert_bias,
        shared_width=shared_width,
        shared_gate=traits.shared_gate and shared_width > 0,
        dense_width=fields.positive("intermediate_size") if fields.flag("enable_moe_block") else 0,
        router_bias=switched(fields, traits.router_bias),
        latent=fields.count("moe_latent_size", default=0),
    )
