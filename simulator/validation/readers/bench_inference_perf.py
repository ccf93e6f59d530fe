"""inference-perf's reports: stage_N_lifecycle_metrics.json and summary_lifecycle_metrics.json; seconds.

Source: kubernetes-sigs/inference-perf docs/metrics.md; llm-d-benchmark's converter (read 2026-11).
"""

from __future__ import annotations

from typing import Any

from simulator.validation.measured_run import PERCENTILES, MeasuredRun, at, mean_lengths, needed, number_at, positive, users_of

_LATENCIES = {
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "inter_token_latency": "itl_ms",
    "request_latency": "e2e_ms",
}
_RATES = {"output_tokens_per_sec": "output_tok_s", "total_tokens_per_sec": "total_tok_s", "requests_per_sec": "request_rate"}
_WAY = "inference-perf writes it with report.request_lifecycle.per_stage: true"


def is_inference_perf(data: Any) -> bool:
    """Whether it is a report of inference-perf."""
    return isinstance(data, dict) and isinstance(at(data, "load_summary"), dict) and isinstance(at(data, "successes"), dict)


def read_inference_perf(source: str, data: dict[str, Any]) -> MeasuredRun:
    """The run of a stage. Where a server did not stream there is no TTFT, and no TPOT."""
    prompt = needed(source, "successes.prompt_len", number_at(data, "successes", "prompt_len", "mean"), _WAY)
    output = needed(source, "successes.output_len", number_at(data, "successes", "output_len", "mean"), _WAY)
    values: dict[str, float | None] = {}
    for theirs, ours in _LATENCIES.items():
        names = [("", "mean"), ("_p50", "median"), *((f"_p{p}", f"p{p}") for p in PERCENTILES[1:])]
        for name, share in names if ours != "itl_ms" else names[:1]:
            value = number_at(data, "successes", "latency", theirs, share)
            values[f"{ours}{name}"] = None if value is None else 1e3 * value
    for theirs, ours in _RATES.items():
        values[ours] = number_at(data, "successes", "throughput", theirs)
    count = number_at(data, "successes", "count") or number_at(data, "load_summary", "count") or 1
    users, lengths = number_at(data, "load_summary", "concurrency"), mean_lengths(count, prompt, output)
    return MeasuredRun(
        source=source,
        row=1,
        tool="inference-perf",
        values=positive(values),
        prompt=lengths[0],
        output=lengths[1],
        rate=None if users else number_at(data, "load_summary", "requested_rate"),
        concurrency=users_of(users),
        duration_s=number_at(data, "load_summary", "send_duration"),
    )
