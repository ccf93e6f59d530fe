"""A run as `vllm bench serve --save-result --save-detailed` writes one, for tools that read those.

Source of the names: vllm/benchmarks/serve.py (0.19 to 0.30, read 2026-11). Text and single tokens are not simulated: there
are no `generated_texts`, and no `itls`.
"""

from __future__ import annotations

import math
from typing import Any

from simulator.results.model import DeploymentResult, RunResult
from simulator.results.writers.statistic import PERCENTILES, RunStatistics, statistics_of, summary

_NAMES = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2el"}


def bench_result(run: RunResult, d: DeploymentResult) -> dict[str, Any]:
    """The result of one deployment. Raises SimulatorError where nothing ran."""
    s = statistics_of(d)
    rate, loop = run.workload.rate_per_s, run.workload.concurrency
    arrivals = (run.scenario.get("workload") or {}).get("arrivals") or {}
    cap = (run.scenario.get("workload") or {}).get("max_concurrency")
    return {
        "date": run.created_at,
        "endpoint_type": "openai",
        "backend": "openai",
        "label": f"simulated: {d.name}",
        "model_id": run.checkpoint_of(d),
        "tokenizer_id": run.checkpoint_of(d),
        "num_prompts": s.total,
        "request_rate": "inf" if rate is None else rate,
        "burstiness": arrivals.get("burstiness", 1.0) if isinstance(arrivals, dict) else 1.0,
        "max_concurrency": loop or cap,
        "duration": s.duration_s,
        "completed": s.finished,
        "failed": s.total - s.finished,
        "total_input_tokens": int(s.prompt.sum()),
        "total_output_tokens": int(s.output.sum()),
        "request_throughput": s.finished / s.duration_s,
        "output_throughput": float(s.output.sum()) / s.duration_s,
        "total_token_throughput": float((s.output + s.prompt).sum()) / s.duration_s,
        **_latencies(s),
        "input_lens": s.prompt.astype(int).tolist(),
        "output_lens": s.output.astype(int).tolist(),
        "ttfts": s.times["ttft"].tolist(),
        "start_times": s.arrival_s.tolist(),
    }


def _latencies(s: RunStatistics) -> dict[str, float]:
    found: dict[str, float] = {}
    named = {theirs: summary(s.times[ours]) for ours, theirs in _NAMES.items()}
    named["itl"] = summary(s.itl_s, s.itl_count)
    for name, values in named.items():
        if not values:
            continue
        found |= {f"mean_{name}_ms": 1e3 * values["mean"], f"std_{name}_ms": 1e3 * values["std"]}
        found[f"median_{name}_ms"] = 1e3 * values["p50"]
        found |= {f"p{p:g}_{name}_ms": 1e3 * values[f"p{p:g}"] for p in PERCENTILES if math.isfinite(values[f"p{p:g}"])}
    return found
