"""Start-up logs: what an engine printed when it started, or why it refused, beside the memory plan of the same configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from simulator.catalog.checkpoints import as_published
from simulator.catalog.engines import Engine, EngineArgs, engine
from simulator.catalog.gpus import Gpu, gpu
from simulator.catalog.models import Model, model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import MeasurementError, SimulatorError
from simulator.memory.outcome import Outcome
from simulator.memory.plan import MemoryPlan, plan_without_remedies
from simulator.numbers import finite_number, integer
from simulator.units import GIB
from simulator.validation.measurements import (
    Comparison,
    Findings,
    MeasurementTable,
    Reader,
    Row,
    Skipped,
    number_in,
    text,
    whole_in,
)
from simulator.validation.readers.rows import measured_args

WEIGHTS = ("weights_gib_per_gpu", "weight_memory_gib", "weights_gib")
KV_CACHE = ("kv_cache_gib_per_gpu", "kv_cache_memory_gib", "kv_cache_gib")
KV_TOKENS = ("kv_tokens", "kv_cache_tokens")
TENSOR = ("tp", "tensor_parallel_size")
PIPELINE = ("pp", "pipeline_parallel_size")
DATA = ("dp", "data_parallel_size")
QUANTIZATION = ("quantization", "quant")
_USED = {
    *WEIGHTS, *KV_CACHE, *KV_TOKENS, *TENSOR, *PIPELINE, *DATA, *QUANTIZATION,
    "engine", "engine_version", "model", "dtype", "kv_cache_dtype", "gpu", "gpu_count", "gpu_memory_utilization", "max_model_len",
    "max_num_seqs", "max_num_batched_tokens", "block_size", "enforce_eager", "prefix_caching", "total_gpu_mem_gib",
    "num_gpu_blocks", "max_concurrency", "outcome", "notes",
}  # fmt: skip
# Columns that say more about a row than a prediction needs, or than it can be compared with.
_KNOWN = {
    "source_url", "consistency", "activation_peak_gib", "non_torch_gib", "cuda_graph_gib",
    "cuda_graph_memory_gib", "activation_memory_gib", "kv_block_size_bytes",
}  # fmt: skip
# Releases assumed for logs that state none, the commonest of those that do; their rows do not count as fully stated.
ASSUMED_VERSION, ASSUMED_V0 = "0.11.0", "0.6.4"
_DTYPES: dict[str, Literal["bf16", "fp16", "fp32"]] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
OUTCOMES: dict[Outcome, str] = {
    "starts": "ok",
    "may_not_start": "ok",
    "too_little_free_memory": "free-memory-error",
    "max_num_seqs_exceeds_state_blocks": "mamba-blocks-error",
    "weights_do_not_fit": "oom",
    "graph_profiling_does_not_fit": "oom",
    "no_kv_blocks": "oom",
    "max_model_len_exceeds_kv": "too-long-error",
}


@dataclass(frozen=True, slots=True)
class StartUp:
    """One configuration as a row states it.

    `stated` is False where the engine's release, the share of memory or the size of the GPU had to be assumed.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: EngineArgs
    stated: bool


def compare_startup(table: MeasurementTable) -> Findings:
    """Every row beside its memory plan. Rows that we cannot plan are skipped with the reason."""
    findings = Findings()
    unknown = [name for name in table.columns if name not in _USED | _KNOWN]
    if unknown:
        findings.notes.append(f"{table.source}: columns not used: {', '.join(unknown)}")
    for index, row in enumerate(table.rows, start=1):
        try:
            start = read_start_up(row, table.source)
            plan = plan_without_remedies(start.model, start.quantization, start.gpu, start.args, start.engine)
            found = _compared(row, plan, table.source, index, start.stated)
            if doubt := _drafts_in_doubt(start, plan, text(row, "notes")):
                findings.notes.append(f"{table.source} row {index}: {doubt}")
            shared = "another process held" in text(row, "notes")
            findings.comparisons += [c for c in found if not shared or c.metric in ("weights_gib", "outcome")]
            if shared:
                reason = "KV cache not compared: another process took memory of the card meanwhile"
                findings.skipped.append(Skipped(table.source, index, reason))
        except SimulatorError as problem:
            findings.skipped.append(Skipped(table.source, index, str(problem)))
    return findings


READER = Reader(
    "start-up logs", ("model", "|".join(TENSOR), "|".join((*KV_CACHE, *KV_TOKENS))), lambda table, _: compare_startup(table)
)


def _drafts_in_doubt(start: StartUp, plan: MemoryPlan, notes: str) -> str:
    """What would be other if tokens were drafted, where the row leaves that open and the model has layers for it."""
    if "speculative decoding not stated" not in notes or not start.model.draft_layers:
        return ""
    drafting = replace(start.args, spec_method="mtp", spec_tokens=3)
    other = plan_without_remedies(start.model, start.quantization, start.gpu, drafting, start.engine)
    return (
        f"speculative decoding is not stated; with MTP of 3 tokens {other.num_gpu_blocks:,} KV blocks instead of "
        f"{plan.num_gpu_blocks:,}, and the outcome {OUTCOMES[other.outcome]} instead of {OUTCOMES[plan.outcome]}"
    )


def _compared(row: Row, plan: MemoryPlan, source: str, index: int, stated: bool) -> list[Comparison]:
    pairs = [
        ("weights_gib", number_in(row, *WEIGHTS), plan.weights_bytes / GIB),
        ("kv_cache_gib", number_in(row, *KV_CACHE), plan.kv_cache_bytes / GIB),
        ("kv_tokens", _measured_tokens(row, plan), float(plan.kv_tokens)),
        ("max_concurrency", number_in(row, "max_concurrency"), plan.max_concurrency),
    ]
    found = [
        Comparison(source, index, name, measured, ours, stated) for name, measured, ours in pairs if measured and measured > 0
    ]
    outcome = text(row, "outcome") or ("ok" if number_in(row, *KV_TOKENS) else "")
    if outcome:
        found.append(Comparison(source, index, "outcome", outcome, OUTCOMES[plan.outcome], stated))
    if not found:
        raise MeasurementError("the row has no measured value")
    return found


def _measured_tokens(row: Row, plan: MemoryPlan) -> float | None:
    """KV tokens, or what the printed blocks come to."""
    tokens, blocks = number_in(row, *KV_TOKENS), number_in(row, "num_gpu_blocks")
    return tokens if tokens is not None or blocks is None else blocks * plan.layout.block_size


def read_start_up(row: Row, source: str = "") -> StartUp:
    """The configuration of a row; what is blank is the engine's default. Raises SimulatorError for what we do not know."""
    notes = text(row, "notes")
    version, stated = _version(row, source, notes)
    card = _gpu(text(row, "gpu") or _from_name(source, r"(?i)(mi3\d\dx|[abhl]\d{1,3}s?(?:[-_]nvl)?|t4|rtx[-_]?\w+)"))
    total = number_in(row, "total_gpu_mem_gib")
    if total is not None:
        gib = finite_number(total, "column total_gpu_mem_gib", least=0.1, most=1e6)
        card = replace(card, memory_bytes=round(gib * GIB))
    elif re.search(r"\bWSL", notes):
        card = replace(card, memory_bytes=math.ceil(card.memory_bytes / GIB) * GIB)
    base = _model(text(row, "model"))
    if dtype := _DTYPES.get(text(row, "dtype")):
        base = replace(base, dtype=dtype)
    return StartUp(
        model=base,
        quantization=_quantization(text(row, *QUANTIZATION), text(row, "model"), base),
        gpu=card,
        engine=engine(version),
        args=_with_drafts(_args(row, notes), base, notes),
        stated=stated and _share_is_stated(row, notes) and (total is not None or not _comes_in_two_sizes(text(row, "gpu"))),
    )


def _share_is_stated(row: Row, notes: str) -> bool:
    """Whether the row gives gpu_memory_utilization, or says that it was left at its default."""
    return bool(text(row, "gpu_memory_utilization") or re.search(r"not set|default", notes))


def _comes_in_two_sizes(gpu_name: str) -> bool:
    return bool(re.search(r"(?i)\b(h20|a100|v100)\b(?!.*\d ?GB)", gpu_name))


def _args(row: Row, notes: str) -> EngineArgs:
    sharded = re.search(r"\bDCP ?= ?(\d+)", notes)
    tensor = _count(row, *TENSOR)
    if tensor is None and (_count(row, "gpu_count") or 1) > 1:
        raise MeasurementError("how the model is split over the GPUs is not stated")
    caching = text(row, "prefix_caching").lower()
    return measured_args(
        tensor_parallel_size=tensor or 1,
        pipeline_parallel_size=_count(row, *PIPELINE) or 1,
        data_parallel_size=_count(row, *DATA) or 1,
        decode_context_parallel_size=integer(sharded[1], "column notes: DCP", least=1) if sharded else 1,
        enable_expert_parallel=bool(re.search(r"\bEP\b|-ep\b|expert parallel", notes)),
        gpu_memory_utilization=number_in(row, "gpu_memory_utilization") or _static_fraction(notes),
        max_model_len=_count(row, "max_model_len"),
        max_num_seqs=_count(row, "max_num_seqs"),
        max_num_batched_tokens=_count(row, "max_num_batched_tokens"),
        block_size=_count(row, "block_size"),
        kv_cache_dtype=text(row, "kv_cache_dtype") or "auto",
        enforce_eager=text(row, "enforce_eager").lower() == "true",
        enable_prefix_caching=caching == "true" if caching else None,
        language_model_only=bool(re.search(r"limit_mm_per_prompt image 0|language_model_only|text only", notes)),
        enable_sleep_mode="sleep mode" in notes,
        mamba_ssm_cache_dtype=_noted(notes, r"mamba_ssm_cache_dtype (\w+)") or "auto",
        mamba_cache_mode=_noted(notes, r"mamba_cache_mode (\w+)") or None,
    )


def _with_drafts(args: EngineArgs, base: Model, notes: str) -> EngineArgs:
    """With multi-token prediction where the remark has it, and the model draft layers; one token where no number is given."""
    if not base.draft_layers or not re.search(r"'mtp'|\bMTP\b", notes):
        return args
    return replace(args, spec_method="mtp", spec_tokens=int(_noted(notes, r"MTP ?(\d)") or 1))


def _noted(notes: str, pattern: str) -> str:
    found = re.search(pattern, notes)
    return found[1] if found else ""


def _static_fraction(notes: str) -> float | None:
    """SGLang's memory share, where only the remark has it."""
    found = re.search(r"mem-fraction-static (0\.\d+)", notes)
    return float(found[1]) if found else None


def _count(row: Row, *names: str) -> int | None:
    return whole_in(row, *names)


def _version(row: Row, source: str, notes: str) -> tuple[str, bool]:
    """(the engine's name and version, whether the row or the file states a release)."""
    family = text(row, "engine") or "vllm"
    written = text(row, "engine_version")
    generation = " V0" if re.search(r"\bV0\b", f"{written} {notes}") else ""
    if found := re.search(r"\d+\.\d+(\.\d+)?[a-z0-9.]*", written):
        of_a_branch = re.search(r"\b(PR|main)\b", written)
        return f"{family} {found[0]}{generation}", not of_a_branch
    if in_name := re.search(r"vllm[-_]?(\d)[._]?(\d\d)(?:\D|$)", source):
        return f"{family} {in_name[1]}.{in_name[2]}.0", True
    if dated := re.search(r"(?:dated by thread:|vLLM) [^\d]{0,8}(\d+\.\d+(?:\.\d+)?)", notes):
        return f"{family} {dated[1]}{generation}", False
    if family != "vllm":
        return family, False
    return f"vllm {ASSUMED_V0 if generation else ASSUMED_VERSION}", False


def _from_name(source: str, pattern: str) -> str:
    found = re.search(pattern, source)
    return found[1] if found else ""


def _gpu(name: str) -> Gpu:
    """A GPU as logs and people name it: with its memory, or a remark in brackets."""
    if not name:
        raise MeasurementError("no GPU is stated")
    bare = re.sub(r"\s*\(.*", "", name)
    spellings = (name, bare, re.sub(r"\s+\d+ ?GB$", "", bare))
    return _first_known(gpu, spellings)


def _model(name: str) -> Model:
    """A model by the name of its repository, without what it says of the format; a fine-tune by the model in brackets."""
    bare = re.sub(r"\s*\(.*", "", name)
    in_brackets = re.findall(r"\(([^)]*)\)", name)
    spellings = [name, bare, *(_without_format(n) for n in (bare, *in_brackets)), *in_brackets]
    return _first_known(model, spellings)


_FORMATS = re.compile(
    r"(?i)[-_. ](fp8|awq|gptq|nvfp4|mxfp4|mtp|int4|int8|fp16|bf16|dynamic|quantized\.w\da\d+|autoround|marlin|4bit|8bit|bnb"
    r"|unsloth|gguf).*$"
)


def _without_format(name: str) -> str:
    return _FORMATS.sub("", name)


T = TypeVar("T")


def _first_known(look_up: Callable[[str], T], spellings: Iterable[str]) -> T:
    error: SimulatorError | None = None
    for spelling in dict.fromkeys(spellings):
        try:
            return look_up(spelling)
        except SimulatorError as problem:
            error = error or problem
    raise error or MeasurementError("no name is stated")


_QUANTIZATIONS = (
    (r"w8a8|int8", "int8-w8a8"),
    (r"nvfp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"w4a16|compressed-tensors int4", "w4a16"),
    (r"awq", "awq-int4"),
    (r"gptq|autoround|int4", "gptq-int4"),
    (r"bitsandbytes|bnb", "bnb-nf4"),
    (r"fp8", "fp8"),
)


def _quantization(written: str, name: str, base: Model) -> Quantization | None:
    """The quantization that a row names; None keeps the checkpoint's own, which a row that names the same format means."""
    low = written.lower()
    if not low or "native" in low:
        return None
    if re.match(r"(none|bf16|fp16|fp32|float\w*|auto)\b", low):
        return quantization({"fp32": "fp32", "fp16": "fp16"}.get(base.dtype, "bf16")) if base.quantization else None
    known = next((ours for pattern, ours in _QUANTIZATIONS if re.search(pattern, low)), None)
    if known is None:
        raise MeasurementError(f"quantization {written!r} is not modelled")
    if known == "fp8" and name.startswith("Qwen/"):
        known = "fp8-block"
    published, own = as_published(known, name, base), base.quantization
    return None if own is not None and own.name.split("-")[0] == published.name.split("-")[0] else published
