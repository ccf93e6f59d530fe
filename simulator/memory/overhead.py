"""Overheads: what the engine uses of a GPU besides weights and KV cache, as its profiling run measures it.

The causes are read off vLLM's source, releases 0.4.1 to 0.30.0; the coefficients are fitted on start-up logs published before
December 2026. Where a comment says (n = 1), a single log stands behind the figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import architecture, memory_overheads
from simulator.catalog.models import CompressedAttention, DenseMlp, LatentAttention, Layer, Model, MoeMlp
from simulator.catalog.quantizations import Quantization
from simulator.units import GIB

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}

# The CUDA context and loaded kernels: 78.57 of 79.18 GiB free on H100, 78.84 of 79.25 on A100, 23.21 of 23.65 on RTX 4090.
CONTEXT_BYTES = 0.5 * GIB

# Graphs as the engine estimates them, GiB. Runner V1: 0.13 and 0.14 (Qwen3.6-27B on RTX 3090, Qwen3-30B-A3B on H100), with sparse
# latent attention 4.8 to 5.1 and 6.0 to 6.8 with its draft layer (GLM-5.1, eight logs). Runner V2 captures the two largest of the
# full ones and takes the second times their number: 0.54 to 1.45 (six models on GB10), 1.1 (A100, RTX 5090), 0.38 (RTX 5060 Ti),
# each with 35 of them where that is known; at most 2.4 with 51 (Qwen3-8B on H100). Before 0.29 it estimates nothing.
_ESTIMATE, _SPARSE_ESTIMATE, _V2_ESTIMATE_GRAPH = 0.14, 4.9, 0.03
# Residual streams of DeepSeek-V4's hyper-connections: hc_mult of its config.json.
_HYPER_STREAMS = 4
# Encoder of Qwen's vision models, profiled at 16,384 image tokens (Qwen3-VL-30B-A3B, 0.12, TP 2: two logs).
_QWEN_VISION = 2.6


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes on one GPU; `uncertainty` is how far the part that the KV cache pays for may lie off, either way."""

    activation: float
    non_torch: float
    cuda_graph: float
    uncertainty: float


def overhead(
    model: Model,
    layers: Sequence[Layer],
    quantization: Quantization | None,
    args: EngineArgs,
    engine: Engine,
    gpu: Gpu,
    *,
    last_stage: bool,
) -> Overhead:
    """The overheads of one GPU that holds these layers. `args` are resolved; the sampler runs on the last pipeline stage.

    Activation is the higher of the forward pass over a full batch of tokens and of sampling for every sequence at once, above
    what stays allocated: buffers of the experts, and the encoder's of a vision model.
    """
    passing = forward_peak(model, layers, quantization, args, engine)
    sampling = sampler_peak(model, args, engine) if last_stage and _samples(model) else 0.0
    buffers = expert_buffers(model, layers, args)
    kept = buffers if memory_overheads(engine).expert_buffers_kept else 0.0
    activation = max(passing + (buffers - kept), sampling) + kept + _encoder_peak(model, engine)
    graphs = graph_bytes(model, layers, args, engine)
    outside = non_torch(model, args, engine, gpu)
    return Overhead(activation, outside, graphs, _uncertainty(activation, outside, graphs, args, engine))


def forward_peak(
    model: Model, layers: Sequence[Layer], quantization: Quantization | None, args: EngineArgs, engine: Engine
) -> float:
    """Peak of one layer over max_num_batched_tokens: hidden states, and the widest dense block in, out and quantized.

    Source: slope of 108 KiB a token for Llama-3.1-8B in V0 (vllm-project/vllm#10517, RTX 3090), 114 KiB in 0.19 (H100).
    """
    assert args.max_num_batched_tokens is not None
    held = memory_overheads(engine).hidden_copies
    if any(isinstance(layer.mixer, CompressedAttention) for layer in layers):
        held *= _HYPER_STREAMS
    width = max((_dense_width(layer) for layer in layers), default=0) / args.tensor_parallel_size
    per_token = (held * model.hidden + 3 * width) * ELEMENT_BYTES[model.dtype]
    form = quantization.format("mlp") if quantization else None
    if form is not None and form.activation_bits <= 8:
        per_token += width + model.hidden
    return args.max_num_batched_tokens * per_token + _latent_prefill(model, layers, args)


def _dense_width(layer: Layer) -> int:
    if isinstance(layer.mlp, DenseMlp):
        return layer.mlp.width
    return max(layer.mlp.shared_width, layer.mlp.dense_width) if isinstance(layer.mlp, MoeMlp) else 0


def _latent_prefill(model: Model, layers: Iterable[Layer], args: EngineArgs) -> float:
    """Keys and values of cached context that latent attention unpacks at once: at most 65,536 tokens.

    Source: determine_chunked_prefill_workspace_size in vllm/model_executor/layers/attention/mla_attention.py (0.19.0).
    """
    latent = next((layer.mixer for layer in layers if isinstance(layer.mixer, LatentAttention)), None)
    if latent is None or latent.index_top_k:
        return 0.0
    assert args.max_model_len is not None and args.max_num_seqs is not None
    tokens = min(max(8 * args.max_model_len, 64 * args.max_num_seqs), 65536)
    heads = latent.heads / args.tensor_parallel_size
    return tokens * heads * (latent.nope_dim + latent.value_head_dim) * ELEMENT_BYTES[model.dtype]


def expert_buffers(model: Model, layers: Iterable[Layer], args: EngineArgs) -> float:
    """Two buffers for what experts take in and give out, allocated once for all layers.

    Tokens * experts per token * (max(width, hidden) + max(2 * width, hidden)). Source: workspace_shapes in
    vllm/model_executor/layers/fused_moe/fused_moe.py (0.19.0); agrees within 0.03 GiB with five logs.
    """
    assert args.max_num_batched_tokens is not None
    experts = next((layer.mlp for layer in layers if isinstance(layer.mlp, MoeMlp)), None)
    if experts is None:
        return 0.0
    split = 1 if args.enable_expert_parallel else args.tensor_parallel_size
    width, hidden = experts.width / split, experts.latent or model.hidden
    row = max(width, hidden) + max((2 if experts.gated else 1) * width, hidden)
    return args.max_num_batched_tokens * experts.experts_per_token * row * ELEMENT_BYTES[model.dtype]


def sampler_peak(model: Model, args: EngineArgs, engine: Engine) -> float:
    """Peak of sampling for max_num_seqs sequences at once, on top of the batch's hidden states."""
    assert args.max_num_seqs is not None and args.max_num_batched_tokens is not None
    copies, buffer_rows = _logit_copies(model, args, engine)
    logits = model.vocabulary * 4
    hidden = args.max_num_batched_tokens * model.hidden * ELEMENT_BYTES[model.dtype]
    return (copies * args.max_num_seqs + buffer_rows) * logits + hidden


def _samples(model: Model) -> bool:
    """Embedding models pool hidden states instead; only their name tells."""
    return "embedding" not in model.name


def _logit_copies(model: Model, args: EngineArgs, engine: Engine) -> tuple[float, int]:
    """(copies of the float32 logits, rows of the filtering kernel's own buffer)."""
    assert args.max_num_seqs is not None
    release = memory_overheads(engine)
    if release.counted_copies and runs_v2(model, engine):
        return release.counted_copies, 0
    if release.filtered_copies and args.max_num_seqs >= 8:
        return release.filtered_copies, min(release.kernel_rows, args.max_num_seqs)
    return release.sorted_copies + (release.gathered_copies if args.tensor_parallel_size > 1 else 0.0), 0


def runs_v2(model: Model, engine: Engine) -> bool:
    """Whether the release runs this model on model runner V2: some architectures first, then dense models, then all."""
    release = memory_overheads(engine)
    recurrent = any(layer.mixer is not None and layer.mixer.kind in ("mamba1", "mamba2", "gdn") for layer in model.layers)
    dense = not model.is_moe and not recurrent
    named = model.architecture in release.runner_v2_architectures
    return named or release.runner_v2_for == "all" or (dense and release.runner_v2_for == "dense")


def _encoder_peak(model: Model, engine: Engine) -> float:
    """What profiling the image encoder adds. Others' hides behind the sampler (Mistral-Small-3.1, Llama 4; Qwen2-VL in V0)."""
    adds = model.vision_parameters and "VL" in model.architecture and engine.generation != "v0"
    return _QWEN_VISION * GIB if adds else 0.0


def non_torch(model: Model, args: EngineArgs, engine: Engine, gpu: Gpu) -> float:
    """Bytes outside torch: kernels, communication buffers, and what profiling the CUDA graphs leaves behind."""
    release, kind = memory_overheads(engine), architecture(gpu)
    gib = _alone(engine, gpu)
    leaves_residue = release.graphs_leave_residue and not args.enforce_eager
    if leaves_residue:
        gib += kind.graph_residue_gib
    if args.tensor_parallel_size > 1:
        fused = leaves_residue and gpu.link == "nvlink" and kind.fused_all_reduce
        gib += release.fused_peers_gib if fused else release.peers_gib[gpu.link]
        gib += release.unified_pair_gib if gpu.name == "gb10" else 0.0
    return gib * GIB


def _alone(engine: Engine, gpu: Gpu) -> float:
    release = memory_overheads(engine)
    if gpu.name == "gb10" and release.unified_gib:
        return release.unified_gib
    own = architecture(gpu).outside_torch_gib if engine.generation == "v1" else None
    return release.outside_torch_gib if own is None else own


def graph_bytes(model: Model, layers: Sequence[Layer], args: EngineArgs, engine: Engine) -> float:
    """CUDA graphs that the engine captures, or where it deducts them, its own estimate of them.

    Captured: 0.35 GiB and 15 MiB a layer for the graphs of batches up to 512 (43 logs of 0.19 on H100: median off by 0.1 GiB).
    """
    largest = engine.largest_cudagraph(args)
    if not largest:
        return 0.0
    share = largest / 512
    if not engine.cuda_graphs_deducted:
        return (0.1 + share * (0.25 + 0.015 * len(layers) + (0.3 if model.is_moe else 0.0))) * GIB
    if any(isinstance(layer.mixer, LatentAttention) and layer.mixer.index_top_k for layer in layers):
        return _SPARSE_ESTIMATE * GIB
    if not runs_v2(model, engine):
        return _ESTIMATE * GIB
    if not engine.at_least("0.29"):
        return 0.0
    assert args.max_num_seqs is not None
    full = sum(size <= args.max_num_seqs for size in _captured(largest))
    return full * _V2_ESTIMATE_GRAPH * GIB


def _captured(largest: int) -> list[int]:
    """The batches that a CUDA graph is captured for. Source: _set_cudagraph_sizes in vllm/config/vllm.py (0.31.0)."""
    return [size for size in (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)) if size <= largest]


def _uncertainty(activation: float, outside: float, graphs: float, args: EngineArgs, engine: Engine) -> float:
    """A tenth of the activation, a third of what is outside torch, and the whole estimate of the graphs where it is deducted.

    Estimates of graphs in logs since 0.21 were 0.13 to 6.8 GiB, and off by up to four times from what was captured.
    """
    deducted = graphs if engine.cuda_graphs_deducted and not args.enforce_eager else 0.0
    return 0.1 * activation + outside / 3 + deducted + 0.05 * GIB
