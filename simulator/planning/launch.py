"""Launch: the command that starts one replica as it is simulated, of vLLM, SGLang or
TensorRT-LLM."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.models import Model, catalog_model, is_path, model
from simulator.errors import UnknownName
from simulator.memory.plan import MemoryPlan
from simulator.scenario import Pool, Scenario
from simulator.scenario.serve_line import SPECULATION
from simulator.scenario.writing import shown_path

_HUB = "https://huggingface.co/"
_AT_LOAD = {"fp8": "fp8", "bnb-nf4": "bitsandbytes"}
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_KV_TYPES = {"bf16": "bfloat16", "fp16": "float16", "int8": "int8_per_token_head"}

# Written even where they are the release's defaults: they decide memory and batching.
_DECISIVE = ("gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens")
# Fields of objects, an environment variable, or ours alone: none is a flag under its own name.
_COMPILATION = (
    "cudagraph_mode",
    "cudagraph_capture_sizes",
    "max_cudagraph_capture_size",
    "custom_ops",
)
_DRAFTING = {ours: theirs for theirs, ours in SPECULATION.items()}
_NO_FLAGS = {
    "memory_used_gib",
    "fit_max_model_len",
    "float32_matmul_precision",
    *_COMPILATION,
    *_DRAFTING,
}

_SGLANG = {
    "tensor_parallel_size": "tp-size",
    "pipeline_parallel_size": "pp-size",
    "data_parallel_size": "dp-size",
    "gpu_memory_utilization": "mem-fraction-static",
    "max_model_len": "context-length",
    "max_num_seqs": "max-running-requests",
    "max_num_batched_tokens": "chunked-prefill-size",
    "block_size": "page-size",
    "max_cudagraph_capture_size": "cuda-graph-max-bs",
    "cudagraph_capture_sizes": "cuda-graph-bs",
    "enforce_eager": "disable-cuda-graph",
    "kv_cache_dtype": "kv-cache-dtype",
    "scheduling_policy": "schedule-policy",
    "schedule_conservativeness": "schedule-conservativeness",
    "max_prefill_tokens": "max-prefill-tokens",
    "scheduler_recv_interval": "scheduler-recv-interval",
}
_TRTLLM = {
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "gpu_memory_utilization": "kv_cache_free_gpu_memory_fraction",
    "max_model_len": "max_seq_len",
    "max_num_seqs": "max_batch_size",
    "max_num_batched_tokens": "max_num_tokens",
}


def serve_command(scenario: Scenario, pool: Pool, plan: MemoryPlan) -> str:
    """The command that starts one replica, with every argument that decides the result.

    The checkpoint is the one that was written, never another of the same shapes; a format of which
    no checkpoint is known is named in angle brackets, to be filled in. What an engine has no flag
    for is told in a comment behind the command. Empty where the engine schedules in a way that no
    server has.
    """
    if pool.scheduling_policy == "static":
        return ""
    write = {"vllm": _vllm, "sglang": _sglang, "tensorrt-llm": _trtllm}[scenario.engine.family]
    return write(pool, plan)


def checkpoint_of(pool: Pool, served: Model) -> str:
    """The repository or folder that a server is started with; in angle brackets where it must be
    filled in."""
    chosen, stored = pool.quantization, served.quantization
    if chosen is not None and chosen != stored and not _made_at_load(pool, served):
        return _to_fill_in(served, f"{chosen.name} ")
    form = f"{stored.name} " if stored and stored != _own(served) else ""
    return _repository(served) or _to_fill_in(served, form)


def _to_fill_in(served: Model, form: str) -> str:
    return f"<a {form}checkpoint of {_base(served) or served.name}>"


def served_name(pool: Pool, served: Model) -> str:
    """The name under which a server answers: that of its checkpoint."""
    return checkpoint_of(pool, served)


def _made_at_load(pool: Pool, served: Model) -> bool:
    """Whether the engine makes the chosen format of the checkpoint's own weights."""
    return (
        pool.quantization is not None
        and served.quantization is None
        and pool.quantization.name in {*_AT_LOAD, *_DTYPES}
    )


def _repository(served: Model) -> str:
    """The checkpoint as it was named, "" where the name that was written is none that an engine can
    load."""
    written = served.checkpoint
    if written and is_path(written):
        return _folder(Path(written))
    if "/" in written:
        return written
    return _base(served) if served.quantization == _own(served) else ""


def _folder(path: Path) -> str:
    """The folder of a checkpoint, or of its config.json, as it is shown; "" for another file."""
    if path.name == "config.json":
        return shown_path(path.parent, Path.cwd())
    return shown_path(path, Path.cwd()) if path.is_dir() else ""


def _base(served: Model) -> str:
    """The repository that the catalog's entry was read from."""
    try:
        source = catalog_model(served.name).source
    except UnknownName:
        return ""
    if not source.startswith(_HUB):
        return ""
    owner_and_name = "/".join(source.removeprefix(_HUB).split("/")[:2])
    return owner_and_name.rstrip(",").split(" ")[0]


def _own(served: Model) -> Any:
    """The quantization that the catalog's own checkpoint of it has."""
    try:
        return catalog_model(served.name).quantization
    except UnknownName:
        return None


def _forms(pool: Pool, served: Model) -> dict[str, str]:
    """`quantization` and `dtype` where the engine is told of them."""
    chosen = pool.quantization
    if chosen is not None and _made_at_load(pool, served):
        return _form_at_load(chosen.name)
    if served.checkpoint and model(served.checkpoint).dtype != served.dtype:
        return {"dtype": _DTYPES[served.dtype]}
    return {}


def _form_at_load(name: str) -> dict[str, str]:
    return {"dtype": _DTYPES[name]} if name in _DTYPES else {"quantization": _AT_LOAD[name]}


def _given(pool: Pool, plan: MemoryPlan) -> Iterator[tuple[str, Any]]:
    """The arguments that were written and are not their defaults, and the decisive ones as they
    were resolved."""
    for field in dataclasses.fields(EngineArgs):
        value = getattr(plan.args if field.name in _DECISIVE else pool, field.name)
        if value is not None and value != field.default:
            yield field.name, value


def _vllm(pool: Pool, plan: MemoryPlan) -> str:
    given = dict(_given(pool, plan))
    words = ["vllm", "serve", checkpoint_of(pool, plan.model)]
    flags = {**_forms(pool, plan.model), **given}
    if "kv_cache_dtype" in flags:
        flags["kv_cache_dtype"] = _KV_TYPES.get(flags["kv_cache_dtype"], flags["kv_cache_dtype"])
    for name, value in flags.items():
        if name not in _NO_FLAGS:
            words += _flag(name.replace("_", "-"), value)
    high = pool.float32_matmul_precision == "high"
    precision = "VLLM_FLOAT32_MATMUL_PRECISION=high " if high else ""
    return precision + shlex.join([*words, *_json_flags(given)])


def _json_flags(given: dict[str, Any]) -> Iterator[str]:
    """The arguments that vLLM takes as fields of a JSON object."""
    if graphs := {name: _as_vllm(given[name]) for name in _COMPILATION if name in given}:
        yield from ("--compilation-config", json.dumps(graphs))
    if drafting := {theirs: given[ours] for ours, theirs in _DRAFTING.items() if ours in given}:
        yield from ("--speculative-config", json.dumps(drafting))


def _as_vllm(value: Any) -> Any:
    return (
        value.upper()
        if isinstance(value, str)
        else list(value)
        if isinstance(value, tuple)
        else value
    )


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else [f"--no-{name}"]
    if isinstance(value, tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]


def _sglang(pool: Pool, plan: MemoryPlan) -> str:
    given = dict(_given(pool, plan))
    model = ["--model-path", checkpoint_of(pool, plan.model)]
    words = ["python", "-m", "sglang.launch_server", *model]
    if given.pop("enable_expert_parallel", False):
        words += _spread_experts(pool, given)
    if given.pop("enable_prefix_caching", None) is False:
        words.append("--disable-radix-cache")
    if given.pop("async_scheduling", None) is False:
        words.append("--disable-overlap-schedule")
    names = {**_SGLANG, "dtype": "dtype", "quantization": "quantization"}
    return _renamed(words, {**_forms(pool, plan.model), **given}, names)


def _spread_experts(pool: Pool, given: dict[str, Any]) -> list[str]:
    """Expert parallelism: with data-parallel ranks over all their GPUs, which `given` then says."""
    ranks, parallel = pool.data_parallel_size, pool.tensor_parallel_size
    if ranks == 1:
        return ["--ep-size", str(parallel)]
    given["tensor_parallel_size"] = parallel * ranks
    return ["--enable-dp-attention"]


def _trtllm(pool: Pool, plan: MemoryPlan) -> str:
    given = dict(_given(pool, plan))
    words = ["trtllm-serve", checkpoint_of(pool, plan.model)]
    if given.pop("enable_expert_parallel", False):
        words += ["--ep_size", str(pool.tensor_parallel_size)]
    return _renamed(words, {**_forms(pool, plan.model), **given}, _TRTLLM)


def _renamed(words: list[str], given: dict[str, Any], names: dict[str, str]) -> str:
    """A command under an engine's own names, with what it has no flag for in a comment."""
    known = {names[name]: value for name, value in given.items() if name in names}
    for name, value in known.items():
        words += [f"--{name}"] if value is True else _flag(name, value)
    silent = {"memory_used_gib", "fit_max_model_len", *names}
    missing = [f"{name}={value}" for name, value in given.items() if name not in silent]
    comment = f"  # no flag for {', '.join(missing)}" if missing else ""
    return shlex.join(words) + comment
