"""The exports of aiperf and genai-perf, profile_export_aiperf.json and the like. Their inter-token latency is TPOT.

Source: ai-dynamo/aiperf docs/metrics-reference.md; llm-d-benchmark's converter (read 2026-11).
"""

from __future__ import annotations

from typing import Any

from simulator.validation.measured_run import PERCENTILES, MeasuredRun, at, mean_lengths, needed, number_at, positive, users_of

_LATENCIES = {"time_to_first_token": "ttft_ms", "inter_token_latency": "tpot_ms", "request_latency": "e2e_ms"}
_RATES = {
    "output_token_throughput": "output_tok_s",
    "total_token_throughput": "total_tok_s",
    "request_throughput": "request_rate",
}
_UNITS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
_WAY = "aiperf writes it to profile_export_aiperf.json with --streaming"


def is_aiperf(data: Any) -> bool:
    """Whether it is an export of aiperf or genai-perf."""
    return isinstance(data, dict) and isinstance(at(data, "request_latency"), dict) and "input_sequence_length" in data


def read_aiperf(source: str, data: dict[str, Any]) -> MeasuredRun:
    """The run of an export."""
    prompt = needed(source, "input_sequence_length", number_at(data, "input_sequence_length", "avg"), _WAY)
    output = needed(source, "output_sequence_length", number_at(data, "output_sequence_length", "avg"), _WAY)
    values: dict[str, float | None] = {}
    for theirs, ours in _LATENCIES.items():
        unit = _UNITS.get(str(at(data, theirs, "unit") or "ms"), 1.0)
        for name, share in (("", "avg"), *((f"_p{p}", f"p{p}") for p in PERCENTILES)):
            value = number_at(data, theirs, share)
            values[f"{ours}{name}"] = None if value is None else value * unit
    for theirs, ours in _RATES.items():
        values[ours] = number_at(data, theirs, "avg")
    users = _asked(data, "concurrency")
    rate = _asked(data, "request_rate")
    count = number_at(data, "request_count", "avg") or number_at(data, "request_count", "value") or 1
    lengths = mean_lengths(count, prompt, output)
    model = at(data, "input_config", "endpoint", "model_names", 0) or at(data, "input_config", "model_names", 0)
    return MeasuredRun(
        source=source,
        row=1,
        tool="aiperf",
        values=positive(values),
        prompt=lengths[0],
        output=lengths[1],
        model=str(model or ""),
        rate=rate,
        concurrency=users_of(users),
        duration_s=number_at(data, "benchmark_duration", "avg"),
    )


def _asked(data: dict[str, Any], name: str) -> float | None:
    """A setting of the load, by aiperf's place for it or by genai-perf's."""
    perf = at(data, "input_config", "perf_analyzer", "stimulus", name)
    places = (
        number_at(data, "input_config", "loadgen", name),
        number_at({"x": perf}, "x"),
        number_at(data, "input_config", name),
    )
    return next((value for value in places if value), None)
