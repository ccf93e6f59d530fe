"""Wording: a deployment in words, the command that serves it, and what was filled in for the reader."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

from simulator.catalog.engines import EngineArgs
from simulator.catalog.frontends import frontend_costs
from simulator.catalog.models import Model
from simulator.latency.client import FrontEnd
from simulator.memory.plan import MemoryPlan
from simulator.scenario import Deployment, Pool, Scenario
from simulator.text import number, plural
from simulator.workload.requests import Requests
from simulator.workload.workload import Workload

_HUB = "https://huggingface.co/"
_AT_LOAD = {"fp8": "fp8", "bnb-nf4": "bitsandbytes", "bnb-int8": "bitsandbytes"}
# Ours alone, or written otherwise: the mode in the compilation config; the longest length that fits by its number.
_NO_FLAGS = {"memory_used_gib", "fit_max_model_len", "cudagraph_mode"}
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

# Tokens a second from which one API server may not keep up, where TTFT of AccelMark's V1 runs on A100, whose client shares a
# machine with it, left ours behind; and what that of vLLM 0.30 streamed on H100 (silybench-data).
STREAMED_PER_S, STREAMED_AT_BEST = 7_000, 14_500
NOT_MODELLED = (
    "the network between client and server, and clients that disconnect",
    "a client that is itself the bottleneck, and the API servers of SGLang, TensorRT-LLM and vLLM V0",
    "speculative decoding, LoRA adapters, structured output and multi-modal inputs",
    "separate prefill and decode servers, and KV cache that is moved to CPU memory or disk",
    "start-up, failures and autoscaling of replicas",
    "other programs on the same GPUs, and clocks lowered by heat or power limits",
)


def title(deployment: Deployment, quantization: str) -> str:
    """A deployment by what it runs on: `2 x h100-sxm, fp8`."""
    return f"{deployment.gpus} x {deployment.pool.gpu.name}, {quantization}"


def wording(deployment: Deployment) -> str:
    """How the GPUs are used, never a bare number: `40 GPUs = 5 replicas x TP 8`."""
    d = deployment.pool
    sizes = {"TP": d.tensor_parallel_size, "PP": d.pipeline_parallel_size, "DP": d.data_parallel_size}
    split = " x ".join(f"{name} {size}" for name, size in sizes.items() if size > 1) or "1 GPU"
    return f"{plural(d.gpus, 'GPU')} = {plural(d.replicas, 'replica')} x {split}"


def demand(scenario: Scenario, requests: Requests) -> str:
    """What is asked, in a sentence."""
    loop, rate = scenario.workload.closed_loop, scenario.workload.mean_rate()
    if loop is not None:
        pace = f"{plural(loop.concurrency, 'user')}, one request {'each ' if loop.concurrency > 1 else ''}at a time"
    else:
        pace = "all at once" if rate is None else f"{number(rate)} requests/s ({_pattern(scenario.workload)})"
    lengths = f"{requests.prompt_tokens.mean():,.0f} prompt and {requests.output_tokens.mean():,.0f} output tokens on average"
    return f"{plural(len(requests), 'request')}, {pace}, {lengths}"


def _pattern(workload: Workload) -> str:
    if workload.apart:
        return "each class at times of its own"
    return "as recorded" if workload.arrivals is None else workload.arrivals.kind.replace("_", " ")


def serve_command(scenario: Scenario, pool: Pool, plan: MemoryPlan) -> str:
    """The `vllm serve` command of one replica with every argument that decides the result; empty for another engine."""
    if scenario.engine.family != "vllm":
        return ""
    words = ["vllm", "serve", _checkpoint(pool, plan.model), *_quantization_flags(pool, plan.model)]
    for name, value in _flags(pool, plan):
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            words += [f"--{flag}", *(str(each) for each in value)]
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return shlex.join(words)


def _checkpoint(pool: Pool, model: Model) -> str:
    source = model.source
    name = "/".join(source.removeprefix(_HUB).split("/")[:2]).rstrip(",") if source.startswith(_HUB) else model.name
    quantization = pool.quantization
    if quantization is None or quantization == model.quantization or quantization.name in {*_AT_LOAD, *_DTYPES}:
        return name
    return f"<a {quantization.name} checkpoint of {name}>"


def _quantization_flags(pool: Pool, model: Model) -> list[str]:
    chosen = pool.quantization
    if chosen is None or chosen == model.quantization:
        return []
    if chosen.name in _DTYPES:
        return ["--dtype", _DTYPES[chosen.name]]
    return ["--quantization", _AT_LOAD[chosen.name]] if chosen.name in _AT_LOAD else []


def _flags(pool: Pool, plan: MemoryPlan) -> list[tuple[str, object]]:
    """What the scenario gives, and the four that decide memory and batching even where they are the engine's defaults."""
    kv = {"bf16": "bfloat16", "fp16": "float16"}
    decisive = {"gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens"}
    pairs: list[tuple[str, object]] = []
    for f in dataclasses.fields(EngineArgs):
        value = getattr(plan.args if f.name in decisive else pool, f.name)
        if value != f.default and value is not None and f.name not in _NO_FLAGS:
            pairs.append((f.name, kv.get(value, value) if f.name == "kv_cache_dtype" else value))
    if pool.cudagraph_mode is not None:
        pairs.append(("compilation_config", {"cudagraph_mode": pool.cudagraph_mode.upper()}))
    return pairs


def defaults(scenario: Scenario, resolved: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What defaults filled in: the engine's, `max_num_seqs = 256 (vllm-0.19.0)`, by deployment where they differ; the client's.

    `resolved`: the arguments each deployment runs with, by its name.
    """
    asked = {d.name: d.pool.engine_args() for d in scenario.deployments}
    lines = []
    for f in dataclasses.fields(EngineArgs):
        filled = {
            n: args[f.name] for n, args in resolved.items() if getattr(asked[n], f.name) is None and args[f.name] is not None
        }
        if filled:
            lines.append(f"{f.name} = {_by_value(filled, len(resolved))} ({scenario.engine.name})")
    usual = FrontEnd()
    if scenario.measured_at == "client" and scenario.frontend == usual:
        lines.append(
            f"frontend: {usual.fixed_ms:g} ms and {usual.prompt_token_us:g} us a prompt token on the way to a first token"
        )
    client, costs = scenario.frontend, frontend_costs(scenario.engine, scenario.frontend.endpoint)
    if scenario.measured_at == "client" and client.queue and costs and client.request_ms is client.chunk_us is None:
        lines.append(
            f"API server: {costs.request_ms:g} ms a request and {costs.chunk_us:g} us a chunk of output "
            f"({scenario.engine.name}, {client.endpoint})"
        )
    return tuple(lines)


def _by_value(filled: Mapping[str, Any], everyone: int) -> str:
    """`256`, or `256 and 1024 (H100)` where it is not the same for all: the most frequent without names."""
    common, *others = Counter(filled.values()).most_common()
    names = {value: [name for name, its in filled.items() if its == value] for value in filled.values()}
    whose = "" if len(filled) == everyone or others else f" ({', '.join(names[common[0]])})"
    return " and ".join([f"{common[0]}{whose}", *(f"{value} ({', '.join(names[value])})" for value, _ in others)])
