"""CUDA graphs: what capturing them takes, or the engine's own estimate of it, which it deducts from the KV cache."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import architecture, memory_overheads, runs_v2
from simulator.catalog.models import GatedDeltaNet, LatentAttention, Layer, Mamba1, Mamba2, Model
from simulator.units import GIB

MIB = 2**20


def deducts_cuda_graphs(args: ResolvedArgs, engine: Engine, gpu: Gpu) -> bool:
    """Whether the KV cache is what is left after an estimate of the graphs; on AMD GPUs from 0.26 on.

    Source: determine_available_memory in vllm/v1/worker/gpu_worker.py, 0.19.0 to 0.30.0.
    """
    estimates = gpu.vendor == "nvidia" or engine.at_least("0.26")
    return engine.cuda_graphs_deducted and estimates and args.captures_graphs


def graph_bytes(model: Model, layers: Sequence[Layer], args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """Bytes on one GPU of the graphs that are captured, or where the engine deducts it, its estimate of them.

    Captured: 0.35 GiB and 15 MiB a layer for the graphs of batches up to 512 (43 logs of 0.19 on H100: median off by 0.1 GiB).
    """
    largest = engine.largest_cudagraph(args)
    if not largest:
        return 0.0
    if engine.cuda_graphs_deducted:
        return _estimate(model, layers, args, engine, gpu)
    share = largest / 512
    return (0.1 + share * (0.25 + 0.015 * len(layers) + (0.3 if model.is_moe else 0.0))) * GIB


def graphs_by_kind(args: ResolvedArgs, engine: Engine) -> tuple[int, int]:
    """(graphs of the pieces between attention layers, graphs of whole decode steps), one a captured batch.

    Source: CudagraphDispatcher in vllm/v1/cudagraph_dispatcher.py (0.27.1): whole steps up to max_num_seqs sequences.
    """
    sizes = engine.captured_batches(args)
    pieces = 0 if args.cudagraph_mode in ("full", "full_decode_only") else len(sizes)
    longest = (args.max_num_seqs or 0) * args.decode_length
    decode = sum(args.decode_length <= size <= longest for size in sizes) if args.full_graphs else 0
    return pieces, len(sizes) if args.cudagraph_mode == "full" else decode


def profiled_blocks(model: Model, args: ResolvedArgs, engine: Engine, gpu: Gpu) -> int:
    """Blocks of KV cache that are allocated to profile the graphs: one for every token of the largest of them, from 0.26 on
    for every sequence of it; 0 where nothing is profiled, as model runner V2 does before 0.29.

    Source: _init_minimal_kv_cache_for_profiling in vllm/v1/worker/gpu_model_runner.py (0.18.0, 0.25.0, 0.26.0, 0.33.0).
    """
    if runs_v2(model, engine) and not engine.at_least("0.29"):
        return 0
    if engine.family != "vllm" or engine.generation == "v0" or not engine.at_least("0.18") or not args.captures_graphs:
        return 0
    if gpu.vendor != "nvidia" and not deducts_cuda_graphs(args, engine, gpu):
        return 0
    largest = engine.largest_cudagraph(args)
    return min(args.max_num_seqs, largest) if engine.at_least("0.26") else largest


def _estimate(model: Model, layers: Sequence[Layer], args: ResolvedArgs, engine: Engine, gpu: Gpu) -> float:
    """The engine's estimate: the first graph of the larger kind, and every further one at the cost of the second.

    Model runner V2 estimates nothing before 0.29. Source: profile_cudagraph_memory in vllm/v1/worker/gpu_model_runner.py
    (0.20.2, 0.27.1) and vllm/v1/worker/gpu/cudagraph_utils.py (0.29.0).
    """
    release = memory_overheads(engine)
    sparse = architecture(gpu).sparse_graphs_gib
    if sparse and any(isinstance(layer.mixer, LatentAttention) and layer.mixer.index_top_k for layer in layers):
        return sparse * GIB
    pieces, decode = graphs_by_kind(args, engine)
    if runs_v2(model, engine):
        return decode * release.v2_graph_gib * GIB
    kind = architecture(gpu)
    first = release.first_graph_gib if kind.first_graph_gib is None else kind.first_graph_gib
    a_layer = release.graph_layer_mib if kind.graph_layer_mib is None else kind.graph_layer_mib
    recurrent = sum(isinstance(layer.mixer, GatedDeltaNet | Mamba1 | Mamba2) for layer in layers)
    each = a_layer * (len(layers) - recurrent) + release.graph_state_layer_mib * recurrent
    further = max(0, pieces - 1) + max(0, decode - 1)
    return first * GIB + further * max(1.0, each) * MIB
