"""What a training run keeps on one GPU: weights, gradients, optimizer states, activations, logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Layer, Model
from simulator.catalog.quantizations import LINEAR
from simulator.errors import NotModelled
from simulator.memory.tensors import Tensor, tensors
from simulator.memory.training.activations import (
    Checkpointing,
    Keeping,
    LoraTargets,
    SavedActivations,
    adapter_parameters,
    kept_per_operation,
    layer_activations,
)
from simulator.memory.training.frameworks import FRAMEWORKS, Framework, FrameworkName, Sharding
from simulator.memory.training.optimizers import OPTIMIZERS, Optimizer, optimizer_bytes
from simulator.memory.weights import check_parallel, on_one_gpu, parameters, stage_of_layer
from simulator.spec import Count, Fraction, NonNegative, spec
from simulator.units import GIB

Method = Literal["full", "lora", "qlora"]
Precision = Literal["mixed", "bf16", "fp32"]
Loss = Literal["plain", "chunked"]
PipelineSchedule = Literal["1f1b", "interleaved", "gpipe"]

CONTEXT_BYTES = 0.5 * GIB  # a guess: CUDA context and the libraries' workspaces
# What the caching allocator holds beyond what is in use: a LoRA run of Llama-2-7B with 9.16 GiB allocated had 10.22 reserved,
# https://github.com/AnswerDotAI/fsdp_qlora, benchmarks_03_2024.md.
FRAGMENTATION_BYTES = 1.06 * GIB
# NF4 in blocks of 64 with a scale each, in FP32 or quantized again to 8 bits in blocks of 256, QLoRA, arXiv:2305.14314, section 3
NF4_BYTES = {False: (4 + 32 / 64) / 8, True: (4 + 8 / 64 + 32 / (64 * 256)) / 8}


@spec
class Training:
    """How a model is trained.

    `method`: every weight, or LoRA adapters beside weights frozen in 16 bits (`lora`) or NF4 (`qlora`).
    `precision`: `mixed` computes in 16 bits and keeps FP32 master weights; `bf16` has neither master
    weights nor FP32 states.
    `framework` decides what its code keeps where the arithmetic does not; `logit_bytes` (bytes a logit at
    the peak of the loss) and `sharding` None take the framework's.
    `micro_batch_size` sequences of `sequence_length` tokens go through one GPU at a time,
    `gradient_accumulation_steps` times a step. `loss`: `chunked` never has the logits of all tokens at once.
    `activation_checkpointing`: `selective` recomputes attention scores, `per-operation` all but attention
    and every second matmul, `full` whole layers.
    `zero_stage`: ranks divide optimizer states from 1 on, gradients from 2 on, weights from 3 on.
    `reduce_bucket_size`: gradients in one of DeepSpeed's buckets.
    `context_parallel_size` ranks divide each sequence. `sequence_parallel`: what is between the matmuls is
    divided over tensor-parallel ranks too.
    `pipeline_schedule`: `interleaved` gives each stage `pipeline_chunks` groups of layers; `gpipe` runs all
    micro-batches forward first.
    `offload_optimizer`, `offload_weights` (of ZeRO-3) and `offload_activations` move them to the host.
    `optimizer_in_backward`: a layer's weights are updated as soon as its gradient is there.
    `double_quantization` of NF4's scales. `lora_dropout`: each adapter drops out its input.
    `fp32_adapters`: beside weights in 16 bits, as PEFT makes them.
    `tokens`: of the whole run, for its time and cost. `utilization`: model FLOPs (recomputation not counted)
    per second, as a fraction of the GPU's. `usd_per_gpu_hour` None takes the catalog's price.
    """

    method: Method = "full"
    optimizer: Optimizer = "adamw"
    precision: Precision = "mixed"
    framework: FrameworkName = "transformers"
    fp32_gradients: bool = False
    micro_batch_size: Count = 1
    gradient_accumulation_steps: Count = 1
    sequence_length: Count = 2048
    activation_checkpointing: Checkpointing = "none"
    flash_attention: bool = True
    dropout: bool = False
    loss: Loss = "plain"
    logit_bytes: NonNegative | None = None
    zero_stage: Annotated[int, Field(ge=0, le=3, strict=True)] = 0
    sharding: Sharding | None = None
    reduce_bucket_size: Count = 500_000_000
    data_parallel_size: Count = 1
    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    context_parallel_size: Count = 1
    sequence_parallel: bool = False
    pipeline_schedule: PipelineSchedule = "1f1b"
    pipeline_chunks: Count = 1
    offload_optimizer: bool = False
    offload_weights: bool = False
    offload_activations: bool = False
    optimizer_in_backward: bool = False
    double_quantization: bool = True
    lora_rank: Count = 16
    lora_targets: LoraTargets = "all-linear"
    lora_dropout: bool = False
    fp32_adapters: bool = False
    tokens: Count | None = None
    utilization: Fraction = 0.4
    usd_per_gpu_hour: NonNegative | None = None

    @property
    def gpus(self) -> int:
        """GPUs that the run occupies."""
        return self.ranks * self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def ranks(self) -> int:
        """GPUs that hold the same weights, and that ZeRO divides them over."""
        return self.data_parallel_size * self.context_parallel_size

    @property
    def code(self) -> Framework:
        """What the framework's code keeps."""
        return FRAMEWORKS[self.framework]

    @property
    def divides_by(self) -> Sharding:
        """What divides states over the ranks."""
        return self.sharding or self.code.sharding


@dataclass(frozen=True, slots=True)
class TrainingBytes:
    """Where the memory of the fullest GPU goes when it is fullest, in bytes.

    `gradients` are those that are there then: on one GPU, with one micro-batch a step, they come while the
    activations go. `recomputed`: what the layer at work has beside that (its recomputation, gathered
    inputs), as far as it exceeds the logits, which are gone then. `gathered`: weights of the layers at work
    that ZeRO-3 collects from the other ranks. `communication`: gradients on their way. `fragmentation`: what
    the caching allocator holds beyond what is in use. `context`: CUDA context and workspaces, a guess.
    """

    weights: float
    adapters: float
    master_weights: float
    gradients: float
    optimizer_states: float
    activations: float
    recomputed: float
    logits: float
    gathered: float
    communication: float
    fragmentation: float
    context: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(float(getattr(self, field.name)) for field in dataclasses.fields(self))

    @property
    def reserved(self) -> float:
        """What PyTorch has reserved: all but the context."""
        return self.total - self.context

    @property
    def allocated(self) -> float:
        """What PyTorch has in use."""
        return self.reserved - self.fragmentation


def trainable_parameters(model: Model, training: Training) -> int:
    """Parameters that are updated: all of them, or those of the adapters."""
    if training.method == "full":
        return parameters(model)
    return sum(adapter_parameters(layer, model, training.lora_rank, training.lora_targets) for layer in model.layers)


def training_bytes(model: Model, training: Training) -> TrainingBytes:
    """Bytes on the fullest GPU.

    Mixed precision with AdamW: 2 for a weight, 2 for its gradient, 4 for the master weight, 8 for the two moments, so 16 a
    parameter; ZeRO divides them over the ranks from the last on. Source: Rajbhandari et al., ZeRO, arXiv:1910.02054.
    Raises NotModelled for options that exclude each other.
    """
    _check(training)
    args = EngineArgs(tensor_parallel_size=training.tensor_parallel_size, pipeline_parallel_size=training.pipeline_parallel_size)
    check_parallel(model, args)
    stages = range(training.pipeline_parallel_size)
    return max((_stage_bytes(model, training, args, stage) for stage in stages), key=lambda needed: needed.total)


def _check(training: Training) -> None:
    if training.offload_weights and training.zero_stage < 3:
        raise NotModelled(f"offload_weights needs zero_stage 3, not {training.zero_stage}")
    if training.optimizer_in_backward and training.gradient_accumulation_steps > 1:
        raise NotModelled(
            f"optimizer_in_backward updates at once; gradient_accumulation_steps {training.gradient_accumulation_steps} must be 1"
        )
    if training.pipeline_chunks > 1 and training.pipeline_schedule != "interleaved":
        raise NotModelled(f"pipeline_chunks {training.pipeline_chunks} needs pipeline_schedule interleaved")


def _stage_bytes(model: Model, training: Training, args: EngineArgs, stage: int) -> TrainingBytes:
    here = list(_held(model, training, stage))
    trained = _trained(model, training, args, stage)
    shards = [training.ranks if training.zero_stage >= least else 1 for least in (1, 2, 3)]
    value, frozen = _value_bytes(training), training.method != "full"
    weights = sum(_stored(tensor, training, args) for tensor in here)
    activations, recomputed, logits = _activation_bytes(model, training, stage)
    gathered = _gathered(here, training, args)
    # FSDP keeps its shards in FP32 and has 16 bits only of what it gathers.
    fp32_shards = training.precision == "mixed" and shards[2] > 1 and training.divides_by == "fsdp" and not frozen
    on_host = OPTIMIZERS[training.optimizer].paged or training.offload_optimizer
    states = optimizer_bytes(training.optimizer, model, here, args, trained, training)
    gradient = 4 if training.fp32_gradients or (training.fp32_adapters and frozen) else value
    gradients = gradient * trained / shards[1]
    if training.offload_optimizer and training.zero_stage >= 2:
        gradients = 0.0
    if training.optimizer_in_backward:
        gradients = min(gradients, gradient * _largest_layer(here, args, trained, frozen))
    passing = activations + max(recomputed, logits)
    if not gradients_stand(training):
        gradients, passing = (gradients, 0.0) if gradients > passing else (0.0, passing)
    busy = passing > 0
    communication = _communication(here, training, args, trained, gradient)
    return TrainingBytes(
        weights=0.0 if training.offload_weights or fp32_shards else weights / shards[2],
        adapters=trained * (4 if training.fp32_adapters else value) / shards[2] if frozen else 0.0,
        master_weights=_master_weights(training, trained) / shards[0],
        gradients=gradients,
        optimizer_states=0.0 if on_host else states / shards[0],
        activations=activations * busy,
        recomputed=max(0.0, recomputed - logits) * busy,
        logits=logits * busy,
        gathered=gathered,
        communication=communication,
        fragmentation=FRAGMENTATION_BYTES,
        context=CONTEXT_BYTES,
    )


def _master_weights(training: Training, trained: float) -> float:
    """Bytes of the FP32 copies of trained weights, on the GPU and undivided."""
    in_fp32 = training.fp32_adapters and training.method != "full"
    if training.offload_optimizer or training.precision != "mixed" or in_fp32:
        return 0.0
    return 4 * trained


def _trained(model: Model, training: Training, args: EngineArgs, stage: int) -> float:
    """Parameters of one stage that are updated, on one GPU."""
    if training.method == "full":
        return sum(on_one_gpu(tensor, args) for tensor in _held(model, training, stage))
    mine = _layers(model, training, stage)
    return float(sum(adapter_parameters(layer, model, training.lora_rank, training.lora_targets) for layer in mine))


def _layers(model: Model, training: Training, stage: int) -> list[Layer]:
    owner = stage_of_layer(len(model.layers), training.pipeline_parallel_size)
    return [layer for layer, at in zip(model.layers, owner, strict=True) if at == stage]


def gradients_stand(training: Training) -> bool:
    """Whether gradients are there all the time: in a buffer that is reduced, or from one micro-batch to the next."""
    shared = training.ranks > 1 or training.code.standing_gradients
    return shared or training.gradient_accumulation_steps > 1 or training.pipeline_parallel_size > 1


def _value_bytes(training: Training) -> int:
    return 4 if training.precision == "fp32" else 2


def _held(model: Model, training: Training, stage: int) -> Iterator[Tensor]:
    """The tensors of one pipeline stage; a tied table is on the first stage and on the last."""
    last = training.pipeline_parallel_size - 1
    owner = stage_of_layer(len(model.layers), training.pipeline_parallel_size)
    for tensor in tensors(model):
        tied = tensor.group == "embedding" and model.tied_embeddings
        match tensor.place:
            case "layer" if tensor.layer is not None and owner[tensor.layer] == stage:
                yield tensor
            case "first" if stage == 0 or (tied and stage == last):
                yield tensor
            case "last" if stage == last:
                yield tensor
            case "every":
                yield tensor


def _stored(tensor: Tensor, training: Training, args: EngineArgs) -> float:
    """Bytes of a tensor's weights as they are kept; of a QLoRA run embeddings, norms, router and lm_head stay in 16 bits."""
    in_nf4 = training.method == "qlora" and tensor.group in LINEAR
    return on_one_gpu(tensor, args) * (NF4_BYTES[training.double_quantization] if in_nf4 else _value_bytes(training))


def _units(here: list[Tensor], of: Callable[[Tensor], float]) -> tuple[float, float]:
    """(the largest layer, all that is outside the layers together)."""
    sizes: dict[int, float] = {}
    outside = 0.0
    for tensor in here:
        if tensor.layer is None:
            outside += of(tensor)
        else:
            sizes[tensor.layer] = sizes.get(tensor.layer, 0.0) + of(tensor)
    return max(sizes.values(), default=0.0), outside


def _largest_layer(here: list[Tensor], args: EngineArgs, trained: float, frozen: bool) -> float:
    """Trained parameters of the largest unit whose gradient is there alone."""
    if frozen:
        return trained / max(1, len({tensor.layer for tensor in here}))
    tables = max((on_one_gpu(tensor, args) for tensor in here if tensor.layer is None), default=0.0)
    return max(_units(here, lambda tensor: on_one_gpu(tensor, args))[0], tables)


def _gathered(here: list[Tensor], training: Training, args: EngineArgs) -> float:
    """Weights of ZeRO-3 that are whole for the moment: the layer at work and the next.

    FSDP makes one unit of embedding, head and last norm, whole throughout; DeepSpeed has the larger table with one layer.
    """
    if training.zero_stage < 3 or (training.ranks == 1 and not training.offload_weights):
        return 0.0
    layer, outside = _units(here, lambda tensor: _stored(tensor, training, args))
    if training.divides_by == "fsdp":
        whole = 2 * layer + outside
    else:
        tables = max((_stored(tensor, training, args) for tensor in here if tensor.layer is None), default=0.0)
        whole = layer + max(layer, tables)
    away = 1.0 if training.offload_weights else 1 - 1 / training.ranks
    return min(whole, away * sum(_stored(tensor, training, args) for tensor in here))


def _communication(here: list[Tensor], training: Training, args: EngineArgs, trained: float, gradient: float) -> float:
    """Gradients on their way to other ranks.

    DDP copies all of them into buckets. DeepSpeed has two buckets, one being filled while the other is
    reduced (overlap_comm), as large as configured whatever is trained (deepspeed/runtime/zero/
    stage_1_and_2.py, read November 2026). FSDP has one layer's whole until they are scattered. Megatron
    reduces its gradient buffer in place.
    """
    if training.ranks == 1 or training.divides_by == "distributed-optimizer":
        return 0.0
    if training.zero_stage == 0:
        return gradient * trained
    if training.divides_by == "deepspeed":
        return 2 * gradient * training.reduce_bucket_size
    if training.zero_stage == 1:
        return gradient * trained
    one = _largest_layer(here, args, trained, training.method != "full")
    return gradient * min(one, trained * (1 - 1 / training.ranks))


def _keeping(training: Training) -> Keeping:
    """What the run keeps of a layer."""
    value, code, frozen = _value_bytes(training), training.code, training.method != "full"
    copied = 4 if training.fp32_adapters and training.precision != "fp32" else 0
    dropped = (4 if training.fp32_adapters else value) + 1
    return Keeping(
        value=value,
        norm=value if code.norm_bytes is None else code.norm_bytes[not frozen],
        scores=not training.flash_attention and training.activation_checkpointing != "selective",
        dropout=training.dropout,
        inputs=training.method != "lora",
        adapters=training.lora_targets if frozen else None,
        adapter_copy=dropped if training.lora_dropout else copied,
        gated_widths=code.gated_widths,
    )


def _activation_bytes(model: Model, training: Training, stage: int) -> tuple[float, float, float]:
    """(activations kept, one layer that is computed again, logits) of one stage.

    With checkpointing a layer keeps its input (`full`), the outputs of its dearest operations (`per-operation`) or all but its
    scores (`selective`), and one layer at a time everything.
    """
    keeping, tp = _keeping(training), training.tensor_parallel_size
    length = -(-training.sequence_length // training.context_parallel_size)
    tokens = training.micro_batch_size * length
    spread = tp if training.sequence_parallel else 1
    inputs = tokens * keeping.value * model.hidden / spread
    whole = dataclasses.replace(keeping, scores=not training.flash_attention)

    def on_one(kept: SavedActivations) -> float:
        return tokens * (kept.whole / spread + kept.divided / tp)

    def kept_of(layer: Layer, all_of_it: float) -> float:
        match training.activation_checkpointing:
            case "full":
                return min(inputs, all_of_it)
            case "per-operation":
                return min(on_one(kept_per_operation(layer, model, keeping)), all_of_it)
            case "selective" | "none":
                return on_one(layer_activations(layer, model, training.sequence_length, keeping))

    layers = _layers(model, training, stage)
    at_work = [on_one(layer_activations(layer, model, training.sequence_length, whole)) for layer in layers]
    kept = [kept_of(layer, all_of_it) for layer, all_of_it in zip(layers, at_work, strict=True)]
    recomputed = max((all_of_it - part for all_of_it, part in zip(at_work, kept, strict=True)), default=0.0)
    activations = _in_flight(training, stage) * sum(kept)
    if training.sequence_parallel:
        # Matmuls have their input gathered from all ranks, and in the backward pass its gradient beside it.
        recomputed += 2 * tokens * keeping.value * model.hidden * (1 - 1 / tp)
    if training.offload_activations:
        activations = min(activations, 2 * max(kept, default=0.0))
    if stage < training.pipeline_parallel_size - 1:
        return activations, recomputed, 0.0
    each = training.code.logit_bytes if training.logit_bytes is None else training.logit_bytes
    if training.precision == "fp32" and training.logit_bytes is None:
        each = max(each, 12)
    logits = 0.0 if training.loss == "chunked" else tokens * each * model.vocabulary / tp
    return activations + 2 * inputs, recomputed, logits


def _in_flight(training: Training, stage: int) -> float:
    """Micro-batches whose activations a stage holds.

    Of p stages that go one forward, one backward, stage i holds p - i; with v chunks a stage the first
    holds (p - 1) / (p v) of its layers more; `gpipe` holds all. Source: Narayanan et al., arXiv:2104.04473,
    section 2.2; Korthikanti et al., arXiv:2205.05198, section 4.2.3.
    """
    stages, batches = training.pipeline_parallel_size, training.gradient_accumulation_steps
    if training.pipeline_schedule == "gpipe":
        return batches
    in_flight = min(stages - stage, batches)
    if training.pipeline_schedule == "interleaved" and training.pipeline_chunks > 1:
        chunks = training.pipeline_chunks
        return min(batches, in_flight + (stages - 1 - stage) / chunks)
    return in_flight
