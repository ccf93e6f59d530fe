"""MemoryPlan: where every byte of one GPU goes, as vLLM accounts for it, and what would help when it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization

Outcome = Literal["starts", "weights_do_not_fit", "no_kv_blocks", "max_model_len_exceeds_kv"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that would make a deployment start, and what it would give."""

    change: str
    gives: str


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The account of the fullest GPU of one replica. Bytes; tokens and blocks are the replica's.

    total = what the driver reports; reserved = total * gpu_memory_utilization; kv_cache = reserved - weights - activation - non_torch
    - (cuda_graph where the version deducts it). `max_concurrency` is at `max_model_len`, as vLLM prints it.
    `weights_by_format` maps a format name ("bf16", "int4-g128") to its bytes on the GPU. `low`/`high` bound kv_cache where an overhead is a guess.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: EngineArgs
    total_bytes: int
    reserved_bytes: float
    weights_bytes: float
    weights_by_format: dict[str, float]
    activation_bytes: float
    non_torch_bytes: float
    cuda_graph_bytes: float
    cuda_graph_deducted: bool
    kv_cache_bytes: float
    kv_cache_low_bytes: float
    kv_cache_high_bytes: float
    kv_bytes_per_token: float
    num_gpu_blocks: int
    kv_tokens: int
    max_concurrency: float
    outcome: Outcome
    reason: str
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()

    def concurrency_at(self, context_tokens: int) -> float:
        """How many sequences of this many tokens the KV cache holds at once."""
        raise NotImplementedError


def plan_memory(model: Model, quantization: Quantization | None, gpu: Gpu, args: EngineArgs, engine: Engine) -> MemoryPlan:
    """The memory plan of one replica. Never raises for lack of room: the outcome says so, with remedies."""
    raise NotImplementedError
