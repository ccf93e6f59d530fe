"""The same question for training: does it fit, what would make it fit, how long does it take, and what does it cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from simulator.catalog.gpus import ComputeType, Gpu, gpus
from simulator.catalog.models import Model
from simulator.catalog.prices import Price, price
from simulator.errors import NotModelled
from simulator.memory.remedies import Remedy
from simulator.memory.tensors import tensors
from simulator.memory.training.bytes import (
    Training,
    TrainingBytes,
    gradients_stand,
    trainable_parameters,
    training_bytes,
)
from simulator.memory.training.optimizers import OPTIMIZERS
from simulator.memory.weights import parameters
from simulator.units import GIB, HOUR

__all__ = ["Training", "TrainingBytes", "TrainingCost", "TrainingPlan", "plan_training", "training_cost"]

# Nine of ten published peaks are within this share of the plan; tests/validation measures it.
BAND = 0.1
TrainingOutcome = Literal["fits", "may not fit", "does not fit"]


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a run takes: model FLOPs, GPU-hours, hours of all GPUs together, dollars.

    `price` is the catalog's, with its date; None where the user gave one, or where there is none and `usd` is None too.
    """

    flops: float
    gpu_hours: float
    hours: float
    usd: float | None
    usd_per_gpu_hour: float | None
    price: Price | None


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The account of the fullest GPU of a training run. `fits` compares it with what the driver reports.

    `outcome` is "may not fit" where the GPU's memory lies within the plan's own band, `low_bytes` to `high_bytes`.
    """

    model: Model
    gpu: Gpu
    training: Training
    bytes: TrainingBytes
    parameters: int
    trainable_parameters: int
    fits: bool
    outcome: TrainingOutcome
    reason: str
    remedies: tuple[Remedy, ...]
    cost: TrainingCost | None
    notes: tuple[str, ...]

    @property
    def low_bytes(self) -> float:
        """The least that a run of this kind is likely to need."""
        return self.bytes.total * (1 - BAND)

    @property
    def high_bytes(self) -> float:
        """The most that a run of this kind is likely to need."""
        return self.bytes.total * (1 + BAND)


def plan_training(model: Model, gpu: Gpu, training: Training | None = None) -> TrainingPlan:
    """The memory plan of a training run, what would make it fit, and its time and cost where `tokens` is given.

    Never raises for lack of room. Raises NotModelled for layers whose activations we do not know, and for parallel sizes that
    do not divide the model.

    >>> from simulator.catalog import gpu, model
    >>> plan_training(model("llama-2-7b"), gpu("rtx-4090"), Training(method="qlora", activation_checkpointing="full")).fits
    True
    """
    training = training or Training()
    needed = training_bytes(model, training)
    cost = training_cost(model, gpu, training) if training.tokens else None
    fits = needed.total <= gpu.memory_bytes
    outcome = _outcome(needed.total, gpu.memory_bytes)
    low, high = needed.total * (1 - BAND) / GIB, needed.total * (1 + BAND) / GIB
    wanted = f"needs {needed.total / GIB:.1f} GiB ({low:.1f} to {high:.1f}) on each GPU"
    return TrainingPlan(
        model=model,
        gpu=gpu,
        training=training,
        bytes=needed,
        parameters=parameters(model),
        trainable_parameters=trainable_parameters(model, training),
        fits=fits,
        outcome=outcome,
        reason=f"{outcome}: {wanted}, has {gpu.memory_bytes / GIB:.2f}",
        remedies=() if outcome == "fits" else tuple(_remedies(model, gpu, training)),
        cost=cost,
        notes=tuple(_notes(model, gpu, training, cost)),
    )


def _outcome(needed: float, available: float) -> TrainingOutcome:
    if needed * (1 + BAND) <= available:
        return "fits"
    return "may not fit" if needed * (1 - BAND) <= available else "does not fit"


def training_cost(model: Model, gpu: Gpu, training: Training) -> TrainingCost:
    """FLOPs, time and dollars of a run over `tokens`.

    6 FLOPs a parameter and token: two forward, two for the gradient of the activations, two for that of the weights; the last
    are spared where the weights are frozen. Of experts the visited ones count.

    Source: Kaplan et al., Scaling Laws for Neural Language Models, arXiv:2001.08361, section 2.1.
    """
    computed = sum(t.active_parameters if t.split == "experts" else t.parameters for t in tensors(model) if t.place != "draft")
    flops = (6.0 if training.method == "full" else 4.0) * computed * (training.tokens or 0)
    gpu_hours = flops / (training.utilization * gpu.flops[compute_type(gpu, training)]) / HOUR
    listed = None if training.usd_per_gpu_hour is not None else price(gpu)
    hourly = listed.usd_per_gpu_hour if listed else training.usd_per_gpu_hour
    usd = None if hourly is None else gpu_hours * hourly
    return TrainingCost(flops, gpu_hours, gpu_hours / training.gpus, usd, hourly, listed)


def compute_type(gpu: Gpu, training: Training) -> ComputeType:
    """The type that the matmuls run in. Raises NotModelled for pure bf16 on a GPU without it."""
    if training.precision == "fp32":
        return "fp32"
    if training.precision == "bf16" and not gpu.computes("bf16"):
        raise NotModelled(f"{gpu.name} has no bf16; use precision mixed, which runs fp16 there")
    return "bf16" if gpu.computes("bf16") else "fp16"


def _remedies(model: Model, gpu: Gpu, training: Training) -> Iterator[Remedy]:
    """Each single change that fits; with full checkpointing too where that alone is not enough; and a larger card, no slower."""
    alone = {
        change: needed
        for change, changed in _changes(model, gpu, training)
        if (needed := _needed(model, changed)) <= _safely(gpu)
    }
    yield from (_remedy(change, needed) for change, needed in alone.items())
    lean = replace(training, activation_checkpointing="full")
    if lean != training and _needed(model, lean) > _safely(gpu):
        for change, changed in _changes(model, gpu, lean):
            if change not in alone and (needed := _needed(model, changed)) <= _safely(gpu):
                yield _remedy(f"{change} with activation_checkpointing full", needed)
    needed = _needed(model, training)
    larger = [card for card in gpus() if _safely(card) >= needed and card.memory_bytes_per_s >= gpu.memory_bytes_per_s]
    if larger:
        yield _remedy(f"gpu {min(larger, key=lambda card: card.memory_bytes).name}", needed)


def _changes(model: Model, gpu: Gpu, training: Training) -> Iterator[tuple[str, Training]]:
    """The nearest change of each kind, whether it fits or not."""
    if training.activation_checkpointing != "full":
        yield "activation_checkpointing full", replace(training, activation_checkpointing="full")
    if not training.flash_attention:
        yield "flash_attention", replace(training, flash_attention=True)
    if training.loss == "plain":
        yield "loss chunked", replace(training, loss="chunked")
    if (size := training.micro_batch_size) > 1:
        steps = training.gradient_accumulation_steps * size
        yield (
            f"micro_batch_size 1 with gradient_accumulation_steps {steps}",
            replace(training, micro_batch_size=1, gradient_accumulation_steps=steps),
        )
    if (length := _longest(model, gpu, training)) is not None:
        yield f"sequence_length {length:,}", replace(training, sequence_length=length)
    if training.optimizer == "adamw":
        yield "optimizer adamw-8bit", replace(training, optimizer="adamw-8bit")
    if training.method != "qlora":
        if training.method == "full":
            yield "method lora", replace(training, method="lora")
        yield "method qlora", replace(training, method="qlora")
    yield from _more_gpus(model, gpu, training)


def _more_gpus(model: Model, gpu: Gpu, training: Training) -> Iterator[tuple[str, Training]]:
    """The fewest GPUs that fit: ZeRO-3 over up to 1,024, tensor parallelism over up to 8."""
    ranks, splits = training.data_parallel_size, training.tensor_parallel_size
    for size in (n for n in (ranks * 2**power for power in range(11)) if 1 < n <= 1024):
        sharded = replace(training, zero_stage=3, data_parallel_size=size)
        if sharded != training and _needed(model, sharded) <= _safely(gpu):
            yield f"zero_stage 3 with data_parallel_size {size}", sharded
            break
    for size in (n for n in (2, 4, 8) if n > splits):
        split = replace(training, tensor_parallel_size=size)
        if _needed(model, split) <= _safely(gpu):
            yield f"tensor_parallel_size {size}", split
            break


def _longest(model: Model, gpu: Gpu, training: Training) -> int | None:
    """The longest sequence that fits, in steps of 128; None where even 128 tokens do not."""
    low, high = 0, training.sequence_length // 128
    while low < high:
        middle = (low + high + 1) // 2
        fits = _needed(model, replace(training, sequence_length=middle * 128)) <= _safely(gpu)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * 128 or None


def _needed(model: Model, training: Training) -> float:
    """Bytes of the changed run, infinite where the model cannot be divided so."""
    try:
        return training_bytes(model, training).total
    except NotModelled:
        return float("inf")


def _safely(gpu: Gpu) -> float:
    """What a plan may need so that a run within the band fits."""
    return gpu.memory_bytes / (1 + BAND)


def _remedy(change: str, needed: float) -> Remedy:
    return Remedy(change, f"{needed / GIB:.1f} GiB per GPU")


def _notes(model: Model, gpu: Gpu, training: Training, cost: TrainingCost | None) -> Iterator[str]:
    yield (
        f"{BAND:.0%} either way held nine of ten published peaks whose settings are known. Norms, logits and "
        f"buffers are those of {training.framework}; another framework keeps others."
    )
    if training.activation_checkpointing == "selective" and training.flash_attention:
        yield "Flash attention keeps no scores: selective checkpointing spares nothing; per-operation and full do."
    if training.method == "full" and not gradients_stand(training):
        yield "With one micro-batch a step gradients come while activations go; gradient accumulation would keep both."
    if OPTIMIZERS[training.optimizer].paged:
        yield "Paged optimizer states are counted on the host, where they go when the GPU is full."
    if cost is not None:
        peak = f"{training.utilization:.0%} of the {compute_type(gpu, training)} peak of {gpu.name}"
        yield f"The time assumes {peak}; recomputation, communication and input come out of that."
        yield _priced(cost)
    if 1 < training.pipeline_parallel_size > training.gradient_accumulation_steps:
        yield "Fewer micro-batches than pipeline stages: some stages always idle."
    if model.is_moe:
        yield "Tokens are taken to spread evenly over the experts; a busy expert needs more."


def _priced(cost: TrainingCost) -> str:
    if cost.price is not None:
        listing = f"{cost.price.provider}, {cost.price.commitment}, seen {cost.price.checked} ({cost.price.source_kind} source)"
        return f"Price: ${cost.usd_per_gpu_hour:.2f} per GPU-hour, {listing}."
    return "No price known." if cost.usd_per_gpu_hour is None else f"Price: ${cost.usd_per_gpu_hour:.2f} per GPU-hour, as given."
