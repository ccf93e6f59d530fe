"""MemoryPlan: where every byte of one GPU goes, as vLLM accounts for it, and what would help when it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from simulator.catalog.checkpoints import suited
from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import Engine, on_card
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import Mxfp4Kernel, mxfp4_kernel
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization, runs_as
from simulator.memory.account import MemoryAccount
from simulator.memory.cuda_graphs import deducts_cuda_graphs
from simulator.memory.encoder import unread_processor_options, without_encoder
from simulator.memory.kv_cache import attention_block_size, kv_layout
from simulator.memory.kv_layout import KvLayout
from simulator.memory.outcome import WITHOUT_CACHE, GpuStage, Outcome, Start
from simulator.memory.overhead import Overhead, context_bytes, overhead
from simulator.memory.remedies import Remedy as Remedy
from simulator.memory.remedies import remedies_for
from simulator.memory.speculative import Drafter, drafter_bytes, drafter_of
from simulator.memory.weights import Weights, stage_of_layer, weight_bytes
from simulator.text import html_table
from simulator.units import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan(MemoryAccount):
    """The account of one replica with what it was made of, as vLLM would word it, and what would help.

    `args` are resolved, with the block size that results. `outcome` is "may_not_start" where a need lies between the plan's
    figure and its lower bound. `longest_sequence`: the longest that fits alone, which is vLLM's estimated maximum model length.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: ResolvedArgs
    outcome: Outcome
    reason: str
    layout: KvLayout
    longest_sequence: int
    remedies: tuple[Remedy, ...] = ()

    def __repr__(self) -> str:
        return f"<MemoryPlan {self.model.name} on {self.gpu.name}: {self.outcome}, {self.kv_tokens:,} KV tokens>"

    def _repr_html_(self) -> str:
        rows = [(name.replace("_", " "), f"{size / GIB:,.2f} GiB") for name, size in self.parts().items()]
        rows += [("KV tokens", f"{self.kv_tokens:,}"), ("outcome", self.reason or self.outcome)]
        return html_table(("one GPU", ""), rows, f"{self.model.name} on {self.gpu.name}, {self.engine.name}")

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
    engine = on_card(engine, gpu)
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


def _stages(
    weights: Weights,
    model: Model,
    quantization: Quantization | None,
    gpu: Gpu,
    args: ResolvedArgs,
    engine: Engine,
    drafter: Drafter | None,
) -> list[GpuStage]:
    """Every pipeline stage, each with the weights of the fullest."""
    owner = stage_of_layer(len(model.layers), args.pipeline_parallel_size)
    stages = []
    for stage in range(args.pipeline_parallel_size):
        layers = [layer for layer, at in zip(model.layers, owner, strict=True) if at == stage]
        last = stage == args.pipeline_parallel_size - 1
        used = overhead(model, layers, quantization, args, engine, gpu, last_stage=last, first_stage=stage == 0)
        drafting = (drafter.layers, drafter.model) if drafter is not None and last else None
        layout = kv_layout(layers, model, quantization, args, engine, gpu, drafting)
        stages.append(GpuStage(weights, used, layout, _kv_cache_bytes(gpu, args, engine, weights, used)))
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
    stage: GpuStage, model: Model, quantization: Quantization | None, gpu: Gpu, args: ResolvedArgs, engine: Engine
) -> MemoryPlan:
    layout, kv = stage.layout, stage.kv_cache_bytes
    blocks = args.num_gpu_blocks_override or layout.blocks_in(kv)
    available = blocks * layout.block_bytes if args.num_gpu_blocks_override else kv
    longest = layout.longest_in(available, args.max_model_len)
    fixed = args.kv_cache_memory_bytes is not None or args.num_gpu_blocks_override is not None
    outcome, reason = Start(stage, model, gpu, args, engine, available, fixed).outcome()
    blocks = 0 if outcome in WITHOUT_CACHE else blocks
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
        kv_cache_low_bytes=kv if fixed else kv - stage.overhead.at_worst,
        kv_cache_high_bytes=kv if fixed else kv + stage.overhead.uncertainty,
        kv_bytes_per_token=layout.bytes_per_token,
        num_gpu_blocks=blocks,
        kv_tokens=_kv_tokens(layout, blocks, concurrency, args.max_model_len, engine),
        max_concurrency=concurrency,
        outcome=outcome,
        reason=reason,
        layout=layout,
        longest_sequence=longest,
        notes=(*([reason] if outcome == "may_not_start" else []), *_notes(stage, model, quantization, gpu, args, engine)),
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


def _notes(
    stage: GpuStage, model: Model, quantization: Quantization | None, gpu: Gpu, args: ResolvedArgs, engine: Engine
) -> tuple[str, ...]:
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
    if "architecture" in gpu.unstated:
        notes.append(
            f"{gpu.name}: architecture not stated; what it reserves is taken from {gpu.architecture} cards over {gpu.link}"
        )
    given = args.kv_cache_memory_bytes is not None or args.num_gpu_blocks_override is not None
    if (compiling := stage.overhead.compiling) > 0.05 * GIB and not given:
        notes.append(
            f"a start that compiles the model, without the compile cache of an earlier one, leaves up to {compiling / GIB:.1f} "
            "GiB less for the KV cache"
        )
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
