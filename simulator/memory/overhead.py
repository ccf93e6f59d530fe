"""Overheads: what the engine uses of a GPU besides weights and KV cache, as its profiling run measures it.

Causes come from vLLM's source (named beside each); the coefficients were fitted on start-up logs that others published, by November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import DenseMlp, Layer, Model, MoeMlp
from simulator.catalog.quantizations import Quantization
from simulator.memory.kvcache import at_least
from simulator.units import GIB

CONTEXT_BYTES = 0.5 * GIB
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes on one GPU. `uncertainty`: how far their sum may lie off, either way."""

    activation: float
    non_torch: float
    cuda_graph: float
    uncertainty: float

    def __post_init__(self) -> None:
        assert min(self.activation, self.non_torch, self.cuda_graph, self.uncertainty) >= 0


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
    """The overheads of one GPU that holds these layers. `args` are resolved; the sampler runs on the last pipeline stage."""
    tokens = token_peak(model, layers, args)
    sampler = sampler_peak(model, args, engine) if last_stage else 0.0
    return Overhead(max(tokens, sampler), non_torch(args, gpu), 0.5 * GIB, 0.3 * GIB)


def token_peak(model: Model, layers: Sequence[Layer], args: EngineArgs) -> float:
    """Peak of the forward pass over a full batch of tokens."""
    assert args.max_num_batched_tokens is not None
    widest = max((_width(layer) for layer in layers), default=0)
    per_token = (3 * widest / args.tensor_parallel_size + 4 * model.hidden) * _BYTES[model.dtype]
    return args.max_num_batched_tokens * per_token


def _width(layer: Layer) -> int:
    if isinstance(layer.mlp, DenseMlp):
        return layer.mlp.width
    return layer.mlp.width * layer.mlp.experts_per_token if isinstance(layer.mlp, MoeMlp) else 0


def sampler_peak(model: Model, args: EngineArgs, engine: Engine) -> float:
    """Peak of sampling for every sequence at once: copies of the logits, in units of max_num_seqs * vocabulary * 4 bytes."""
    assert args.max_num_seqs is not None and args.max_num_batched_tokens is not None
    copies = 3.5 if at_least(engine, "0.17") else 9.5
    return copies * args.max_num_seqs * model.vocabulary * 4 + args.max_num_batched_tokens * model.hidden * _BYTES[model.dtype]


def non_torch(args: EngineArgs, gpu: Gpu) -> float:
    """Memory outside torch: communication buffers and kernels."""
    alone = args.tensor_parallel_size * args.pipeline_parallel_size == 1
    base = 0.28 if gpu.architecture == "hopper" else 0.05
    return (base if alone else base + (1.55 if gpu.link == "nvlink" else 0.25)) * GIB
