"""llm-d Benchmark Report v0.2 and v0.2.1, YAML or JSON: what most tools' results can be turned into.

Source: llm-d/llm-d-benchmark llmdbenchmark/analysis/benchmark_report/{schema_v0_2.py,README.md} (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
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
_SHARES = (("", "mean"), ("_p50", "p50"), ("_p90", "p90"), ("_p95", "p95"), ("_p99", "p99"))
_MADE_AGAIN = "guidellm's time per output token has TTFT in it; TPOT was made again from the means"
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
    prompt, output = (_mean_length(source, aggregate, side) for side in ("input_length", "output_length"))
    values: dict[str, float | None] = dict(_latencies(source, aggregate))
    values |= {ours: number_at(aggregate, "throughput", theirs, "mean") for theirs, ours in _RATES.items()}
    load, stack = at(data, "scenario", "load", "standardized"), at(data, "scenario", "stack", 0, "standardized")
    again = at(load, "tool") == "guidellm"
    if again:
        values = {name: value for name, value in values.items() if not name.startswith("tpot")}
        values |= tpot_of_means(positive(values), output)
    total, failed = number_at(aggregate, "requests", "total"), number_at(aggregate, "requests", "failures") or 0
    prompts, outputs = mean_lengths((total or 1) - failed, prompt, output)
    tensor = number_at(stack, "accelerator", "parallelism", "tp")
    return MeasuredRun(
        source=source,
        row=1,
        tool="llm-d benchmark report",
        values=positive(values),
        prompt=prompts,
        output=outputs,
        model=str(at(stack, "model", "name") or ""),
        rate=number_at(load, "rate_qps"),
        concurrency=users_of(number_at(load, "concurrency")),
        tensor_parallel=int(tensor) if tensor else None,
        notes=(_MADE_AGAIN,) if again else (),
    )


def _mean_length(source: str, aggregate: Any, side: str) -> float:
    return needed(source, f"requests.{side}", number_at(aggregate, "requests", side, "mean"), _WAY)


def _latencies(source: str, aggregate: Any) -> Iterator[tuple[str, float]]:
    """Latencies by name, ms."""
    for theirs, ours in _LATENCIES.items():
        block = at(aggregate, "latency", theirs)
        if block is None:
            continue
        unit = _MS.get(str(at(block, "units")))
        if unit is None:
            raise MeasurementError(f"{source}: {theirs} has units {at(block, 'units')!r:.40}; known: {', '.join(_MS)}")
        for name, share in _SHARES if ours != "itl_ms" else _SHARES[:1]:
            if (value := number_at(block, share)) is not None:
                yield f"{ours}{name}", value * unit
