"""What one layer costs: its matmuls, experts, attention and small kernels, added up without yet being seconds of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.catalog.models import DenseMlp, GroupedQueryAttention, LatentAttention, Layer, MoeMlp
from simulator.catalog.quantizations import TensorGroup
from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.physics import Array
from simulator.latency.rank import Rank
from simulator.units import US


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a layer or half of one. Arrays run over the table of tokens, in seconds; `moved` in bytes.

    `small` counts kernels too short to have a size: norms, rotary embeddings, activations, cache writes. `prefill` is attention's
    share that grows with the tokens of a step; `window` limits `per_context` and `per_pair` to that many tokens.
    """

    gemm: Array
    experts: Array
    moved: Array
    prefill: Array
    small: int = 0
    fixed: float = 0.0
    per_sequence: float = 0.0
    per_context: float = 0.0
    per_pair: float = 0.0
    window: int | None = None


def mixer_cost(r: Rank, layer: Layer, index: int) -> Cost | None:
    """The cost of a layer's attention or recurrence, None where it has none."""
    m = layer.mixer
    if m is None:
        return None
    if isinstance(m, GroupedQueryAttention):
        return _grouped_query(r, m, index)
    if isinstance(m, LatentAttention):
        return _latent(r, m, index)
    raise NotModelled(f"{m.kind} layers of {r.model.name} are not modelled yet")


def mlp_cost(r: Rank, layer: Layer, index: int) -> Cost | None:
    """The cost of a layer's feed-forward block or experts, None where it has none."""
    m = layer.mlp
    if m is None:
        return None
    if isinstance(m, DenseMlp):
        return _cost(r, gemm=_feed_forward(r, "mlp", index, m.width, m.gated), moved=_norm(r) + _activation(r, m.width), small=2)
    return _mixture(r, m, index)


def _grouped_query(r: Rank, m: GroupedQueryAttention, index: int) -> Cost:
    h, heads, kv = r.model.hidden, m.heads / r.tp, max(m.kv_heads / r.tp, 1.0)
    keys = 0.0 if m.shares_kv else kv * (m.head_dim + (0 if m.key_is_value else m.value_head_dim))
    query = heads * m.head_dim * (2 if m.gated else 1)
    gemm = r.gemm("attention", index, query + keys, h) + r.gemm("attention", index, h, heads * m.value_head_dim)
    a, width = r.attention, m.head_dim + m.value_head_dim
    read = a.decode_bandwidth * r.gpu.memory_bytes_per_s
    pass_s = 2.0 * (heads + kv) * width / r.gpu.memory_bytes_per_s
    return _cost(
        r,
        gemm=gemm,
        moved=_norm(r) + r.tokens * 4.0 * (query + keys),
        prefill=r.tokens * a.query * pass_s,
        small=3 + m.query_key_norm,
        fixed=a.decode_us * US,
        per_sequence=a.sequence * 2.0 * heads * width / r.gpu.memory_bytes_per_s,
        per_context=kv * width * r.cache_bytes / read,
        per_pair=2.0 * heads * width / (a.prefill_compute * r.sixteen_flops),
        window=m.window or m.chunk,
    )


def _latent(r: Rank, m: LatentAttention, index: int) -> Cost:
    """MLA: down to the latents on every rank, up to the heads, absorbed products in 16 bits, attention over one latent."""
    h, heads = r.model.hidden, m.heads / r.tp
    query, latent = heads * (m.nope_dim + m.rope_dim), m.kv_lora_rank + m.rope_dim
    gemm = r.gemm("attention", index, (m.q_lora_rank or query) + latent, h)
    gemm = gemm + (r.gemm("attention", index, query, m.q_lora_rank) if m.q_lora_rank else 0.0)
    gemm = gemm + r.plain_gemm(heads * m.nope_dim, m.kv_lora_rank) + r.plain_gemm(heads * m.value_head_dim, m.kv_lora_rank)
    gemm = gemm + r.gemm("attention", index, h, heads * m.value_head_dim)
    a = r.latent
    read = latent * r.cache_bytes / (a.decode_bandwidth * r.gpu.memory_bytes_per_s)
    compute = 2 * heads * (latent + m.kv_lora_rank) / (0.5 * r.sixteen_flops)
    return _cost(
        r,
        gemm=gemm,
        moved=_norm(r) + r.tokens * 4.0 * (query + m.q_lora_rank + latent),
        prefill=r.tokens * a.query * 2.0 * (2 * query + latent) / r.gpu.memory_bytes_per_s,
        small=8,
        fixed=a.decode_us * US,
        per_sequence=a.sequence * 2.0 * heads * (latent + m.kv_lora_rank) / r.gpu.memory_bytes_per_s,
        per_context=float(np.hypot(read, compute)),
        per_pair=2.0 * heads * (m.nope_dim + m.rope_dim + m.value_head_dim) / (a.prefill_compute * r.sixteen_flops),
    )


def _mixture(r: Rank, m: MoeMlp, index: int) -> Cost:
    h = r.model.hidden
    gemm = r.gemm("router", index, m.experts, h)
    if m.shared_width:
        gemm = gemm + _feed_forward(r, "shared_experts", index, m.shared_width, m.gated)
    if m.dense_width:
        gemm = gemm + _feed_forward(r, "mlp", index, m.dense_width, m.gated)
    moved = _norm(r) + _activation(r, m.shared_width + m.dense_width)
    return _cost(
        r, gemm=gemm, experts=_experts(r, m, index), moved=moved, small=1 + 2 * (m.shared_width > 0) + 2 * (m.dense_width > 0)
    )


def _experts(r: Rank, m: MoeMlp, index: int) -> Array:
    """Seconds of the routed experts; tokens of all data-parallel ranks meet here."""
    width = m.latent or r.model.hidden
    gathered = r.tokens * r.dp
    ranks = r.tp * r.dp if r.whole_experts else 1
    split = 1 if r.whole_experts else r.tp
    weights = (3 if m.gated else 2) * width * m.width / split
    touched = physics.touched_experts(gathered, m.experts, m.experts_per_token, r.overheads.expert_skew) / ranks
    routed = gathered * m.experts_per_token / ranks
    return physics.expert_matmul(r.tokens, touched, routed, weights, width, r.expert_rates(r.format("experts", index)))


def _feed_forward(r: Rank, group: TensorGroup, index: int, width: float, gated: bool) -> Array:
    h, f = r.model.hidden, width / r.tp
    return r.gemm(group, index, (2 if gated else 1) * f, h) + r.gemm(group, index, h, f)


def _norm(r: Rank) -> Array:
    """Bytes of a norm with its residual: two vectors read and two written."""
    return r.tokens * 8.0 * r.model.hidden


def _activation(r: Rank, width: float) -> Array:
    """Bytes of a gated activation: two halves read, one product written."""
    return r.tokens * 6.0 * width / r.tp


def _cost(
    r: Rank, *, gemm: Array, moved: Array, experts: Array | None = None, prefill: Array | None = None, **rest: object
) -> Cost:
    nothing = np.zeros_like(r.tokens)
    absent = {"experts": nothing if experts is None else experts, "prefill": nothing if prefill is None else prefill}
    return Cost(gemm=gemm, moved=moved, **absent, **rest)  # type: ignore[arg-type]
