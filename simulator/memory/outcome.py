"""Whether an engine starts: its own refusals, in its words, and what lies within the plan's error of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.memory.cuda_graphs import profiled_blocks
from simulator.memory.kv_layout import KvLayout
from simulator.memory.overhead import Overhead, context_bytes
from simulator.memory.weights import Weights
from simulator.units import GIB

Outcome = Literal[
    "starts",
    "may_not_start",
    "too_little_free_memory",
    "weights_do_not_fit",
    "graph_profiling_does_not_fit",
    "no_kv_blocks",
    "max_model_len_exceeds_kv",
    "max_num_seqs_exceeds_state_blocks",
]
# Refusals that leave no KV cache to count in.
WITHOUT_CACHE: tuple[Outcome, ...] = (
    "too_little_free_memory",
    "weights_do_not_fit",
    "graph_profiling_does_not_fit",
    "no_kv_blocks",
)


@dataclass(frozen=True, slots=True)
class GpuStage:
    """One GPU of one pipeline stage, with the KV cache that is left on it."""

    weights: Weights
    overhead: Overhead
    layout: KvLayout
    kv_cache_bytes: float


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The engine's refusal, and how the same need reads where the plan's error decides."""

    outcome: Outcome
    reason: str
    doubt: str


@dataclass(frozen=True, slots=True)
class Start:
    """One start of an engine on one GPU, whose overheads may be other than planned.

    `available`: bytes of KV cache as planned; `fixed` where arguments set them.
    """

    stage: GpuStage
    model: Model
    gpu: Gpu
    args: ResolvedArgs
    engine: Engine
    available: float
    fixed: bool

    def outcome(self) -> tuple[Outcome, str]:
        """The first refusal by the plan's own figures; else "may_not_start" where the worst of its band is refused."""
        above, below = self.stage.overhead.uncertainty, self.stage.overhead.at_worst
        if refusal := self._refusal(0.0):
            if self._refusal(-above) is None:
                room = self._available(-above) / GIB
                return refusal.outcome, f"{refusal.reason} With {room:.2f} GiB, within the plan's own error, it starts."
            return refusal.outcome, refusal.reason
        if doubtful := self._refusal(below):
            return "may_not_start", f"may not start: {doubtful.doubt}"
        return "starts", ""

    def _available(self, more: float) -> float:
        """KV cache where the overheads take so many bytes more."""
        return self.available if self.fixed else self.available - more

    def _refusal(self, more: float) -> _Refusal | None:
        """The first refusal where the overheads take so many bytes more than planned."""
        return (
            self._not_free()
            or self._out_of_memory(more)
            or self._graphs_out_of_memory(more)
            or self._too_little_cache(self._available(more))
            or self._too_few_states(self._available(more))
        )

    def _not_free(self) -> _Refusal | None:
        """What vLLM checks first, from V1 on: whether the share it is to reserve is free.

        Source: request_memory in vllm/v1/worker/utils.py (0.27.1); init_device in vllm/v1/worker/gpu_worker.py (0.8.0).
        """
        if self.engine.family != "vllm" or self.engine.generation == "v0" or self.args.kv_cache_memory_bytes is not None:
            return None
        total = self.gpu.memory_bytes
        free = total - self.args.memory_used_gib * GIB - context_bytes(self.gpu)
        desired = total * self.args.gpu_memory_utilization
        if free >= desired:
            return None
        reason = (
            f"Free memory on the device ({free / GIB:.2f}/{total / GIB:.2f} GiB) on startup is less than desired "
            f"GPU memory utilization ({self.args.gpu_memory_utilization}, {desired / GIB:.2f} GiB)"
        )
        return _Refusal("too_little_free_memory", reason, reason)

    def _held(self, more: float) -> float:
        """Bytes of the card that are taken before the first pass and outside torch."""
        used = self.stage.weights.bytes + self.stage.overhead.non_torch + context_bytes(self.gpu) + more
        return used + self.args.memory_used_gib * GIB

    def _out_of_memory(self, more: float) -> _Refusal | None:
        """Out of memory in the first pass, or where the KV cache is set by hand, in allocating it."""
        weights, total = self.stage.weights.bytes, self.gpu.memory_bytes
        at_peak = self._held(more) + self.stage.overhead.activation
        needs = f"weights need {weights / GIB:.2f} GiB per GPU and"
        has = f"{self.gpu.name} has {total / GIB:.2f} GiB"
        if at_peak > total:
            what = f"{needs} the first pass {(at_peak - weights) / GIB:.2f} GiB; {has}"
            return _Refusal("weights_do_not_fit", f"CUDA out of memory: {what}", f"at the worst {what}")
        blocks = (self.args.num_gpu_blocks_override or 0) * self.stage.layout.block_bytes
        asked = self.args.kv_cache_memory_bytes or blocks
        if asked and self._held(more) + asked > total:
            what = f"{needs} the KV cache that is asked for {asked / GIB:.2f} GiB; {has}"
            return _Refusal("weights_do_not_fit", f"CUDA out of memory: {what}", f"with the overheads at their worst, {what}")
        return None

    def _graphs_out_of_memory(self, more: float) -> _Refusal | None:
        """Out of memory in profiling the CUDA graphs, for which a block of KV cache is allocated for every sequence.

        Source: _init_minimal_kv_cache_for_profiling in vllm/v1/worker/gpu_model_runner.py (0.18.0, 0.26.0, 0.33.0); on an RTX
        5090, Qwen3.8-27B NVFP4 with 256 sequences asks in vain for 784 MiB (vllm-project/recipes, Qwen3.8-27B.yaml).
        """
        blocks = profiled_blocks(self.model, self.args, self.engine, self.gpu)
        cache, total = blocks * self.stage.layout.block_bytes, self.gpu.memory_bytes
        if self._held(more) + cache <= total:
            return None
        what = (
            f"profiling the CUDA graphs needs {blocks:,} blocks of KV cache, {cache / GIB:.2f} GiB, beside weights of "
            f"{self.stage.weights.bytes / GIB:.2f} GiB; {self.gpu.name} has {total / GIB:.2f} GiB"
        )
        return _Refusal("graph_profiling_does_not_fit", f"CUDA out of memory: {what}", f"at the worst {what}")

    def _too_little_cache(self, available: float) -> _Refusal | None:
        layout, longest_asked = self.stage.layout, self.args.max_model_len
        needed = layout.bytes_for(longest_asked)
        low = max(0.0, self._available(self.stage.overhead.at_worst)) / GIB
        high = self._available(-self.stage.overhead.uncertainty) / GIB
        doubt = f"needs {max(needed, layout.block_bytes) / GIB:.2f} GiB of KV cache, has {low:.2f} to {high:.2f}"
        if available < layout.block_bytes:
            reason = (
                f"No available memory for the cache blocks ({available / GIB:.2f} GiB). Try increasing `gpu_memory_utilization`"
            )
            return _Refusal("no_kv_blocks", reason, doubt)
        if needed <= available:
            return None
        if self.engine.generation == "v0":
            reason = (
                f"The model's max seq len ({longest_asked}) is larger than the maximum number of tokens "
                f"that can be stored in KV cache ({layout.blocks_in(available) * layout.block_size})"
            )
            return _Refusal("max_model_len_exceeds_kv", reason, doubt)
        longest = layout.longest_in(available, longest_asked)
        estimate = f" Based on the available memory, the estimated maximum model length is {longest}." if longest else ""
        reason = (
            f"To serve at least one request with the models's max seq len ({longest_asked}), "
            f"{needed / GIB:.2f} GiB KV cache is needed, "
            f"which is larger than the available KV cache memory ({available / GIB:.2f} GiB).{estimate}"
        )
        return _Refusal("max_model_len_exceeds_kv", reason, doubt)

    def _too_few_states(self, available: float) -> _Refusal | None:
        """With graphs of whole decode steps every sequence needs a block for its recurrent state, from 0.20 on.

        Source: resolve_cudagraph_mode_and_sizes in vllm/config/compilation.py (0.20.2, 0.30.0; absent in 0.19.0).
        """
        layout, sequences = self.stage.layout, self.args.max_num_seqs
        recurrent = any(layer.kind == "state" for layer in layout.groups)
        if self.engine.family != "vllm" or not self.engine.at_least("0.20") or not recurrent or not self.args.full_graphs:
            return None
        blocks = layout.blocks_in(available)
        if sequences <= blocks:
            return None
        worst, best = self.stage.overhead.at_worst, -self.stage.overhead.uncertainty
        low, high = (layout.blocks_in(self._available(more)) for more in (worst, best))
        return _Refusal(
            "max_num_seqs_exceeds_state_blocks",
            f"max_num_seqs ({sequences}) exceeds available Mamba cache blocks ({blocks}). Each decode sequence requires one "
            f"Mamba cache block. Please lower max_num_seqs to at most {blocks} or increase gpu_memory_utilization",
            f"max_num_seqs is {sequences:,}, and there are {low:,} to {high:,} state blocks",
        )
