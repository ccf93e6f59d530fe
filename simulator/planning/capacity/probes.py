"""Loads: the scenario's traffic at other rates, for searches and curves, from the same random
numbers throughout."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np

from simulator.engine.admission import never_answered
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import KvGroup
from simulator.errors import SimulatorError
from simulator.planning.capacity.full_batch import Ceiling, ceiling, running_context
from simulator.planning.capacity.prefix_hits import prefix_hits
from simulator.planning.capacity.search import Flow, NoQueueingPoint
from simulator.results.steady_state import last_arrival, warmup_end
from simulator.server import FleetPlan, Server
from simulator.statistics import BATCHES, student_t
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.sample import sample
from simulator.workload.traces.block_hashes import gathered
from simulator.workload.workload import Workload

STATIONARY = frozenset({"poisson", "gamma", "weibull", "constant", "users"})
WHOLE = 40_000
CHECK, _TALKS = 0.25, 0.5
_FEWEST = 10 * BATCHES
_SETTLES = 3
_RUNS, _FILLINGS, _APART = 5, 10, 20.0
_STRATUM = 100


def requests_at_rate(workload: Workload, rate_per_s: float, requests: int, seed: int) -> Requests:
    """This many requests of the traffic at another mean rate, with the same pattern.

    Where the rate varies over time it is the whole pattern, up to WHOLE requests: more of a trace
    are left out, and a longer pattern comes as Poisson arrivals of the mean rate.
    """
    shaped = workload.at_rate(rate_per_s)
    if shaped.arrivals is not None and shaped.arrivals.kind in STATIONARY:
        return sample(replace(shaped, requests=requests, duration=None), seed)
    most = WHOLE if shaped.trace is not None else WHOLE + 1
    whole = sample(replace(shaped, requests=min(most, workload.requests or most)), seed)
    return whole if len(whole) <= WHOLE else sample(shaped.evened(requests), seed)


def full_server(server: Server, requests: Requests, *, at_best: bool = False) -> Ceiling:
    """The closed-form ceiling of one replica of a deployment that starts, for requests some of
    which it answers.

    Its rate is of all requests, as a demand is; those that get no answer are no work. What prompts
    share is found in the prefix cache as often as one of its size finds it; with `at_best` as often
    as it could be found, behind whatever router.
    """
    answered = answered_by(server, requests)
    share = len(answered) / len(requests)
    context = running_context(answered)
    fit, limits = server.plan.concurrency_at(max(1, round(context))), server.limits
    plain = limits.kv_groups == (KvGroup(),) and not limits.state_blocks
    full = replace(
        ceiling(server.step_time, limits, answered, None if plain else fit), kv_sequences=fit
    )
    if answered.hashes is not None and limits.enable_prefix_caching:
        for _ in range(1 if answered.previous is None or at_best else _SETTLES):
            hits = prefix_hits(
                answered, fit * context, limits.block_size, full.requests_per_s, endless=at_best
            )
            full = ceiling(server.step_time, limits, answered, hits.sequences, hits.tokens)
    return replace(full, requests_per_s=full.requests_per_s / share)


def work_error(full: Ceiling, requests: Requests, drawn: int) -> float:
    """Half of the 95 % interval of the mean work of requests, as a share of it, of which so many
    are drawn as these were.

    Of conversations, whose turns belong together, whole ones are drawn.
    """
    work = np.asarray(full.work_s(requests), dtype=np.float64)
    off = work - work.mean()
    if requests.previous is not None:
        off = np.add.reduceat(off, np.flatnonzero(requests.previous < 0))
    variance = float((off**2).sum()) / len(work)
    return float(1.96 * (variance / drawn) ** 0.5 / work.mean())


def answered_by(server: Server, requests: Requests) -> Requests:
    """The requests that get an answer from a deployment that starts. Raises SimulatorError where
    none does."""
    lost = never_answered(requests, server.limits)
    if lost.all():
        raise SimulatorError("it refuses every request")
    if not lost.any():
        return requests
    picked, rows = _picked(requests, np.flatnonzero(~lost)), np.cumsum(~lost) - 1
    if picked.previous is None:
        return picked
    return replace(picked, previous=np.where(picked.previous >= 0, rows[picked.previous], -1))


Start = Literal["burst", "mixed", "empty"]
"""How a server begins a run of a search: full of requests that came at once, full of requests that
are each some way through, or empty."""


def flows(
    fleet: FleetPlan,
    workload: Workload,
    full: Ceiling,
    seed: int,
    share: float = 1.0,
    start: Start = "mixed",
) -> Callable[[float], Flow]:
    """What one replica completes at each rate, as a function of the rate, always of the same WHOLE
    requests or a share of them.

    They come well mixed, and evenly where the server is full: whether a queue grows in the long run
    depends on the mean rate and the mean work, and bursts of either would only blur the answer.
    What prompts share depends on their order, which is kept then.

    A server that starts empty fills so slowly just above its capacity that it seems to keep up, so
    it starts full. But requests of one length march in step: together where they came at once,
    evenly apart or in groups where they did not, and what a full server completes depends on which.
    It also depends on it where a server that is full preempts and computes again, and one that is
    not does not. So there are three starts. A `burst` marches together. A `mixed` run is several in
    one, each begun anew, at random phases, and its interval is as wide as they differ. An `empty`
    one begins as service does, with arrivals as random as Poisson's within a hundred and evenly
    spread beyond.

    Conversations begin at even distances on an empty server, half of WHOLE at least; their later
    turns come when the earlier ones are answered. Raises NoQueueingPoint for a trace of few
    requests that share prefixes: the same again would find them all in the cache.
    """
    one = fleet.with_instances(1)
    drawn = requests_at_rate(workload, workload.mean_rate() or 1.0, WHOLE, seed)
    if workload.trace is None and len(drawn) < WHOLE:
        drawn = sample(workload.at_rate(1.0).evened(WHOLE), seed)
    if drawn.previous is not None:
        talks = _picked(drawn, np.arange(min(round(WHOLE * max(share, _TALKS)), len(drawn))))
        return lambda rate: _flow(one, replace(talks, arrival_s=_even_starts(talks) / rate), full)
    if drawn.hashes is not None and len(drawn) < _FEWEST:
        raise NoQueueingPoint(
            f"{len(drawn):,} requests that share prefixes are too few to overload it for long"
        )
    wanted = round(WHOLE * share)
    many = _picked(
        drawn,
        _mixed(drawn, wanted, full, seed)
        if drawn.hashes is None
        else np.arange(min(wanted, len(drawn))),
    )
    if start == "empty":
        places = _nearly_poisson(len(many), seed)
        return lambda rate: _flow(one, replace(many, arrival_s=places / rate), full)
    runs = _RUNS if start == "mixed" and len(many) >= _RUNS * _FILLINGS * full.sequences else 1
    edges = np.linspace(0, len(many), runs + 1).astype(np.int64)
    places, started = _from_full(edges, round(full.sequences))
    begun = _under_way(many, started, seed) if start == "mixed" else many
    return lambda rate: _flow(one, replace(begun, arrival_s=places / rate), full, edges, many)


def _from_full(edges: Ints, sequences: int) -> tuple[Floats, Ints]:
    """When the requests of each run come, in units of the distance between requests, and the rows
    of those that come at once.

    A run begins when the one before it is long over; time in which nothing happens costs nothing.
    """
    lengths = np.diff(edges)
    place = np.arange(edges[-1]) - np.repeat(edges[:-1], lengths)
    at_once = np.repeat(np.minimum(sequences, lengths // 10), lengths)
    begins: Floats = _APART * np.repeat(edges[:-1], lengths).astype(np.float64)
    return begins + np.maximum(0, place - at_once), np.flatnonzero(place < at_once)


def _under_way(requests: Requests, rows: Ints, seed: int) -> Requests:
    """The requests, with those of `rows` left a random part of their output to write."""
    output = requests.output_tokens.copy()
    left = np.random.default_rng(seed).random(len(rows))
    output[rows] = np.ceil(output[rows] * left).clip(1).astype(np.int64)
    return replace(requests, output_tokens=output)


def _nearly_poisson(requests: int, seed: int) -> Floats:
    """Arrivals in units of the mean distance: random within each _STRATUM of them, which hold as
    many each."""
    stratum = np.arange(requests) // _STRATUM
    within: Floats = np.random.default_rng(seed).random(requests)
    return np.sort((stratum + within) * _STRATUM)


def _even_starts(requests: Requests) -> Floats:
    """When conversations begin, each turn at the time of its first, in units of the mean distance
    between requests."""
    assert requests.previous is not None
    first = requests.previous < 0
    starts: Floats = (np.cumsum(first) - 1.0) * (len(first) / np.count_nonzero(first))
    return starts


def _mixed(requests: Requests, wanted: int, full: Ceiling, seed: int) -> Ints:
    """So many of the requests, or the same ones over and over, in random order: every k-th by the
    work in them, so that a share has the mean work of all."""
    by_work = np.argsort(full.work_s(requests), kind="stable")
    chosen = by_work[np.arange(wanted) * len(requests) // wanted]
    np.random.default_rng(seed).shuffle(chosen)
    return chosen


def _picked(requests: Requests, rows: Ints) -> Requests:
    columns = {f.name: getattr(requests, f.name) for f in fields(requests)}
    picked: dict[str, Any] = {
        name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)
    }
    return replace(
        requests,
        **picked,
        hashes=None if requests.hashes is None else gathered(requests.hashes, rows),
    )


def _flow(
    fleet: FleetPlan,
    requests: Requests,
    full: Ceiling,
    runs: Ints | None = None,
    usual: Requests | None = None,
) -> Flow:
    """Arrivals and completions of a run, requests/s, with the interval that equal parts of it give.

    Both are counted by work, in units of the mean request: the work that a full server gets done in
    a second hardly varies, while the number of requests it finishes does with every long one. What
    is refused at the door counts as a share of the arrivals. `runs`: the rows at which each of
    several runs in one begins, and the end of the last. `usual`: the requests as they are asked,
    where those that begin a run are shorter.
    """
    trace = fleet.serve(requests)
    work = full.work_s(requests)
    accepted = np.isfinite(trace.requests["finish_s"])
    if not accepted.any():
        return Flow(0.0, 0.0, 0.0, 0.0)
    edges = _windows(trace, requests, runs)
    if any(e[-1] <= e[0] for e in edges):
        return Flow(0.0, 0.0, 0.0, 0.0)
    unit = float(full.work_s(usual or requests)[accepted].sum()) / len(requests)
    prompt = np.asarray(full.prompt_token_s * requests.prompt_tokens[accepted])
    arrivals = _Sums(trace.requests["arrival_s"][accepted], np.asarray(work[accepted]))
    prompts = _Sums(trace.requests["first_token_s"][accepted], prompt)
    emitted = _emitted_by(trace, np.concatenate(edges)).reshape(len(edges), -1)
    seconds = np.array([e[1] - e[0] for e in edges])[:, None] * unit
    came = np.array([arrivals.between(e) for e in edges]) / seconds
    done = (
        np.array([prompts.between(e) for e in edges]) + np.diff(emitted) * full.output_token_s
    ) / seconds
    mean, half = float(done.mean()), _half(done)
    return Flow(float(came.mean()), mean, max(0.0, mean - half), mean + half)


def _windows(trace: RunRecord, requests: Requests, runs: Ints | None) -> list[Floats]:
    """The edges of the equal parts in which each run is measured: from the end of its warm-up to
    its last arrival."""
    if runs is None or len(runs) == 2:
        end = last_arrival(trace)
        start = min(max(warmup_end(trace), _stay(trace, requests)), end / 2)
        return [np.linspace(start, end, BATCHES + 1, dtype=np.float64)]
    parts = BATCHES // (len(runs) - 1)
    arrival, left = trace.requests["arrival_s"], trace.requests["left_s"]
    windows = []
    for first, last in itertools.pairwise(runs.tolist()):
        begin, end = float(arrival[first]), float(arrival[last - 1])
        leaders = left[first : first + max(20, (last - first) // 20)]
        warm = float(np.nanmax(leaders)) if np.isfinite(leaders).any() else begin
        start = min(warm, begin + (end - begin) / 2)
        windows.append(np.linspace(start, end, parts + 1, dtype=np.float64))
    return windows


def _half(rates: Floats) -> float:
    """Half of the interval of a rate that was measured in parts of runs, shape (runs, parts).

    The mean of all parts is known to within their spread. By as much as runs differ beyond that the
    rate is not one number, and the next run would differ so too.
    """
    runs, parts = rates.shape
    within = float(rates.var(axis=1, ddof=1).mean())
    noise = student_t(0.99, rates.size - runs) * (within / rates.size) ** 0.5
    if runs == 1:
        return float(noise)
    apart = max(0.0, float(rates.mean(axis=1).var(ddof=1)) - within / parts)
    return float((noise**2 + student_t(0.95, runs - 1) ** 2 * apart * (1 + 1 / runs)) ** 0.5)


def _stay(trace: RunRecord, requests: Requests) -> float:
    """Seconds from a conversation's first request to the end of its last, in the mean: so long the
    load takes to build up."""
    if requests.previous is None:
        return 0.0
    first = np.flatnonzero(requests.previous < 0)
    begun, over = (
        trace.requests["arrival_s"][first],
        np.fmax.reduceat(trace.requests["left_s"], first),
    )
    return float(np.nanmean(over - begun))


class _Sums:
    """Amounts at times, to be summed between edges."""

    def __init__(self, at_s: Floats, amounts: Floats) -> None:
        order = np.argsort(at_s, kind="stable")
        self.at_s, self.upto = at_s[order], np.concatenate([[0.0], np.cumsum(amounts[order])])

    def between(self, edges: Floats) -> Floats:
        """Amounts in each part of a window, shape (parts,)."""
        sums: Floats = np.diff(self.upto[np.searchsorted(self.at_s, edges)])
        return sums


def _emitted_by(trace: RunRecord, times: Floats) -> Floats:
    """Output tokens that one replica has emitted by each time, shape of `times`."""
    s = trace.stretches
    after = np.cumsum(s["steps"] * s["sampled"])
    knots = np.stack([s["start_s"], s["end_s"]], axis=1).ravel()
    emitted = np.stack([after - s["steps"] * s["sampled"], after], axis=1).ravel()
    tokens: Floats = np.interp(times, knots, emitted)
    return tokens
