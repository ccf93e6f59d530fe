"""Feed-forward blocks and mixtures of experts: what they cost on one GPU."""

from __future__ import annotations

from simulator.catalog.models import DenseMlp, Mlp, MoeMlp
from simulator.catalog.quantizations import TensorGroup
from simulator.latency import physics
from simulator.latency.gpu_share import GpuShare, running_kernel
from simulator.latency.layer_cost import LayerCost, layer_cost
from simulator.latency.physics import Array

# vLLM keeps the router of these in 32 bits: vllm/model_executor/models/minimax_m2.py, read November 2026.
_WIDE_ROUTERS = {"MiniMaxM2ForCausalLM"}


def mlp_cost(r: GpuShare, m: Mlp, index: int) -> LayerCost:
    """The cost of one layer's feed-forward block or experts."""
    if isinstance(m, DenseMlp):
        return layer_cost(r, gemm=_feed_forward(r, "mlp", index, m.width, m.gated), moved=_activation(r, m.width), small=1)
    beside: list[tuple[TensorGroup, int]] = [("shared_experts", m.shared_width), ("mlp", m.dense_width)]
    dense = [_feed_forward(r, group, index, width, m.gated) for group, width in beside if width]
    gemm, small = sum(dense, _router(r, m, index)), 2 * len(dense) + r.quantizing_kernels("experts", index)
    return layer_cost(
        r, gemm=gemm, experts=_experts(r, m, index), moved=_activation(r, m.shared_width + m.dense_width), small=small
    )


def _router(r: GpuShare, m: MoeMlp, index: int) -> Array:
    h = r.model.hidden
    narrow = r.gemm("router", index, m.experts, h)
    if r.model.architecture not in _WIDE_ROUTERS or "fp32" not in r.gpu.flops:
        return narrow
    wide = r.gpu.flops["bf16"] / 2 if r.tf32 else r.gpu.flops["fp32"]
    return narrow + 2 * r.tokens * m.experts * h / (0.5 * wide)


def _experts(r: GpuShare, m: MoeMlp, index: int) -> Array:
    """Seconds of the routed experts of one GPU; the tokens of all data-parallel ranks meet here."""
    width = m.latent or r.model.hidden
    gathered = r.tokens * r.dp
    ranks, split = (r.tp * r.dp, 1) if r.whole_experts else (1, r.tp)
    if r.silicon is not None:
        shape = (width, m.width, m.experts_per_token, m.experts)
        return r.silicon.grouped(running_kernel(r.format("experts", index), r.gpu), gathered, shape, split, ranks)
    weights = (3 if m.gated else 2) * width * m.width / split
    skew, picked = r.overheads.expert_skew, m.experts_per_token
    touched = physics.touched_experts(gathered, m.experts, picked, skew)
    touched, routed = physics.busiest_rank(touched, gathered * picked, m.experts, picked, ranks, skew)
    form = r.format("experts", index)
    seconds = physics.expert_matmul(r.tokens, touched, routed, weights, width, r.expert_rates(form))
    factor = r.overheads.experts_on.get(f"{r.gpu.architecture} {running_kernel(form, r.gpu)}", 1.0)
    return seconds if factor == 1 else factor * seconds


def _feed_forward(r: GpuShare, group: TensorGroup, index: int, width: float, gated: bool) -> Array:
    h, f = r.model.hidden, width / r.tp
    return r.gemm(group, index, (2 if gated else 1) * f, h) + r.gemm(group, index, h, f)


def _activation(r: GpuShare, width: float) -> Array:
    """Bytes of a gated activation: two halves read, one product written."""
    return r.tokens * 6.0 * width / r.tp
