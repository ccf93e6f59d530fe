"""What would make a deployment start: the nearest change of each kind, planned again to see what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.catalog.engines import EngineArgs
from simulator.catalog.gpus import Gpu, gpus
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from simulator.memory.plan import MemoryPlan

Replan = Callable[[Quantization | None, Gpu, EngineArgs], "MemoryPlan"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that would make a deployment start, and what it would give."""

    change: str
    gives: str


def remedies_for(plan: MemoryPlan, args: EngineArgs, replan: Replan) -> tuple[Remedy, ...]:
    """The smallest change of each kind that lets the deployment start, cheapest kind first; `args` are as the user gave them."""
    kinds = (_shorter_context, _fewer_sequences, _more_utilization, _smaller_kv, _smaller_weights, _more_gpus, _bigger_gpu)
    found = []
    for kind in kinds:
        for change, changed in kind(plan, args):
            better = _try(replan, changed)
            if better is not None and better.outcome == "starts":
                found.append(Remedy(change, _gives(better)))
                break
    return tuple(found)


_Change = tuple[Quantization | None, Gpu, EngineArgs]


def _try(replan: Replan, change: _Change) -> MemoryPlan | None:
    """The changed plan, None where the change is refused (heads that do not divide, say)."""
    try:
        return replan(*change)
    except SimulatorError:
        return None


def _gives(plan: MemoryPlan) -> str:
    return f"{plan.kv_tokens:,} KV tokens, {plan.max_concurrency:.2f} sequences of {plan.args.max_model_len:,} tokens"


def _shorter_context(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.outcome == "max_model_len_exceeds_kv" and plan.longest_sequence:
        length = plan.longest_sequence
        yield f"max_model_len {length:,}", (plan.quantization, plan.gpu, replace(args, max_model_len=length))


def _fewer_sequences(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.outcome == "weights_do_not_fit":
        return
    for sequences in (512, 256, 128, 64, 32, 16):
        if sequences < (plan.args.max_num_seqs or 0):
            yield f"max_num_seqs {sequences}", (plan.quantization, plan.gpu, replace(args, max_num_seqs=sequences))


def _more_utilization(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    for utilization in (0.92, 0.95, 0.97):
        if utilization > (plan.args.gpu_memory_utilization or 1.0):
            changed = replace(args, gpu_memory_utilization=utilization)
            yield f"gpu_memory_utilization {utilization}", (plan.quantization, plan.gpu, changed)


def _smaller_kv(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if args.kv_cache_dtype == "auto":
        yield "kv_cache_dtype fp8", (plan.quantization, plan.gpu, replace(args, kv_cache_dtype="fp8"))


def _smaller_weights(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.quantization is None:
        for name in ("fp8", "gptq-int4"):
            yield f"quantization {name}", (quantization(name), plan.gpu, args)


def _more_gpus(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    size = args.tensor_parallel_size
    while (size := size * 2) <= 64:
        yield f"tensor_parallel_size {size}", (plan.quantization, plan.gpu, replace(args, tensor_parallel_size=size))


def _bigger_gpu(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    larger = [g for g in gpus() if g.memory_bytes > plan.gpu.memory_bytes and g.vendor == plan.gpu.vendor]
    for gpu in sorted(larger, key=lambda g: g.memory_bytes):
        yield gpu.name, (plan.quantization, gpu, args)
