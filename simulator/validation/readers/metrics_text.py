"""vLLM's /metrics text as a measured run: its histograms of latencies, token counts, preemptions and what runs and waits.

The histograms are of everything since the server started. A percentile is read off between the edges of its bucket, and lies
somewhere in it. Source: vllm/v1/metrics/loggers.py (0.8 to 0.30, read 2026-11).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from simulator.errors import MeasurementError
from simulator.files import DATA_BYTES, read_content
from simulator.validation.measured_run import MeasuredRun, mean_lengths, positive

METRICS_KINDS = (".prom", ".txt")
_HISTOGRAMS = {
    "ttft_ms": ("time_to_first_token_seconds",),
    "tpot_ms": ("request_time_per_output_token_seconds", "time_per_output_token_seconds"),
    "itl_ms": ("inter_token_latency_seconds",),
    "e2e_ms": ("e2e_request_latency_seconds",),
}
_COUNTED = {
    "num_requests_running": "running when it was read",
    "num_requests_waiting": "waiting when it was read",
    "num_preemptions_total": "preemptions since the start",
}
_SHARES = (50, 90, 95, 99)
_LINE = re.compile(r"^vllm:(\w+)(?:\{([^}]*)\})? +(\S+)", re.MULTILINE)
Samples = dict[str, list[tuple[str, float]]]


def read_metrics_text(path: Path) -> MeasuredRun:
    """What a server's /metrics said. Raises MeasurementError for a file without vLLM's histograms."""
    samples = _samples(read_content(path, most=DATA_BYTES).decode(errors="replace"))
    values: dict[str, float] = {}
    for metric, names in _HISTOGRAMS.items():
        name = next((name for name in names if _total(samples, f"{name}_count")), None)
        if name is not None:
            values |= positive(_histogram(samples, name, metric))
    requests = _total(samples, "request_success_total")
    if not values or not requests:
        raise MeasurementError(
            f"{path.name}: no histogram of vLLM with a request in it (vllm:time_to_first_token_seconds); save it after a load"
        )
    means = (_total(samples, name) / requests for name in ("prompt_tokens_total", "generation_tokens_total"))
    prompt, output = mean_lengths(requests, *means)
    model = _label(samples, "model_name")
    return MeasuredRun(path.name, 1, "vLLM /metrics", values, prompt, output, model=model, notes=_counted(samples))


def _counted(samples: Samples) -> tuple[str, ...]:
    """What is counted and has no mean to be compared with, in words."""
    said = [f"{_total(samples, name):,.0f} {word}" for name, word in _COUNTED.items() if name in samples]
    return (", ".join(said),) if said else ()


def _samples(text: str) -> Samples:
    """Every sample of vLLM's by name, with its labels as written."""
    found: Samples = {}
    for name, labels, value in _LINE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number):
            found.setdefault(name, []).append((labels, number))
    return found


def _total(samples: Samples, name: str) -> float:
    """A metric summed over its labels: engines, reasons of finishing."""
    return sum(value for _, value in samples.get(name, ()))


def _label(samples: Samples, name: str) -> str:
    labels = next((labels for each in samples.values() for labels, _ in each if name in labels), "")
    found = re.search(rf'{name}="([^"]*)"', labels)
    return found[1] if found else ""


def _histogram(samples: Samples, name: str, metric: str) -> dict[str, float]:
    """The mean and the percentiles of a histogram, ms."""
    count = _total(samples, f"{name}_count")
    edges: dict[float, float] = {}
    for labels, below in samples.get(f"{name}_bucket", ()):
        if (edge := _edge(labels)) is not None:
            edges[edge] = edges.get(edge, 0.0) + below
    found = {metric: 1e3 * _total(samples, f"{name}_sum") / count}
    for share in _SHARES:
        if (value := _percentile(edges, share / 100 * count)) is not None:
            found[f"{metric}_p{share}"] = 1e3 * value
    return found


def _edge(labels: str) -> float | None:
    """Where a bucket ends, infinity where it is open; None where no number says it."""
    written = re.search(r'le="([^"]+)"', labels)
    try:
        edge = float(written[1]) if written else math.nan
    except ValueError:
        return None
    return None if math.isnan(edge) else edge


def _percentile(edges: dict[float, float], wanted: float) -> float | None:
    """Where so many samples lie below, even within a bucket; None beyond the last finite edge."""
    low, before = 0.0, 0.0
    for edge, below in sorted(edges.items()):
        if below >= wanted and below > before:
            return None if math.isinf(edge) else low + (edge - low) * (wanted - before) / (below - before)
        low, before = edge, below
    return None
