"""Result files of benchmark tools: which tool wrote a file, and its runs. JSON, JSON lines or YAML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator.document import parse_yaml
from simulator.errors import MeasurementError, ScenarioError
from simulator.files import DATA_BYTES, parse_json, read_text
from simulator.validation.measured_run import MeasuredRun, at, number_at
from simulator.validation.readers.bench_aiperf import is_aiperf, read_aiperf
from simulator.validation.readers.bench_guidellm import is_guidellm, read_guidellm
from simulator.validation.readers.bench_inference_perf import is_inference_perf, read_inference_perf
from simulator.validation.readers.bench_llmd import is_llmd_report, read_llmd_report
from simulator.validation.readers.bench_trtllm import is_trtllm, read_trtllm
from simulator.validation.readers.bench_vllm import (
    is_vllm_latency,
    is_vllm_serve,
    is_vllm_throughput,
    read_vllm_latency,
    read_vllm_serve,
    read_vllm_throughput,
)

KINDS = (".json", ".jsonl", ".ndjson", ".yaml", ".yml")
_KNOWN = (
    "vllm bench serve, throughput and latency; SGLang's bench_serving; guidellm; aiperf and genai-perf; inference-perf; "
    "llm-d Benchmark Report 0.2; trtllm-bench"
)


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What some tools do not save: mean tokens of a prompt and of an answer, and requests in a batch."""

    prompt: float | None = None
    output: float | None = None
    batch: int | None = None


def read_bench_file(path: Path, unsaid: Unsaid | None = None) -> list[MeasuredRun]:
    """The runs that a result file has. Raises MeasurementError for a file that is damaged, too large, or of no tool we know."""
    documents = _documents(path)
    runs: list[MeasuredRun] = []
    for row, data in enumerate(documents, start=1):
        runs += _runs(path.name, data, row, unsaid or Unsaid())
    if not runs:
        raise MeasurementError(f"{path.name}: no run in it; known are {_KNOWN}")
    return runs


def _runs(source: str, data: Any, row: int, unsaid: Unsaid) -> list[MeasuredRun]:
    readers: tuple[tuple[Callable[[Any], bool], Callable[[], list[MeasuredRun]]], ...] = (
        (is_vllm_serve, lambda: [_with_lengths_noted(read_vllm_serve(source, _sglang(data), row), data)]),
        (is_guidellm, lambda: read_guidellm(source, data)),
        (is_llmd_report, lambda: [read_llmd_report(source, data)]),
        (is_inference_perf, lambda: [read_inference_perf(source, data)]),
        (is_trtllm, lambda: [read_trtllm(source, data)]),
        (is_aiperf, lambda: [read_aiperf(source, data)]),
        (is_vllm_throughput, lambda: [read_vllm_throughput(source, data, unsaid.prompt, unsaid.output)]),
        (is_vllm_latency, lambda: [read_vllm_latency(source, data, unsaid.prompt, unsaid.output, unsaid.batch)]),
    )
    for knows, read in readers:
        if knows(data):
            return read()
    names = ", ".join(map(str, list(data)[:6])) if isinstance(data, dict) else type(data).__name__
    raise MeasurementError(f"{source}: written by no tool that is known here (it has {names or 'nothing'}); known are {_KNOWN}")


def _sglang(data: dict[str, Any]) -> dict[str, Any]:
    """SGLang's names for what vLLM calls otherwise. Source: sglang bench_serving.py (0.5, read 2026-11)."""
    if "mean_e2e_latency_ms" not in data:
        return data
    renamed = {name.replace("e2e_latency", "e2el"): value for name, value in data.items()}
    rate = data.get("request_rate", "inf")
    return {**renamed, "request_rate": "inf" if rate in ("trace", None) else rate}


def _with_lengths_noted(run: MeasuredRun, data: dict[str, Any]) -> MeasuredRun:
    """A run of SGLang's random lengths, which range from 1 unless it is told otherwise, with a note that says so.

    Source: sglang bench_serving.py (0.5), --random-range-ratio, 0 by default.
    """
    longest, ratio = number_at(data, "random_input_len"), number_at(data, "random_range_ratio")
    if at(data, "dataset_name") != "random" or longest is None or ratio is None or ratio >= 1 or run.each:
        return run
    span = f"{max(1, round(ratio * longest))} and {round(longest)} (--random-range-ratio {ratio:g})"
    note = (
        f"SGLang drew lengths evenly between {span}; "
        "all are taken at their mean here. For each request's own, write the file with --output-details"
    )
    return replace(run, notes=(*run.notes, note))


def _documents(path: Path) -> list[Any]:
    """What a file holds: one document, or one a line of JSON lines."""
    text = read_text(path, most=DATA_BYTES).removeprefix("\ufeff")
    if path.suffix.lower() in (".yaml", ".yml"):
        return [_yaml(path, text)]
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    try:
        return [parse_json(text, str(path))]
    except MeasurementError as problem:
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise MeasurementError(f"{problem}; was the run cut short?") from None
    return [parse_json(line, f"{path}:{number}") for number, line in lines]


def _yaml(path: Path, text: str) -> Any:
    try:
        return parse_yaml(text, path)
    except ScenarioError as problem:
        raise MeasurementError(str(problem)) from None
