"""A pasted `vllm serve` line: its model, and its arguments under the names a deployment has them."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from simulator.catalog import models, stanzas
from simulator.catalog.checkpoints import suited
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import NotModelled, SimulatorError, did_you_mean, nearest_names


@dataclass(frozen=True, slots=True)
class ServeLine:
    """What a line says. `arguments` are fields of EngineArgs; `harmless` those that change nothing here, as they were written.

    `quantization` and `dtype` are as written; `engine` where the line names a release, by the tag of an image.
    """

    model: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    engine: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    harmless: tuple[str, ...] = ()


def parse(line: str | Sequence[str], family: str = "vllm") -> ServeLine:
    """A line of `vllm serve`, `python -m vllm.entrypoints.openai.api_server` or `docker run ... vllm/vllm-openai:TAG`, of
    `sglang.launch_server` or `trtllm-serve`, or bare arguments of the server of an engine's `family`.

    Raises SimulatorError for an argument that nobody knows, with the nearest, and for words before
    the program that are none of a shell line; NotModelled for an argument that changes memory in a
    way that has no model here.

    >>> found = parse("vllm serve Qwen/Qwen3-32B-AWQ --tensor-parallel-size 2 --max_model_len 32k --port 8000")
    >>> found.model, found.arguments, found.harmless
    ('Qwen/Qwen3-32B-AWQ', {'tensor_parallel_size': 2, 'max_model_len': 32000}, ('port',))
    """
    words = shlex.split(line.replace("\\\n", " ")) if isinstance(line, str) else list(line)
    words, engine = _without_launcher([word for word in words if word.strip()])
    family = engine if engine in _OTHERS else family
    found: dict[str, Any] = {"engine": engine, "arguments": {}}
    harmless: list[str] = []
    ours = _translated(words, family, harmless) if family in _OTHERS else words
    for name, value in _pairs(ours):
        _take(name, value, found, harmless)
    return ServeLine(**found, harmless=tuple(dict.fromkeys(harmless)))


_OTHERS = ("sglang", "tensorrt-llm")


def _translated(words: list[str], family: str, harmless: list[str]) -> list[str]:
    """The words of another engine's server under the names of vLLM.

    SGLang's attention data parallelism is inside its tensor parallelism: `--tp 8 --dp 8` are 8 GPUs, each with the attention of
    a replica and an eighth of the experts.
    """
    names = stanzas.load_entry("serve_arguments", family)["names"]
    pairs = list(_pairs(words, names))
    inside = any(_SPECIAL.get(name) == "enable_dp_attention" for name, _ in pairs)
    sizes = {names.get(name, name): value for name, value in pairs}
    ranks = int(sizes.get("data_parallel_size") or 1)
    ours: list[str] = []
    for written, value in pairs:
        name = _SPECIAL.get(written, names.get(written, written))
        if name == "not-modelled":
            raise NotModelled(f"--{written.replace('_', '-')} of {family}: not modelled; leave it out to plan without")
        if name == "harmless":
            harmless.append(written)
        elif name == "":
            ours.append(str(value))
        elif name == "enable_dp_attention":
            ours.append("--enable-expert-parallel")
        elif name == "expert_parallel_size":
            ours += ["--enable-expert-parallel"] if value not in (None, "1") else []
        elif name == "disable_radix_cache":
            ours.append("--no-enable-prefix-caching")
        elif name == "disable_overlap":
            ours.append("--no-async-scheduling")
        elif name in _POLICIES:
            ours += _policy(written, name, str(value), family)
        elif name == written and name in set(names.values()) - set(names):
            theirs = next(each for each, meant in names.items() if meant == name)
            raise SimulatorError(
                f"--{written.replace('_', '-')} is an argument of vLLM; {family} has --{theirs.replace('_', '-')}"
            )
        elif name == "tensor_parallel_size" and inside:
            ours.append(f"--{name}={max(1, int(value or 1) // ranks)}")
        else:
            ours.append(f"--{name}" if value is None else f"--{name}={value}")
    return ours


_SPECIAL = {
    "disable_radix_cache": "disable_radix_cache",
    "disable_overlap_schedule": "disable_overlap",
    "disable_overlap_scheduler": "disable_overlap",
    "enable_dp_attention": "enable_dp_attention",
    "enable_attention_dp": "enable_dp_attention",
    "context_chunking_policy": "context_chunking_policy",
}
_POLICIES: dict[str, dict[str, str]] = {
    "scheduling_policy": {"fcfs": "fcfs", "lpm": "lpm"},
    "capacity_scheduler_policy": {"guaranteed_no_evict": "guaranteed_no_evict", "max_utilization": "max_utilization"},
    "context_chunking_policy": {"first_come_first_served": ""},
}


def _policy(written: str, name: str, value: str, family: str) -> list[str]:
    """A policy of another engine's scheduler under our name. Raises NotModelled for one that is not modelled."""
    known = _POLICIES[name]
    if value.lower() not in known:
        ways = ", ".join(known)
        raise NotModelled(f"--{written.replace('_', '-')} {value} of {family}: not modelled; modelled are {ways}")
    ours = known[value.lower()]
    return [f"--{name.replace('_', '-')}={ours}"] if ours else []


_RELEASE = r"\d+(?:\.\d+){2,3}(?:\.?(?:post|rc|dev)\d+)*"


def _without_launcher(words: list[str]) -> tuple[list[str], str | None]:
    """The words behind the program's name or the image, and the release that an image's tag names."""
    start, engine = 0, None
    for index, word in enumerate(words):
        if image := re.fullmatch(rf"(?:\S+/)?vllm(?:-[a-z]+)*:(?:v?({_RELEASE})\S*|(nightly|main)\S*|[a-z]\S*)", word):
            release = image[1] or image[2]
            start, engine = index + 1, f"vllm-{release}" if release else None
        elif word in ("sglang.launch_server", "trtllm-serve"):
            start, engine = index + 1, "sglang" if word.startswith("sglang") else "tensorrt-llm"
        elif word in ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server") or (
            word == "serve" and (start == index or words[index - 1].rsplit("/", 1)[-1] == "vllm")
        ):
            start, engine = index + 1, engine or "vllm"
    _check_before(words[:start])
    return words[start:], engine


_STARTERS = "docker podman nerdctl sudo env exec nohup time numactl taskset srun uv uvx python python3 torchrun ray"


def _check_before(words: list[str]) -> None:
    """Raise SimulatorError where what stands before the server's arguments starts no shell line."""
    first = next((word for word in words if not re.fullmatch(r"\w+=.*", word)), "vllm")
    program = first.rsplit("/", 1)[-1]
    known = program in ("serve", "vllm", "trtllm-serve", "sglang.launch_server", *_STARTERS.split())
    if not known and not program.startswith(("vllm", "python", "sglang")):
        raise SimulatorError(f"{first!r} stands before the server's own line and is no program that starts one; leave it out")


def _pairs(words: list[str], others: Mapping[str, str] = MappingProxyType({})) -> Iterator[tuple[str, str | None]]:
    """(name with underscores, value or None) of each argument; the model stands alone under "". `others`: names of ours by those
    of another engine's server.
    """
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        if not word.startswith("-") or re.fullmatch(r"-\d+(\.\d+)?", word):
            yield "", word
            continue
        written, equals, value = word.lstrip("-").partition("=")
        if short := re.fullmatch(r"O([0-3])", written):
            yield "optimization_level", short[1]
            continue
        name = written.replace("-", "_") if others else _long_name(written)
        if equals:
            yield name, value
        elif _is_switch(others.get(name, name)):
            yield name, None
        else:
            values = []
            while index < len(words) and (not words[index].startswith("-") or re.fullmatch(r"-\d+(\.\d+)?", words[index])):
                values.append(words[index])
                index += 1
                if others.get(name, name) not in _LISTS:
                    break
            yield name, " ".join(values) if values else None


def _long_name(written: str) -> str:
    head, dot, rest = written.partition(".")
    name = head.replace("-", "_")
    return f"{stanzas.load_entry('serve_arguments', 'abbreviations')['names'].get(name, name)}{dot}{rest}"


def _is_switch(name: str) -> bool:
    bare = name.removeprefix("no_")
    kind = _EXACT.get(bare)
    return kind is _switch or (
        kind is None and bare.startswith(("enable_", "disable_", "trust_", "allow_credentials", "headless"))
    )


def _take(name: str, value: str | None, found: dict[str, Any], harmless: list[str]) -> None:
    """Put one argument where it belongs. Raises for one that is unknown, or that has no model."""
    if name == "":
        if found.get("model") is not None:
            raise SimulatorError(f"vllm serve: unexpected word {value!r} behind the model {found['model']!r}")
        found["model"] = value
        return
    bare = name.removeprefix("no_")
    outer, _, inner = bare.partition(".")
    if bare in ("model", "quantization", "dtype"):
        found[bare] = value
    elif inner and outer in _NESTED:
        _nested(outer, {inner: _plain(value)}, found["arguments"])
    elif outer in _NESTED:
        _nested(outer, _mapping(outer, value), found["arguments"])
    elif bare in _EXACT:
        found["arguments"].update(_EXACT[bare](bare, "false" if name != bare else value))
    elif outer in _harmless():
        harmless.append(outer)
    elif reason := stanzas.load_entry("serve_arguments", "not-modelled")["names"].get(outer):
        raise NotModelled(f"--{outer.replace('_', '-')}: {reason}: not modelled; leave it out to plan without")
    elif theirs := _of_other_engines(outer):
        family, ours = theirs
        raise SimulatorError(f"--{outer.replace('_', '-')} is an argument of {family}; vLLM has --{ours.replace('_', '-')}")
    else:
        near = did_you_mean([f"--{each.replace('_', '-')}" for each in nearest_names(outer, _known())])
        raise SimulatorError(f"vllm serve: unknown argument --{outer.replace('_', '-')}{near}")


def _of_other_engines(name: str) -> tuple[str, str] | None:
    """The engine that has an argument of this name, and what vLLM calls it."""
    for family in _OTHERS:
        ours = stanzas.load_entry("serve_arguments", family)["names"].get(name)
        if ours is not None and ours in _EXACT:
            return family, ours
    return None


def _harmless() -> list[str]:
    """Arguments that change nothing here, of every release."""
    entries = (name for name in stanzas.stanzas("serve_arguments") if name.startswith("harmless"))
    return [name for entry in entries for name in stanzas.load_entry("serve_arguments", entry)["names"]]


def _known() -> list[str]:
    listed = [
        *_harmless(),
        *stanzas.load_entry("serve_arguments", "not-modelled")["names"],
    ]
    return [*listed, *_EXACT, *_NESTED, "model", "quantization", "dtype"]


def _switch(name: str, value: str | None) -> dict[str, Any]:
    if value not in (None, "true", "false", "True", "False", "1", "0"):
        raise SimulatorError(f"--{name.replace('_', '-')}: {value!r} is not true or false")
    return {name: value in (None, "true", "True", "1")}


def _whole(name: str, value: str | None) -> dict[str, Any]:
    return {name: whole_number(value or "", name)}


def whole_number(text: str, name: str) -> int:
    """A count as vLLM reads it: `32k` is 32,000, `32K` is 32,768, `1.5M` and so on. Raises SimulatorError for other text."""
    read = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)(?:i?B)?", text.replace(",", "").replace("_", ""))
    if read is None:
        raise SimulatorError(f"--{name.replace('_', '-')}: {text!r} is not a number such as 32768, 32k or 32K")
    power = "kmgt".find(read[2].lower()) + 1 if read[2] else 0
    return int(float(read[1]) * (1024 if read[2].isupper() else 1000) ** power)


def _length(name: str, value: str | None) -> dict[str, Any]:
    return {"fit_max_model_len": True} if value in ("auto", "-1") else _whole(name, value)


def _share(name: str, value: str | None) -> dict[str, Any]:
    try:
        return {name: float(value or "")}
    except ValueError:
        raise SimulatorError(f"--{name.replace('_', '-')}: {value!r} is not a number") from None


def _word(name: str, value: str | None) -> dict[str, Any]:
    return {name: value}


def _cache_type(name: str, value: str | None) -> dict[str, Any]:
    same = {
        "bfloat16": "bf16",
        "float16": "fp16",
        "half": "fp16",
        "fp8_ds_mla": "fp8",
        "fp8_inc": "fp8",
        "int8_per_token_head": "int8",
    }
    return {name: same.get(value or "", value)}


def _sizes(name: str, value: str | None) -> dict[str, Any]:
    sizes = [int(size) for size in re.findall(r"\d+", value or "")]
    if name == "cuda_graph_sizes" and len(sizes) == 1:
        return {"max_cudagraph_capture_size": sizes[0]}
    return {"cudagraph_capture_sizes": tuple(sizes)}


def _level(name: str, value: str | None) -> dict[str, Any]:
    """-O0 runs eagerly, -O1 captures the pieces alone."""
    level = (value or "").upper().removeprefix("O")
    return {"enforce_eager": True} if level == "0" else {"cudagraph_mode": "piecewise"} if level == "1" else {}


_NESTED = ("compilation_config", "limit_mm_per_prompt", "mm_processor_kwargs", "speculative_config")
_LISTS = ("cudagraph_capture_sizes", "cuda_graph_sizes", "allowed_origins", "served_model_name", "lora_modules", "middleware")
_EXACT: dict[str, Callable[[str, str | None], dict[str, Any]]] = {
    **dict.fromkeys(
        ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "decode_context_parallel_size", "max_num_seqs",
         "max_num_batched_tokens", "block_size", "kv_cache_memory_bytes", "num_gpu_blocks_override", "max_num_partial_prefills",
         "long_prefill_token_threshold", "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs",
         "max_num_queued_tokens", "prefill_schedule_interval", "max_cudagraph_capture_size", "spec_tokens", "max_loras",
         "max_lora_rank", "max_cpu_loras", "api_server_count", "stream_interval"), _whole,
    ),
    **dict.fromkeys(
        ("enforce_eager", "enable_expert_parallel", "enable_prefix_caching", "enable_chunked_prefill", "async_scheduling",
         "scheduler_reserve_full_isl", "long_prefill_token_threshold_adaptive", "language_model_only", "skip_mm_profiling",
         "enable_sleep_mode", "enable_lora", "disable_hybrid_kv_cache_manager", "fully_sharded_loras",
         "data_parallel_external_lb"), _switch,
    ),
    **dict.fromkeys(
        ("scheduling_policy", "capacity_scheduler_policy", "mamba_cache_dtype", "mamba_ssm_cache_dtype", "mamba_cache_mode",
         "mm_encoder_tp_mode", "spec_method", "spec_model"), _word,
    ),
    "moe_backend": lambda name, value: {name: (value or "").replace("-", "_")},
    "gpu_memory_utilization": _share,
    "watermark": _share,
    "spec_acceptance_length": _share,
    "spec_acceptance_rates": lambda name, value: {name: tuple(_share(name, each)[name] for each in (value or "").split(","))},
    "schedule_conservativeness": _share,
    "max_prefill_tokens": _whole,
    "scheduler_recv_interval": _whole,
    "max_model_len": _length,
    "kv_cache_dtype": _cache_type,
    "cudagraph_capture_sizes": _sizes,
    "cuda_graph_sizes": _sizes,
    "optimization_level": _level,
    "enable_cumem_allocator": lambda _, value: _switch("enable_sleep_mode", value),
    "enable_multimodal_encoder_data_parallel": lambda _, value: {"mm_encoder_tp_mode": "data"},
}  # fmt: skip


def _nested(name: str, given: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Arguments that are objects: `{"image": 0}`, or `--name.image 0`."""
    if name == "compilation_config":
        arguments |= _compilation(given)
    elif name == "speculative_config":
        arguments |= speculation_in(given)
    elif name == "limit_mm_per_prompt":
        counts = {key: value.get("count", 999) if isinstance(value, dict) else value for key, value in given.items()}
        arguments[name] = {**arguments.get(name, {}), **counts}
    else:
        arguments[name] = {**arguments.get(name, {}), **given}


SPECULATION = {
    "method": "spec_method",
    "num_speculative_tokens": "spec_tokens",
    "model": "spec_model",
    "synthetic_acceptance_length": "spec_acceptance_length",
    "synthetic_acceptance_rates": "spec_acceptance_rates",
}
"""Fields of vLLM's speculative config that are honored, and what they are called here."""

_NO_MATTER = (
    "rejection_sample_method", "draft_tensor_parallel_size", "prompt_lookup_max", "prompt_lookup_min", "revision", "quantization",
    "attention_backend", "draft_sample_method", "use_local_argmax_reduction", "disable_padded_drafter_batch", "enforce_eager",
    "max_model_len", "code_revision", "moe_backend", "target_model_config", "draft_model_config", "num_lookahead_slots",
    "suffix_decoding_max_tree_depth", "suffix_decoding_max_cached_requests", "suffix_decoding_max_spec_factor",
    "suffix_decoding_min_token_prob",
)  # fmt: skip


def speculation_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a speculative config states.

    Raises NotModelled for a number of tokens by batch size, SimulatorError for a field that nobody knows.
    """
    for name in given:
        if name in SPECULATION or name in _NO_MATTER:
            continue
        if name in ("num_speculative_tokens_per_batch_size", "speculative_token_tree", "parallel_drafting"):
            raise NotModelled(f"speculative_config.{name}: not modelled; leave it out to plan without")
        near = did_you_mean(nearest_names(name, [*SPECULATION, *_NO_MATTER]))
        raise SimulatorError(f"speculative_config: unknown field {name!r}{near}")
    found = {SPECULATION[name]: value for name, value in given.items() if name in SPECULATION}
    if isinstance(rates := found.get("spec_acceptance_rates"), list):
        found["spec_acceptance_rates"] = tuple(rates)
    return found


def _compilation(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "cudagraph_mode" in given:
        found["cudagraph_mode"] = str(given["cudagraph_mode"]).rsplit(".", 1)[-1].lower()
    if "cudagraph_capture_sizes" in given:
        found["cudagraph_capture_sizes"] = tuple(given["cudagraph_capture_sizes"])
    if "custom_ops" in given:
        found["custom_ops"] = tuple(given["custom_ops"])
    if "max_cudagraph_capture_size" in given:
        found["max_cudagraph_capture_size"] = given["max_cudagraph_capture_size"]
    return found


def _mapping(name: str, value: str | None) -> dict[str, Any]:
    """An object written as JSON, or `image=4,video=0`; a compilation level alone says nothing of graphs."""
    text = (value or "").strip()
    if name == "compilation_config" and re.fullmatch(r"\d", text):
        return {"cudagraph_mode": "none"} if text == "0" else {}
    try:
        read = json.loads(text)
    except ValueError:
        pairs = [pair.partition("=") for pair in text.split(",")]
        if not all(equals for _, equals, _ in pairs):
            raise SimulatorError(f"--{name.replace('_', '-')}: {text!r} is no JSON object") from None
        read = {key.strip(): _plain(each) for key, _, each in pairs}
    if not isinstance(read, dict):
        raise SimulatorError(f"--{name.replace('_', '-')}: {text!r} must be a JSON object")
    return read


def _plain(value: str | None) -> Any:
    try:
        return json.loads(value or "")
    except ValueError:
        return value


def model_of(line: ServeLine) -> Model:
    """The model of a line, loaded in the type that its dtype names. Raises SimulatorError for a dtype that vLLM does not know."""
    assert line.model is not None
    found = models.model(line.model)
    if line.dtype in (None, "auto"):
        return found
    known: dict[str | None, Literal["bf16", "fp16", "fp32"]] = {
        "bfloat16": "bf16", "half": "fp16", "float16": "fp16", "float": "fp32", "float32": "fp32",
    }  # fmt: skip
    if line.dtype not in known:
        raise SimulatorError(f"--dtype: {line.dtype!r} is not known; vLLM has auto, {', '.join(str(name) for name in known)}")
    return dataclasses.replace(found, dtype=known[line.dtype])


def quantization_in(line: ServeLine, model: Model) -> Quantization | None:
    """The quantization of a line: the checkpoint's own where it has one, else what --quantization makes of it when it is loaded.

    Raises NotModelled for a method whose format neither it nor the repository's name tells.
    """
    if line.quantization in (None, "None") or model.quantization is not None:
        return None
    method = str(line.quantization).lower()
    if method in _UNTOLD:
        raise NotModelled(
            f"--quantization {method} says how a checkpoint is packed, not in which format; the name {line.model!r} does not "
            "either: give the path of its config.json, or -q (`sim catalog quantizations`)"
        )
    return suited(quantization(_METHODS.get(method, method)), model)


_UNTOLD = ("compressed-tensors", "modelopt", "modelopt_mixed", "quark", "torchao", "inc", "gguf", "auto-round", "auto_round")
_METHODS = {"awq_marlin": "awq-int4", "gptq_marlin": "gptq-int4", "modelopt_fp4": "nvfp4", "bitsandbytes": "bnb-nf4"}


def fields_of(line: ServeLine) -> dict[str, Any]:
    """The fields of a deployment that a line states. Raises as model_of and quantization_in do."""
    stated: dict[str, Any] = dict(line.arguments)
    if line.model is not None:
        served = model_of(line)
        stated |= {"model": served}
        if (made := quantization_in(line, served)) is not None:
            stated["quantization"] = made
    elif line.quantization is not None or line.dtype is not None:
        raise SimulatorError("serve: --quantization and --dtype need the model in the line; or give `quantization:` beside it")
    return stated
