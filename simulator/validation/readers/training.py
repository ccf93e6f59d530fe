"""Peaks of training runs: what PyTorch or the driver counted on one GPU, beside the plan of the same run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from simulator.catalog.models import model
from simulator.errors import MeasurementError, SimulatorError
from simulator.memory.training.bytes import Training, TrainingBytes, training_bytes
from simulator.memory.training.frameworks import FrameworkName
from simulator.numbers import integer
from simulator.units import GIB
from simulator.validation.measurements import Comparison, Findings, MeasurementTable, Reader, Row, Skipped, number_in, text

METRIC = "training_peak_gib"
_COUNTS = {
    "micro_batch": "micro_batch_size",
    "seq_len": "sequence_length",
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "gradient_accumulation": "gradient_accumulation_steps",
    "lora_rank": "lora_rank",
}
_SWITCHES = ("fp32_gradients", "dropout", "sequence_parallel")
# Whose modeling code runs. Until transformers 4.44, of August 2024, the model's own forward pass made FP32 logits.
_FRAMEWORKS: tuple[tuple[str, FrameworkName], ...] = (
    (r"torchtune", "torchtune"),
    (r"lit-?gpt", "litgpt"),
    (r"torchtitan", "torchtitan"),
    (r"Megatron-Bridge|NeMo", "transformer-engine"),
    (r"Megatron", "megatron"),
    (r"fsdp_qlora|LLaMA-Factory|LongLoRA", "transformers-4.44"),
    (r"PEFT|Qwen finetune|HF|transformers", "transformers"),
)


def compare_training(table: MeasurementTable) -> Findings:
    """Every row's measured peak beside the plan; rows whose settings we cannot express are skipped by what the row says of them.

    A row that is expressible in part is compared and does not count as fully stated.
    """
    findings = Findings()
    for index, row in enumerate(table.rows, start=1):
        try:
            measured = number_in(row, "measured_peak_gib")
            if measured is None or measured <= 0:
                raise MeasurementError("the row has no measured_peak_gib")
            training = read_training(row)
            needed = training_bytes(model(text(row, "sim_model", "model")), training)
            predicted = counted_as(text(row, "measured_kind"), needed) / GIB
            stated = text(row, "expressible") in ("", "yes")
            findings.comparisons.append(Comparison(table.source, index, METRIC, measured, predicted, stated))
        except SimulatorError as problem:
            findings.skipped.append(Skipped(table.source, index, str(problem)))
    return findings


def counted_as(kind: str, needed: TrainingBytes) -> float:
    """Bytes as they were measured: allocated by PyTorch, reserved by it, or, where nothing is said, all that the driver sees."""
    if kind.startswith("allocated"):
        return needed.allocated
    return needed.reserved if kind.startswith("reserved") else needed.total


def read_training(row: Row) -> Training:
    """The run that a row describes. Raises MeasurementError for a value that is none of ours."""
    options, notes = text(row, "options_only_in_python"), text(row, "notes")
    given: dict[str, Any] = {ours: _whole(row, theirs) for theirs, ours in _COUNTS.items() if text(row, theirs)}
    given |= {name: True for name in _SWITCHES if re.search(rf"\b{name}\b", options)}
    given["zero_stage"] = _whole(row, "zero_stage") if text(row, "zero_stage") else 0
    given["framework"] = framework_of(text(row, "framework"))
    for column, ours in (("method", "method"), ("precision", "precision"), ("optimizer", "optimizer")):
        given[ours] = text(row, column) or Training.__dataclass_fields__[ours].default
    if text(row, "lora_targets"):
        given["lora_targets"] = text(row, "lora_targets")
    given["activation_checkpointing"] = _checkpointing(text(row, "gradient_checkpointing"), notes)
    given["flash_attention"] = text(row, "flash_attention").lower() != "false"
    if re.search(r"fused_loss", options):
        given["loss"] = "chunked"
    if "FSDP" in text(row, "zero_stage_or_fsdp"):
        given["sharding"] = "fsdp"
    given["fp32_adapters"] = bool(re.search(r"(?i)fp32 adapters", notes))
    given["double_quantization"] = not re.search(r"(?i)without double quant", notes)
    try:
        training = Training(**given)
    except ValueError as problem:
        raise MeasurementError(f"not a run we know: {str(problem).splitlines()[1]}") from None
    return _as_the_recipe_does(training, text(row, "framework"))


def framework_of(name: str) -> FrameworkName:
    """The framework by the name people give it. Raises MeasurementError for one we have no account of."""
    for pattern, ours in _FRAMEWORKS:
        if re.search(pattern, name):
            return ours
    raise MeasurementError(f"column framework: what {name!r} keeps is not modelled")


def _as_the_recipe_does(training: Training, framework: str) -> Training:
    """What the recipes of these frameworks set and tables of results do not repeat.

    LitGPT's LoRA drops out adapter inputs (finetune/lora.py, 0.05) and its full recipes accumulate (config_hub/finetune,
    global_batch_size 32); fsdp_qlora's train.py drops out 0.1.
    """
    drops = re.search(r"lit-?gpt|fsdp_qlora", framework) and training.method != "full"
    if drops:
        return replace(training, lora_dropout=True)
    if training.framework == "litgpt" and training.gradient_accumulation_steps == 1:
        return replace(training, gradient_accumulation_steps=max(2, 32 // training.micro_batch_size))
    return training


def _checkpointing(written: str, notes: str) -> str:
    """`selective` means what its framework means: torchtitan's is per operation, and the row says so."""
    return "per-operation" if written == "selective" and re.search(r"per-op", notes) else written or "none"


def _whole(row: Row, name: str) -> int:
    return integer(text(row, name).replace(",", ""), f"column {name}")


READER = Reader(
    "peaks of training runs",
    ("measured_peak_gib", "method", "framework", "sim_model|model"),
    lambda table, _: compare_training(table),
)
