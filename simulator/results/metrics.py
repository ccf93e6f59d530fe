"""Metrics: what the numbers of a run mean, and their values. To add one, add an entry to METRICS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import CANCELLED, FINISHED, LOST, REFUSED, TIMED_OUT, RunRecord, inter_token_latencies
from simulator.results.slo import Promise, good
from simulator.results.steady_state import last_arrival
from simulator.results.tables import latencies

Floats = NDArray[np.float64]
_INSTANT = 1e-9
_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Sample:
    """A trace and the window of it that is measured, seconds from the start, with what the functions of METRICS share.

    `kv_blocks` are one replica's. `columns` are the latencies of all requests, shape (n,), NaN where undefined.
    """

    trace: RunRecord
    gpus: float
    replicas: float
    kv_blocks: int
    promises: tuple[Promise, ...]
    start_s: float
    end_s: float
    columns: dict[str, Floats]

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.end_s - self.start_s

    @cached_property
    def arrived(self) -> NDArray[np.bool_]:
        """Requests that arrived in the window."""
        return self.within("arrival_s")

    @cached_property
    def overlap_s(self) -> Floats:
        """Seconds of each stretch that lie in the window."""
        s = self.trace.stretches
        inside: Floats = np.minimum(s["end_s"], self.end_s) - np.maximum(s["start_s"], self.start_s)
        return np.clip(inside, 0.0, None)

    @cached_property
    def itl(self) -> dict[str, float]:
        """The mean and the percentiles of the inter-token latencies of the window; empty where there are none."""
        return _itl(self)

    def within(self, event: str) -> NDArray[np.bool_]:
        """Requests whose event, a column of seconds, falls in the window."""
        at = self.trace.requests[event]
        return (at >= self.start_s) & (at <= self.end_s)

    @cached_property
    def latencies(self) -> dict[str, dict[str, float]]:
        """Mean and percentiles of each latency of the requests that arrived in the window; empty where it is undefined."""
        return {name: _figures(column[self.arrived & np.isfinite(column)]) for name, column in self.columns.items()}

    @cached_property
    def output_tokens(self) -> float:
        """Tokens generated in the window; a stretch that lies partly in it counts by its share of time."""
        t = self.trace.stretches
        length = t["end_s"] - t["start_s"]
        share = np.divide(self.overlap_s, length, out=np.zeros_like(length), where=length > 0)
        return float((self.trace.emitted * t["steps"] * share).sum())

    def time_average(self, column: Floats) -> float | None:
        """A quantity of the stretches, summed over replicas, averaged over the window; idle time counts as zero."""
        return float((column * self.overlap_s).sum() / self.seconds) if self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Metric:
    """One number: name, unit, definition in words, function. `steady`: it means nothing, and is None, where the backlog grows."""

    name: str
    unit: str
    definition: str
    value: Callable[[Sample], float | None]
    steady: bool = False


def measured_window(
    trace: RunRecord,
    *,
    gpus: float = 1,
    replicas: float = 1,
    kv_blocks: int = 0,
    promises: tuple[Promise, ...] = (),
    warmup_s: float = 0.0,
) -> Sample:
    """The measured window of a trace: from the end of warm-up to the last arrival, so that draining is not measured.

    Where less than half of the requests had finished by then (a burst, a batch, a heavy overload) it extends to the last finish.
    """
    finish = trace.requests["finish_s"]
    finished = np.isfinite(finish)
    end = last_arrival(trace)
    if finished.any() and (end <= warmup_s or (finish[finished] <= end).sum() < finished.sum() / 2):
        end = float(finish[finished].max())
    return Sample(trace, gpus, replicas, kv_blocks, promises, warmup_s, end, latencies(trace))


def measure(s: Sample, *, steady: bool = True) -> dict[str, float | None]:
    """Every metric by name. None where it is undefined (nothing finished, one token each), and where the run is not steady."""
    return dict(Measures(s, steady=steady))


@dataclass(frozen=True, eq=False)
class Measures(Mapping[str, float | None]):
    """Every metric by name, each worked out when it is asked for. `times`: what some of them are multiplied by."""

    sample: Sample
    steady: bool = True
    times: Mapping[str, float] = field(default_factory=dict)
    known: dict[str, float | None] = field(default_factory=dict, init=False, repr=False)

    def __getitem__(self, name: str) -> float | None:
        if name not in self.known:
            metric = _BY_NAME[name]
            value = None if metric.steady and not self.steady else metric.value(self.sample)
            self.known[name] = None if value is None else value * self.times.get(name, 1.0)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_BY_NAME)

    def __len__(self) -> int:
        return len(_BY_NAME)


def window_latencies(s: Sample) -> dict[str, Floats]:
    """Latency columns of the requests that arrived in the window, NaN where refused or abandoned: what an SLO is held against."""
    return {name: column[s.arrived] for name, column in s.columns.items()}


def window_promises(s: Sample) -> tuple[Promise, ...]:
    """The promises to the requests that arrived in the window."""
    return tuple(promise.within(s.arrived) for promise in s.promises)


def _finished_per_s(s: Sample) -> float | None:
    return float(s.within("finish_s")[s.trace.requests["status"] == FINISHED].sum() / s.seconds) if s.seconds > 0 else None


def _output_per_s(s: Sample) -> float | None:
    return s.output_tokens / s.seconds if s.seconds > 0 else None


def _total_per_s(s: Sample) -> float | None:
    output = _output_per_s(s)
    if output is None:
        return None
    return output + float(s.trace.requests["prompt_tokens"][s.within("first_token_s")].sum() / s.seconds)


def _per_gpu(value: Callable[[Sample], float | None], s: Sample) -> float | None:
    total = value(s)
    return None if total is None else total / s.gpus


def _per_user(s: Sample) -> float | None:
    tpot = s.latencies["tpot_s"].get("mean", 0.0)
    return 1 / tpot if tpot > 0 else None


def _bench(column: str | None, s: Sample) -> float | None:
    r = s.trace.requests
    finished = r["status"] == FINISHED
    span = float(r["finish_s"][finished].max() - np.nanmin(r["arrival_s"])) if finished.any() else 0.0
    amount = finished.sum() if column is None else r[column][finished].sum()
    return float(amount / span) if span > 0 else None


def _figures(values: Floats) -> dict[str, float]:
    if not len(values):
        return {}
    percentiles = zip(_PERCENTILES, np.percentile(values, _PERCENTILES).tolist(), strict=True)
    return {"mean": float(values.mean()), **{f"p{q}": value for q, value in percentiles}}


def _latency(name: str, figure: str, s: Sample) -> float | None:
    return s.latencies[name].get(figure)


def _gaps(s: Sample) -> tuple[Floats, Floats]:
    """Inter-token latencies of the steps that start in the window, with how often each occurred, sorted by value."""
    rows = s.trace.stretches
    seen = (rows["start_s"] >= s.start_s) & (rows["start_s"] <= s.end_s)
    kept = {name: rows[name][seen] for name in ("steps", "decoding", "base_s", "slope_s")}
    values, weights = inter_token_latencies(dataclasses.replace(s.trace, stretches=kept))
    order = np.argsort(values)
    values = values[order]
    weights = weights[order]
    return values, weights.astype(np.float64)


def _itl(s: Sample) -> dict[str, float]:
    """Of the gaps, of which there are several a request, only these are kept; q %: the smallest that q % do not exceed."""
    values, weights = _gaps(s)
    if not len(values):
        return {}
    found = {"mean": float(np.average(values, weights=weights))}
    upto = np.cumsum(weights)
    for q in _PERCENTILES:
        found[f"p{q}"] = float(values[min(np.searchsorted(upto, q / 100 * upto[-1]), len(values) - 1)])
    return found


def _itl_of(name: str, s: Sample) -> float | None:
    return s.itl.get(name)


def _goodput(s: Sample) -> float | None:
    return float((good(s.promises, s.columns) & s.within("finish_s")).sum() / s.seconds) if s.promises and s.seconds > 0 else None


def _goodput_share(s: Sample) -> float | None:
    return float(good(s.promises, s.columns)[s.arrived].mean()) if s.promises and s.arrived.any() else None


def _average(column: str, s: Sample) -> float | None:
    return s.time_average(s.trace.stretches[column].astype(np.float64))


def _peak(column: str, s: Sample) -> float | None:
    """Largest sum over the replicas at any moment of the window."""
    t, seen = s.trace.stretches, s.overlap_s > 0
    if not seen.any():
        return None
    amounts = t[column][seen].astype(np.int64)
    start, end = t["start_s"][seen], t["end_s"][seen] - _INSTANT
    if (start[1:] >= end[:-1]).all():  # one after another, as on one replica
        return float(amounts[end > start].max(initial=0))
    changes = np.concatenate([-amounts, amounts])
    return float(np.cumsum(changes[np.argsort(np.concatenate([end, start]), kind="stable")]).max())


def _kv_mean(s: Sample) -> float | None:
    used = _average("kv_blocks", s)
    return used / (s.kv_blocks * s.replicas) if used is not None and s.kv_blocks else None


def _kv_peak(s: Sample) -> float | None:
    used = s.trace.stretches["kv_blocks"][s.overlap_s > 0]
    return float(used.max() / s.kv_blocks) if len(used) and s.kv_blocks else None


def _hit_rate(s: Sample) -> float | None:
    r = s.trace.requests
    served = s.arrived & (r["status"] == FINISHED)
    return float(r["cached_tokens"][served].sum() / r["prompt_tokens"][served].sum()) if served.any() else None


def _count(statuses: tuple[np.int8, ...], s: Sample) -> float | None:
    return float(np.isin(s.trace.requests["status"], statuses).sum())


def _duration(s: Sample) -> float | None:
    leaves = s.trace.requests["finish_s"][np.isfinite(s.trace.requests["finish_s"])]
    return float(leaves.max()) if len(leaves) else None


_LATENCIES = {
    "ttft": ("TTFT", "arrival to first token, queueing and front end included, as a client sees it"),
    "tpot": ("TPOT", "(last token - first token) / (output tokens - 1) of each request; undefined for one token, and left out"),
    "e2e": ("E2E", "arrival to last token"),
    "queue": ("Queueing time", "arrival to the step in which the request is first scheduled"),
}


def _latency_metrics() -> tuple[Metric, ...]:
    found = []
    for key, (title, words) in _LATENCIES.items():
        name = f"{key}_s"
        found.append(Metric(f"{key}_mean_s", "s", f"Mean {title}: {words}.", partial(_latency, name, "mean"), steady=True))
        for q in _PERCENTILES:
            text = f"{title} that {q} % of the requests do not exceed, of those that got an answer."
            found.append(Metric(f"{key}_p{q}_s", "s", text, partial(_latency, name, f"p{q}"), steady=True))
    words = "every gap between two tokens of a request, each counted once"
    found.append(Metric("itl_mean_s", "s", f"Mean ITL: {words}.", partial(_itl_of, "mean"), steady=True))
    for q in _PERCENTILES:
        text = f"ITL that {q} % of the gaps do not exceed."
        found.append(Metric(f"itl_p{q}_s", "s", text, partial(_itl_of, f"p{q}"), steady=True))
    return tuple(found)


METRICS: tuple[Metric, ...] = (
    Metric("requests_per_s", "requests/s", "Requests finished in the measured window, per second of it.", _finished_per_s),
    Metric("output_tokens_per_s", "tokens/s", "Tokens generated in the measured window, per second of it.", _output_per_s),
    Metric(
        "total_tokens_per_s",
        "tokens/s",
        "The same, with the prompt tokens of requests whose first token came in it.",
        _total_per_s,
    ),
    Metric(
        "output_tokens_per_s_per_gpu", "tokens/s", "Output tokens/s over the number of GPUs.", partial(_per_gpu, _output_per_s)
    ),
    Metric(
        "total_tokens_per_s_per_gpu",
        "tokens/s",
        "Prompt and output tokens/s over the number of GPUs.",
        partial(_per_gpu, _total_per_s),
    ),
    Metric(
        "output_tokens_per_s_per_user", "tokens/s", "How fast one reader's text comes: 1 / mean TPOT.", _per_user, steady=True
    ),
    Metric("goodput_per_s", "requests/s", "Requests that met every limit of the SLO, per second.", _goodput, steady=True),
    Metric("goodput_share", "", "Share of the requests that met every limit of the SLO.", _goodput_share, steady=True),
    *_latency_metrics(),
    Metric(
        "running_mean",
        "requests",
        "Requests in the running batch, all replicas, averaged over time.",
        partial(_average, "sequences"),
    ),
    Metric("running_peak", "requests", "The most of them at any moment.", partial(_peak, "sequences")),
    Metric(
        "waiting_mean", "requests", "Requests waiting for a place, averaged over time.", partial(_average, "waiting"), steady=True
    ),
    Metric("waiting_peak", "requests", "The most of them at any moment.", partial(_peak, "waiting"), steady=True),
    Metric("kv_use_mean", "", "Share of the KV blocks in use, averaged over time.", _kv_mean),
    Metric("kv_use_peak", "", "The largest share on any replica.", _kv_peak),
    Metric(
        "preemptions",
        "",
        "Times a running request lost its KV blocks and had to be recomputed, in the whole run.",
        lambda s: float(s.trace.requests["preemptions"].sum()),
    ),
    Metric("prefix_hit_rate", "", "Share of prompt tokens found in the prefix cache when first admitted.", _hit_rate),
    Metric("finished", "requests", "Requests that got all their tokens, in the whole run.", partial(_count, (FINISHED,))),
    Metric(
        "refused",
        "requests",
        "Requests refused at the door because they could never fit, or answered 503 at the limits of the queue.",
        partial(_count, (REFUSED,)),
    ),
    Metric(
        "unanswered_share",
        "",
        "Share of the requests that got no answer: refused, timed out, never scheduled, lost, or not sent.",
        lambda s: float((s.trace.requests["status"] != FINISHED).mean()) if len(s.trace) else None,
    ),
    Metric("abandoned", "requests", "Requests that timed out or were cancelled.", partial(_count, (TIMED_OUT, CANCELLED))),
    Metric("lost", "requests", "Requests that were lost with the replica that had them.", partial(_count, (LOST,))),
    Metric("duration_s", "s", "From the start to the last finish.", _duration),
    Metric("measured_s", "s", "Length of the measured window: from the end of warm-up to the last arrival.", lambda s: s.seconds),
    Metric(
        "bench_requests_per_s",
        "requests/s",
        "As `vllm bench serve` prints it: finished requests over the whole run, filling and draining included.",
        partial(_bench, None),
    ),
    Metric(
        "bench_output_tokens_per_s",
        "tokens/s",
        "As `vllm bench serve` prints it: output tokens over the whole run.",
        partial(_bench, "output_tokens"),
    ),
)
_BY_NAME = {metric.name: metric for metric in METRICS}
