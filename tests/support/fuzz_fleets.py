"""Deployments that nobody should have written: pools, links, routing, routers, autoscalers, faults, cold starts, drafts."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

from support.spoiling import as_yaml, changed, spoilt

WORK: dict[str, Any] = {
    "arrivals": "6/s",
    "prompt": {"kind": "uniform", "min": 20, "max": 300},
    "output": {"kind": "uniform", "min": 2, "max": 30},
    "requests": 40,
}
CLASSES: dict[str, Any] = {
    "arrivals": "6/s",
    "requests": 40,
    "max_concurrency": 20,
    "classes": [
        {"name": "a", "share": 2, "prompt": 100, "output": 10, "slo": {"ttft": "1s"}, "priority": 1},
        {"name": "b", "dataset": "sharegpt", "correlation": 0.4},
    ],
}
POOL: dict[str, Any] = {"gpu": "h100-sxm", "max_model_len": 4096}
ROUTERS: list[Any] = [
    "round_robin",
    "least_outstanding",
    {"kind": "least_kv_use"},
    {"kind": "power_of_two_choices"},
    {"kind": "session_affinity"},
    {"kind": "prefix_affinity", "threshold": 0.3, "ratio": 1.5},
    {"kind": "llm-d", "queue": 1.0, "kv_cache": 1.0, "prefix": 2.0, "threshold": 64, "most_blocks": 64},
]
SCALERS: list[Any] = [
    {"kind": "hpa", "metric": "running", "target": 4, "min_replicas": 1, "max_replicas": 4, "interval_s": 1, "tolerance": 0.1,
     "stabilization_s": "20s", "most_added": 2},
    {"kind": "keda", "metric": "waiting", "target": 2, "max_replicas": 3, "interval_s": "1s", "cooldown_s": 5},
    {"kind": "schedule", "hours": [{"from_s": "0h", "replicas": 1}, {"from_s": 4, "replicas": 3}], "interval_s": "2s"},
]  # fmt: skip
FAULTS: list[Any] = [
    {"kind": "outage", "at_s": "2s", "replicas": [0], "detected_after_s": 1, "restart_after_s": "1s", "restart": True},
    {"kind": "outage", "at_s": 1, "replicas": [0, 1], "notice_s": "2s", "restart": False},
    {"kind": "random", "mtbf_s": "8s", "together": 1, "notice_s": 1, "detected_after_s": 0.5, "restart_after_s": 2},
    {"kind": "roll_out", "at_s": "1s", "at_once": 1, "drain_s": 3},
]
DRAFTS: list[Any] = [
    {"method": "eagle3", "num_speculative_tokens": 3, "synthetic_acceptance_length": 2.6},
    {"method": "ngram", "num_speculative_tokens": 2, "synthetic_acceptance_rates": [0.5, 0.2], "prompt_lookup_max": 4},
    {"model": "llama-3.2-1b", "num_speculative_tokens": 3, "method": "draft_model", "synthetic_acceptance_length": 3},
]
LINKS: list[Any] = ["rdma-400g", {"kind": "tcp-200g", "gb_per_s": 3, "efficiency": 0.8, "latency_us": 50}]
ROUTING: dict[str, Any] = {"decode_first": True, "local_below": 64, "most_waiting": 3}
ENGINES = ("vllm-0.33.0", "vllm-0.33.0", "vllm-0.33.0", "vllm-0.19.0", "sglang", "tensorrt-llm", "vllm-0.9.0")
ARGUMENTS: dict[str, Any] = {
    "scheduling_policy": "priority", "max_num_queued_reqs": 5, "watermark": 0.01, "max_num_seqs": 16, "block_size": 16,
    "enable_prefix_caching": False, "enable_chunked_prefill": False, "long_prefill_token_threshold": 64,
    "kv_cache_memory_bytes": 2147483648, "num_gpu_blocks_override": 900, "cudagraph_capture_sizes": [1, 2, 4],
    "data_parallel_size": 2, "decode_context_parallel_size": 1, "stream_interval": 2,
    "gpu_memory_usage": "90%", "price": "$2/h", "tp": 1, "limit_mm_per_prompt": {"image": 1}, "async_scheduling": True,
    "api_server_count": 2, "memory_used_gib": 1.5, "host": {"slowness": 1.2, "step_us": 90}, "link_gb_per_s": 50,
    "max_num_scheduled_tokens": 512, "prefill_schedule_interval": 2, "data_parallel_external_lb": True,
}  # fmt: skip


def draw_fleet(rng: random.Random, folder: Path) -> tuple[str, ...]:
    """A scenario of one deployment with all that can stand around its engines, a few places changed."""
    deployment = _apart(rng) if rng.random() < 0.4 else {"name": "one", **_pool(rng), **_drafts(rng), **_lives(rng)}
    tree: dict[str, Any] = {
        "name": "case",
        "model": rng.choice(("llama-3.1-8b", "llama-3.1-8b", "qwen3-8b")),
        "engine": {"version": rng.choice(ENGINES)},
        "workload": copy.deepcopy(rng.choice((WORK, WORK, CLASSES))),
        "slo": {"ttft": "1s", "tpot_s": 0.05, "percentile": 95, "goodput": "99%"},
        "deployments": [deployment],
    }
    if rng.random() < 0.3:
        tree["sampling"] = {"temperature": 0.7, "top_k": 20, "top_p": 0.9}
    if rng.random() < 0.1:
        deployment |= {"pipeline_parallel_size": 2} if "gpu" in deployment else {}
    if rng.random() < 0.1:
        tree["prices"] = {"usd_per_kwh": 0.2, "usd_per_gpu_hour": {"h100-sxm": 2}}
    inside = changed(rng, deployment) if rng.random() < 0.8 else deployment
    tree["deployments"] = [inside]
    if inside is deployment:
        tree = changed(rng, tree)
    path = folder / "case.yaml"
    path.write_bytes(spoilt(rng, as_yaml(tree)))
    if rng.random() < 0.05:
        return ("size", str(path), "--json", "--workers", "1", "--max-replicas", "3")
    return rng.choice(
        (
            ("check", str(path)),
            ("run", str(path), "--no-report", "--no-limits", "--json"),
            ("run", str(path), "--no-report", "--no-limits", "--json"),
        )
    )


def _pool(rng: random.Random) -> dict[str, Any]:
    pool = copy.deepcopy(POOL) | {"replicas": rng.choice((2, 2, 3))}
    if rng.random() < 0.5:
        pool["router"] = copy.deepcopy(rng.choice(ROUTERS))
    for name in rng.sample(list(ARGUMENTS), rng.choice((0, 0, 1, 2))):
        pool[name] = copy.deepcopy(ARGUMENTS[name])
    return pool


def _drafts(rng: random.Random) -> dict[str, Any]:
    return {"speculative_config": copy.deepcopy(rng.choice(DRAFTS))} if rng.random() < 0.3 else {}


def _lives(rng: random.Random) -> dict[str, Any]:
    lives: dict[str, Any] = {}
    if rng.random() < 0.5:
        lives["autoscaler"] = copy.deepcopy(rng.choice(SCALERS))
    if rng.random() < 0.5:
        lives["faults"] = copy.deepcopy(rng.sample(FAULTS, rng.choice((1, 2))))
    if lives and rng.random() < 0.7:
        lives["cold_start"] = {"node_s": 1, "image_s": "1s", "weights_gb_per_s": 20.0, "engine_s": 1, "compiled": True}
        lives |= {"retries": 1, "drain_s": "2s"}
    return lives


def _apart(rng: random.Random) -> dict[str, Any]:
    between: dict[str, Any] = {"link": copy.deepcopy(rng.choice(LINKS))} if rng.random() < 0.7 else {}
    if rng.random() < 0.4:
        between["routing"] = copy.deepcopy(ROUTING)
    return {"name": "two pools", "prefill": _pool(rng), "decode": _pool(rng), **between}
