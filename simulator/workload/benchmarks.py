"""Benchmarks as workloads: a `vllm bench serve` command line, or an inference-perf configuration."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.errors import NotModelled, ScenarioError
from simulator.numbers import finite_number, integer
from simulator.spec import first_mistake
from simulator.workload.workload import Workload

Fields = dict[str, Any]


def workload_of_command(command: str) -> Workload:
    """The workload that a `vllm bench serve` command sends, with vLLM's defaults for what it leaves out.

    Source: vLLM vllm/benchmarks/serve.py and vllm/benchmarks/datasets (read 2026-11), where `--random-range-ratio r` spreads
    lengths over (1 - r) to (1 + r) times the length. Raises ScenarioError for what is no such command, NotModelled for what
    we cannot send.
    """
    try:
        words = shlex.split(command.replace("\\\n", " "))
    except ValueError as problem:
        raise ScenarioError(f"cannot be read as a command: {problem}") from None
    if not any(word.endswith(("bench", "benchmark_serving.py", "benchmark_serving")) for word in words):
        raise ScenarioError(f"not a vLLM benchmark: '{' '.join(words[:4])}'; expected vllm bench serve --dataset-name random ...")
    options = _options(words)
    if "ramp-up-strategy" in options:
        raise NotModelled(
            "--ramp-up-strategy changes the rate by request number; write arrivals: {kind: ramp, start: ..., end: ..., over: ...}"
        )
    requests = _number(options, "num-prompts", 1000, int)
    arrivals = _arrivals_of(options)
    capped: Fields = {}
    if "max-concurrency" in options and arrivals["kind"] != "closed_loop":
        capped = {"max_concurrency": _number(options, "max-concurrency", 0, int)}
    return _checked({"arrivals": arrivals, **capped, "requests": requests, **_dataset_of(options)})


def workload_of_inference_perf(config: Mapping[str, Any]) -> Workload:
    """The workload of an inference-perf configuration: its `load` and `data` blocks.

    Source: kubernetes-sigs/inference-perf docs/config.md (read 2026-11). Raises ScenarioError for a configuration without them,
    NotModelled for what we cannot send.
    """
    if not isinstance(config.get("load"), Mapping) or not isinstance(config.get("data"), Mapping):
        raise ScenarioError("not an inference-perf configuration: it needs a load and a data block")
    return _checked({**_load_of(config["load"]), **_data_of(config["data"])})


def _options(words: list[str]) -> dict[str, str]:
    """`--name value` and `--name=value` by name; a flag alone is empty."""
    options: dict[str, str] = {}
    for at, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            following = words[at + 1] if at + 1 < len(words) else "--"
            options[name.replace("_", "-")] = value if equals else "" if following.startswith("--") else following
    return options


def _number(options: Mapping[str, str], name: str, default: float, kind: type = float) -> Any:
    text = options.get(name, str(default))
    if kind is int:
        return integer(text, f"--{name}", ScenarioError)
    return math.inf if text == "inf" else finite_number(text, f"--{name}", ScenarioError)


def _arrivals_of(options: Mapping[str, str]) -> Fields:
    rate, burstiness = _number(options, "request-rate", math.inf), _number(options, "burstiness", 1.0)
    if "max-concurrency" in options and math.isinf(rate):
        return {"kind": "closed_loop", "concurrency": _number(options, "max-concurrency", 0, int)}
    if math.isinf(rate):
        return {"kind": "all_at_once"}
    return {"kind": "poisson", "rate": rate} if burstiness == 1 else {"kind": "gamma", "rate": rate, "burstiness": burstiness}


def _dataset_of(options: Mapping[str, str]) -> Fields:
    """What the data set of a benchmark asks for, as fields of a workload."""
    name = options.get("dataset-name", "random")
    if name == "burstgpt" and options.get("dataset-path"):
        return {"trace": options["dataset-path"]}
    if name in _DATASETS:
        return _DATASETS[name](options)
    raise NotModelled(
        f"--dataset-name {name} sends texts whose lengths only its tokenizer knows; give prompt and output lengths instead"
    )


def _random(options: Mapping[str, str]) -> Fields:
    ratio = _number(options, "random-range-ratio", 0.0)
    prompt = _spread(_number(options, "random-input-len", 1024, int), ratio)
    output = _spread(_number(options, "random-output-len", 128, int), ratio)
    return {"prompt": prompt, "output": output, **_prefix(_number(options, "random-prefix-len", 0, int))}


def _prefix_repetition(options: Mapping[str, str]) -> Fields:
    shared = _number(options, "prefix-repetition-prefix-len", 256, int)
    prefixes = _number(options, "prefix-repetition-num-prefixes", 10, int)
    suffix = _number(options, "prefix-repetition-suffix-len", 256, int)
    output = _number(options, "prefix-repetition-output-len", 128, int)
    return {"prompt": suffix, "output": output, **_prefix(shared, prefixes)}


def _sonnet(options: Mapping[str, str]) -> Fields:
    length = _number(options, "sonnet-input-len", 550, int)
    prefix = _number(options, "sonnet-prefix-len", 200, int)
    output = _number(options, "sonnet-output-len", 150, int)
    return {"prompt": length - prefix, "output": output, **_prefix(prefix)}


def _sharegpt(options: Mapping[str, str]) -> Fields:
    if "sharegpt-output-len" not in options:
        return {"dataset": "sharegpt"}
    return {"dataset": "sharegpt", "output": _number(options, "sharegpt-output-len", 0, int)}


def _spec_bench(options: Mapping[str, str]) -> Fields:
    if options.get("spec-bench-category"):
        raise NotModelled("--spec-bench-category takes some of its prompts; give prompt and output lengths instead")
    return {"dataset": "spec_bench", "output": _number(options, "spec-bench-output-len", 256, int)}


_DATASETS: Mapping[str, Callable[[Mapping[str, str]], Fields]] = {
    "random": _random,
    "prefix_repetition": _prefix_repetition,
    "sonnet": _sonnet,
    "sharegpt": _sharegpt,
    "spec_bench": _spec_bench,
}


def _spread(length: int, ratio: float) -> Fields | int:
    if ratio == 0:
        return length
    return {"kind": "uniform", "min": max(1, math.floor(length * (1 - ratio))), "max": math.ceil(length * (1 + ratio))}


def _prefix(tokens: int, groups: int = 1) -> Fields:
    if tokens == 0:
        return {}
    return {"prefix": {"kind": "shared_prefix", "num_groups": groups, "system_prompt_len": tokens}}


def _load_of(load: Mapping[str, Any]) -> Fields:
    kind, stages = str(load.get("type", "constant")).lower(), _stages(load)
    if "sweep" in load:
        raise NotModelled("a load sweep, which finds its rates at run time; write stages with rates")
    if kind == "concurrent":
        if len(stages) != 1:
            raise NotModelled(f"a concurrent load of {len(stages)} stages; take one stage at a time")
        loop = {"kind": "closed_loop", "concurrency": stages[0].get("concurrency_level")}
        return {"arrivals": loop, "requests": stages[0].get("num_requests")}
    if kind not in ("constant", "poisson"):
        raise NotModelled(f"load type {kind}; constant, poisson and concurrent are")
    plain = [{"rate": stage.get("rate"), "duration": stage.get("duration")} for stage in stages]
    return {"arrivals": {"kind": "stages", "stages": plain, "cv": 0.0 if kind == "constant" else 1.0}}


def _stages(load: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stages = load.get("stages") or []
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        raise ScenarioError(f"load.stages is {stages!r:.60}; it must be a list of stages such as {{rate: 2, duration: 60}}")
    return stages


def _data_of(data: Mapping[str, Any]) -> Fields:
    kind = str(data.get("type", "")).lower()
    if kind in ("random", "synthetic"):
        return {"prompt": _distribution(data.get("input_distribution")), "output": _distribution(data.get("output_distribution"))}
    if kind == "sharegpt":
        return {"dataset": "sharegpt"}
    if kind != "shared_prefix":
        raise NotModelled(f"data type {kind or 'none'}; random, synthetic, shared_prefix and shareGPT are")
    shared = data.get("shared_prefix") or {}
    if not isinstance(shared, Mapping):
        raise ScenarioError(f"data.shared_prefix is {shared!r:.60}; it must be a mapping")
    if shared.get("enable_multi_turn_chat"):
        raise NotModelled(
            "shared_prefix with enable_multi_turn_chat; write sessions: {kind: conversation, ...} with a prefix instead"
        )
    prefix = {"kind": "shared_prefix", "system_prompt_len": _distribution(shared.get("system_prompt_len"))}
    prefix |= {name: shared[name] for name in ("num_groups", "num_prompts_per_group") if name in shared}
    question = shared.get("question_distribution") or shared.get("question_len")
    answer = shared.get("output_distribution") or shared.get("output_len")
    return {"prompt": _distribution(question), "output": _distribution(answer), "prefix": prefix}


def _distribution(given: Any) -> Any:
    """A length of inference-perf: a number, or {min, max, mean, std_dev}."""
    if not isinstance(given, Mapping):
        return given
    if given.get("type") == "uniform":
        return {"kind": "uniform", "min": given.get("min"), "max": given.get("max")}
    if given.get("type") not in (None, "normal", "fixed"):
        raise NotModelled(f"a {given.get('type')!s:.40} distribution of inference-perf; normal, uniform and fixed are")
    mean, std = given.get("mean"), given.get("std_dev") or 0
    if std == 0:
        return round(mean) if isinstance(mean, int | float) and math.isfinite(mean) else mean
    return {"kind": "normal", "mean": mean, "std": std, **{bound: given[bound] for bound in ("min", "max") if given.get(bound)}}


def _checked(fields: Fields) -> Workload:
    try:
        workload: Workload = TypeAdapter(Workload).validate_python(fields)
    except ValidationError as problem:
        raise ScenarioError(str(first_mistake(problem))) from None
    return workload
