"""llm-d Benchmark Report v0.2 and v0.2.1, YAML or JSON: what most tools' results can be turned into.

Source: llm-d/llm-d-benchmark llmdbenchmark/analysis/benchmark_report/{schema_v0_2.py,README.md} (read 2026-11).
"""

from __future__ import annotations

from typing import Any

from simulator.errors import MeasurementError
from simulator.validation.measured_run import MeasuredRun, at, mean_lengths, needed, number_at, positive, tpot_of_means, users_of

_LATENCIES = {
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "inter_token_latency": "itl_ms",
    "request_latency": "e2e_ms",
}
_RATES = {"output_token_rate": "output_tok_s", "total_token_rate": "total_tok_s", "request_rate": "request_rate"}
_MS = {"s": 1e3, "s/token": 1e3, "ms": 1.0, "ms/token": 1.0}
_WAY = "the report's converter writes it from the tool's own file"


def is_llmd_report(data: Any) -> bool:
    """Whether it is such a report."""
    return isinstance(data, dict) and isinstance(at(data, "results", "request_performance", "aggregate"), dict)


def read_llmd_report(source: str, data: dict[str, Any]) -> MeasuredRun:
    """The run of a report. Raises MeasurementError for another version, or units that latencies do not have."""
    version = str(data.get("version", ""))
    if version and not version.startswith("0.2"):
        raise MeasurementError(f"{source}: version {version} of the report; 0.2 and 0.2.1 are read")
    aggregate = data["results"]["request_performance"]["aggregate"]
    prompt = needed(source, "requests.input_length", number_at(aggregate, "requests", "input_length", "mean"), _WAY)
    output = needed(source, "requests.output_length", number_at(aggregate, "requests", "output_length", "mean"), _WAY)
    values: dict[str, float | None] = {}
    for theirs, ours in _LATENCIES.items():
        block = at(aggregate, "latency", theirs)
        if block is None:
            continue
        unit = _MS.get(str(at(block, "units")))
        if unit is None:
            raise MeasurementError(f"{source}: {theirs} has units {at(block, 'units')!r:.40}; known: {', '.join(_MS)}")
        for name, share in (("", "mean"), ("_p50", "p50"), ("_p90", "p90"), ("_p95", "p95"), ("_p99", "p99")):
            value = number_at(block, share)
            if value is not None and not (name and ours == "itl_ms"):
                values[f"{ours}{name}"] = value * unit
    for theirs, ours in _RATES.items():
        values[ours] = number_at(aggregate, "throughput", theirs, "mean")
    load = at(data, "scenario", "load", "standardized")
    notes: tuple[str, ...] = ()
    if at(load, "tool") == "guidellm":
        values = {name: value for name, value in values.items() if not name.startswith("tpot")}
        values |= tpot_of_means(positive(values), output)
        notes = ("guidellm's time per output token has TTFT in it; TPOT was made again from the means",)
    total, failed = number_at(aggregate, "requests", "total"), number_at(aggregate, "requests", "failures") or 0
    users, lengths = number_at(load, "concurrency"), mean_lengths((total or 1) - failed, prompt, output)
    tensor = number_at(data, "scenario", "stack", 0, "standardized", "accelerator", "parallelism", "tp")
    return MeasuredRun(
        source=source,
        row=1,
        tool="llm-d benchmark report",
        values=positive(values),
        prompt=lengths[0],
        output=lengths[1],
        model=str(at(data, "scenario", "stack", 0, "standardized", "model", "name") or ""),
        rate=number_at(load, "rate_qps"),
        concurrency=users_of(users),
        tensor_parallel=int(tensor) if tensor else None,
        notes=notes,
    )
