"""The tensors of a model: which there are, how large, and how parallelism divides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from simulator.catalog.models import (
    CompressedAttention,
    DenseMlp,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    Mamba1,
    Mamba2,
    Mixer,
    Mlp,
    Model,
    MoeMlp,
)
from simulator.catalog.quantizations import TensorGroup

Split = Literal["replicated", "tensor", "kv_heads", "vocabulary", "experts"]
Place = Literal["first", "layer", "last", "every", "draft"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor, or several of a module that are stored and divided alike.

    `parameters` are the whole model's. `split` says what tensor parallelism does with them: divides them, divides them down to
    one of `units` KV heads, divides a vocabulary padded to 64, or hands out `units` experts. `layer` is None outside the layers;
    `place` is the pipeline stage that holds it. `active` of the parameters work on one token.
    """

    group: TensorGroup
    module: str
    parameters: int
    split: Split = "tensor"
    units: int = 1
    layer: int | None = None
    place: Place = "layer"
    active: int | None = None

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: all but the experts it does not visit."""
        return self.parameters if self.active is None else self.active


def tensors(model: Model) -> Iterator[Tensor]:
    """Every tensor of the model: outside the layers first, then layer by layer, then the draft layers.

    >>> from simulator.catalog.models import model
    >>> sum(t.parameters for t in tensors(model("llama-3.1-8b")))
    8030261248
    """
    table = model.vocabulary * model.hidden
    yield Tensor("embedding", "embed_tokens", table, "vocabulary", model.vocabulary, place="first", active=0)
    if not model.tied_embeddings:
        yield Tensor("lm_head", "lm_head", table, "vocabulary", model.vocabulary, place="last")
    yield Tensor("norm", "norm", model.hidden, "replicated", place="last")
    if model.other_parameters:
        yield Tensor("other", "other", model.other_parameters, "replicated", place="every", active=0)
    if model.vision_parameters:
        split: Split = "replicated" if model.vision_replicated else "tensor"
        yield Tensor("vision", "vision", model.vision_parameters, split, place="first", active=0)
    for index, layer in enumerate(model.layers):
        yield from layer_tensors(layer, model.hidden, index)
    for index, layer in enumerate(model.draft_layers):
        for tensor in layer_tensors(layer, model.hidden, index):
            yield Tensor("draft", tensor.module, tensor.parameters, tensor.split, tensor.units, index, "draft", 0)
    if model.draft_other_parameters:
        yield Tensor("other", "draft_other", model.draft_other_parameters, "replicated", place="draft", active=0)


def layer_tensors(layer: Layer, hidden: int, index: int | None = None) -> Iterator[Tensor]:
    """The tensors of one layer."""
    if layer.norms:
        yield Tensor("norm", "norm", layer.norms * hidden, "replicated", layer=index)
    if layer.mixer is not None:
        yield from _mixer_tensors(layer.mixer, hidden, index)
    if layer.mlp is not None:
        yield from _mlp_tensors(layer.mlp, hidden, index)


def _mixer_tensors(mixer: Mixer, hidden: int, index: int | None) -> Iterator[Tensor]:
    match mixer:
        case GroupedQueryAttention():
            yield from _grouped_query(mixer, hidden, index)
        case LatentAttention():
            yield from _latent(mixer, hidden, index)
        case CompressedAttention():
            yield from _compressed(mixer, hidden, index)
        case Mamba1():
            yield from _mamba1(mixer, hidden, index)
        case Mamba2():
            yield from _mamba2(mixer, hidden, index)
        case GatedDeltaNet():
            yield from _gated_delta_net(mixer, hidden, index)


def _grouped_query(a: GroupedQueryAttention, hidden: int, layer: int | None) -> Iterator[Tensor]:
    queries = a.heads * a.head_dim * (2 if a.gated else 1)
    key, value = a.kv_heads * a.head_dim, a.kv_heads * a.value_head_dim
    keys_values = 0 if a.shares_kv else key + (0 if a.key_is_value else value)
    outputs = a.heads * a.value_head_dim
    yield Tensor("attention", "qkv_proj", hidden * queries, "tensor", a.heads, layer)
    if keys_values:
        yield Tensor("attention", "qkv_proj", hidden * keys_values, "kv_heads", a.kv_heads, layer)
    yield Tensor("attention", "o_proj", outputs * hidden, "tensor", a.heads, layer)
    if a.index_heads:
        indexer = hidden * (a.index_heads + 1) * a.index_dim + 2 * a.index_dim
        yield Tensor("attention", "indexer", indexer, "replicated", layer=layer)
    vectors = (queries + keys_values) * a.qkv_bias + hidden * a.output_bias
    vectors += 2 * a.head_dim * a.query_key_norm + a.heads * a.sinks
    if vectors:
        yield Tensor("norm", "attention_vectors", vectors, "replicated", layer=layer)


def _latent(a: LatentAttention, hidden: int, layer: int | None) -> Iterator[Tensor]:
    query_dim = a.heads * (a.nope_dim + a.rope_dim)
    if a.q_lora_rank:
        yield Tensor("attention", "q_a_proj", hidden * a.q_lora_rank, "replicated", layer=layer)
        yield Tensor("attention", "q_b_proj", a.q_lora_rank * query_dim, "tensor", a.heads, layer)
    else:
        yield Tensor("attention", "q_proj", hidden * query_dim, "tensor", a.heads, layer)
    yield Tensor("attention", "kv_a_proj", hidden * (a.kv_lora_rank + a.rope_dim), "replicated", layer=layer)
    yield Tensor("attention", "kv_b_proj", a.kv_lora_rank * a.heads * (a.nope_dim + a.value_head_dim), "tensor", a.heads, layer)
    yield Tensor("attention", "o_proj", a.heads * a.value_head_dim * hidden, "tensor", a.heads, layer)
    yield Tensor("norm", "attention_vectors", a.q_lora_rank + a.kv_lora_rank, "replicated", layer=layer)
    if a.index_heads:
        queries = (a.q_lora_rank or hidden) * a.index_heads * a.index_dim
        yield Tensor("attention", "indexer", queries + hidden * a.index_dim, "replicated", layer=layer)
        yield Tensor("norm", "indexer_weights", hidden * a.index_heads + 2 * a.index_dim, "replicated", layer=layer)


def _compressed(a: CompressedAttention, hidden: int, layer: int | None) -> Iterator[Tensor]:
    width = a.heads * a.head_dim
    yield Tensor("attention", "q_a_proj", hidden * a.q_lora_rank, "replicated", layer=layer)
    yield Tensor("attention", "q_b_proj", a.q_lora_rank * width, "tensor", a.heads, layer)
    yield Tensor("attention", "kv_proj", hidden * a.head_dim, "replicated", layer=layer)
    yield Tensor("attention", "o_a_proj", width * a.o_lora_rank, "tensor", a.o_groups, layer)
    yield Tensor("attention", "o_b_proj", a.o_groups * a.o_lora_rank * hidden, "tensor", a.o_groups, layer)
    yield Tensor("norm", "attention_vectors", a.q_lora_rank + a.head_dim + a.heads, "replicated", layer=layer)
    if a.ratio:
        yield Tensor("attention", "compressor", _compressor(hidden, a.head_dim, a.ratio), "replicated", layer=layer)
    if a.index_heads:
        queries = a.q_lora_rank * a.index_heads * a.index_dim
        yield Tensor("attention", "indexer", queries, "replicated", layer=layer)
        weights = hidden * a.index_heads + _compressor(hidden, a.index_dim, a.ratio)
        yield Tensor("attention", "compressor", weights, "replicated", layer=layer)


def _compressor(hidden: int, width: int, ratio: int) -> int:
    """Value and gate projections, a position table and a norm; windows of ratio 4 overlap and are twice as wide."""
    wide = width * (2 if ratio == 4 else 1)
    return 2 * hidden * wide + ratio * wide + width


def _mamba1(m: Mamba1, hidden: int, layer: int | None) -> Iterator[Tensor]:
    yield Tensor("mamba", "in_proj", hidden * 2 * m.inner, "tensor", m.inner, layer)
    yield Tensor("mamba", "x_proj", m.inner * (m.time_step_rank + 2 * m.state_size), "tensor", m.inner, layer)
    yield Tensor("mamba", "dt_proj", m.time_step_rank * m.inner, "tensor", m.inner, layer)
    yield Tensor("mamba", "out_proj", m.inner * hidden, "tensor", m.inner, layer)
    vectors = m.inner * (m.conv_kernel + m.conv_bias + m.state_size + 2) + (2 * m.inner + hidden) * m.bias
    yield Tensor("norm", "mamba_vectors", vectors, "tensor", m.inner, layer)
    if m.inner_norms:
        yield Tensor("norm", "mamba_norms", m.time_step_rank + 2 * m.state_size, "replicated", layer=layer)


def _mamba2(m: Mamba2, hidden: int, layer: int | None) -> Iterator[Tensor]:
    inner, states = m.heads * m.head_dim, 2 * m.groups * m.state_size
    yield Tensor("mamba", "in_proj", hidden * (2 * inner + m.heads), "tensor", m.heads, layer)
    yield Tensor("mamba", "in_proj", hidden * states, "kv_heads", m.groups, layer)
    yield Tensor("mamba", "out_proj", inner * hidden, "tensor", m.heads, layer)
    vectors = (inner + states) * (m.conv_kernel + m.conv_bias) + 3 * m.heads + inner + (2 * inner + hidden) * m.bias
    yield Tensor("norm", "mamba_vectors", vectors, "tensor", m.heads, layer)


def _gated_delta_net(m: GatedDeltaNet, hidden: int, layer: int | None) -> Iterator[Tensor]:
    keys, values = m.key_heads * m.key_head_dim, m.value_heads * m.value_head_dim
    if m.gate_rank:
        yield from _delta_attention(m, hidden, layer)
        return
    yield Tensor("mamba", "in_proj_qkvz", hidden * 2 * (keys + values), "tensor", m.key_heads, layer)
    yield Tensor("mamba", "in_proj_ba", hidden * 2 * m.value_heads, "tensor", m.key_heads, layer)
    yield Tensor("mamba", "out_proj", values * hidden, "tensor", m.key_heads, layer)
    vectors = (2 * keys + values) * m.conv_kernel + 2 * m.value_heads
    yield Tensor("norm", "mamba_vectors", vectors, "tensor", m.key_heads, layer)
    yield Tensor("norm", "mamba_norms", m.value_head_dim, "replicated", layer=layer)


def _delta_attention(m: GatedDeltaNet, hidden: int, layer: int | None) -> Iterator[Tensor]:
    """Kimi Delta Attention: decay and output gate out of bottlenecks, which every rank holds whole.

    Source: KimiDeltaAttention in vllm/model_executor/layers/kda.py (0.19.0).
    """
    keys, values = m.key_heads * m.key_head_dim, m.value_heads * m.value_head_dim
    yield Tensor("mamba", "in_proj_qkv", hidden * (2 * keys + values), "tensor", m.key_heads, layer)
    yield Tensor("mamba", "gates_a", 2 * hidden * m.gate_rank, "replicated", layer=layer)
    yield Tensor("mamba", "gates_b", m.gate_rank * (keys + values), "tensor", m.key_heads, layer)
    yield Tensor("mamba", "in_proj_b", hidden * m.value_heads, "tensor", m.key_heads, layer)
    yield Tensor("mamba", "out_proj", values * hidden, "tensor", m.key_heads, layer)
    vectors = (2 * keys + values) * m.conv_kernel + m.value_heads + keys
    yield Tensor("norm", "mamba_vectors", vectors, "tensor", m.key_heads, layer)
    yield Tensor("norm", "mamba_norms", m.value_head_dim, "replicated", layer=layer)


def _mlp_tensors(mlp: Mlp, hidden: int, layer: int | None) -> Iterator[Tensor]:
    if isinstance(mlp, DenseMlp):
        yield from _dense("mlp", "", mlp.width, mlp.gated, hidden, layer)
        if mlp.bias:
            yield Tensor("norm", "mlp_bias", mlp.width * (2 if mlp.gated else 1), "tensor", mlp.width, layer)
            yield Tensor("norm", "mlp_bias", hidden, "replicated", layer=layer)
        return
    yield from _experts(mlp, hidden, layer)
    if mlp.shared_width:
        yield from _dense("shared_experts", "shared_", mlp.shared_width, mlp.gated, hidden, layer)
    if mlp.shared_gate:
        yield Tensor("router", "shared_gate", hidden, "replicated", layer=layer)
    if mlp.dense_width:
        yield from _dense("mlp", "", mlp.dense_width, mlp.gated, hidden, layer)


def _dense(group: TensorGroup, prefix: str, width: int, gated: bool, hidden: int, layer: int | None) -> Iterator[Tensor]:
    yield Tensor(group, f"{prefix}up_proj", (2 if gated else 1) * hidden * width, "tensor", width, layer)
    yield Tensor(group, f"{prefix}down_proj", width * hidden, "tensor", width, layer)


def _experts(m: MoeMlp, hidden: int, layer: int | None) -> Iterator[Tensor]:
    inside = m.latent or hidden
    matrices = 3 if m.gated else 2
    for module, count in (("experts_up", matrices - 1), ("experts_down", 1)):
        one = count * inside * m.width
        yield Tensor("experts", module, m.experts * one, "experts", m.experts, layer, active=m.experts_per_token * one)
    if m.bias:
        one_bias = (matrices - 1) * m.width + inside
        total = m.experts * one_bias
        yield Tensor("norm", "expert_bias", total, "experts", m.experts, layer, active=m.experts_per_token * one_bias)
    yield Tensor("router", "router", m.experts * (hidden + m.router_bias), "replicated", layer=layer)
    if m.latent:
        yield Tensor("mlp", "latent_proj", 2 * hidden * m.latent, "replicated", layer=layer)
