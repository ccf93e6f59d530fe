"""MemoryPlan: where every byte of one GPU goes, as vLLM accounts for it, and what would help when it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from simulator.catalog.checkpoints import suited
from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import Mxfp4Kernel, mxfp4_kernel
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization, runs_as
from simulator.memory.cuda_graphs import deducts_cuda_graphs
from simulator.memory.encoder import unread_processor_options, without_encoder
from simulator.memory.kv_cache import attention_block_size, kv_layout
from simulator.memory.kv_layout import KvLayout
from simulator.memory.overhead import Overhead, context_bytes, overhead
from simulator.memory.remedies import Remedy as Remedy
from simulator.memory.remedies import remedies_for
from simulator.memory.speculative import Drafter, drafter_bytes, drafter_of
from simulator.memory.weights import Weights, stage_of_layer, weight_bytes
from simulator.units import GIB

Outcome = Literal[
    "starts",
    "may_not_start",
    "too_little_free_memory",
    "weights_do_not_fit",
    "no_kv_blocks",
    "max_model_len_exceeds_kv",
    "max_num_seqs_exceeds_state_blocks",
]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The account of the fullest GPU of one replica. Bytes; tokens and blocks are the replica's.

    total = what the driver reports; reserved = total * gpu_memory_utilization; kv_cache = reserved - weights - activation
    - non_torch - (cuda_graph where the version deducts it). `max_concurrency` (at `max_model_len`), `num_gpu_blocks` and
    `kv_tokens` are what vLLM prints, 0 where nothing is left. `weights_by_format` maps a format name ("bf16", "int4-g128") to its
    bytes on the GPU. `low`/`high` bound kv_cache where an overhead is a guess. `args` are resolved, with the block size that
    results. `outcome` is "may_not_start" where a need lies between the plan's figure and its lower bound.
    `longest_sequence`: the longest that fits alone, which is vLLM's estimated maximum model length.
    `kv_bytes_per_token`: what one more token of a long sequence takes, which in windows and recurrent states is nothing.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: ResolvedArgs
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
    layout: KvLayout
    longest_sequence: int
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()

    def concurrency_at(self, context_tokens: int) -> float:
        """How many sequences of this many tokens the KV cache of one replica holds at once."""
        return self.num_gpu_blocks / self.layout.blocks_for(context_tokens)

    @property
    def starts(self) -> bool:
        """Whether the engine starts by the plan's own figures, be it that it may not ("may_not_start")."""
        return self.outcome in ("starts", "may_not_start")

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that share one copy of the KV cache's tokens: tensor times pipeline ranks."""
        return self.args.tensor_parallel_size * self.args.pipeline_parallel_size

    @property
    def gpu_count(self) -> int:
        """GPUs of the whole deployment, data-parallel replicas included."""
        return self.gpus_per_replica * self.args.data_parallel_size

    @property
    def kv_needed_bytes(self) -> int:
        """KV cache on one GPU that one sequence of max_model_len needs."""
        return self.layout.bytes_for(self.args.max_model_len)

    @property
    def used_bytes(self) -> float:
        """Everything the engine needs before the KV cache, inside what it reserves."""
        graphs = self.cuda_graph_bytes if self.cuda_graph_deducted else 0.0
        return self.weights_bytes + self.activation_bytes + self.non_torch_bytes + graphs

    @property
    def scheduler_blocks(self) -> int:
        """Blocks of `args.block_size` tokens that give a scheduler with one kind of block the same max_concurrency."""
        if len(self.layout.groups) == 1:
            return self.num_gpu_blocks * self.layout.shards
        return int(self.max_concurrency * self.args.max_model_len) // self.layout.block_size


def plan_memory(model: Model, quantization: Quantization | None, gpu: Gpu, args: EngineArgs, engine: Engine) -> MemoryPlan:
    """The memory plan of one replica. Never raises for lack of room: the outcome says so, with remedies.

    `quantization` replaces the checkpoint's own; None keeps it. Raises NotModelled for what vLLM refuses or we have no model of.
    """
    weigh = _weighed_once()
    plan = plan_without_remedies(model, quantization, gpu, args, engine, weigh)
    if plan.outcome == "starts":
        return plan

    def replan(changed_quantization: Quantization | None, changed_gpu: Gpu, changed_args: EngineArgs) -> MemoryPlan:
        return plan_without_remedies(model, changed_quantization, changed_gpu, changed_args, engine, weigh)

    return replace(plan, remedies=remedies_for(plan, args, replan))


Weigh = Callable[[Model, Quantization | None, EngineArgs, Mxfp4Kernel], Weights]


def _weighed_once() -> Weigh:
    """Weights that are counted once for each quantization and parallel sizes: most remedies change neither."""
    counted: dict[tuple[object, ...], Weights] = {}

    def weigh(model: Model, quantization: Quantization | None, args: EngineArgs, mxfp4: Mxfp4Kernel) -> Weights:
        sizes = args.tensor_parallel_size, args.pipeline_parallel_size, args.data_parallel_size, args.enable_expert_parallel
        slots = (args.enable_lora, args.max_loras, args.max_lora_rank, args.fully_sharded_loras, args.mm_encoder_tp_mode)
        key = (quantization.name if quantization else "", mxfp4, *sizes, slots)
        if key not in counted:
            counted[key] = weight_bytes(model, quantization, args, mxfp4)
        return counted[key]

    return weigh


def plan_without_remedies(
    model: Model, quantization: Quantization | None, gpu: Gpu, args: EngineArgs, engine: Engine, weigh: Weigh = weight_bytes
) -> MemoryPlan:
    """The same plan without what would help; `weigh` counts the weights."""
    model = without_encoder(model, args)
    asked = quantization or model.quantization
    quantization = None if asked is None else suited(asked, model)
    resolved = engine.resolve(args, gpu, model)
    if args.block_size is None and engine.family != "tensorrt-llm":
        resolved = replace(resolved, block_size=attention_block_size(model, engine, gpu))
    drafter = drafter_of(model, resolved)
    weights = weigh(model, quantization, resolved, mxfp4_kernel(engine, gpu))
    if drafter is not None:
        weights = weights.with_part("drafter", drafter_bytes(drafter, quantization, resolved))
    stages = _stages(weights, model, quantization, gpu, resolved, engine, drafter)
    tightest = min(stages, key=lambda stage: stage.layout.blocks_in(stage.kv_cache_bytes))
    plan = _account(tightest, model, quantization, gpu, resolved, engine)
    if args.fit_max_model_len and plan.outcome == "max_model_len_exceeds_kv" and plan.longest_sequence:
        fitted = replace(resolved, max_model_len=plan.longest_sequence)
        return _account(tightest, model, quantization, gpu, fitted, engine)
    return plan


@dataclass(frozen=True, slots=True)
class _Stage:
    """One GPU of one pipeline stage."""

    weights: Weights
    overhead: Overhead
    layout: KvLayout
    kv_cache_bytes: float


def _stages(
    weights: Weights,
    model: Model,
    quantization: Quantization | None,
    gpu: Gpu,
    args: ResolvedArgs,
    engine: Engine,
    drafter: Drafter | None,
) -> list[_Stage]:
    """Every pipeline stage, each with the weights of the fullest."""
    owner = stage_of_layer(len(model.layers), args.pipeline_parallel_size)
    stages = []
    for stage in range(args.pipeline_parallel_size):
        layers = [layer for layer, at in zip(model.layers, owner, strict=True) if at == stage]
        last = stage == args.pipeline_parallel_size - 1
        used = overhead(model, layers, quantization, args, engine, gpu, last_stage=last, first_stage=stage == 0)
        drafting = (drafter.layers, drafter.model) if drafter is not None and last else None
        layout = kv_layout(layers, model, quantization, args, engine, gpu, drafting)
        stages.append(_Stage(weights, used, layout, _kv_cache_bytes(gpu, args, engine, weights, used)))
    return stages


def _kv_cache_bytes(gpu: Gpu, args: ResolvedArgs, engine: Engine, weights: Weights, used: Overhead) -> float:
    """What is left for the KV cache: of a share of the card after everything else (vLLM), after the weights only (SGLang, which
    keeps the rest of the card for the others), or a share of what is left (TensorRT-LLM).
    """
    if args.kv_cache_memory_bytes is not None:
        return args.kv_cache_memory_bytes
    graphs = used.cuda_graph if deducts_cuda_graphs(args, engine, gpu) else 0.0
    beside_weights = used.activation + used.non_torch + graphs
    if engine.memory_fraction_of == "free":
        held = args.memory_used_gib * GIB + context_bytes(gpu)
        return args.gpu_memory_utilization * (gpu.memory_bytes - held - weights.bytes - beside_weights)
    if engine.family == "sglang":
        return args.gpu_memory_utilization * gpu.memory_bytes - weights.bytes
    return args.gpu_memory_utilization * gpu.memory_bytes - weights.bytes - beside_weights


def _account(
    stage: _Stage, model: Model, quantization: Quantization | None, gpu: Gpu, args: ResolvedArgs, engine: Engine
) -> MemoryPlan:
    layout, kv = stage.layout, stage.kv_cache_bytes
    blocks = args.num_gpu_blocks_override or layout.blocks_in(kv)
    available = blocks * layout.block_bytes if args.num_gpu_blocks_override else kv
    longest = layout.longest_in(available, args.max_model_len)
    spread = 0.0 if args.kv_cache_memory_bytes is not None or args.num_gpu_blocks_override else stage.overhead.uncertainty
    outcome, reason = _outcome(stage, model, gpu, args, engine, available, spread)
    blocks = 0 if outcome in ("too_little_free_memory", "weights_do_not_fit", "no_kv_blocks") else blocks
    concurrency = blocks / layout.blocks_for(args.max_model_len)
    return MemoryPlan(
        model=model,
        quantization=quantization,
        gpu=gpu,
        engine=engine,
        args=replace(args, block_size=layout.block_size),
        total_bytes=gpu.memory_bytes,
        reserved_bytes=gpu.memory_bytes * args.gpu_memory_utilization,
        weights_bytes=stage.weights.bytes,
        weights_by_format=stage.weights.by_format,
        activation_bytes=stage.overhead.activation,
        non_torch_bytes=stage.overhead.non_torch,
        cuda_graph_bytes=stage.overhead.cuda_graph,
        cuda_graph_deducted=deducts_cuda_graphs(args, engine, gpu),
        kv_cache_bytes=kv,
        kv_cache_low_bytes=kv - spread,
        kv_cache_high_bytes=kv + spread,
        kv_bytes_per_token=layout.bytes_per_token,
        num_gpu_blocks=blocks,
        kv_tokens=_kv_tokens(layout, blocks, concurrency, args.max_model_len, engine),
        max_concurrency=concurrency,
        outcome=outcome,
        reason=reason,
        layout=layout,
        longest_sequence=longest,
        notes=(*([reason] if outcome == "may_not_start" else []), *_notes(model, quantization, gpu, args, engine)),
    )


def _kv_tokens(layout: KvLayout, blocks: int, concurrency: float, max_model_len: int, engine: Engine) -> int:
    """ "GPU KV cache size": blocks shared out over the groups, or from 0.20.1 on the concurrency times max_model_len."""
    if engine.at_least("0.20.1"):
        return int(concurrency * max_model_len)
    return blocks // len(layout.groups) * layout.block_size * layout.shards


def blocks_printed_as(plan: MemoryPlan, kv_tokens: int) -> int:
    """The fewest blocks for which the engine prints a KV cache of so many tokens, at least one.

    The inverse of what it prints: before 0.20.1 the blocks are shared out over the groups, so that up to a block a group is lost.
    """
    layout, longest = plan.layout, plan.args.max_model_len
    if plan.engine.at_least("0.20.1"):
        return max(1, ceil(kv_tokens * layout.blocks_for(longest) / longest))
    return max(1, kv_tokens // (layout.block_size * layout.shards) * len(layout.groups))


def _outcome(
    stage: _Stage, model: Model, gpu: Gpu, args: ResolvedArgs, engine: Engine, available: float, spread: float
) -> tuple[Outcome, str]:
    """Whether the engine starts, or the first of its refusals, in its own words; and where it may not, what is close."""
    if refusal := (_not_free(gpu, args, engine) or _no_room(stage, gpu, args)):
        return refusal
    if refusal := _too_little_cache(stage, args, engine, available):
        if _too_little_cache(stage, args, engine, available + spread) is None and spread:
            return refusal[0], f"{refusal[1]} With {(available + spread) / GIB:.2f} GiB, within the plan's own error, it starts."
        return refusal
    if refusal := _too_few_states(stage, args, engine, available):
        return refusal
    if _too_little_cache(stage, args, engine, available - spread):
        need = max(stage.layout.bytes_for(args.max_model_len), stage.layout.block_bytes)
        return "may_not_start", (
            f"may not start: needs {need / GIB:.2f} GiB of KV cache, "
            f"has {max(0.0, available - spread) / GIB:.2f} to {(available + spread) / GIB:.2f}"
        )
    if _too_few_states(stage, args, engine, available - spread):
        low, high = (stage.layout.blocks_in(available + change) for change in (-spread, spread))
        return (
            "may_not_start",
            f"may not start: max_num_seqs is {args.max_num_seqs:,}, and there are {low:,} to {high:,} state blocks",
        )
    return "starts", ""


def _not_free(gpu: Gpu, args: ResolvedArgs, engine: Engine) -> tuple[Outcome, str] | None:
    """What vLLM checks first, from V1 on: whether the share it is to reserve is free.

    Source: request_memory in vllm/v1/worker/utils.py (0.27.1); init_device in vllm/v1/worker/gpu_worker.py (0.8.0).
    """
    if engine.family != "vllm" or engine.generation == "v0" or args.kv_cache_memory_bytes is not None:
        return None
    free = gpu.memory_bytes - args.memory_used_gib * GIB - context_bytes(gpu)
    desired = gpu.memory_bytes * args.gpu_memory_utilization
    if free >= desired:
        return None
    return "too_little_free_memory", (
        f"Free memory on the device ({free / GIB:.2f}/{gpu.memory_bytes / GIB:.2f} GiB) on startup is less than desired "
        f"GPU memory utilization ({args.gpu_memory_utilization}, {desired / GIB:.2f} GiB)"
    )


def _no_room(stage: _Stage, gpu: Gpu, args: ResolvedArgs) -> tuple[Outcome, str] | None:
    """Out of memory in the first pass, or where the KV cache is set by hand, in allocating it."""
    used = stage.weights.bytes + stage.overhead.non_torch + context_bytes(gpu) + args.memory_used_gib * GIB
    total = gpu.memory_bytes
    if (at_peak := used + stage.overhead.activation) > total:
        beside = (at_peak - stage.weights.bytes) / GIB
        return "weights_do_not_fit", (
            f"CUDA out of memory: weights need {stage.weights.bytes / GIB:.2f} GiB per GPU and the first pass {beside:.2f} GiB; "
            f"{gpu.name} has {total / GIB:.2f} GiB"
        )
    asked = args.kv_cache_memory_bytes or (args.num_gpu_blocks_override or 0) * stage.layout.block_bytes
    if asked and used + asked > total:
        return "weights_do_not_fit", (
            f"CUDA out of memory: weights need {stage.weights.bytes / GIB:.2f} GiB per GPU and the KV cache that is asked for "
            f"{asked / GIB:.2f} GiB; {gpu.name} has {total / GIB:.2f} GiB"
        )
    return None


def _too_little_cache(stage: _Stage, args: EngineArgs, engine: Engine, available: float) -> tuple[Outcome, str] | None:
    if available < stage.layout.block_bytes:
        return "no_kv_blocks", (
            f"No available memory for the cache blocks ({available / GIB:.2f} GiB). Try increasing `gpu_memory_utilization`"
        )
    needed = stage.layout.bytes_for(args.max_model_len or 1)
    if needed <= available:
        return None
    if engine.generation == "v0":
        tokens = stage.layout.blocks_in(available) * stage.layout.block_size
        return "max_model_len_exceeds_kv", (
            f"The model's max seq len ({args.max_model_len}) is larger than the maximum number of tokens "
            f"that can be stored in KV cache ({tokens})"
        )
    longest = stage.layout.longest_in(available, args.max_model_len or 1)
    estimate = f" Based on the available memory, the estimated maximum model length is {longest}." if longest else ""
    return "max_model_len_exceeds_kv", (
        f"To serve at least one request with the models's max seq len ({args.max_model_len}), "
        f"{needed / GIB:.2f} GiB KV cache is needed, "
        f"which is larger than the available KV cache memory ({available / GIB:.2f} GiB).{estimate}"
    )


def _too_few_states(stage: _Stage, args: ResolvedArgs, engine: Engine, available: float) -> tuple[Outcome, str] | None:
    """With graphs of whole decode steps every sequence needs a block for its recurrent state, from 0.20 on.

    Source: resolve_cudagraph_mode_and_sizes in vllm/config/compilation.py (0.20.2, 0.30.0; absent in 0.19.0).
    """
    recurrent = any(layer.kind == "state" for layer in stage.layout.groups)
    blocks, sequences = stage.layout.blocks_in(available), args.max_num_seqs
    if engine.family != "vllm" or not engine.at_least("0.20") or not recurrent or not args.full_graphs or sequences <= blocks:
        return None
    return "max_num_seqs_exceeds_state_blocks", (
        f"max_num_seqs ({sequences}) exceeds available Mamba cache blocks ({blocks}). Each decode sequence requires one Mamba "
        f"cache block. Please lower max_num_seqs to at most {blocks} or increase gpu_memory_utilization"
    )


def _notes(model: Model, quantization: Quantization | None, gpu: Gpu, args: ResolvedArgs, engine: Engine) -> tuple[str, ...]:
    """What a reader should know of the figures. Raises NotModelled for a format that does not run on the GPU.

    Source of the limit on max_model_len: vLLM vllm/config/model.py, _get_and_verify_max_len.
    """
    formats = {form.name: form for form in quantization.formats.values()} if quantization else {}
    runs = [runs_as(form, gpu).note for form in (formats.values() or [None])]
    doubt = [quantization.note] if quantization and "is read as" in quantization.note else []
    notes = [*model.approximations, *filter(None, runs), *doubt]
    if (drafter := drafter_of(model, args)) and drafter.note:
        notes.append(drafter.note)
    if unread := unread_processor_options(model, args):
        notes.append(f"mm_processor_kwargs: {', '.join(unread)} not modelled; the encoder is taken at its largest item")
    if engine.taken_for:
        notes.append(engine.taken_for)
    if engine.extrapolated:
        notes.append(f"nothing of {engine.name} was measured: its overheads are taken from vLLM")
    if args.data_parallel_size > 1:
        notes.append(f"figures are one replica's; all {args.data_parallel_size} data-parallel replicas hold as many tokens each")
    if engine.family == "vllm" and args.max_model_len > model.max_position:
        notes.append(
            f"vLLM refuses a max_model_len above the {model.max_position:,} positions of config.json, unless YaRN there extends "
            "them or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 is set"
        )
    return tuple(dict.fromkeys(notes))
