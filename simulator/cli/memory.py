"""`sim memory`: does a model fit, where does every GiB go, how many sequences run at once; or the
same for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from simulator.cli import training_options as training
from simulator.cli.options import Json

if TYPE_CHECKING:
    from simulator.catalog.engines import EngineArgs
    from simulator.catalog.gpus import Gpu
    from simulator.catalog.quantizations import Quantization
    from simulator.memory.llama_cpp.plan import LlamaCppPlan
    from simulator.memory.plan import MemoryPlan
    from simulator.memory.training.plan import Training, TrainingPlan
    from simulator.scenario.serve_line import ServeLine

T = TypeVar("T")
_SERVING, _PARALLEL, _TRAINING = "Engine arguments, under vLLM's names", "Parallelism", "Training"


_LONGEST = -1  # --max-model-len auto


def _count(text: str | int) -> int:
    """A count as vLLM reads it: 32768, 32k, 32K."""
    from simulator.errors import SimulatorError
    from simulator.scenario.serve_line import whole_number

    try:
        count = whole_number(str(text), "count")
    except SimulatorError:
        raise typer.BadParameter(f"{text!r} is not a number such as 32768, 32k or 32K") from None
    if count < 1:
        raise typer.BadParameter(f"{text!r} is not at least 1")
    return count


def _length(text: str | int) -> int:
    return _LONGEST if str(text) in ("auto", "-1") else _count(text)


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A catalog name, a config.json, or behind -- a `vllm serve` line.")]
More = Annotated[list[str], typer.Argument(metavar="[ARGUMENTS OF VLLM SERVE]...")]
GpuOption = Annotated[
    list[str], typer.Option("--gpu", "-g", help="GPU; repeat to compare. Of a `vllm serve` line: else the commonly rented.")
]
QuantizationOption = Annotated[list[str], typer.Option("--quantization", "-q", help="Repeat to compare; else the checkpoint's.")]
Engine = Annotated[str | None, typer.Option("--engine", "-e", help="Engine and release, e.g. vllm-0.19.0; else vllm's newest.")]
MaxModelLen = Annotated[
    int | None,
    typer.Option(parser=_length, metavar="TOKENS", help="Also 32k, or auto: the longest that fits.", rich_help_panel=_SERVING),
]
MaxNumSeqs = Annotated[int | None, typer.Option(min=1, rich_help_panel=_SERVING)]
MaxNumBatchedTokens = Annotated[int | None, typer.Option(parser=_count, metavar="TOKENS", rich_help_panel=_SERVING)]
GpuMemoryUtilization = Annotated[float | None, typer.Option(rich_help_panel=_SERVING)]
KvCacheDtype = Annotated[str, typer.Option(rich_help_panel=_SERVING)]
BlockSize = Annotated[int | None, typer.Option(min=1, rich_help_panel=_SERVING)]
EnforceEager = Annotated[bool, typer.Option("--enforce-eager", rich_help_panel=_SERVING)]
MemoryUsedGib = Annotated[
    float,
    typer.Option("--used-gib", min=0, help="GiB of each GPU that a display, another process or the system holds at start."),
]
TensorParallelSize = Annotated[int, typer.Option("--tensor-parallel-size", "-tp", min=1, rich_help_panel=_PARALLEL)]
PipelineParallelSize = Annotated[int, typer.Option("--pipeline-parallel-size", "-pp", min=1, rich_help_panel=_PARALLEL)]
DataParallelSize = Annotated[int, typer.Option("--data-parallel-size", "-dp", min=1, rich_help_panel=_PARALLEL)]
DecodeContextParallelSize = Annotated[int, typer.Option(min=1, rich_help_panel=_PARALLEL)]
EnableExpertParallel = Annotated[bool, typer.Option("--enable-expert-parallel", rich_help_panel=_PARALLEL)]
Context = Annotated[list[int], typer.Option("--context", "-c", min=1, help="Context to count sequences at; repeatable.")]
Train = Annotated[bool, typer.Option("--train", help="Plan a training run.", rich_help_panel=_TRAINING)]
Lora = Annotated[bool, typer.Option("--lora", help="LoRA adapters beside frozen weights.", rich_help_panel=_TRAINING)]
Qlora = Annotated[bool, typer.Option("--qlora", help="LoRA beside weights in NF4.", rich_help_panel=_TRAINING)]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the answer's page to this file.")]


def memory_command(
    model: Model,
    more: More = [],  # noqa: B006
    gpu: GpuOption = [],  # noqa: B006
    quantization: QuantizationOption = [],  # noqa: B006
    engine: Engine = None,
    max_model_len: MaxModelLen = None,
    max_num_seqs: MaxNumSeqs = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    gpu_memory_utilization: GpuMemoryUtilization = None,
    kv_cache_dtype: KvCacheDtype = "auto",
    block_size: BlockSize = None,
    enforce_eager: EnforceEager = False,
    memory_used_gib: MemoryUsedGib = 0.0,
    tensor_parallel_size: TensorParallelSize = 1,
    pipeline_parallel_size: PipelineParallelSize = 1,
    data_parallel_size: DataParallelSize = 1,
    decode_context_parallel_size: DecodeContextParallelSize = 1,
    enable_expert_parallel: EnableExpertParallel = False,
    context: Context = [],  # noqa: B006
    train: Train = False,
    lora: Lora = False,
    qlora: Qlora = False,
    optimizer: training.Optimizer = "adamw",
    precision: training.Precision = "mixed",
    framework: training.Framework = "transformers",
    fp32_gradients: training.Fp32Gradients = False,
    micro_batch_size: training.MicroBatchSize = 1,
    sequence_length: training.SequenceLength = 2048,
    gradient_accumulation_steps: training.AccumulationSteps = 1,
    activation_checkpointing: training.Checkpointing = "none",
    flash_attention: training.FlashAttention = True,
    dropout: training.Dropout = False,
    loss: training.Loss = "plain",
    logit_bytes: training.LogitBytes = None,
    zero_stage: training.ZeroStage = 0,
    sharding: training.ShardingOption = None,
    reduce_bucket_size: training.ReduceBucketSize = 500_000_000,
    context_parallel_size: training.ContextParallelSize = 1,
    sequence_parallel: training.SequenceParallel = False,
    pipeline_schedule: training.PipelineSchedule = "1f1b",
    pipeline_chunks: training.PipelineChunks = 1,
    offload_optimizer: training.OffloadOptimizer = False,
    offload_weights: training.OffloadWeights = False,
    offload_activations: training.OffloadActivations = False,
    optimizer_in_backward: training.InBackward = False,
    double_quantization: training.DoubleQuantization = True,
    lora_rank: training.LoraRank = 16,
    lora_targets: training.LoraTargets = "all-linear",
    lora_dropout: training.LoraDropout = False,
    fp32_adapters: training.Fp32Adapters = False,
    tokens: training.Tokens = None,
    utilization: training.Utilization = 0.4,
    tflops: training.Tflops = None,
    usd_per_gpu_hour: training.UsdPerGpuHour = None,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Whether a model fits on a GPU, where every GiB goes, and how many sequences run at once.

    Every other argument of `vllm serve` is taken as well: sim memory qwen3-32b -g l40s
    --enable-prefix-caching --max-loras 4; or the whole line, pasted: sim memory -g l40s -- vllm
    serve Qwen/Qwen3-32B-AWQ --tensor-parallel-size 2 --max-model-len 32k; or llama.cpp's: sim
    memory -g rtx-3090 -- llama-server -m Qwen3-32B-Q4_K_M.gguf -c 32768 -ngl 99
    """
    _answer(dict(locals()))


def _answer(given: dict[str, Any]) -> None:
    """Plan what the options of `sim memory` say, write the page, print the plans."""
    model, more, engine = given["model"], given["more"], given["engine"]
    if given["train"] or given["lora"] or given["qlora"]:
        _pasted(model, more, engine)
        _answer_training(given)
        return
    if _of_llama_cpp(model, more, engine):
        _answer_llama_cpp(given)
    else:
        _answer_serving(_pasted(model, more, engine), given)


def _answer_llama_cpp(given: dict[str, Any]) -> None:
    from simulator.cli.memory_output import print_llama_cpp

    training.refuse_without_train(given)
    files = _llama_plans(given["model"], given["more"], given["gpu"], given["quantization"], given)
    _write(given["report"], lambda: pages().llama_page(files))
    print_llama_cpp(files, given["as_json"])


def _answer_training(given: dict[str, Any]) -> None:
    from simulator.cli.memory_output import print_training

    given["method"] = "qlora" if given["qlora"] else "lora" if given["lora"] else "full"
    runs = _training_plans(given["model"], _cards(given["gpu"]), given)
    _write(given["report"], lambda: pages().training_page(runs))
    print_training(runs, given["as_json"])


def _answer_serving(asked: ServeLine, given: dict[str, Any]) -> None:
    from simulator.cli.memory_output import print_plans

    training.refuse_without_train(given)
    cards = _cards(given["gpu"], pasted=asked.model != given["model"])
    plans = _plans(asked, cards, given["quantization"], given["engine"], given)
    _write(given["report"], lambda: pages().serving_page(plans))
    print_plans(plans, tuple(given["context"]), given["as_json"])


def pages() -> ModuleType:
    """The module that draws the pages, which takes its time to load."""
    from simulator.report.pages import memory

    return memory


def _write(path: Path | None, page: Callable[[], str]) -> None:
    """Write a page where one is asked for. Raises SimulatorError where the file cannot be
    written."""
    from simulator.errors import SimulatorError

    if path is None:
        return
    try:
        path.write_text(page(), "utf-8")
    except OSError as problem:
        raise SimulatorError(f"--report {path}: {problem.strerror}") from None


def _of_llama_cpp(model: str, more: list[str], engine: str | None) -> bool:
    from simulator.scenario.llama_line import is_llama

    return is_llama([model, *more], engine)


def _llama_plans(
    model: str, more: list[str], gpus: list[str], quantizations: list[str], given: dict[str, Any]
) -> list[LlamaCppPlan]:
    """One plan for every GPU and mixture. Raises SimulatorError for options that are vLLM's."""
    from dataclasses import replace

    from simulator import catalog
    from simulator.catalog.engine_args import EngineArgs
    from simulator.errors import SimulatorError
    from simulator.memory.llama_cpp.plan import plan_llama_cpp
    from simulator.scenario.llama_line import model_in, parse_llama, with_memory_used

    defaults = EngineArgs()
    ours = ("max_model_len", "max_num_seqs", "memory_used_gib")
    for name, value in given.items():
        if hasattr(defaults, name) and name not in ours and value != getattr(defaults, name):
            raise SimulatorError(f"--{name.replace('_', '-')} is an argument of vLLM; llama.cpp's own stand behind --")
    line = with_memory_used(parse_llama([model, *more]), given["memory_used_gib"])
    asked = given["max_model_len"]
    stated = {"n_ctx": 0 if asked == _LONGEST else asked, "n_parallel": given["max_num_seqs"]}
    args = replace(line.args, **{name: value for name, value in stated.items() if value is not None})
    plans = []
    for name in _cards(gpus):
        for form in quantizations or [""]:
            planned, mixture = model_in(line, form)
            plan = plan_llama_cpp(planned, mixture, catalog.gpu(name), args)
            named = ", ".join(f"-{harmless}" for harmless in line.harmless)
            plans.append(replace(plan, notes=(*plan.notes, f"no effect on memory: {named}")) if named else plan)
    return plans


def _pasted(model: str, more: list[str], engine: str | None) -> ServeLine:
    """What the model and the arguments behind it say: a whole line, or a model with arguments that
    have no option here.

    Raises SimulatorError for an argument that neither `sim memory` nor `vllm serve` knows, and
    where --engine is another than the line's.
    """
    from simulator import catalog
    from simulator.errors import SimulatorError
    from simulator.scenario.serve_line import parse

    stated = catalog.engine(engine) if engine else None
    line = parse([model, *more], stated.family if stated else "vllm")
    if stated is not None and line.engine is not None:
        pasted = catalog.engine(line.engine)
        named = "-" in line.engine and pasted.name != stated.name
        if named or pasted.family != stated.family:
            raise SimulatorError(f"--engine {engine}: the line is of {line.engine}; leave one of the two out")
    return line


def _cards(named: list[str], pasted: bool = False) -> list[str]:
    """The GPUs asked for; of a pasted line without any, the commonly rented ones. Raises
    SimulatorError where none is named."""
    from simulator.catalog.memory_overheads import rented_cards
    from simulator.errors import SimulatorError

    if not named and not pasted:
        raise SimulatorError("missing option '--gpu' / '-g' (see sim memory --help)")
    return named or [card.name for card in rented_cards("nvidia")]


def _plans(
    asked: ServeLine, gpus: list[str], quantizations: list[str], engine: str | None, given: dict[str, Any]
) -> list[MemoryPlan]:
    """One plan for every GPU and quantization."""
    from simulator import catalog
    from simulator.catalog.engines import EngineArgs
    from simulator.errors import SimulatorError
    from simulator.memory.plan import plan_memory
    from simulator.scenario.serve_line import model_of, quantization_in

    if asked.model is None:
        raise SimulatorError("the line names no model: vllm serve MODEL ...")
    defaults = EngineArgs()
    typed = {name: value for name, value in given.items() if hasattr(defaults, name) and value != getattr(defaults, name)}
    if typed.get("max_model_len") == _LONGEST:
        typed = {**typed, "max_model_len": None, "fit_max_model_len": True}
    args: EngineArgs = _specified(EngineArgs, {**asked.arguments, **typed})
    serving, planned = catalog.engine(engine or asked.engine or "vllm"), model_of(asked)
    formats: list[Quantization | None] = [catalog.quantization(name) for name in quantizations]
    plans = [
        plan_memory(planned, form, catalog.gpu(name), args, serving)
        for name in gpus
        for form in formats or [quantization_in(asked, planned)]
    ]
    return [_noting(plan, asked) for plan in plans]


def _noting(plan: MemoryPlan, asked: ServeLine) -> MemoryPlan:
    """The plan with what was accepted and changes nothing."""
    from dataclasses import replace

    if not asked.harmless:
        return plan
    named = ", ".join(f"--{name.replace('_', '-')}" for name in asked.harmless)
    return replace(plan, notes=(*plan.notes, f"no effect on memory: {named}"))


def _training_plans(model: str, gpus: list[str], given: dict[str, Any]) -> list[TrainingPlan]:
    from simulator import catalog
    from simulator.memory.training.plan import Training, plan_training

    run = _specified(Training, given)
    return [plan_training(catalog.model(model), card, _at_rate(run, card, given["tflops"])) for card in map(catalog.gpu, gpus)]


def _at_rate(run: Training, card: Gpu, tflops: float | None) -> Training:
    """The run at a rate that was reached, which is a share of the peak of each GPU. Raises
    SimulatorError above the peak."""
    from dataclasses import replace

    from simulator.errors import SimulatorError
    from simulator.memory.training.plan import compute_type
    from simulator.units import TFLOPS

    if tflops is None:
        return run
    peak = card.flops[compute_type(card, run)] / TFLOPS
    if tflops > peak:
        raise SimulatorError(f"--tflops {tflops:g}: {card.name} has a peak of {peak:g} TFLOP/s")
    return replace(run, utilization=tflops / peak)


def _specified(spec: type[T], given: dict[str, Any]) -> T:
    """The spec of those options that are its fields. Raises SimulatorError naming the first option
    that is wrong."""
    from pydantic import ValidationError

    from simulator.errors import SimulatorError
    from simulator.spec import first_mistake

    fields: dict[str, Any] = spec.__dataclass_fields__  # type: ignore[attr-defined]
    try:
        return spec(**{name: value for name, value in given.items() if name in fields})
    except ValidationError as problem:
        mistake = first_mistake(problem)
        name = str(mistake.location[0]).replace("_", "-") if mistake.location else "arguments"
        raise SimulatorError(f"--{name} {mistake.value}: {mistake.said[:1].lower()}{mistake.said[1:]}") from None
