"""What a training run keeps on one GPU: weights, gradients, optimizer states, activations, logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Layer, Model
from simulator.catalog.quantizations import LINEAR
from simulator.memory.tensors import Tensor, tensors
from simulator.memory.training.activations import Checkpointing, LoraTargets, adapter_parameters, layer_activations
from simulator.memory.weights import check_parallel, on_one_gpu, parameters, stage_of_layer
from simulator.spec import Count, Fraction, NonNegative, spec
from simulator.units import GIB

Method = Literal["full", "lora", "qlora"]
Optimizer = Literal["adamw", "adamw-8bit", "adafactor", "sgd", "sgd-momentum"]
Precision = Literal["mixed", "bf16", "fp32"]

BUCKET_ELEMENTS = 500_000_000  # DeepSpeed's reduce_bucket_size, https://www.deepspeed.ai/docs/config-json/
RUNTIME_BYTES = 1.0 * GIB  # a guess: CUDA context 0.5 GiB, the rest workspaces and fragmentation
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8  # blocks of 64 with doubly quantized scales, QLoRA, arXiv:2305.14314, section 3


@spec
class Training:
    """How a model is trained.

    `method`: every weight, or LoRA adapters beside weights that are frozen in 16 bits (`lora`) or in NF4 (`qlora`).
    `precision`: `mixed` computes in 16 bits and keeps FP32 master weights; `bf16` has neither master weights nor FP32 states.
    `micro_batch_size` sequences of `sequence_length` tokens go through one GPU at a time, `gradient_accumulation_steps` times a
    step. `activation_checkpointing`: `selective` recomputes attention scores, `full` whole layers. `fused_loss`: the loss is
    computed in chunks, so that the logits of all tokens are never there at once. `sequence_parallel`: what is between the matmuls
    is divided over tensor-parallel ranks too. `zero_stage`: data-parallel ranks divide optimizer states from 1 on, gradients from
    2 on, weights from 3 on.
    `tokens`: of the whole run, for its time and cost. `utilization`: model FLOPs (recomputation not counted) per second, as a
    fraction of the GPU's. `usd_per_gpu_hour` None takes the catalog's price.
    """

    method: Method = "full"
    optimizer: Optimizer = "adamw"
    precision: Precision = "mixed"
    fp32_gradients: bool = False
    micro_batch_size: Count = 1
    gradient_accumulation_steps: Count = 1
    sequence_length: Count = 2048
    activation_checkpointing: Checkpointing = "none"
    flash_attention: bool = True
    dropout: bool = False
    fused_loss: bool = False
    zero_stage: Annotated[int, Field(ge=0, le=3, strict=True)] = 0
    data_parallel_size: Count = 1
    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    sequence_parallel: bool = False
    lora_rank: Count = 16
    lora_targets: LoraTargets = "all-linear"
    tokens: Count | None = None
    utilization: Fraction = 0.4
    usd_per_gpu_hour: NonNegative | None = None

    @property
    def gpus(self) -> int:
        """GPUs that the run occupies."""
        return self.data_parallel_size * self.tensor_parallel_size * self.pipeline_parallel_size


@dataclass(frozen=True, slots=True)
class TrainingBytes:
    """Where the memory of the fullest GPU goes, in bytes.

    `gathered`: weights of the layers at work that ZeRO-3 collects from the other ranks. `communication`: one bucket of gradients
    on its way. `runtime`: CUDA context, workspaces and fragmentation; a guess of 1 GiB.
    """

    weights: float
    adapters: float
    master_weights: float
    gradients: float
    optimizer_states: float
    activations: float
    logits: float
    gathered: float
    communication: float
    runtime: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(float(getattr(self, field.name)) for field in dataclasses.fields(self))


def trainable_parameters(model: Model, training: Training) -> int:
    """Parameters that are updated: all of them, or those of the adapters."""
    if training.method == "full":
        return parameters(model)
    return sum(adapter_parameters(layer, model, training.lora_rank, training.lora_targets) for layer in model.layers)


def training_bytes(model: Model, training: Training) -> TrainingBytes:
    """Bytes on the fullest GPU.

    Mixed precision with AdamW: 2 for a weight, 2 for its gradient, 4 for the master weight, 8 for the two moments, so 16 a
    parameter; ZeRO divides them over data_parallel_size from the last on. Source: Rajbhandari et al., ZeRO, arXiv:1910.02054.
    """
    args = EngineArgs(tensor_parallel_size=training.tensor_parallel_size, pipeline_parallel_size=training.pipeline_parallel_size)
    check_parallel(model, args)
    stages = range(training.pipeline_parallel_size)
    return max((_stage_bytes(model, training, args, stage) for stage in stages), key=lambda needed: needed.total)


def _stage_bytes(model: Model, training: Training, args: EngineArgs, stage: int) -> TrainingBytes:
    here = list(_held(model, training, stage))
    owner = stage_of_layer(len(model.layers), training.pipeline_parallel_size)
    adapters = 0
    if training.method != "full":
        mine = [layer for layer, at in zip(model.layers, owner, strict=True) if at == stage]
        adapters = sum(adapter_parameters(layer, model, training.lora_rank, training.lora_targets) for layer in mine)
    trained = float(adapters) if training.method != "full" else sum(on_one_gpu(tensor, args) for tensor in here)
    shards = [training.data_parallel_size if training.zero_stage >= least else 1 for least in (1, 2, 3)]
    weights, value = sum(_stored(tensor, training, args) for tensor in here), _value_bytes(training)
    activations, logits = _activation_bytes(model, training, owner, stage)
    gathered = min(2 * _largest_layer(here, training, args), weights * (1 - 1 / shards[2]))
    return TrainingBytes(
        weights=weights / shards[2],
        adapters=adapters * value / shards[2],
        master_weights=(4 if training.precision == "mixed" else 0) * trained / shards[0],
        gradients=(4 if training.fp32_gradients else value) * trained / shards[1],
        optimizer_states=_optimizer_bytes(model, training, here, args, trained) / shards[0],
        activations=activations,
        logits=logits,
        gathered=gathered,
        communication=value * min(BUCKET_ELEMENTS, trained) if training.data_parallel_size > 1 else 0.0,
        runtime=RUNTIME_BYTES,
    )


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
    return on_one_gpu(tensor, args) * (NF4_BYTES if in_nf4 else _value_bytes(training))


def _largest_layer(here: list[Tensor], training: Training, args: EngineArgs) -> float:
    sizes: dict[int | None, float] = {}
    for tensor in here:
        sizes[tensor.layer] = sizes.get(tensor.layer, 0.0) + _stored(tensor, training, args)
    return max(sizes.values())


def _optimizer_bytes(model: Model, training: Training, here: list[Tensor], args: EngineArgs, trained: float) -> float:
    """Optimizer states: two moments for AdamW, in FP32, in 8 bits with a scale per 256, or in the weights' own 16 bits.

    Adafactor keeps a row and a column of second moments for each matrix, and no first moment. Sources: Dettmers et al.,
    arXiv:2110.02861 (8-bit, blocks of 256 in bitsandbytes); Shazeer and Stern, arXiv:1804.04235.
    """
    full = 2 if training.precision == "bf16" else 4
    match training.optimizer:
        case "adamw":
            return 2 * full * trained
        case "adamw-8bit":
            return 2 * (1 + 4 / 256) * trained
        case "sgd-momentum":
            return full * trained
        case "sgd":
            return 0.0
        case "adafactor":
            if training.method != "full":
                return full * trained / training.lora_rank
            return full * sum(_factored(tensor, model.hidden, on_one_gpu(tensor, args)) for tensor in here)


def _factored(tensor: Tensor, hidden: int, held: float) -> float:
    """Rows plus columns of a tensor's matrices, of which one side is about the hidden size; vectors are kept whole."""
    if tensor.group == "norm":
        return held
    matrices = 3 * tensor.units if tensor.split == "experts" else 1
    return min(held, held / hidden + matrices * hidden)


def _activation_bytes(model: Model, training: Training, owner: list[int], stage: int) -> tuple[float, float]:
    """(activations, logits) of one stage; of a one-forward-one-backward pipeline, stage i of p holds p - i micro-batches.

    With checkpointing a layer keeps its input (`full`) or all but its scores (`selective`), and one layer at a time everything.
    Logits, on the last stage, are there in the model's type, in FP32, and as a gradient.
    """
    value, tp, length = _value_bytes(training), training.tensor_parallel_size, training.sequence_length
    tokens = training.micro_batch_size * length
    spread = tp if training.sequence_parallel else 1

    def whole(layer: Layer, scores: bool) -> float:
        kept = layer_activations(layer, model, length, value, scores, training.dropout)
        return tokens * (kept.whole / spread + kept.divided / tp)

    layers = [layer for layer, at in zip(model.layers, owner, strict=True) if at == stage]
    at_work = [whole(layer, not training.flash_attention) for layer in layers]
    inputs = tokens * value * model.hidden / spread
    match training.activation_checkpointing:
        case "none":
            kept = at_work
        case "selective":
            kept = [whole(layer, scores=False) for layer in layers]
        case "full":
            kept = [min(inputs, all_of_it) for all_of_it in at_work]
    in_flight = min(training.pipeline_parallel_size - stage, training.gradient_accumulation_steps)
    recomputed = max((all_of_it - part for all_of_it, part in zip(at_work, kept, strict=True)), default=0.0)
    activations = in_flight * sum(kept) + recomputed
    if stage < training.pipeline_parallel_size - 1:
        return activations, 0.0
    logits = 0.0 if training.fused_loss else tokens * (value + 8) * model.vocabulary / tp
    return activations + 2 * inputs, logits
