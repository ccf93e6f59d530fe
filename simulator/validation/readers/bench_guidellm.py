"""guidellm's JSON report: one run a benchmark; TPOT is made again, because its own has TTFT in it.

Source: vllm-project/guidellm docs/guides/{outputs,metrics}.md and issue 1144; llm-d-benchmark's converter (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simulator.errors import MeasurementError
from simulator.numbers import LONGEST, integer
from simulator.validation.measured_run import MeasuredRun, at, mean_lengths, needed, number_at, positive, tpot_of_means, users_of

_LATENCIES = {
    "time_to_first_token_ms": ("ttft_ms", 1.0),
    "request_latency": ("e2e_ms", 1e3),
    "inter_token_latency_ms": ("itl_ms", 1.0),
}
_RATES = {"output_tokens_per_second": "output_tok_s", "tokens_per_second": "total_tok_s", "requests_per_second": "request_rate"}
_SHARES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_AGAIN = "guidellm's time per output token has TTFT in it; TPOT was made again from {}"


def is_guidellm(data: Any) -> bool:
    """Whether it is a report of guidellm."""
    return isinstance(data, dict) and isinstance(at(data, "benchmarks", 0, "metrics"), dict)


def read_guidellm(source: str, data: dict[str, Any]) -> list[MeasuredRun]:
    """Every benchmark of a report. Raises MeasurementError where none has a request that succeeded."""
    runs = [_benchmark(source, data, each, row) for row, each in enumerate(data["benchmarks"], start=1)]
    found = [run for run in runs if run is not None]
    if not found:
        raise MeasurementError(f"{source}: no request of any benchmark succeeded")
    return found


def _benchmark(source: str, data: dict[str, Any], each: dict[str, Any], row: int) -> MeasuredRun | None:
    metrics = each.get("metrics", {})
    done = number_at(metrics, "request_totals", "successful")
    if done is not None and done < 1:
        return None
    prompt = number_at(metrics, "prompt_token_count", "successful", "mean")
    output = number_at(metrics, "output_token_count", "successful", "mean")
    way = "guidellm writes it where the server reports its token counts"
    prompt, output = needed(source, "prompt_token_count", prompt, way), needed(source, "output_token_count", output, way)
    values = _values(metrics)
    lengths, tpot = _requests(each)
    again = "each request" if tpot is not None else "the means"
    values |= {"tpot_ms": tpot} if tpot is not None else tpot_of_means(values, output)
    rate, concurrency = _strategy(each)
    return MeasuredRun(
        source=source,
        row=row,
        tool="guidellm",
        values=positive(values),
        prompt=(lengths or mean_lengths(done or 1, prompt, output))[0],
        output=(lengths or mean_lengths(done or 1, prompt, output))[1],
        each=lengths is not None,
        model=_model(data, each),
        rate=rate,
        concurrency=concurrency,
        duration_s=number_at(each, "duration"),
        notes=(_AGAIN.format(again),),
    )


def _values(metrics: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for theirs, (ours, unit) in _LATENCIES.items():
        mean = number_at(metrics, theirs, "successful", "mean")
        found[ours] = None if mean is None else mean * unit
        if ours != "itl_ms":
            for share, name in _SHARES.items():
                value = number_at(metrics, theirs, "successful", "percentiles", share)
                found[f"{ours}_{name}"] = None if value is None else value * unit
    for theirs, ours in _RATES.items():
        found[ours] = number_at(metrics, theirs, "successful", "mean")
    return positive(found)


def _requests(each: Mapping[str, Any]) -> tuple[tuple[Any, Any] | None, float | None]:
    """Tokens of each request, and the mean of their own TPOT; None where the report does not list requests."""
    rows, gaps = [], []
    for request in at(each, "requests", "successful") or []:
        prompt, output = number_at(request, "prompt_tokens"), number_at(request, "output_tokens")
        if not prompt or not output:
            continue
        rows.append(
            (integer(round(prompt), "prompt_tokens", most=LONGEST), integer(round(output), "output_tokens", most=LONGEST))
        )
        latency, first = number_at(request, "request_latency"), number_at(request, "time_to_first_token_ms")
        if latency is not None and first is not None and output > 1:
            gaps.append((1e3 * latency - first) / (output - 1))
    if not rows:
        return None, None
    columns = np.array(rows, dtype=np.int64).T
    return (columns[0], columns[1]), (float(np.mean(gaps)) if gaps else None)


def _strategy(each: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Requests a second and users, from the strategy that was run."""
    strategy = at(each, "config", "strategy") or at(each, "args", "strategy") or at(each, "scheduler", "strategy") or {}
    kind = str(strategy.get("type_") or strategy.get("kind") or "")
    if kind in ("constant", "poisson", "async"):
        return number_at(strategy, "rate"), None
    if kind == "synchronous":
        return None, 1
    users = number_at(strategy, "streams") or number_at(strategy, "max_concurrency")
    return None, users_of(users)


def _model(data: Mapping[str, Any], each: Mapping[str, Any]) -> str:
    places = (("config", "backend", "model"), ("benchmarker", "backend", "model"), ("config", "model"))
    found = [at(each, *place) for place in places] + [at(data, "args", "model"), at(data, "metadata", "model")]
    return next((str(name) for name in found if isinstance(name, str) and name), "")
