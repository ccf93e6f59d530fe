"""Measured runs: what a benchmark tool's file says of one run, under one set of names, and our prediction beside it.

Metrics are `ttft_ms`, `tpot_ms`, `itl_ms` and `e2e_ms` (means; `_p50`, `_p90`, `_p95` and `_p99` behind them), `output_tok_s`,
`total_tok_s` and `request_rate`, as vLLM defines them: TPOT is (E2E - TTFT) / (output tokens - 1) of a request. Tools differ:

| tool | what it calls TPOT | here |
|---|---|---|
| vLLM, SGLang, inference-perf, TensorRT-LLM | (E2E - TTFT) / (output - 1) | as it is |
| genai-perf, aiperf | calls that inter-token latency | read as TPOT |
| guidellm | (last - start) / output, with TTFT in it | made again: each request's, or from the means |
| llm-d Benchmark Report | that of the tool it was made from | made again where that is guidellm |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import RunRecord, inter_token_latencies
from simulator.errors import MeasurementError
from simulator.numbers import LARGEST, LONGEST, MOST_REQUESTS, finite_number, integer
from simulator.results.steady_state import load_regime
from simulator.validation.calibrate import MeasuredPoint
from simulator.validation.measurements import Comparison, Findings
from simulator.validation.protocols import Bench, MeasuredServer, finished, output_tokens_per_s, requests_of
from simulator.validation.readers.rows import Prediction, beside
from simulator.workload.requests import Ints, Requests

PERCENTILES = (50, 90, 95, 99)
_MOST_SIMULATED = 20_000
# Nothing that is measured, in ms or a second, is smaller.
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run as its file tells it. `model` is "" where the file does not name one.

    `prompt` and `output` are each request's tokens where `each` says so, else all at the mean. `rate` is requests/s sent,
    None for a closed loop or all at once; `concurrency` the users of a closed loop, or the most requests under way.
    `tensor_parallel`: where the file states it. `chat`: whether the chat endpoint was asked.
    `notes`: what was made again, in words.
    """

    source: str
    row: int
    tool: str
    values: Mapping[str, float]
    prompt: Ints
    output: Ints
    each: bool = False
    model: str = ""
    rate: float | None = None
    concurrency: int | None = None
    duration_s: float | None = None
    tensor_parallel: int | None = None
    chat: bool = False
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            finite_number(value, f"{self.source}: {name}", least=_LEAST)

    def load(self) -> tuple[Requests, Load]:
        """The requests and how they were sent."""
        requests = requests_of(self.prompt[:_MOST_SIMULATED], self.output[:_MOST_SIMULATED])
        if self.rate is not None:
            gaps = np.random.default_rng(0).exponential(1 / self.rate, len(requests))
            return replace(requests, arrival_s=np.cumsum(gaps)), OpenLoop(max_concurrency=self.concurrency)
        if self.concurrency is not None:
            return requests, ClosedLoop(concurrency=self.concurrency)
        return requests, OpenLoop()


def mean_lengths(count: float, prompt: float, output: float) -> tuple[Ints, Ints]:
    """So many requests, all of the mean lengths, whole tokens and at least one; no more than are simulated."""
    n = round(finite_number(count, "requests", least=0, most=MOST_REQUESTS))
    tokens = [round(finite_number(mean, "tokens of a request", least=0, most=LONGEST)) for mean in (prompt, output)]
    columns = [np.full(max(1, min(n, _MOST_SIMULATED)), max(1, length), dtype=np.int64) for length in tokens]
    return columns[0], columns[1]


def tpot_of_means(values: Mapping[str, float], output: float) -> dict[str, float]:
    """TPOT from mean E2E and TTFT, ms, where both are there and answers are longer than a token."""
    if output <= 1 or not {"e2e_ms", "ttft_ms"} <= values.keys():
        return {}
    return {"tpot_ms": (values["e2e_ms"] - values["ttft_ms"]) / (output - 1)}


def predicted(run: MeasuredRun, server: MeasuredServer, bench: Bench) -> Prediction:
    """What we say of a run on a server."""
    requests, load = run.load()
    trace = bench.run(server, requests, load)
    stated = run.each or run.rate is not None or run.concurrency is not None
    return Prediction(figures_at_client(trace, requests), server, load_regime(trace), stated)


def figures_at_client(trace: RunRecord, requests: Requests) -> dict[str, float]:
    """Every figure that a benchmark tool may report of a run: latencies in ms with their percentiles, and rates."""
    seen = finished(trace)
    found: dict[str, float] = {}
    for name in ("ttft", "tpot", "e2e"):
        times = 1e3 * seen[f"{name}_s"]
        if np.isfinite(times).any():
            found[f"{name}_ms"] = float(np.nanmean(times))
            found |= {f"{name}_ms_p{p}": float(np.nanpercentile(times, p)) for p in PERCENTILES}
    gaps, weights = inter_token_latencies(trace)
    if len(gaps):
        found["itl_ms"] = 1e3 * float(np.average(gaps, weights=weights))
    tokens = output_tokens_per_s(trace)
    count, output = len(requests), float(requests.output_tokens.sum())
    found["output_tok_s"] = tokens
    found["request_rate"] = tokens * count / output
    found["total_tok_s"] = tokens * (1 + float(requests.prompt_tokens.sum()) / output)
    return found


def compare_run(run: MeasuredRun, server: MeasuredServer, bench: Bench) -> Sequence[Comparison]:
    """The run's values beside ours."""
    return beside(run.source, run.row, run.values, predicted(run, server, bench))


def point_of(run: MeasuredRun, server: MeasuredServer) -> MeasuredPoint:
    """The run as a point to calibrate with. Raises MeasurementError where it has no TPOT."""
    tpot, ttft = run.values.get("tpot_ms"), run.values.get("ttft_ms")
    if tpot is None:
        raise MeasurementError(f"{run.source}: run {run.row} of {run.tool} has no time per output token to calibrate with")
    requests, load = run.load()
    if isinstance(load, ClosedLoop):
        users = float(load.concurrency)
    else:
        each_s = ((ttft or 0.0) + tpot * (float(requests.output_tokens.mean()) - 1)) / 1e3
        lasted = run.duration_s or float(requests.arrival_s[-1]) or each_s
        users = max(1.0, len(requests) * each_s / lasted)
    return MeasuredPoint(run.source, run.row, server, requests, load, users, tpot, ttft)


def findings_of(runs: Sequence[MeasuredRun], server: MeasuredServer, bench: Bench) -> Findings:
    """All runs beside ours, with a line for what was made again."""
    findings = Findings()
    for run in runs:
        findings.comparisons += compare_run(run, with_stated(run, server), bench)
        findings.notes += [f"{run.source} run {run.row}: {note}" for note in run.notes]
    return findings


def with_stated(run: MeasuredRun, server: MeasuredServer) -> MeasuredServer:
    """The server with what the run's own file states of it."""
    if run.chat and server.client is not None:
        server = replace(server, client=replace(server.client, endpoint="chat"))
    if run.tensor_parallel is None or server.args.tensor_parallel_size != 1:
        return server
    return replace(server, args=replace(server.args, tensor_parallel_size=run.tensor_parallel))


def at(node: Any, *path: str | int) -> Any:
    """A value inside of nested mappings and lists; None where the way ends."""
    for part in path:
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            return None
    return node


def number_at(node: Any, *path: str | int) -> float | None:
    """A finite number inside of nested mappings; None where there is none."""
    value = at(node, *path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        return None
    return float(value)


def users_of(value: float | None) -> int | None:
    """The users of a closed loop from a file's number; None where it is none. Raises MeasurementError for more than can be."""
    return integer(round(value), "concurrency", least=1, most=MOST_REQUESTS) if value and value >= 1 else None


def needed(source: str, what: str, value: float | None, way: str) -> float:
    """A number that a reader cannot do without. Raises MeasurementError naming the option of the tool that writes it."""
    if value is None or value <= 0:
        raise MeasurementError(f"{source}: {what} is missing or not above 0; {way}")
    return value


def positive(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are numbers above 0."""
    return {name: value for name, value in values.items() if value is not None and value > 0}
