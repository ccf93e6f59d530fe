"""Loads: the scenario's traffic at other rates, for searches and curves, from the same random numbers throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from simulator.engine.record import RunRecord
from simulator.planning.capacity.full_batch import Ceiling, ceiling, running_context
from simulator.planning.capacity.search import Flow, NoQueueingPoint
from simulator.results.steady_state import last_arrival, warmup_end
from simulator.simulation import Bound, simulate
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.sample import sample
from simulator.workload.traces.block_hashes import gathered
from simulator.workload.workload import Workload

STATIONARY = frozenset({"poisson", "gamma", "weibull", "constant", "users"})
WHOLE = 40_000
CHECK, _TALKS = 0.25, 0.5
_BATCHES = 20
_FEWEST = 10 * _BATCHES
_T_99 = 2.8609  # Student t, 19 degrees of freedom, two-sided 99 %


def requests_at_rate(workload: Workload, rate_per_s: float, requests: int, seed: int) -> Requests:
    """The traffic at another mean rate, its pattern kept, and so many requests of it.

    Where the rate varies over time it is the whole pattern, up to WHOLE requests: more of a trace are left out, and a longer
    pattern comes as Poisson arrivals of the mean rate.
    """
    shaped = workload.at_rate(rate_per_s)
    if shaped.arrivals is not None and shaped.arrivals.kind in STATIONARY:
        return sample(replace(shaped, requests=requests, duration=None), seed)
    most = WHOLE if shaped.trace is not None else WHOLE + 1
    whole = sample(replace(shaped, requests=min(most, workload.requests or most)), seed)
    return whole if len(whole) <= WHOLE else sample(shaped.evened(requests), seed)


def copies(bound: Bound) -> int:
    """Copies of the model that serve: replicas, and data-parallel ones inside each."""
    return bound.deployment.replicas * bound.deployment.data_parallel_size


def full_server(bound: Bound, requests: Requests) -> Ceiling:
    """The closed-form ceiling of one replica of a deployment that starts."""
    assert bound.step_time is not None and bound.limits is not None, bound.plan.reason
    fit = bound.plan.concurrency_at(max(1, round(running_context(requests))))
    return ceiling(bound.step_time, bound.limits, requests, fit)


def flows(bound: Bound, workload: Workload, full: Ceiling, seed: int, share: float = 1.0) -> Callable[[float], Flow]:
    """What one replica completes at each rate, as a function of the rate, always of the same WHOLE requests or a share of them.

    They come at even distances and well mixed: whether a queue grows in the long run depends on the mean rate and the mean work,
    and bursts of either would only blur the answer. The first ones fill the batch at once, for just above its capacity a server
    that starts empty fills so slowly that it seems to keep up. What prompts share depends on their order, which is kept then.
    Conversations begin at even distances, half of WHOLE at least; their later turns come when the earlier ones are answered.
    Raises NoQueueingPoint for a trace of few requests that share prefixes: the same again would find them all in the cache.
    """
    one = replace(bound, deployment=replace(bound.deployment, replicas=1, data_parallel_size=1))
    drawn = requests_at_rate(workload, workload.mean_rate() or 1.0, WHOLE, seed)
    if workload.trace is None and len(drawn) < WHOLE:
        drawn = sample(workload.at_rate(1.0).evened(WHOLE), seed)
    if drawn.previous is not None:
        talks = _picked(drawn, np.arange(min(round(WHOLE * max(share, _TALKS)), len(drawn))))
        return lambda rate: _flow(one, replace(talks, arrival_s=_even_starts(talks) / rate), full)
    if drawn.hashes is not None and len(drawn) < _FEWEST:
        raise NoQueueingPoint(f"{len(drawn):,} requests that share prefixes are too few to overload it for long")
    wanted = round(WHOLE * share)
    many = _picked(drawn, _mixed(drawn, wanted, full, seed) if drawn.hashes is None else np.arange(min(wanted, len(drawn))))
    places = np.maximum(0, np.arange(len(many)) - min(round(full.sequences), len(many) // 10))
    return lambda rate: _flow(one, replace(many, arrival_s=places / rate), full)


def _even_starts(requests: Requests) -> Floats:
    """When conversations begin, each turn at the time of its first, in units of the mean distance between requests."""
    assert requests.previous is not None
    first = requests.previous < 0
    starts: Floats = (np.cumsum(first) - 1.0) * (len(first) / np.count_nonzero(first))
    return starts


def _mixed(requests: Requests, wanted: int, full: Ceiling, seed: int) -> Ints:
    """So many of the requests, or the same ones over and over, in random order: every k-th by the work in them, so that a share
    has the mean work of all."""
    by_work = np.argsort(full.work_s(requests), kind="stable")
    chosen = by_work[np.arange(wanted) * len(requests) // wanted]
    np.random.default_rng(seed).shuffle(chosen)
    return chosen


def _picked(requests: Requests, rows: Ints) -> Requests:
    columns = {f.name: getattr(requests, f.name) for f in fields(requests)}
    picked: dict[str, Any] = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(requests, **picked, hashes=None if requests.hashes is None else gathered(requests.hashes, rows))


def _flow(bound: Bound, requests: Requests, full: Ceiling) -> Flow:
    """Arrivals and completions of a run, requests/s, with the interval that equal parts of it give.

    Both are counted by work, in units of the mean request: the work that a full server gets done in a second hardly varies, while
    the number of requests it finishes does with every long one. What is refused at the door counts as a share of the arrivals.
    """
    trace = simulate(bound, requests)
    end = last_arrival(trace)
    start = min(max(warmup_end(trace), _stay(trace, requests)), end / 2)
    r, work = trace.requests, full.work_s(requests)
    accepted = np.isfinite(r["finish_s"])
    if end <= start or not accepted.any():
        return Flow(0.0, 0.0, 0.0, 0.0)
    edges: Floats = np.linspace(start, end, _BATCHES + 1, dtype=np.float64)
    unit = float(work[accepted].sum()) / len(requests) * (edges[1] - edges[0])
    came = _sums(r["arrival_s"][accepted], np.asarray(work[accepted]), edges) / unit
    prompts = _sums(r["first_token_s"][accepted], np.asarray(full.prompt_token_s * requests.prompt_tokens[accepted]), edges)
    done = (prompts + np.diff(_emitted_by(trace, edges)) * full.output_token_s) / unit
    half = _T_99 * float(done.std(ddof=1)) / _BATCHES**0.5
    mean = float(done.mean())
    return Flow(float(came.mean()), mean, max(0.0, mean - half), mean + half)


def _stay(trace: RunRecord, requests: Requests) -> float:
    """Seconds from a conversation's first request to the end of its last, in the mean: so long the load takes to build up."""
    if requests.previous is None:
        return 0.0
    first = np.flatnonzero(requests.previous < 0)
    begun, over = trace.requests["arrival_s"][first], np.fmax.reduceat(trace.requests["left_s"], first)
    return float(np.nanmean(over - begun))


def _sums(at_s: Floats, amounts: Floats, edges: Floats) -> Floats:
    """Amounts that fall into each part of a window, shape (parts,)."""
    sums: Floats = np.histogram(at_s, bins=edges, weights=amounts)[0]
    return sums


def _emitted_by(trace: RunRecord, times: Floats) -> Floats:
    """Output tokens that one replica has emitted by each time, shape of `times`."""
    s = trace.stretches
    after = np.cumsum(s["steps"] * s["sampled"])
    knots = np.stack([s["start_s"], s["end_s"]], axis=1).ravel()
    emitted = np.stack([after - s["steps"] * s["sampled"], after], axis=1).ravel()
    tokens: Floats = np.interp(times, knots, emitted)
    return tokens
