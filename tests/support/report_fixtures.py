"""Runs to draw: results put together by hand around traces of the real engine, from the ordinary to the awkward."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.error_bands import ErrorBand
from simulator.latency.step import StepTime
from simulator.results.bottleneck import bottleneck
from simulator.results.metrics import measure, measured_window, window_latencies
from simulator.results.model import (
    Cost,
    CurvePoint,
    DeploymentResult,
    Estimate,
    Memory,
    OomPoint,
    RunResult,
    WorkloadSummary,
)
from simulator.results.recommend import recommend
from simulator.results.slo import Promise, PromisedLatency, check_slo, promised_latencies
from simulator.results.steady_state import judge
from simulator.workload.requests import Requests
from simulator.workload.slo import Slo

GIB = 2.0**30
SLO = Slo(ttft_s=1.0, tpot_s=0.05, goodput=0.95)
# name: title, GPUs, GiB of the card, weights GiB, seconds of a decode step, seconds a prompt token, $ per GPU-hour
CARDS = {
    "l4-awq": ("1 x L4, awq-int4", 1, 22.05, 5.4, 24e-3, 1.9e-4, 0.80),
    "rtx-4090": ("1 x RTX 4090, bf16", 1, 23.52, 14.99, 17e-3, 5.6e-5, 0.74),
    "l40s-fp8": ("1 x L40S, fp8", 1, 44.39, 8.5, 12e-3, 4.0e-5, 1.09),
    "a100": ("1 x A100 80GB SXM, bf16", 1, 79.25, 14.99, 9.5e-3, 5.9e-5, 2.79),
    "h100": ("1 x H100 SXM, bf16", 1, 79.18, 14.99, 6.3e-3, 2.5e-5, 3.99),
}


def step_time(decode_s: float, prompt_token_s: float) -> StepTime:
    """A step of `decode_s` at least, and `prompt_token_s` a token once that is longer."""
    tokens = np.maximum(decode_s, np.arange(8193) * prompt_token_s)
    return StepTime(tokens, np.full(1025, 2e-4), 1e-5, 2e-9, 1e-10, 5e-4)


def requests(count: int, rate_per_s: float, seed: int = 1) -> Requests:
    """Poisson arrivals, log-normal lengths of a chat."""
    rng = np.random.default_rng(seed)
    prompts, outputs = rng.lognormal(5.6, 0.9, count), rng.lognormal(4.3, 0.8, count)
    return Requests(
        np.cumsum(rng.exponential(1 / rate_per_s, count)),
        np.clip(prompts, 8, 4000).astype(np.int64),
        np.clip(outputs, 1, 800).astype(np.int64),
    )


@cache
def trace(decode_s: float, prompt_token_s: float, kv_blocks: int, count: int, rate_per_s: float) -> RunRecord:
    """The engine's log of one replica under this load."""
    return serve(requests(count, rate_per_s), [(step_time(decode_s, prompt_token_s), limits(kv_blocks))])


def limits(kv_blocks: int) -> SchedulerConfig:
    """A small server's limits, so that short runs meet them."""
    return SchedulerConfig(kv_blocks=kv_blocks, max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=8192)


def memory(name: str, total_gib: float, weights_gib: float) -> Memory:
    """A memory plan of Llama-3.1-8B; what is left over after weights and overheads is KV cache."""
    total, reserved = total_gib * GIB, 0.9 * total_gib * GIB
    kv = reserved - (weights_gib + 1.6) * GIB
    tokens = max(int(kv // 131072) // 16 * 16, 0)
    args = {"max_model_len": 8192, "max_num_seqs": 64, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.9}
    return Memory(
        model="llama-3.1-8b",
        quantization="bf16",
        gpu=name,
        engine="vllm-0.19.0",
        args=args,
        total_bytes=total,
        reserved_bytes=reserved,
        weights_bytes=weights_gib * GIB,
        weights_by_format={"bf16": weights_gib * GIB},
        activation_bytes=0.9 * GIB,
        non_torch_bytes=0.25 * GIB,
        cuda_graph_bytes=0.45 * GIB,
        cuda_graph_deducted=True,
        kv_cache_bytes=kv,
        kv_cache_low_bytes=kv - 0.4 * GIB,
        kv_cache_high_bytes=kv + 0.3 * GIB,
        kv_bytes_per_token=131072.0,
        num_gpu_blocks=tokens // 16,
        kv_tokens=tokens,
        max_concurrency=tokens / 8192,
        outcome="starts" if kv > 0 else "no_kv_blocks",
    )


def curve(capacity_per_s: float, decode_s: float, prompt_token_s: float) -> tuple[CurvePoint, ...]:
    """Latency that climbs towards a capacity, and no latency beyond it."""
    rows = []
    for rate in np.linspace(0.1, 1.5, 8) * capacity_per_s:
        load = rate / capacity_per_s
        done = min(rate, capacity_per_s)
        flow = {"requests_per_s": done, "output_tokens_per_s": done * 100, "total_tokens_per_s": done * 510}
        if load >= 1:
            rows.append(CurvePoint(float(rate), "overloaded", **flow, running_mean=64.0, kv_use_mean=0.97))
            continue
        swell = 1 + load**4 / (1.02 - load)
        tpot, ttft = decode_s * swell**0.5, (500 * prompt_token_s + decode_s) * swell
        rows.append(
            CurvePoint(
                float(rate),
                "saturated" if load > 0.93 else "stable",
                **flow,
                goodput_per_s=done * (0.99 if ttft < 0.5 else 0.6),
                ttft_p50_s=ttft,
                ttft_p99_s=4 * ttft,
                tpot_p50_s=tpot,
                tpot_p99_s=1.6 * tpot,
                e2e_p50_s=ttft + 80 * tpot,
                e2e_p99_s=4 * ttft + 400 * tpot,
                running_mean=done * 100 * tpot,
                waiting_mean=load**8 * 20,
                kv_use_mean=load * 0.7,
                slo_met=4 * ttft < 1 and 1.6 * tpot < 0.05,
                promised=(
                    PromisedLatency("", "ttft", 99.0, 1.0, ttft, 4 * ttft, 3 * ttft, 5 * ttft),
                    PromisedLatency("", "tpot", 99.0, 0.05, tpot, 1.6 * tpot, 1.4 * tpot, 1.8 * tpot),
                    PromisedLatency("", "e2e", 99.0, None, ttft + 80 * tpot, 4 * ttft + 400 * tpot),
                ),
            )
        )
    return tuple(rows)


def served(name: str, rate_per_s: float = 9.0, count: int = 900) -> DeploymentResult:
    """One card of CARDS under this load."""
    title, gpus, total_gib, weights_gib, decode_s, prompt_token_s, price = CARDS[name]
    mem = memory(name, total_gib, weights_gib)
    log = trace(decode_s, prompt_token_s, mem.num_gpu_blocks, count, rate_per_s)
    calm = judge(log, open_loop=True)
    part = measured_window(log, gpus=gpus, kv_blocks=mem.num_gpu_blocks, promises=(Promise(SLO),), warmup_s=calm.warmup_s)
    steady = calm.verdict != "overloaded"
    metrics = measure(part, steady=steady)
    capacity = 1 / (390 * prompt_token_s + 2.5 * decode_s)
    busy = {"bandwidth": 60.0, "compute": 25.0, "overhead": 8.0}
    output = metrics["output_tokens_per_s"] or 1.0
    return DeploymentResult(
        name=name,
        title=title,
        wording=f"{gpus} GPU = 1 replica x TP 1",
        gpu=name,
        gpus=gpus,
        replicas=1,
        verdict=calm.verdict,
        reason=f"the backlog changes by {calm.drift_per_s:+.2f} requests/s",
        memory=mem,
        remedies=("2 replicas: 2x the throughput",) if not steady else (),
        metrics=metrics,
        slo=check_slo((Promise(SLO),), window_latencies(part) if steady else None),
        promised=promised_latencies((Promise(SLO),), window_latencies(part) if steady else None),
        binding=bottleneck(log, limits(mem.num_gpu_blocks), busy),
        queueing_point=Estimate(capacity, 0.96 * capacity, 1.04 * capacity),
        slo_capacity=Estimate(0.8 * capacity, 0.77 * capacity, 0.83 * capacity),
        ceiling_per_s=1.05 * capacity,
        oom_point=OomPoint(mem.kv_tokens, mem.kv_tokens / 510, 510.0),
        curve=curve(capacity, decode_s, prompt_token_s),
        step_seconds={"GEMM": 55.0, "attention": 12.0, "all-reduce": 0.0, "sampling": 3.0, "overhead": 8.0},
        cost=Cost(
            gpus * price, price, "Lambda on-demand, secondary", "2026-09-26", price / 3.6e-3 / output, price / 18e-3 / output
        ),
        error_bands={
            "tpot": ErrorBand(0.88, 1.0, 1.12, "411 published runs, 6 GPUs"),
            "ttft": ErrorBand(0.8, 1.0, 1.3, "the same"),
            "output_tokens_per_s": ErrorBand(0.9, 1.0, 1.11, "the same"),
            "e2e": ErrorBand(0.9, 1.0, 1.13, "the same"),
        },
        serve_command=f"vllm serve meta-llama/Llama-3.1-8B-Instruct --max-model-len 8192 --gpu-memory-utilization 0.9 # {name}",
        extrapolations=("prompts beyond 8,192 tokens were not measured",),
        warmup_s=calm.warmup_s,
        trace=log,
    )


def unfitting(name: str = "t4") -> DeploymentResult:
    """A card too small for the weights."""
    return DeploymentResult(
        name=name,
        title="1 x T4, fp16",
        wording="1 GPU = 1 replica x TP 1",
        gpu="t4",
        gpus=1,
        replicas=1,
        verdict="does not fit",
        reason="weights need 15.0 GiB and 13.1 GiB are reserved",
        memory=memory("t4", 14.56, 14.99),
        remedies=("quantization=awq-int4 leaves 6.9 GiB of KV cache", "tensor_parallel_size=2 leaves 9.3 GiB of KV cache"),
        cost=Cost(0.526, 0.526, "AWS us-east-1 on-demand", "2026-06-01"),
    )


def run(deployments: tuple[DeploymentResult, ...], name: str = "chatbot", rate_per_s: float | None = 9.0) -> RunResult:
    """A run of these deployments."""
    return RunResult(
        name=name,
        description="A chat assistant on Llama-3.1-8B for a few hundred people at a time.",
        created_at="2026-11-24T14:30:00+00:00",
        version="0.1.0",
        seed=0,
        engine="vllm-0.19.0",
        workload=WorkloadSummary(
            "Poisson arrivals, prompts of 390 and answers of 100 tokens on average", 900, rate_per_s, 390.0, 100.0
        ),
        slo=SLO.sentences(),
        deployments=deployments,
        recommendation=recommend(deployments, rate_per_s),
        scenario_yaml=f"name: {name}\nmodel: llama-3.1-8b\n",
        scenario={"name": name, "model": "llama-3.1-8b"},
        command=f"sim run scenarios/{name}.yaml --seed 0",
        not_modelled=("speculative decoding", "disaggregated prefill", "KV offload to CPU memory"),
        defaults=("max_num_seqs=64 (vllm-0.19.0 on GPUs below 70 GiB)",),
    )


@cache
def chatbot() -> RunResult:
    """Five cards that serve and one that does not fit."""
    return run((*(served(name) for name in CARDS), unfitting()))


@cache
def nothing_fits() -> RunResult:
    """No deployment starts."""
    longer = dataclasses.replace(
        unfitting("t4 long"),
        verdict="max_model_len exceeds KV",
        title="1 x T4, awq-int4",
        reason="max_model_len 131,072 needs 16.0 GiB of KV cache and 6.9 GiB are there",
        remedies=("max_model_len=56,512",),
        memory=memory("t4", 14.56, 5.4),
    )
    return run((unfitting(), longer), "nothing-fits")


@cache
def zero_completed() -> RunResult:
    """Every request is longer than max_model_len and refused at the door."""
    asked = dataclasses.replace(requests(20, 4.0), prompt_tokens=np.full(20, 9000))
    log = serve(asked, [(step_time(6e-3, 3e-5), limits(1000))])
    part = measured_window(log, promises=(Promise(SLO),), kv_blocks=1000)
    whole = dataclasses.replace(
        served("h100"),
        trace=log,
        metrics=measure(part),
        slo=check_slo((Promise(SLO),), window_latencies(part)),
        verdict="stable",
        curve=(),
        step_seconds={},
        queueing_point=None,
        slo_capacity=None,
        ceiling_per_s=None,
        reason="all 20 requests were refused: 9,100 tokens exceed max_model_len=8192",
    )
    return run((whole,), "zero-completed")


@cache
def overloaded() -> RunResult:
    """More traffic than either card can take."""
    return run((served("l4-awq", 40.0, 1500), served("rtx-4090", 40.0, 1500)), "overloaded", 40.0)


@cache
def one_request() -> RunResult:
    """A single request on one deployment, without a curve."""
    return run((dataclasses.replace(served("h100", count=1), curve=()),), "one-request")


@cache
def a_day() -> RunResult:
    """The ordinary deployments under traffic that goes from 1 to 17 requests/s and back in a day."""
    ordinary = chatbot()
    rates = tuple((900.0 * i, 9.0 - 8.0 * float(np.cos(2 * np.pi * (i + 0.5) / 96))) for i in range(96))
    return dataclasses.replace(ordinary, name="a-day", workload=dataclasses.replace(ordinary.workload, rates=rates))


@cache
def twenty() -> RunResult:
    """Twenty deployments."""
    names = list(CARDS)
    many = [
        dataclasses.replace(served(names[i % 5]), name=f"{names[i % 5]}-{i}", title=f"{CARDS[names[i % 5]][0]} #{i}")
        for i in range(20)
    ]
    return run(tuple(many), "twenty")


@cache
def awkward_names() -> RunResult:
    """Names of 80 characters, in other scripts, and one that is markup."""
    script = "<script>alert(1)</script>"
    base = served("h100")
    marked = dataclasses.replace(
        base, name=script, title=f"{script} on 1 x H100", memory=dataclasses.replace(base.memory, model=script)
    )
    chinese = dataclasses.replace(
        served("a100"),
        name="生产环境-八卡推理服务器-大型语言模型部署配置",
        title="生产环境-八卡推理服务器-大型语言模型部署配置, bf16",
    )
    arabic = dataclasses.replace(served("l40s-fp8"), name="خادم", title="خادم الاستدلال")
    long = dataclasses.replace(
        served("l4-awq"), name="x" * 80, title="a-deployment-name-of-eighty-characters-without-a-single-space-in-it-1234567890-ab"
    )
    return run((marked, chinese, arabic, long), f"{script} & 'co'")


HARD_CASES = {
    "chatbot": chatbot,
    "nothing-fits": nothing_fits,
    "zero-completed": zero_completed,
    "overloaded": overloaded,
    "one-request": one_request,
    "a-day": a_day,
    "twenty": twenty,
    "awkward-names": awkward_names,
}
