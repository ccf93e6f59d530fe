"""Overheads: what the engine uses of a GPU besides weights and KV cache, as its profiling run measures it.

The causes are read off vLLM's source, releases 0.4.1 to 0.30.0; the coefficients are fitted on start-up logs published before
December 2026. Where a comment says (n = 1), a single log stands behind the figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import CompressedAttention, DenseMlp, LatentAttention, Layer, Model, MoeMlp
from simulator.catalog.quantizations import Quantization
from simulator.units import BYTES_OF, GIB

# The CUDA context and loaded kernels: 78.57 of 79.18 GiB free on H100, 78.84 of 79.25 on A100, 23.21 of 23.65 on RTX 4090.
CONTEXT_BYTES = 0.5 * GIB

# Copies of the logits alive at once in the sampler, in float32. Sorting for top-k and top-p: 9.5 (eight logs of V0, 0.11, 0.13
# on H100, A100, RTX 3090 agree within 3 %). The Triton kernel since 0.17 and FlashInfer: logits, float32 copy, probabilities,
# noise (30 logs of 0.19 on H100). Model runner V2 skips both: logits, float32 copy, and token counts for penalties.
_SORTED, _FILTERED, _COUNTED = 9.5, 3.5, 2.5
# Gathering the logits of all ranks before V1 sorted them (five logs of 0.9 to 0.12 on H100, TP 2 and 4: 1.4 to 2.0).
_GATHERED = 1.7

# GiB outside torch on one GPU alone: kernels, cuBLAS. Hopper 0.17 (three logs of 0.11 to 0.15), others 0.02 to 0.08 (eight logs).
_ALONE = {"hopper": 0.17, "blackwell": 0.17}
_ALONE_ELSEWHERE = 0.05
# V0: 0.2 at first (two logs of 0.2.3 and 0.2.4); from 0.2.5 with what the allocator had cached (six logs of 0.4.1 on RTX A6000:
# 0.69 to 0.83; 0.6.3 on RTX A5000 0.5, n = 1); from 0.6.4 without it (0.16 on H100, 0.35 on RTX 3090).
_ALONE_V0 = (("0.6.4", 0.25), ("0.6", 0.5), ("0.2.5", 0.75), ("0", 0.2))
# Unified memory (GB10): what the system allocates meanwhile counts, of late all of it (4.6 in 0.26, 2.2 in 0.27.1; 0.13, n = 1),
# and the buffers of the network between two machines (0.29, two logs of one pair).
_UNIFIED, _UNIFIED_PAIR = (("0.26", 3.4), ("0", 1.3)), 11.2
# NCCL and all-reduce buffers of a rank: PCIe 0.18 to 0.30 (T4, L40S, RTX 4090), NVLink 0.34 to 0.55 (A100-40, H100).
_PEERS = {"pcie": 0.22, "nvlink": 0.45, "infinity-fabric": 0.45}
# On Hopper and Blackwell from 0.18 with graphs: fused all-reduce workspace, and NCCL buffers that profiling the graphs leaves
# behind (17 logs of 0.19 on H100, TP 2 and 4: 1.72 to 1.98).
_PEERS_FUSED = 1.85
# What profiling the graphs leaves behind, 0.18 to 0.26: H100 0.11 (13 logs), A100 0.25 (n = 1), RTX 4090 0.55 (n = 1); nothing
# to be seen on RTX PRO 6000 (eight logs of 0.20).
_GRAPH_RESIDUE = {"hopper": 0.11, "blackwell": 0.11, "ampere": 0.25, "ada": 0.5}
# Graphs as the engine estimates them, GiB. Runner V1: 0.13 and 0.14 (Qwen3.6-27B on RTX 3090, Qwen3-30B-A3B on H100), with sparse
# latent attention 4.8 to 5.1 and 6.0 to 6.8 with its draft layer (GLM-5.1, eight logs). Runner V2 captures the two largest of the
# full ones and takes the second times their number: 0.54 to 1.45 (six models on GB10), 1.1 (A100, RTX 5090), 0.38 (RTX 5060 Ti),
# each with 35 of them where that is known; at most 2.4 with 51 (Qwen3-8B on H100). Before 0.29 it estimates nothing.
_ESTIMATE, _SPARSE_ESTIMATE, _V2_ESTIMATE_GRAPH = 0.14, 4.9, 0.03
# Architectures that ran on model runner V2 before others like them.
_V2_SINCE = {
    "Qwen3ForCausalLM": "0.22",
    "LlamaForCausalLM": "0.24",
    "MistralForCausalLM": "0.24",
    "DeepseekV2ForCausalLM": "0.24",
    "Qwen2MoeForCausalLM": "0.24",
    "GraniteMoeForCausalLM": "0.24",
}
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
    args: ResolvedArgs,
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
    kept = buffers if engine.at_least("0.13") else 0.0
    activation = max(passing + (buffers - kept), sampling) + kept + _encoder_peak(model, engine)
    graphs = graph_bytes(model, layers, args, engine)
    outside = non_torch(model, args, engine, gpu)
    return Overhead(activation, outside, graphs, _uncertainty(activation, outside, graphs, args, engine))


def forward_peak(
    model: Model, layers: Sequence[Layer], quantization: Quantization | None, args: ResolvedArgs, engine: Engine
) -> float:
    """Peak of one layer over max_num_batched_tokens: hidden states, and the widest dense block in, out and quantized.

    Source: slope of 108 KiB a token for Llama-3.1-8B in V0 (vllm-project/vllm#10517, RTX 3090), 114 KiB in 0.19 (H100).
    """
    held = 3 if engine.generation == "v0" else 4
    if any(isinstance(layer.mixer, CompressedAttention) for layer in layers):
        held *= _HYPER_STREAMS
    width = max((_dense_width(layer) for layer in layers), default=0) / args.tensor_parallel_size
    per_token = (held * model.hidden + 3 * width) * BYTES_OF[model.dtype]
    form = quantization.format("mlp") if quantization else None
    if form is not None and form.activation_bits <= 8:
        per_token += width + model.hidden
    return args.max_num_batched_tokens * per_token + _latent_prefill(model, layers, args)


def _dense_width(layer: Layer) -> int:
    if isinstance(layer.mlp, DenseMlp):
        return layer.mlp.width
    return max(layer.mlp.shared_width, layer.mlp.dense_width) if isinstance(layer.mlp, MoeMlp) else 0


def _latent_prefill(model: Model, layers: Iterable[Layer], args: ResolvedArgs) -> float:
    """Keys and values of cached context that latent attention unpacks at once: at most 65,536 tokens.

    Source: determine_chunked_prefill_workspace_size in vllm/model_executor/layers/attention/mla_attention.py (0.19.0).
    """
    latent = next((layer.mixer for layer in layers if isinstance(layer.mixer, LatentAttention)), None)
    if latent is None or latent.index_top_k:
        return 0.0
    tokens = min(max(8 * args.max_model_len, 64 * args.max_num_seqs), 65536)
    heads = latent.heads / args.tensor_parallel_size
    return tokens * heads * (latent.nope_dim + latent.value_head_dim) * BYTES_OF[model.dtype]


def expert_buffers(model: Model, layers: Iterable[Layer], args: ResolvedArgs) -> float:
    """Two buffers for what experts take in and give out, allocated once for all layers.

    Tokens * experts per token * (max(width, hidden) + max(2 * width, hidden)). Source: workspace_shapes in
    vllm/model_executor/layers/fused_moe/fused_moe.py (0.19.0); agrees within 0.03 GiB with five logs.
    """
    experts = next((layer.mlp for layer in layers if isinstance(layer.mlp, MoeMlp)), None)
    if experts is None:
        return 0.0
    split = 1 if args.enable_expert_parallel else args.tensor_parallel_size
    width, hidden = experts.width / split, experts.latent or model.hidden
    row = max(width, hidden) + max((2 if experts.gated else 1) * width, hidden)
    return args.max_num_batched_tokens * experts.experts_per_token * row * BYTES_OF[model.dtype]


def sampler_peak(model: Model, args: ResolvedArgs, engine: Engine) -> float:
    """Peak of sampling for max_num_seqs sequences at once, on top of the batch's hidden states."""
    copies, buffer_rows = _logit_copies(model, args, engine)
    if args.tensor_parallel_size > 1 and copies == _SORTED and engine.generation == "v1":
        copies += _GATHERED
    logits = model.vocabulary * 4
    hidden = args.max_num_batched_tokens * model.hidden * BYTES_OF[model.dtype]
    return (copies * args.max_num_seqs + buffer_rows) * logits + hidden


def _samples(model: Model) -> bool:
    """Embedding models pool hidden states instead; only their name tells."""
    return "embedding" not in model.name


def _logit_copies(model: Model, args: ResolvedArgs, engine: Engine) -> tuple[float, int]:
    """(copies of the float32 logits, rows of the Triton kernel's own buffer: one a multiprocessor, 128 or so)."""
    if runs_v2(model, engine):
        return _COUNTED, 0
    if not engine.at_least("0.17") or args.max_num_seqs < 8:
        return _SORTED, 0
    return _FILTERED, 0 if engine.at_least("0.21") else min(128, args.max_num_seqs)


def runs_v2(model: Model, engine: Engine) -> bool:
    """Whether the release runs this model on model runner V2: some architectures first, dense models from 0.25, all from 0.29.

    Source: use_v2_model_runner in vllm/config/vllm.py, read at 0.22.1, 0.24.0, 0.25.0, 0.28.0 and 0.30.0; 0.29 is inferred.
    """
    recurrent = any(layer.mixer is not None and layer.mixer.kind in ("mamba1", "mamba2", "gdn") for layer in model.layers)
    since = "0.29" if model.is_moe or recurrent else "0.25"
    return engine.at_least(_V2_SINCE.get(model.architecture, since))


def _encoder_peak(model: Model, engine: Engine) -> float:
    """What profiling the image encoder adds. Others' hides behind the sampler (Mistral-Small-3.1, Llama 4; Qwen2-VL in V0)."""
    adds = model.vision_parameters and "VL" in model.architecture and engine.generation != "v0"
    return _QWEN_VISION * GIB if adds else 0.0


def non_torch(model: Model, args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """Bytes outside torch: kernels, communication buffers, and what profiling the CUDA graphs leaves behind."""
    gib = _alone(engine, gpu)
    leaves_residue = engine.at_least("0.18") and not args.enforce_eager
    if leaves_residue:
        gib += _GRAPH_RESIDUE.get(gpu.architecture, 0.0)
    if args.tensor_parallel_size > 1:
        fused = leaves_residue and gpu.link == "nvlink" and gpu.architecture in ("hopper", "blackwell")
        gib += _PEERS_FUSED if fused else _PEERS[gpu.link]
        gib += _UNIFIED_PAIR if gpu.name == "gb10" and engine.at_least(_UNIFIED[0][0]) else 0.0
    return gib * GIB


def _alone(engine: Engine, gpu: Gpu) -> float:
    if engine.generation == "v0":
        return next(gib for release, gib in _ALONE_V0 if engine.at_least(release))
    if gpu.name == "gb10":
        return next(gib for release, gib in _UNIFIED if engine.at_least(release))
    return _ALONE.get(gpu.architecture, _ALONE_ELSEWHERE)


def graph_bytes(model: Model, layers: Sequence[Layer], args: ResolvedArgs, engine: Engine) -> float:
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
    full = sum(size <= args.max_num_seqs for size in _captured(largest))
    return full * _V2_ESTIMATE_GRAPH * GIB


def _captured(largest: int) -> list[int]:
    """The batches that a CUDA graph is captured for. Source: _set_cudagraph_sizes in vllm/config/vllm.py (0.31.0)."""
    return [size for size in (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)) if size <= largest]


def _uncertainty(activation: float, outside: float, graphs: float, args: ResolvedArgs, engine: Engine) -> float:
    """A tenth of the activation, a third of what is outside torch, and the whole estimate of the graphs where it is deducted.

    Estimates of graphs in logs since 0.21 were 0.13 to 6.8 GiB, and off by up to four times from what was captured.
    """
    deducted = graphs if engine.cuda_graphs_deducted and not args.enforce_eager else 0.0
    return 0.1 * activation + outside / 3 + deducted + 0.05 * GIB
