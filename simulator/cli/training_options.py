"""Options of `sim memory` that describe a training run: the fields of Training under their own names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

PANEL = "Training"


def _number(text: str | int) -> int:
    """A count as people write it: 300000000000, 300e9, 300B. Raises typer.BadParameter."""
    factors = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    written = str(text).replace("_", "").replace(",", "").strip()
    factor = factors.get(written[-1:].upper(), 1)
    try:
        count = float(written[:-1] if factor > 1 else written) * factor
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a count such as 300000000000, 300e9 or 300B") from None
    if not (1 <= count < float("inf")) or count != int(count):
        raise typer.BadParameter(f"{text!r} is not a whole number of at least 1")
    return int(count)


def _text(help_text: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=PANEL)


def _count(help_text: str) -> Any:
    return typer.Option(min=1, help=help_text, rich_help_panel=PANEL)


def _switch(name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=PANEL)


Optimizer = Annotated[str, _text("adamw, lion, muon, adafactor, sgd, sgd-momentum; with -8bit, paged- before it.")]
Precision = Annotated[str, _text("mixed (16 bits beside FP32 master weights), bf16 throughout, or fp32.")]
Framework = Annotated[
    str,
    _text("Whose code: transformers, transformers-4.44, torchtune, litgpt, torchtitan, megatron, transformer-engine."),
]
Fp32Gradients = Annotated[bool, _switch("--fp32-gradients", "Gradients are kept in FP32.")]
MicroBatchSize = Annotated[int, _count("Sequences that go through one GPU at a time.")]
SequenceLength = Annotated[int, _count("Tokens of a sequence.")]
AccumulationSteps = Annotated[int, _count("Micro-batches between two updates.")]
Checkpointing = Annotated[str, _text("none, selective (scores), per-operation, or full (whole layers).")]
FlashAttention = Annotated[bool, _switch("--flash-attention/--no-flash-attention", "Scores are never written down.")]
Dropout = Annotated[bool, _switch("--dropout", "Dropout in every block.")]
Loss = Annotated[str, _text("plain, or chunked: the logits of all tokens are never there at once.")]
LogitBytes = Annotated[float | None, typer.Option(min=0, help="Bytes a logit; else the framework's.", rich_help_panel=PANEL)]
ZeroStage = Annotated[int, typer.Option(min=0, max=3, help="1 divides states, 2 gradients, 3 weights.", rich_help_panel=PANEL)]
ShardingOption = Annotated[str | None, _text("deepspeed, fsdp or distributed-optimizer; else the framework's.")]
ReduceBucketSize = Annotated[int, _count("Gradients in one of DeepSpeed's buckets.")]
ContextParallelSize = Annotated[int, _count("GPUs that divide each sequence.")]
SequenceParallel = Annotated[bool, _switch("--sequence-parallel", "Tensor-parallel GPUs divide norms and inputs too.")]
PipelineSchedule = Annotated[str, _text("1f1b, interleaved or gpipe.")]
PipelineChunks = Annotated[int, _count("Groups of layers a stage has when interleaved.")]
OffloadOptimizer = Annotated[bool, _switch("--offload-optimizer", "Optimizer states and master weights on the host.")]
OffloadWeights = Annotated[bool, _switch("--offload-weights", "Weights of ZeRO-3 on the host.")]
OffloadActivations = Annotated[bool, _switch("--offload-activations", "Activations on the host.")]
InBackward = Annotated[bool, _switch("--optimizer-in-backward", "Each layer is updated in the backward pass.")]
DoubleQuantization = Annotated[
    bool, _switch("--double-quantization/--no-double-quantization", "Scales of NF4 are quantized again.")
]
LoraRank = Annotated[int, _count("Rank of the adapters.")]
LoraTargets = Annotated[str, _text("query-value, query-value-output, attention, or all-linear.")]
LoraDropout = Annotated[bool, _switch("--lora-dropout", "Each adapter drops out its input.")]
Fp32Adapters = Annotated[bool, _switch("--fp32-adapters", "Adapters in FP32 beside weights in 16 bits, as PEFT makes them.")]
Tokens = Annotated[
    int | None,
    typer.Option(parser=_number, metavar="COUNT", help="Of the run (300B), for time and cost.", rich_help_panel=PANEL),
]
Utilization = Annotated[float, _text("Model FLOPs a second, of the GPU's peak.")]
Tflops = Annotated[
    float | None,
    typer.Option(min=0.001, help="Model TFLOP/s that a GPU reaches, in place of --utilization.", rich_help_panel=PANEL),
]
UsdPerGpuHour = Annotated[float | None, typer.Option(min=0, help="Else the catalog's price.", rich_help_panel=PANEL)]


def refuse_without_train(given: dict[str, Any]) -> None:
    """Raises SimulatorError for an option of training in a question about serving, which would do nothing."""
    from dataclasses import fields

    from simulator.errors import SimulatorError
    from simulator.memory.training.bytes import Training

    if given["tflops"] is not None:
        raise SimulatorError("--tflops is of a training run; add --train, --lora or --qlora")
    parallel = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "method")
    for field in fields(Training):
        if field.name not in parallel and given[field.name] != field.default:
            name = field.name.replace("_", "-")
            raise SimulatorError(f"--{name} is of a training run; add --train, --lora or --qlora")
