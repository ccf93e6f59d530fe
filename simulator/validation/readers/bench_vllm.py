"""vLLM's own benchmarks: `vllm bench serve --save-result`, `throughput` and `latency --output-json`.

Source: vllm/benchmarks/{serve,throughput,latency}.py (0.19 to 0.30, read 2026-11).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulator.errors import MeasurementError
from simulator.numbers import LONGEST, integer
from simulator.validation.measured_run import (
    PERCENTILES,
    MeasuredRun,
    mean_lengths,
    needed,
    number_at,
    positive,
    tpot_of_means,
    users_of,
)

_NAMES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_ms", "e2el": "e2e_ms"}
_SAVE = "vllm bench serve --save-result writes it"


def is_vllm_serve(data: Any) -> bool:
    """Whether it is a result of `vllm bench serve` (or of SGLang's, which has the same names for them)."""
    return isinstance(data, dict) and "mean_ttft_ms" in data and "completed" in data


def read_vllm_serve(source: str, data: dict[str, Any], row: int = 1) -> MeasuredRun:
    """The run of one result; lengths of each request with --save-detailed."""
    done = needed(source, "completed", number_at(data, "completed"), _SAVE)
    prompt = needed(source, "total_input_tokens", number_at(data, "total_input_tokens"), _SAVE) / done
    output = needed(source, "total_output_tokens", number_at(data, "total_output_tokens"), _SAVE) / done
    values: dict[str, float | None] = {}
    for theirs, ours in _NAMES.items():
        values[ours] = number_at(data, f"mean_{theirs}_ms")
        values |= {f"{ours}_p{p}": number_at(data, f"p{p}_{theirs}_ms") for p in PERCENTILES}
        values[f"{ours}_p50"] = number_at(data, f"median_{theirs}_ms")
    values["output_tok_s"] = number_at(data, "output_throughput")
    values["total_tok_s"] = number_at(data, "total_token_throughput")
    values["request_rate"] = number_at(data, "request_throughput")
    if not positive({"tpot_ms": values["tpot_ms"]}):
        values |= tpot_of_means(positive(values), output)
    each = _each(source, data)
    lengths = each or mean_lengths(done, prompt, output)
    concurrency = number_at(data, "max_concurrency")
    return MeasuredRun(
        source=source,
        row=row,
        tool="vllm bench serve",
        values=positive(values),
        prompt=lengths[0],
        output=lengths[1],
        each=each is not None,
        model=str(data.get("model_id") or ""),
        rate=_rate(source, data.get("request_rate", "inf")),
        concurrency=users_of(concurrency),
        duration_s=number_at(data, "duration"),
        chat="chat" in str(data.get("endpoint_type") or data.get("backend") or ""),
    )


def _each(source: str, data: dict[str, Any]) -> tuple[Any, Any] | None:
    """Tokens of each request that got an answer; None where the file does not list them."""
    prompts, outputs = data.get("input_lens"), data.get("output_lens")
    if not prompts or not outputs:
        return None
    if not isinstance(prompts, list) or not isinstance(outputs, list):
        raise MeasurementError(f"{source}: input_lens and output_lens must be lists")
    if len(prompts) != len(outputs):
        raise MeasurementError(f"{source}: {len(prompts)} input_lens and {len(outputs)} output_lens; they must be as many")
    lengths = [[integer(n, f"{source}: {name}", most=LONGEST) for n in column]
               for name, column in (("input_lens", prompts), ("output_lens", outputs))]  # fmt: skip
    columns = np.array(lengths, dtype=np.int64)
    answered = (columns > 0).all(axis=0)
    if not answered.any():
        raise MeasurementError(f"{source}: no request of its input_lens and output_lens has both above 0")
    return columns[0][answered], columns[1][answered]


def _rate(source: str, written: Any) -> float | None:
    """Requests a second; None where all are sent at once ("inf")."""
    try:
        rate = float(written)
    except (TypeError, ValueError):
        raise MeasurementError(f"{source}: request_rate {written!r} is not a number or inf") from None
    return rate if math.isfinite(rate) and rate > 0 else None


def is_vllm_throughput(data: Any) -> bool:
    """Whether it is a result of `vllm bench throughput`."""
    return isinstance(data, dict) and {"elapsed_time", "num_requests", "tokens_per_second"} <= data.keys()


def read_vllm_throughput(source: str, data: dict[str, Any], prompt: float | None, output: float | None) -> MeasuredRun:
    """The run of `vllm bench throughput`: all requests at once. It does not say their lengths.

    Raises MeasurementError naming the options that do.
    """
    if prompt is None or output is None:
        raise MeasurementError(f"{source}: vllm bench throughput does not save lengths: give --prompt-tokens and --output-tokens")
    count = needed(source, "num_requests", number_at(data, "num_requests"), "vllm bench throughput --output-json writes it")
    rate = number_at(data, "requests_per_second")
    values = {"total_tok_s": number_at(data, "tokens_per_second"), "request_rate": rate}
    values["output_tok_s"] = None if rate is None else rate * output
    lengths = mean_lengths(count, prompt, output)
    return MeasuredRun(source, 1, "vllm bench throughput", positive(values), *lengths, duration_s=number_at(data, "elapsed_time"))


def is_vllm_latency(data: Any) -> bool:
    """Whether it is a result of `vllm bench latency`."""
    return isinstance(data, dict) and {"avg_latency", "latencies", "percentiles"} <= data.keys()


def read_vllm_latency(
    source: str, data: dict[str, Any], prompt: float | None, output: float | None, batch: int | None
) -> MeasuredRun:
    """The run of `vllm bench latency`: a batch at once, again and again. It says neither batch nor lengths."""
    if prompt is None or output is None or batch is None:
        raise MeasurementError(
            f"{source}: vllm bench latency saves neither batch nor lengths: give --batch-size, --prompt-tokens, --output-tokens"
        )
    mean = needed(source, "avg_latency", number_at(data, "avg_latency"), "vllm bench latency --output-json writes it")
    values = {"e2e_ms": 1e3 * mean, "output_tok_s": batch * output / mean}
    return MeasuredRun(source, 1, "vllm bench latency", values, *mean_lengths(batch, prompt, output))
