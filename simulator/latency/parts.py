"""The parts of a step, each as a StepTime of its own: their sum is the step, and the report draws them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simulator.catalog.engines import EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import Kernels, Overheads
from simulator.catalog.models import DenseMlp, GroupedQueryAttention, LatentAttention, Layer, Mlp, Model, MoeMlp
from simulator.catalog.quantizations import Quantization, TensorGroup, WeightFormat
from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.physics import Seconds, Tokens
from simulator.latency.running import rates
from simulator.latency.step import StepTime, Window
from simulator.units import US

KV_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "int8": 1.0, "nvfp4": 0.5625}


@dataclass(frozen=True, slots=True)
class Rank:
    """One GPU of a deployment: what it holds of the model and how fast it is."""

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    kernels: Kernels
    overheads: Overheads
    tp: int
    ep: int
    kv_bytes: float
    link_bytes_per_s: float
    tokens: Tokens
    sequences: Tokens

    def format(self, group: TensorGroup, layer: int | None = None) -> WeightFormat | None:
        return self.quantization.format(group, layer) if self.quantization else None

    def gemm(self, group: TensorGroup, layer: int, n: float, k: float) -> Seconds:
        return physics.gemm(self.tokens, n, k, rates(self.format(group, layer), "gemm", self.gpu, self.kernels))

    @property
    def sixteen_flops(self) -> float:
        return self.gpu.flops["bf16"] if self.gpu.computes("bf16") else self.gpu.flops["fp16"]

    def zero(self, **given: object) -> StepTime:
        nothing = StepTime(np.zeros_like(self.tokens), np.zeros_like(self.sequences), 0.0, 0.0, 0.0, 0.0)
        from dataclasses import replace

        return replace(nothing, **given)  # type: ignore[arg-type]


def rank(
    model: Model,
    quantization: Quantization | None,
    gpu: Gpu,
    args: EngineArgs,
    kernels: Kernels,
    overheads: Overheads,
    link_bytes_per_s: float | None,
) -> Rank:
    """One rank of a deployment whose engine arguments are resolved."""
    if args.max_num_batched_tokens is None or args.max_num_seqs is None:
        raise ValueError("engine arguments must be resolved before a deployment is bound")
    if args.pipeline_parallel_size > 1:
        raise NotModelled("pipeline_parallel_size > 1 is not modelled yet")
    tp = args.tensor_parallel_size
    auto = (quantization.kv_cache_dtype if quantization else None) or "bf16"
    kv = KV_BYTES[auto if args.kv_cache_dtype == "auto" else args.kv_cache_dtype]
    return Rank(
        model=model,
        quantization=quantization,
        gpu=gpu,
        kernels=kernels,
        overheads=overheads,
        tp=tp,
        ep=tp if args.enable_expert_parallel else 1,
        kv_bytes=kv,
        link_bytes_per_s=link_bytes_per_s or gpu.link_bytes_per_s,
        tokens=np.arange(args.max_num_batched_tokens + 1, dtype=np.float64),
        sequences=np.arange(args.max_num_seqs + 1, dtype=np.float64),
    )


def parts(r: Rank) -> dict[str, StepTime]:
    """The step time of each part: gemm, moe, attention, all-reduce, elementwise, head, overhead."""
    layers = _distinct(r)
    gemms = sum((count * _layer_gemms(r, layer, index) for layer, index, count in layers), np.zeros_like(r.tokens))
    experts = sum((count * _experts(r, layer.mlp, index) for layer, index, count in layers), np.zeros_like(r.tokens))
    small = sum((count * _elementwise_bytes(r, layer) for layer, index, count in layers), np.zeros_like(r.tokens))
    o = r.overheads
    moe_layers = sum(isinstance(layer.mlp, MoeMlp) for layer in r.model.layers)
    constant = US * (o.layer_us * len(r.model.layers) + o.moe_layer_us * moe_layers + o.step_us)
    return {
        "gemm": r.zero(tokens=o.gemm * gemms),
        "moe": r.zero(tokens=experts),
        "attention": _attention(r),
        "all-reduce": r.zero(tokens=_all_reduces(r)),
        "elementwise": r.zero(tokens=o.elementwise * small / (r.kernels.elementwise_bandwidth * r.gpu.memory_bytes_per_s)),
        "head": r.zero(sampled=o.gemm * _head(r)),
        "overhead": r.zero(constant=constant, per_sequence=US * o.sequence_us),
    }


def add(steps: Iterable[StepTime]) -> StepTime:
    """The sum of step times over the same tables."""
    every = tuple(steps)
    return StepTime(
        tokens=np.sum([s.tokens for s in every], axis=0),
        sampled=np.sum([s.sampled for s in every], axis=0),
        per_sequence=sum(s.per_sequence for s in every),
        per_context=sum(s.per_context for s in every),
        per_pair=sum(s.per_pair for s in every),
        constant=sum(s.constant for s in every),
        windows=tuple(w for s in every for w in s.windows),
    )


def _distinct(r: Rank) -> list[tuple[Layer, int, int]]:
    """Layers that differ in shape or format: (layer, the first index it has, how many)."""
    excepted = r.quantization.exceptions if r.quantization else frozenset()
    odd: dict[int, frozenset[str]] = {}
    for index, group in excepted:
        odd[index] = odd.get(index, frozenset()) | {group}
    keys = [(layer, odd.get(index, frozenset())) for index, layer in enumerate(r.model.layers)]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    return [(key[0], first[key], count) for key, count in Counter(keys).items()]


def _layer_gemms(r: Rank, layer: Layer, index: int) -> Seconds:
    return _mixer_gemms(r, layer, index) + _mlp_gemms(r, layer.mlp, index)


def _mixer_gemms(r: Rank, layer: Layer, index: int) -> Seconds:
    m, h = layer.mixer, r.model.hidden
    if m is None:
        return np.zeros_like(r.tokens)
    if isinstance(m, GroupedQueryAttention):
        heads, kv = m.heads / r.tp, max(m.kv_heads / r.tp, 1.0)
        query = heads * m.head_dim * (2 if m.gated else 1)
        keys = 0 if m.shares_kv else kv * (m.head_dim + (0 if m.key_is_value else m.value_head_dim))
        return r.gemm("attention", index, query + keys, h) + r.gemm("attention", index, h, heads * m.value_head_dim)
    if isinstance(m, LatentAttention):
        return _latent_gemms(r, m, index)
    raise NotModelled(f"{m.kind} layers are not modelled yet")


def _latent_gemms(r: Rank, m: LatentAttention, index: int) -> Seconds:
    """Projections of MLA: down to the latents on every rank, up to the heads, and products with the absorbed weights."""
    h, heads = r.model.hidden, m.heads / r.tp
    query = heads * (m.nope_dim + m.rope_dim)
    down = r.gemm("attention", index, (m.q_lora_rank or query) + m.kv_lora_rank + m.rope_dim, h)
    up = r.gemm("attention", index, query, m.q_lora_rank) if m.q_lora_rank else 0.0
    absorbed = rates(None, "gemm", r.gpu, r.kernels)
    keys = physics.gemm(r.tokens, heads * m.nope_dim, m.kv_lora_rank, absorbed)
    values = physics.gemm(r.tokens, heads * m.value_head_dim, m.kv_lora_rank, absorbed)
    return np.asarray(down + up + keys + values + r.gemm("attention", index, h, heads * m.value_head_dim))


def _mlp_gemms(r: Rank, m: Mlp | None, index: int) -> Seconds:
    h = r.model.hidden
    if m is None:
        return np.zeros_like(r.tokens)
    if isinstance(m, DenseMlp):
        return _feed_forward(r, "mlp", index, m.width, m.gated)
    router = r.gemm("router", index, m.experts, h)
    shared = _feed_forward(r, "shared_experts", index, m.shared_width, m.gated) if m.shared_width else 0.0
    beside = _feed_forward(r, "mlp", index, m.dense_width, m.gated) if m.dense_width else 0.0
    return np.asarray(router + shared + beside)


def _feed_forward(r: Rank, group: TensorGroup, index: int, width: float, gated: bool) -> Seconds:
    h, f = r.model.hidden, width / r.tp
    return r.gemm(group, index, (2 if gated else 1) * f, h) + r.gemm(group, index, h, f)


def _experts(r: Rank, m: Mlp | None, index: int) -> Seconds:
    if not isinstance(m, MoeMlp):
        return np.zeros_like(r.tokens)
    run = rates(r.format("experts", index), "moe", r.gpu, r.kernels)
    width = m.latent or r.model.hidden
    weights = (3 if m.gated else 2) * width * m.width / (r.tp / r.ep)
    experts, per_token = m.experts / r.ep, m.experts_per_token / r.ep
    memory = physics.moe_bytes(r.tokens, experts, per_token, weights, width, run) / run.bytes_per_s
    compute = 2 * r.tokens * per_token * weights / run.flops_per_s
    return np.asarray(r.overheads.moe_memory * memory + r.overheads.moe_compute * compute)


def _attention(r: Rank) -> StepTime:
    context, pair = 0.0, 0.0
    windows: dict[int, Window] = {}
    for layer in r.model.layers:
        m = layer.mixer
        if not isinstance(m, GroupedQueryAttention | LatentAttention):
            continue
        per_context, per_pair = _attention_rates(r, m)
        size = m.window or m.chunk if isinstance(m, GroupedQueryAttention) else None
        if size:
            seen = windows.get(size, Window(size, 0.0, 0.0))
            windows[size] = Window(size, seen.per_context + per_context, seen.per_pair + per_pair)
        else:
            context, pair = context + per_context, pair + per_pair
    return r.zero(per_context=context, per_pair=pair, windows=tuple(windows.values()))


def _attention_rates(r: Rank, m: GroupedQueryAttention | LatentAttention) -> tuple[float, float]:
    """Seconds per context token and per pair of one layer."""
    read = r.kernels.decode_bandwidth * r.gpu.memory_bytes_per_s
    matmul = r.kernels.prefill_compute * r.sixteen_flops
    if isinstance(m, GroupedQueryAttention):
        kv = max(m.kv_heads / r.tp, 1.0) * (m.head_dim + m.value_head_dim) * r.kv_bytes
        context = physics.context_read(kv, read)
        pair = physics.pair_compute(2 * m.heads / r.tp * (m.head_dim + m.value_head_dim), matmul)
    else:
        latent, heads = m.kv_lora_rank + m.rope_dim, m.heads / r.tp
        context = physics.context_read(latent * r.kv_bytes, read, 2 * heads * (latent + m.kv_lora_rank), 0.5 * r.sixteen_flops)
        pair = physics.pair_compute(2 * heads * (m.nope_dim + m.rope_dim + m.value_head_dim), matmul)
    return r.overheads.decode * context, r.overheads.prefill * pair


def _all_reduces(r: Rank) -> Seconds:
    if r.tp == 1:
        return np.zeros_like(r.tokens)
    c = r.kernels.all_reduce[r.tp]
    message = r.tokens * r.model.hidden * 2.0
    custom = physics.all_reduce(message, r.tp, c.custom_latency_us * US, c.custom_bandwidth * r.link_bytes_per_s)
    nccl = physics.all_reduce(message, r.tp, c.nccl_latency_us * US, c.nccl_bandwidth * r.link_bytes_per_s)
    halves = sum((layer.mixer is not None) + (layer.mlp is not None) for layer in r.model.layers)
    return r.overheads.all_reduce * halves * np.minimum(custom, nccl)


def _elementwise_bytes(r: Rank, layer: Layer) -> Tokens:
    """Bytes of norms, residuals, activation functions and rotary embeddings in one layer."""
    m, heads = layer.mlp, 0.0
    if isinstance(layer.mixer, GroupedQueryAttention):
        heads = layer.mixer.heads * layer.mixer.head_dim / r.tp
    elif isinstance(layer.mixer, LatentAttention):
        heads = layer.mixer.heads * (layer.mixer.nope_dim + layer.mixer.rope_dim) / r.tp
    width = m.width * (m.experts_per_token if isinstance(m, MoeMlp) else 1) / r.tp if m else 0.0
    return r.tokens * (16.0 * r.model.hidden + 6.0 * width + 8.0 * heads)


def _head(r: Rank) -> Seconds:
    """LM head over this rank's share of the vocabulary, and sampling over all of it."""
    run = rates(r.format("lm_head"), "gemm", r.gpu, r.kernels)
    vocabulary = r.model.vocabulary
    logits = physics.gemm(r.sequences, vocabulary / r.tp, r.model.hidden, run)
    return logits + r.sequences * vocabulary * 16.0 / (r.kernels.sampling_bandwidth * r.gpu.memory_bytes_per_s)
