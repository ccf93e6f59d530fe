"""Attention and recurrences: what they cost on one GPU."""

from __future__ import annotations

import numpy as np

from simulator.catalog.models import (
    CompressedAttention,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Mamba1,
    Mamba2,
    Mixer,
)
from simulator.latency.gpu_share import GpuShare
from simulator.latency.layer_cost import LayerCost, Reach, layer_cost
from simulator.latency.physics import Array
from simulator.units import BYTES_OF, US

# Norms of queries and keys over all heads need the sum of squares of every rank: vllm/model_executor/models/minimax_m2.py
# (MiniMaxText01RMSNormTP.forward_qk), read November 2026.
_NORMS_ACROSS_HEADS = {"MiniMaxM2ForCausalLM"}
# Small kernels besides the matmuls and the norm in front, as vLLM 0.24 launches them.
_LATENT_SMALL, _INDEXER_SMALL, _RECURRENT_SMALL = 7, 6, 5
# Reached by the chunked and the recurrent kernels of gated delta rule in aiconfigurator-core 0.12.0, h100_sxm, vLLM 0.24:
# fraction of bandwidth when a state is read and written, of 16-bit FLOP/s over 6 * key_dim * value_dim operations a head.
_STATE_BANDWIDTH, _CHUNK_COMPUTE, _RECURRENT_US = 0.85, 0.07, 7.0
_INDEX_BANDWIDTH, _LATENT_COMPUTE = 0.66, 0.5
# Of the prefill speed of others, what attention with sinks reaches where only a Triton kernel has them (gpt-oss-20b on A100, vLLM
# 0.11, prompts of 2,000 to 32,000 tokens; GPUStack, Apache-2.0). FlashAttention 3 and TensorRT-LLM's kernels do not mind them;
# what is known of MI300X is Triton's speed already.
_SINKS_IN_TRITON, _SINKS_IN_KERNEL = 0.2, {"hopper", "blackwell", "cdna3", "cdna4"}


def mixer_cost(r: GpuShare, m: Mixer, index: int) -> LayerCost:
    """The cost of one layer's attention or recurrence."""
    if isinstance(m, GroupedQueryAttention):
        return _grouped_query(r, m, index)
    if isinstance(m, LatentAttention):
        return _latent(r, m, index)
    if isinstance(m, CompressedAttention):
        return _compressed(r, m, index)
    if isinstance(m, GatedDeltaNet):
        return _gated_delta_net(r, m, index)
    return _mamba1(r, m, index) if isinstance(m, Mamba1) else _mamba2(r, m, index)


def _grouped_query(r: GpuShare, m: GroupedQueryAttention, index: int) -> LayerCost:
    h, heads, kv = r.model.hidden, m.heads / r.tp, max(m.kv_heads / r.tp, 1.0)
    keys = 0.0 if m.shares_kv else kv * (m.head_dim + (0 if m.key_is_value else m.value_head_dim))
    query = heads * m.head_dim * (2 if m.gated else 1)
    a, width, across = r.attention, m.head_dim + m.value_head_dim, r.model.architecture in _NORMS_ACROSS_HEADS
    reached = a.prefill_compute * (_SINKS_IN_TRITON if m.sinks and r.gpu.architecture not in _SINKS_IN_KERNEL else 1.0)
    read = kv * width * r.cache_bytes / (a.decode_bandwidth * r.gpu.memory_bytes_per_s)
    pair = 2.0 * heads * width / (reached * r.sixteen_flops)
    reach = Reach(read if r.verified == 1 else max(read, r.verified * pair), pair, m.window or m.chunk)
    indexed = _indexed(r, reach, m.index_heads, m.index_dim, m.index_top_k)
    return layer_cost(
        r,
        gemm=r.gemm("attention", index, query + keys, h) + r.gemm("attention", index, h, heads * m.value_head_dim),
        moved=r.tokens * 4.0 * (query + keys),
        recurrent=r.tokens * a.query * 2.0 * (heads + kv) * width / r.gpu.memory_bytes_per_s,
        small=2
        + (4 if across else m.query_key_norm)
        + (_INDEXER_SMALL if m.index_heads else 0)
        + (r.quantizing_kernels("attention", index) if r.model.is_moe else 0),
        fixed=a.decode_us * US,
        per_sequence=r.verified * a.sequence * 2.0 * heads * width / r.gpu.memory_bytes_per_s,
        reaches=indexed,
        tiny_reduces=int(across and r.tp > 1),
    )


def _latent(r: GpuShare, m: LatentAttention, index: int) -> LayerCost:
    """MLA: down to the latents on every rank, up to its heads, absorbed products in 16 bits, attention over one latent."""
    h, heads = r.model.hidden, m.heads / r.tp
    query, latent = heads * (m.nope_dim + m.rope_dim), m.kv_lora_rank + m.rope_dim
    gemm = r.gemm("attention", index, (m.q_lora_rank or query) + latent, h)
    gemm = gemm + (r.gemm("attention", index, query, m.q_lora_rank) if m.q_lora_rank else 0.0)
    gemm = gemm + r.plain_gemm(heads * m.nope_dim, m.kv_lora_rank) + r.plain_gemm(heads * m.value_head_dim, m.kv_lora_rank)
    gemm = gemm + r.gemm("attention", index, h, heads * m.value_head_dim)
    if m.index_heads:
        gemm = gemm + r.gemm("attention", index, m.index_heads * m.index_dim, m.q_lora_rank or h) + r.plain_gemm(m.index_dim, h)
    a = r.latent
    read = latent * r.cache_bytes / (a.decode_bandwidth * r.gpu.memory_bytes_per_s)
    compute = 2 * r.verified * heads * (latent + m.kv_lora_rank) / (_LATENT_COMPUTE * r.sixteen_flops)
    pairs = 2.0 * heads * (m.nope_dim + m.rope_dim + m.value_head_dim) / (a.prefill_compute * r.sixteen_flops)
    return layer_cost(
        r,
        gemm=np.asarray(gemm),
        moved=r.tokens * 4.0 * (query + m.q_lora_rank + latent),
        recurrent=r.tokens * a.query * 2.0 * (2 * query + latent) / r.gpu.memory_bytes_per_s,
        small=_LATENT_SMALL + (_INDEXER_SMALL if m.index_heads else 0),
        fixed=a.decode_us * US,
        per_sequence=r.verified * a.sequence * 2.0 * heads * (latent + m.kv_lora_rank) / r.gpu.memory_bytes_per_s,
        reaches=_indexed(r, Reach(float(np.hypot(read, compute)), pairs), m.index_heads, m.index_dim, m.index_top_k),
    )


def _compressed(r: GpuShare, m: CompressedAttention, index: int) -> LayerCost:
    """DeepSeek-V4: one key-value head over a window, and over one entry for every `ratio` tokens beyond it."""
    h, heads = r.model.hidden, m.heads / r.tp
    groups = max(m.o_groups / r.tp, 1.0)
    gemm = r.gemm("attention", index, m.q_lora_rank + m.head_dim, h) + r.gemm(
        "attention", index, heads * m.head_dim, m.q_lora_rank
    )
    gemm = gemm + groups * r.gemm("attention", index, m.o_lora_rank, heads * m.head_dim / groups)
    gemm = gemm + r.gemm("attention", index, h, groups * m.o_lora_rank)
    a = r.latent
    read = m.head_dim * r.cache_bytes / (a.decode_bandwidth * r.gpu.memory_bytes_per_s)
    seen = float(np.hypot(read, 4 * r.verified * heads * m.head_dim / (_LATENT_COMPUTE * r.sixteen_flops)))
    pair = 4.0 * heads * m.head_dim / (a.prefill_compute * r.sixteen_flops)
    reaches: tuple[Reach, ...] = (Reach(seen, pair, m.window),)
    if m.ratio:
        top = m.index_top_k * m.ratio
        reaches += _indexed(r, Reach(seen / m.ratio, pair / m.ratio), m.index_heads, m.index_dim / m.ratio, top)
    return layer_cost(
        r,
        gemm=gemm,
        moved=r.tokens * 8.0 * heads * m.head_dim,
        small=_LATENT_SMALL + (_INDEXER_SMALL if m.index_heads else 0),
        fixed=a.decode_us * US,
        per_sequence=r.verified * a.sequence * 4.0 * heads * m.head_dim / r.gpu.memory_bytes_per_s,
        reaches=reaches,
    )


def _gated_delta_net(r: GpuShare, m: GatedDeltaNet, index: int) -> LayerCost:
    h, keys, values = r.model.hidden, m.key_heads * m.key_head_dim / r.tp, m.value_heads * m.value_head_dim / r.tp
    gates = 2 * m.gate_rank if m.gate_rank else values + m.value_heads / r.tp
    wide = 2 * keys + values + gates + m.value_heads / r.tp
    gemm = r.gemm("mamba", index, wide, h) + r.gemm("mamba", index, h, values)
    if m.gate_rank:
        gemm = gemm + r.gemm("mamba", index, keys + values, m.gate_rank)
    return _recurrent(r, gemm, wide, m.value_heads / r.tp * m.key_head_dim * m.value_head_dim, BYTES_OF[m.state_dtype])


def _mamba2(r: GpuShare, m: Mamba2, index: int) -> LayerCost:
    inner = m.heads * m.head_dim / r.tp
    wide = 2 * inner + 2 * m.groups * m.state_size / min(r.tp, m.groups) + m.heads / r.tp
    gemm = r.gemm("mamba", index, wide, r.model.hidden) + r.gemm("mamba", index, r.model.hidden, inner)
    return _recurrent(r, gemm, wide, inner * m.state_size, BYTES_OF[m.state_dtype])


def _mamba1(r: GpuShare, m: Mamba1, index: int) -> LayerCost:
    inner = m.inner / r.tp
    gemm = r.gemm("mamba", index, 2 * inner, r.model.hidden) + r.gemm("mamba", index, r.model.hidden, inner)
    gemm = (
        gemm
        + r.gemm("mamba", index, m.time_step_rank + 2 * m.state_size, inner)
        + r.gemm("mamba", index, inner, m.time_step_rank)
    )
    return _recurrent(r, gemm, 2 * inner, inner * m.state_size, BYTES_OF[m.state_dtype])


def _recurrent(r: GpuShare, gemm: Array, wide: float, state: float, state_bytes: float) -> LayerCost:
    """A recurrence: every sequence reads its state and writes one for each token that it verifies, every token updates it."""
    return layer_cost(
        r,
        gemm=gemm,
        moved=r.tokens * 4.0 * wide,
        recurrent=r.tokens * 6.0 * state / (_CHUNK_COMPUTE * r.sixteen_flops),
        small=_RECURRENT_SMALL,
        fixed=_RECURRENT_US * US,
        per_sequence=(1.0 + r.verified) * state * state_bytes / (_STATE_BANDWIDTH * r.gpu.memory_bytes_per_s),
    )


def _indexed(r: GpuShare, reach: Reach, heads: float, dim: float, top_k: int) -> tuple[Reach, ...]:
    """Attention over the `top_k` tokens that an indexer picks, and the indexer's own look at every token.

    The look reaches no more than the card's softmax attention does: on cards without tuned kernels it runs on a fallback.
    """
    if not top_k:
        return (reach,)
    bandwidth = min(_INDEX_BANDWIDTH, r.attention.decode_bandwidth)
    compute = min(_LATENT_COMPUTE, r.attention.prefill_compute)
    looked = Reach(dim / (bandwidth * r.gpu.memory_bytes_per_s), 2.0 * heads * dim / (compute * r.sixteen_flops))
    chosen = Reach(reach.per_context, reach.per_pair, top_k)
    return (chosen, looked) if heads else (chosen,)
