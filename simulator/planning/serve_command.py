"""Wording: a deployment and its demand in words, and what was filled in for the reader."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.catalog.engines import EngineArgs
from simulator.catalog.frontends import frontend_costs
from simulator.latency.client import FrontEnd
from simulator.latency.sampling import Sampling
from simulator.scenario import Deployment, Pool, Scenario
from simulator.text import number, plural
from simulator.workload.requests import Requests
from simulator.workload.workload import Workload

# Tokens a second from which one API server may not keep up, where TTFT of AccelMark's V1 runs on
# A100, whose client shares a machine with it, left ours behind; and what that of vLLM 0.30 streamed
# on H100 (silybench-data).
STREAMED_PER_S, STREAMED_AT_BEST = 7_000, 14_500
NOT_MODELLED = (
    "the network between client and server, and clients that disconnect",
    "a client that is itself the bottleneck, and the API servers of TensorRT-LLM and vLLM V0",
    "structured output and multi-modal inputs; LoRA adapters beside speculative decoding, pipeline "
    "stages, pools and other engines than vLLM's V1",
    "KV cache that is moved to CPU memory or disk; between a prefill and a decode pool transfers "
    "that fail, and those that overlap with the prompt's computation",
    "the start of replicas that all serve from the first request to the last",
    "other programs on the same GPUs, and clocks lowered by heat or power limits",
)


def title(deployment: Deployment, quantization: str) -> str:
    """A deployment by what it runs on: `2 x h100-sxm, fp8`."""
    if deployment.apart:
        prefill, decode = deployment.pools
        return f"{pool_title(prefill)} + {pool_title(decode)}, {quantization}"
    return f"{deployment.gpus} x {deployment.pool.gpu.name}, {quantization}"


def pool_title(pool: Pool) -> str:
    """A pool by what it runs on: `2 x h100-sxm`."""
    return f"{pool.gpus} x {pool.gpu.name}"


def wording(deployment: Deployment) -> str:
    """How the GPUs are used, never a bare number: `40 GPUs = 5 replicas x TP 8`."""
    if deployment.apart:
        prefill, decode = deployment.pools
        return f"prefill: {pool_wording(prefill)}; decode: {pool_wording(decode)}"
    return pool_wording(deployment.pool)


def pool_wording(d: Pool) -> str:
    """How the GPUs of a pool are used: `40 GPUs = 5 replicas x TP 8`."""
    sizes = {
        "TP": d.tensor_parallel_size,
        "PP": d.pipeline_parallel_size,
        "DP": d.data_parallel_size,
    }
    split = " x ".join(f"{name} {size}" for name, size in sizes.items() if size > 1) or "1 GPU"
    return f"{plural(d.gpus, 'GPU')} = {plural(d.replicas, 'replica')} x {split}"


def demand(scenario: Scenario, requests: Requests) -> str:
    """What is asked, in a sentence."""
    prompt, output = requests.prompt_tokens.mean(), requests.output_tokens.mean()
    lengths = f"{prompt:,.0f} prompt and {output:,.0f} output tokens on average"
    return f"{plural(len(requests), 'request')}, {_pace(scenario.workload)}, {lengths}"


def _pace(workload: Workload) -> str:
    loop, rate = workload.closed_loop, workload.mean_rate()
    if loop is not None:
        each = "each " if loop.concurrency > 1 else ""
        return f"{plural(loop.concurrency, 'user')}, one request {each}at a time"
    return "all at once" if rate is None else f"{number(rate)} requests/s ({_pattern(workload)})"


def _pattern(workload: Workload) -> str:
    if workload.apart:
        return "each class at times of its own"
    return "as recorded" if workload.arrivals is None else workload.arrivals.kind.replace("_", " ")


def defaults(scenario: Scenario, resolved: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What defaults filled in: the engine's, `max_num_seqs = 256 (vllm-0.19.0)`, by deployment
    where they differ; how answers are sampled; the client's.

    `resolved`: the arguments each deployment runs with, by its name.
    """
    asked = {d.name: d.pool.engine_args() for d in scenario.deployments}
    lines = []
    for f in dataclasses.fields(EngineArgs):
        given = {name for name in resolved if getattr(asked[name], f.name) is not None}
        values = {name: args[f.name] for name, args in resolved.items() if name not in given}
        filled = {name: value for name, value in values.items() if value is not None}
        if filled:
            shown = _by_value(filled, len(resolved))
            lines.append(f"{f.name} = {shown} ({scenario.engine.name})")
    at_client = scenario.measured_at == "client"
    if scenario.sampling == Sampling():
        lines.append("sampling: greedy (temperature 0)")
    return (*lines, *(_client_defaults(scenario) if at_client else ()))


def _client_defaults(scenario: Scenario) -> Iterator[str]:
    """What the client's front end and the API server are taken to cost where nobody says it."""
    usual, client = FrontEnd(), scenario.frontend
    if client == usual:
        fixed, prompt = f"{usual.fixed_ms:g} ms", f"{usual.prompt_token_us:g} us a prompt token"
        yield f"frontend: {fixed} and {prompt} on the way to a first token"
    costs = frontend_costs(scenario.engine, client.endpoint)
    if client.queue and costs and client.request_ms is client.chunk_us is None:
        each = f"{costs.request_ms:g} ms a request and {costs.chunk_us:g} us a chunk of output"
        yield f"API server: {each} ({scenario.engine.name}, {client.endpoint})"


def _by_value(filled: Mapping[str, Any], everyone: int) -> str:
    """`256`, or `256 and 1024 (H100)` where it is not the same for all: the most frequent without
    names."""
    common, *others = Counter(filled.values()).most_common()
    names = {
        value: [name for name, its in filled.items() if its == value] for value in filled.values()
    }
    whose = "" if len(filled) == everyone or others else f" ({', '.join(names[common[0]])})"
    return " and ".join(
        [f"{common[0]}{whose}", *(f"{value} ({', '.join(names[value])})" for value, _ in others)]
    )
