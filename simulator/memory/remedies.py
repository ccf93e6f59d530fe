"""What would make a deployment start: the nearest change of each kind, planned again to see what it gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.catalog.engines import EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import rented_cards
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import SimulatorError
from simulator.memory.overhead import context_bytes
from simulator.units import GIB

if TYPE_CHECKING:
    from simulator.memory.plan import MemoryPlan

_USEFUL_CONTEXT = 2048  # a shorter context than this is no remedy worth naming
Replan = Callable[[Quantization | None, Gpu, EngineArgs], "MemoryPlan"]


_Change = tuple[Quantization | None, Gpu, EngineArgs]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that would make a deployment start, and what it would give."""

    change: str
    gives: str


def remedies_for(plan: MemoryPlan, args: EngineArgs, replan: Replan) -> tuple[Remedy, ...]:
    """The smallest change of each kind that lets the deployment start, cheapest kind first; `args` are as the user gave them.

    Where only together with a shorter max_model_len a change suffices, and that alone does not, it is named with the longest.
    """
    kinds = (
        _shorter_context,
        _fewer_sequences,
        _no_graphs,
        _more_utilization,
        _smaller_kv,
        _smaller_weights,
        _more_gpus,
        _bigger_gpu,
    )
    may_shorten = plan.longest_sequence < _USEFUL_CONTEXT
    return tuple(remedy for kind in kinds if (remedy := _first_that_starts(kind(plan, args), replan, may_shorten)))


def _first_that_starts(changes: Iterator[tuple[str, _Change]], replan: Replan, may_shorten: bool) -> Remedy | None:
    nearest: tuple[str, _Change] | None = None
    longest = _USEFUL_CONTEXT - 1
    for words, change in changes:
        better = _try(replan, change)
        if better is not None and better.starts:
            return Remedy(words, _gives(better))
        if better is not None and may_shorten and better.longest_sequence > longest:
            longest = better.longest_sequence
            form, card, args = change
            nearest = f"{words} with max_model_len {longest:,}", (form, card, replace(args, max_model_len=longest))
    shorter = _try(replan, nearest[1]) if nearest else None
    return Remedy(nearest[0], _gives(shorter)) if nearest and shorter and shorter.starts else None


def _try(replan: Replan, change: _Change) -> MemoryPlan | None:
    """The changed plan, None where the change is refused (heads that do not divide, say)."""
    try:
        return replan(*change)
    except SimulatorError:
        return None


def _gives(plan: MemoryPlan) -> str:
    doubt = f"; {plan.reason}" if plan.outcome == "may_not_start" else ""
    return f"{plan.kv_tokens:,} KV tokens, {plan.max_concurrency:.2f} sequences of {plan.args.max_model_len:,}{doubt}"


def _shorter_context(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.longest_sequence < (plan.args.max_model_len or 0) and (length := plan.longest_sequence):
        yield f"max_model_len {length:,}", (plan.quantization, plan.gpu, replace(args, max_model_len=length))


def _fewer_sequences(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.outcome == "weights_do_not_fit":
        return
    if plan.outcome == "max_num_seqs_exceeds_state_blocks":
        blocks = plan.num_gpu_blocks
        yield f"max_num_seqs {blocks:,}", (plan.quantization, plan.gpu, replace(args, max_num_seqs=blocks))
        return
    for sequences in (512, 256, 128, 64, 32, 16):
        if sequences < plan.args.max_num_seqs:
            yield f"max_num_seqs {sequences}", (plan.quantization, plan.gpu, replace(args, max_num_seqs=sequences))


def _no_graphs(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.outcome == "graph_profiling_does_not_fit":
        yield "enforce_eager", (plan.quantization, plan.gpu, replace(args, enforce_eager=True))


def _more_utilization(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if plan.outcome == "too_little_free_memory":
        free = plan.total_bytes - args.memory_used_gib * GIB - context_bytes(plan.gpu)
        share = math.floor(100 * free / plan.total_bytes) / 100
        if share > 0:
            yield f"gpu_memory_utilization {share}", (plan.quantization, plan.gpu, replace(args, gpu_memory_utilization=share))
        return
    for utilization in (0.92, 0.95, 0.97):
        if utilization > plan.args.gpu_memory_utilization:
            changed = replace(args, gpu_memory_utilization=utilization)
            yield f"gpu_memory_utilization {utilization}", (plan.quantization, plan.gpu, changed)


def _smaller_kv(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    if args.kv_cache_dtype == "auto":
        yield "kv_cache_dtype fp8", (plan.quantization, plan.gpu, replace(args, kv_cache_dtype="fp8"))


def _smaller_weights(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    stored = {form.bits for form in plan.quantization.formats.values()} if plan.quantization else {16.0}
    if min(stored) >= 16:
        for name in ("fp8", "gptq-int4"):
            yield f"quantization {name}", (quantization(name), plan.gpu, args)


def _more_gpus(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    size = args.tensor_parallel_size
    while (size := size * 2) <= 64:
        yield f"tensor_parallel_size {size}", (plan.quantization, plan.gpu, replace(args, tensor_parallel_size=size))


def _bigger_gpu(plan: MemoryPlan, args: EngineArgs) -> Iterator[tuple[str, _Change]]:
    for card in rented_cards(plan.gpu.vendor):
        if card.memory_bytes > plan.gpu.memory_bytes:
            yield f"gpu {card.name}", (plan.quantization, card, args)
