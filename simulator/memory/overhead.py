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
from simulator.catalog.memory_overheads import architecture, memory_overheads, runs_v2
from simulator.catalog.models import CompressedAttention, DenseMlp, LatentAttention, Layer, Model, MoeMlp
from simulator.catalog.quantizations import Quantization
from simulator.memory.cuda_graphs import graph_bytes
from simulator.memory.encoder import encoding
from simulator.units import BYTES_OF, GIB

# Copies more for checking one drafted token of every sequence: rows of 16 bits for it and for the one behind it, and in float32
# what it is checked against. Source: _dummy_sampler_run in vllm/v1/worker/gpu_model_runner.py (0.27.1).
_REJECTED = 2.0
# Residual streams of DeepSeek-V4's hyper-connections: hc_mult of its config.json.
_HYPER_STREAMS = 4


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes on one GPU; `uncertainty` is how far the part that the KV cache pays for may lie off, either way.

    `compiling`: what a start that compiles the model takes more at its peak. `pinned`: the largest block that the allocator may
    keep for a small one, in releases that count it.
    """

    activation: float
    non_torch: float
    cuda_graph: float
    uncertainty: float
    compiling: float = 0.0
    pinned: float = 0.0

    @property
    def at_worst(self) -> float:
        """How much more than planned the overheads may take."""
        return self.uncertainty + self.compiling + self.pinned


def overhead(
    model: Model,
    layers: Sequence[Layer],
    quantization: Quantization | None,
    args: ResolvedArgs,
    engine: Engine,
    gpu: Gpu,
    *,
    last_stage: bool,
    first_stage: bool = True,
) -> Overhead:
    """The overheads of one GPU that holds these layers. `args` are resolved; the sampler runs on the last pipeline stage.

    Activation is the highest of encoding the largest images, of the forward pass over a full batch of tokens, and of sampling
    for every sequence at once; the last two above what stays allocated: buffers of the experts, and what was encoded.
    """
    release = memory_overheads(engine)
    passing = forward_peak(model, layers, quantization, args, engine)
    sampling = sampler_peak(model, args, engine, gpu) if last_stage and _samples(model) else 0.0
    buffers = expert_buffers(model, layers, args)
    kept = buffers if release.expert_buffers_kept else 0.0
    kept += indexer_logits(layers, args, engine, gpu)
    encode, encoded = encoding(model, args) if release.profiles_encoder and first_stage else (0.0, 0.0)
    activation = max(encode, encoded + max(passing + (buffers - kept), sampling) + kept)
    if encoded and "VL" in model.architecture:
        activation += release.vision_gib * GIB
    graphs = graph_bytes(model, layers, args, engine, gpu)
    outside = non_torch(model, args, engine, gpu)
    compiling = max(0.0, _compiled_tables(model, args, engine, first_stage) - activation)
    pinned = _largest_freed(model, layers, args, sampling > 0) if release.allocator_pins else 0.0
    return Overhead(activation, outside, graphs, _uncertainty(activation, outside, graphs, args, engine), compiling, pinned)


def _compiled_tables(model: Model, args: ResolvedArgs, engine: Engine, first_stage: bool) -> float:
    """Peak of compiling the model: a copy of the embedding table, to time a kernel on, and what it looks up for a batch."""
    if args.enforce_eager or not memory_overheads(engine).times_kernels or not first_stage:
        return 0.0
    table = model.vocabulary * model.hidden / args.tensor_parallel_size
    return (table + args.max_num_batched_tokens * model.hidden) * BYTES_OF[model.dtype]


def _largest_freed(model: Model, layers: Sequence[Layer], args: ResolvedArgs, samples: bool) -> float:
    """The largest block that the first pass frees: what goes into the widest dense block, or one copy of the logits."""
    width = max((_dense_width(layer) for layer in layers), default=0) / args.tensor_parallel_size
    wide = 2 * args.max_num_batched_tokens * width * BYTES_OF[model.dtype]
    return max(wide, args.max_num_seqs * model.vocabulary * 4.0 if samples else 0.0)


def context_bytes(gpu: Gpu) -> float:
    """Bytes of a GPU that the CUDA context takes before the engine allocates anything."""
    return architecture(gpu).context_gib * GIB


def forward_peak(
    model: Model, layers: Sequence[Layer], quantization: Quantization | None, args: ResolvedArgs, engine: Engine
) -> float:
    """Peak of one layer over max_num_batched_tokens: hidden states, and the widest dense block in, out and quantized.

    Compiled layers of 16 bits hold more from 0.27 on.

    Source: slope of 108 KiB a token for Llama-3.1-8B in V0 (vllm-project/vllm#10517, RTX 3090), 114 KiB in 0.19 (H100).
    """
    release = memory_overheads(engine)
    held, wide = release.hidden_copies, release.width_copies
    if engine.generation == "v1" and not args.enforce_eager and not _is_quantized(quantization):
        wide = release.compiled_width_copies
    if any(isinstance(layer.mixer, CompressedAttention) for layer in layers):
        held *= _HYPER_STREAMS
    width = max((_dense_width(layer) for layer in layers), default=0) / args.tensor_parallel_size
    per_token = (held * model.hidden + wide * width) * BYTES_OF[model.dtype]
    form = quantization.format("mlp") if quantization else None
    if form is not None and form.activation_bits <= 8:
        per_token += width + model.hidden
    return args.max_num_batched_tokens * per_token + _latent_prefill(model, layers, args)


def _is_quantized(quantization: Quantization | None) -> bool:
    form = quantization.format("mlp") if quantization else None
    return form is not None and form.bits < 16


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


def indexer_logits(layers: Iterable[Layer], args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """What a sparse indexer reserves on AMD GPUs from 0.24 on: a float32 for each batched token and cached entry of the longest
    sequence, of which compressed attention has one every `ratio` tokens.

    Source: rocm_aiter_sparse_attn_indexer in vllm/v1/attention/ops/rocm_aiter_mla_sparse.py (0.24.0, 0.28.0; absent in 0.22.1).
    """
    if gpu.vendor != "amd" or not engine.at_least("0.24"):
        return 0.0
    ratios = [_entry_every(layer) for layer in layers]
    entries = max((args.max_model_len // ratio for ratio in ratios if ratio), default=0)
    return args.max_num_batched_tokens * entries * 4.0


def _entry_every(layer: Layer) -> int:
    """Tokens for one entry that the layer's indexer looks through; 0 without an indexer."""
    if isinstance(layer.mixer, CompressedAttention):
        return layer.mixer.ratio if layer.mixer.index_heads else 0
    return 1 if isinstance(layer.mixer, LatentAttention) and layer.mixer.index_heads else 0


def sampler_peak(model: Model, args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """Peak of sampling for max_num_seqs sequences at once, on top of the batch's hidden states."""
    copies, buffer_rows = _logit_copies(model, args, engine, gpu)
    if args.decode_length > 1:
        copies += _REJECTED
    logits = model.vocabulary * 4
    hidden = args.max_num_batched_tokens * model.hidden * BYTES_OF[model.dtype]
    return (copies * args.max_num_seqs + buffer_rows) * logits + hidden


def _samples(model: Model) -> bool:
    """Embedding models pool hidden states instead; only their name tells."""
    return "embedding" not in model.name


def _logit_copies(model: Model, args: ResolvedArgs, engine: Engine, gpu: Gpu) -> tuple[float, int]:
    """(copies of the float32 logits, rows of the filtering kernel's own buffer). GPUs before Ampere have no such kernel."""
    release = memory_overheads(engine)
    filters = not architecture(gpu).sorts_logits
    if filters and release.counted_copies and runs_v2(model, engine):
        return release.counted_copies, 0
    if filters and release.filtered_copies and args.max_num_seqs >= 8:
        return release.filtered_copies, min(release.kernel_rows, args.max_num_seqs)
    return release.sorted_copies + (release.gathered_copies if args.tensor_parallel_size > 1 else 0.0), 0


def non_torch(model: Model, args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """Bytes outside torch: kernels, communication buffers, and what profiling the CUDA graphs leaves behind."""
    release, kind = memory_overheads(engine), architecture(gpu)
    gib = _alone(engine, gpu) + release.allocator_gib - (release.sleep_mode_gib if args.enable_sleep_mode else 0.0)
    leaves_residue = release.graphs_leave_residue and args.captures_graphs
    if leaves_residue:
        gib += kind.graph_residue_gib
    if args.tensor_parallel_size > 1:
        fused = args.captures_graphs and release.fused_peers_gib and gpu.link == "nvlink" and kind.fused_all_reduce
        gib += release.fused_peers_gib if fused else release.peers_gib[gpu.link]
        gib += release.unified_pair_gib if gpu.name == "gb10" else 0.0
    return gib * GIB


def _alone(engine: Engine, gpu: Gpu) -> float:
    release = memory_overheads(engine)
    if gpu.name == "gb10" and release.unified_gib:
        return release.unified_gib
    own = architecture(gpu).outside_torch_gib if engine.generation == "v1" else None
    return release.outside_torch_gib if own is None else own


def _uncertainty(activation: float, outside: float, graphs: float, args: ResolvedArgs, engine: Engine) -> float:
    """A tenth of the activation, a third of what is outside torch, and half the estimate of the graphs where it is deducted."""
    deducted = graphs / 2 if engine.cuda_graphs_deducted and args.captures_graphs else 0.0
    return 0.1 * activation + outside / 3 + deducted + 0.05 * GIB
