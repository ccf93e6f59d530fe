"""A run as an llm-d Benchmark Report v0.2, which llm-d's analysis reads beside measured ones.

Source: llm-d/llm-d-benchmark llmdbenchmark/analysis/benchmark_report/schema_v0_2.py (read 2026-11).
"""

from __future__ import annotations

import hashlib
import json
import shlex
import uuid
from typing import Any

import numpy as np

from simulator.results.model import DeploymentResult, RunResult
from simulator.results.tables import Floats
from simulator.results.writers.statistic import RunStatistics, statistics_of, summary

_SHARES = {"p0.1": "p0p1", "p99.9": "p99p9"}


def llmd_report(run: RunResult, d: DeploymentResult) -> dict[str, Any]:
    """The report of one deployment. Raises SimulatorError where nothing ran."""
    s = statistics_of(d)
    return {
        "version": "0.2",
        "run": {"uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run.name}/{d.name}/{run.created_at}/{run.seed}"))},
        "scenario": {"stack": [_engine(run, d)], "load": _load(run, s)},
        "results": {"request_performance": {"aggregate": _aggregate(s)}},
    }


def _engine(run: RunResult, d: DeploymentResult) -> dict[str, Any]:
    args = d.memory.args if d.memory else {}
    sizes = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size"}
    native = {name: value for name, value in args.items() if value not in (None, False, ())}
    standardized = {
        "kind": "inference_engine",
        "tool": run.engine.rsplit("-", 1)[0],
        "tool_version": run.engine,
        "role": "replica",
        "replicas": d.replicas,
        "model": {"name": run.checkpoint_of(d)},
        "accelerator": {
            "model": d.gpu,
            "count": max(1, d.gpus // d.replicas),
            "parallelism": {short: int(args.get(name) or 1) for short, name in sizes.items()},
        },
    }
    return {
        "metadata": {"label": d.name, "cfg_id": _fingerprint(native)},
        "standardized": standardized,
        "native": {"args": _plain(native), "config": shlex.split(d.serve_command, comments=True)},
    }


def _load(run: RunResult, s: RunStatistics) -> dict[str, Any]:
    workload = run.scenario.get("workload") or {}
    load: dict[str, Any] = {
        "tool": "inference-sizing-simulator",
        "tool_version": run.version,
        "source": "random",
        "input_seq_len": _length(s.prompt),
        "output_seq_len": _length(s.output),
    }
    if run.workload.rate_per_s is not None:
        load["rate_qps"] = run.workload.rate_per_s
    if run.workload.concurrency is not None:
        load["concurrency"] = run.workload.concurrency
    return {"metadata": {"cfg_id": _fingerprint(workload)}, "standardized": load, "native": {"config": workload}}


def _length(tokens: Floats) -> dict[str, Any]:
    fixed = float(np.ptp(tokens)) == 0
    bounds = {"min": int(tokens.min()), "max": int(tokens.max())}
    return {"distribution": "fixed" if fixed else "other", "value": float(tokens.mean()), **bounds}


def _aggregate(s: RunStatistics) -> dict[str, Any]:
    latency = {
        "time_to_first_token": _block("s", s.times["ttft"]),
        "time_per_output_token": _block("s/token", s.times["tpot"]),
        "inter_token_latency": _block("s/token", s.itl_s, s.itl_count),
        "request_latency": _block("s", s.times["e2e"]),
    }
    return {
        "requests": {
            "total": s.total,
            "failures": s.total - s.finished,
            "input_length": _block("count", s.prompt),
            "output_length": _block("count", s.output),
        },
        "latency": {name: block for name, block in latency.items() if block is not None},
        "throughput": {
            "input_token_rate": {"units": "tokens/s", "mean": float(s.prompt.sum()) / s.duration_s},
            "output_token_rate": {"units": "tokens/s", "mean": float(s.output.sum()) / s.duration_s},
            "total_token_rate": {"units": "tokens/s", "mean": float((s.prompt + s.output).sum()) / s.duration_s},
            "request_rate": {"units": "queries/s", "mean": s.finished / s.duration_s},
        },
    }


def _block(units: str, values: Floats, weights: Floats | None = None) -> dict[str, Any] | None:
    found = summary(values, weights)
    if not found:
        return None
    spread = found.pop("std")
    return {"units": units, "stddev": spread, **{_SHARES.get(name, name): value for name, value in found.items()}}


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _plain(args: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in args.items()}
