"""A run as OpenMetrics with timestamps under vLLM's names, so that a board made for vLLM shows the simulation.

`promtool tsdb create-blocks-from openmetrics FILE` puts it into Prometheus. Source of names and buckets: vLLM
docs/design/metrics.md and vllm/v1/metrics/loggers.py (0.19 to 0.30, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from simulator.engine.record import FINISHED, RunRecord
from simulator.errors import SimulatorError
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.tables import Floats, latencies

_POINTS = 120
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
         640.0, 2560.0)  # fmt: skip
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_E2E = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0,
        7680.0)  # fmt: skip
_HISTOGRAMS: tuple[tuple[str, str, Sequence[float]], ...] = (
    ("vllm:time_to_first_token_seconds", "ttft_s", _TTFT),
    ("vllm:request_time_per_output_token_seconds", "tpot_s", _ITL),
    ("vllm:e2e_request_latency_seconds", "e2e_s", _E2E),
    ("vllm:request_queue_time_seconds", "queue_s", _E2E),
)


def openmetrics(run: RunResult) -> str:
    """All deployments that ran, labelled by name; from the time the run was made on. Raises SimulatorError where none ran."""
    ran = [(d, d.trace) for d in run.deployments if d.trace is not None]
    if not ran:
        raise SimulatorError(f"{run.name}: no deployment ran; there are no metrics to write")
    start = datetime.fromisoformat(run.created_at).timestamp()
    series = [_Series(run, d, trace, start) for d, trace in ran]
    lines: list[str] = []
    for name, kind in _KINDS:
        lines.append(f"# TYPE {name} {kind}")
        lines += [line for each in series for line in each.lines(name)]
    return "\n".join([*lines, "# EOF", ""])


_KINDS = (
    ("vllm:num_requests_running", "gauge"),
    ("vllm:num_requests_waiting", "gauge"),
    ("vllm:kv_cache_usage_perc", "gauge"),
    ("vllm:prompt_tokens", "counter"),
    ("vllm:generation_tokens", "counter"),
    ("vllm:request_success", "counter"),
    ("vllm:num_preemptions", "counter"),
    *((name, "histogram") for name, _, _ in _HISTOGRAMS),
)


class _Series:
    """The samples of one deployment."""

    def __init__(self, run: RunResult, d: DeploymentResult, trace: RunRecord, start: float) -> None:
        r, steps = trace.requests, trace.stretches
        self.start = start
        self.labels = f'model_name="{_escaped(run.checkpoint_of(d))}",engine="0",deployment="{_escaped(d.name)}"'
        end = float(max(np.nanmax(r["left_s"], initial=0.0), np.max(steps["end_s"], initial=0.0)))
        self.at = np.linspace(0.0, end, _POINTS)
        done = r["status"] == FINISHED
        self.finish = np.where(done, r["finish_s"], np.inf)
        self.columns = latencies(trace)
        left = np.where(np.isfinite(r["left_s"]), r["left_s"], np.inf)
        scheduled = np.where(np.isfinite(r["scheduled_s"]), r["scheduled_s"], np.inf)
        begun = _count(scheduled, self.at)
        gone = _count(np.where(np.isfinite(scheduled), left, np.inf), self.at)
        never = _count(np.where(np.isfinite(scheduled), np.inf, left), self.at)
        self.values: dict[str, Floats] = {
            "vllm:num_requests_running": begun - gone,
            "vllm:num_requests_waiting": np.maximum(_count(r["arrival_s"], self.at) - begun - never, 0.0),
            "vllm:kv_cache_usage_perc": self._kv(d, trace),
            "vllm:prompt_tokens": _count(np.where(done, r["first_token_s"], np.inf), self.at, r["prompt_tokens"]),
            "vllm:generation_tokens": _count(self.finish, self.at, r["output_tokens"]),
            "vllm:request_success": _count(self.finish, self.at),
            "vllm:num_preemptions": _count(self.finish, self.at, r["preemptions"]),
        }

    def _kv(self, d: DeploymentResult, trace: RunRecord) -> Floats:
        """The share of KV blocks in use on all replicas."""
        steps = trace.stretches
        blocks = d.memory.num_gpu_blocks if d.memory else 0
        used = np.zeros(len(self.at))
        replicas = np.unique(steps["replica"])
        for replica in replicas:
            own = steps["replica"] == replica
            place = np.searchsorted(steps["start_s"][own], self.at, side="right") - 1
            inside = (place >= 0) & (self.at <= steps["end_s"][own][np.maximum(place, 0)])
            used += np.where(inside, steps["kv_blocks"][own][np.maximum(place, 0)], 0)
        total = blocks * max(1, len(replicas))
        return np.minimum(used / total, 1.0) if total else used

    def lines(self, name: str) -> Iterator[str]:
        if name in self.values:
            suffix = "_total" if name in _COUNTERS else ""
            more = ',finished_reason="length"' if name == "vllm:request_success" else ""
            for at, value in zip(self.at, self.values[name], strict=True):
                yield f"{name}{suffix}{{{self.labels}{more}}} {value:.10g} {self.start + at:.3f}"
            return
        _, column, bounds = next(each for each in _HISTOGRAMS if each[0] == name)
        known = np.isfinite(self.columns[column]) & np.isfinite(self.finish)
        values, finish = self.columns[column][known], self.finish[known]
        below = [(f"{bound:g}", values <= bound) for bound in bounds] + [("+Inf", np.ones(len(values), dtype=bool))]
        sums = _count(finish, self.at, values)
        counts = {bound: _count(finish[inside], self.at) for bound, inside in below}
        for index, at in enumerate(self.at):
            stamp = f"{self.start + at:.3f}"
            for bound, _ in below:
                yield f'{name}_bucket{{{self.labels},le="{bound}"}} {counts[bound][index]:.0f} {stamp}'
            yield f"{name}_count{{{self.labels}}} {counts['+Inf'][index]:.0f} {stamp}"
            yield f"{name}_sum{{{self.labels}}} {sums[index]:.10g} {stamp}"


_COUNTERS = {name for name, kind in _KINDS if kind == "counter"}


def _count(times: Floats, at: Floats, weights: Floats | None = None) -> Floats:
    """How many events, or how much of their weights, came by each time."""
    order = np.argsort(times, kind="stable")
    place = np.searchsorted(times[order], at, side="right")
    if weights is None:
        return place.astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(times), weights, 0)[order])])
    found: Floats = sums[place]
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
