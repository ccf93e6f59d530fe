"""Loads: the scenario's traffic at other rates, for searches and curves, from the same random
numbers throughout."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from simulator.engine.admission import never_answered
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import KvGroup
from simulator.errors import SimulatorError
from simulator.planning.capacity.completions import Parts, amounts, parts_of, pooled
from simulator.planning.capacity.full_batch import Ceiling, ceiling, running_context
from simulator.planning.capacity.prefix_hits import prefix_hits
from simulator.planning.capacity.search import TOLERANCE, Flow, NoQueueingPoint
from simulator.results.steady_state import MOSTLY, last_arrival, warmup_end
from simulator.server import FleetPlan, Server
from simulator.statistics import BATCHES
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.sample import sample
from simulator.workload.traces.block_hashes import gathered
from simulator.workload.workload import Workload

STATIONARY = frozenset({"poisson", "gamma", "weibull", "constant", "users"})
WHOLE = 40_000
CHECK = 0.25
_FEWEST = 10 * BATCHES
_DRAWN = 10_000
_SETTLES = 3
_STRATUM = 100
# Of a run that starts full, of one that may fill and of a long one: requests, and times the batch.
_OF_FULL, _TO_FILL, _OF_CALM = (1_000, 8.0), (2_000, 20.0), (8_000, 64.0)
_BELOW, _LATE = 0.9, 1 / 3
_STAYS, _FEWEST_OF_TALKS = 5, 2_000
_RUNS, _LEAST_RUNS, _MOST_RUNS, _LEAST_FILLINGS, _RUN_PARTS = 5, 3, 8, 4, 4
_APART, _MORE = 20.0, 4
_PRECISE = 0.02


def requests_at_rate(workload: Workload, rate_per_s: float, requests: int, seed: int) -> Requests:
    """This many requests of the traffic at another mean rate, with the same pattern.

    Where the rate varies over time it is the whole pattern, up to WHOLE requests: more of a trace
    are left out, and a longer pattern comes as Poisson arrivals of the mean rate.
    """
    if _is_stationary(workload):
        drawn = _at_unit_rate(workload, max(requests, _DRAWN), seed)
        first = drawn if len(drawn) == requests else _picked(drawn, np.arange(requests))
        return replace(first, arrival_s=first.arrival_s / rate_per_s)
    shaped = workload.at_rate(rate_per_s)
    most = WHOLE if shaped.trace is not None else WHOLE + 1
    whole = sample(replace(shaped, requests=min(most, workload.requests or most)), seed)
    return whole if len(whole) <= WHOLE else sample(shaped.evened(requests), seed)


@functools.lru_cache(maxsize=4)
def _at_unit_rate(workload: Workload, requests: int, seed: int) -> Requests:
    """This many requests of steady traffic at a request a second; fewer are the first of them."""
    return sample(replace(workload.at_rate(1.0), requests=requests, duration=None), seed)


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
    held, length = None if plain else fit, server.tokens_a_step
    full = ceiling(server.step_time, limits, answered, held, tokens_a_step=length)
    full = replace(full, kv_sequences=fit)
    if answered.hashes is not None and limits.enable_prefix_caching:
        for _ in range(1 if answered.previous is None or at_best else _SETTLES):
            hits = prefix_hits(
                answered, fit * context, limits.block_size, full.requests_per_s, endless=at_best
            )
            found = hits.sequences, hits.tokens
            full = ceiling(server.step_time, limits, answered, *found, length)
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


@dataclass(frozen=True, eq=False)
class ProbeTraffic:
    """The requests that a search chooses from, and the replica that gets them."""

    one: FleetPlan
    drawn: Requests
    full: Ceiling
    seed: int

    @cached_property
    def mean(self) -> Floats:
        """Work and context of the mean request that gets an answer, shape (2,)."""
        each = amounts(answered_by(self.one.server, self.drawn), self.full)
        return np.array([amount.mean() for amount in each])

    @cached_property
    def by_work(self) -> Ints:
        """The rows of the requests in order of the work in them."""
        return np.argsort(self.full.work_s(self.drawn), kind="stable")

    def every_kth(self, wanted: int) -> Ints:
        """So many rows, or the same ones over and over: every k-th by work, so that a share has the
        mean work of all."""
        return self.by_work[np.arange(wanted) * len(self.drawn) // wanted]

    def chosen(self, wanted: int) -> Requests:
        """So many of the requests, well mixed; the first ones where they share prefixes."""
        if self.drawn.hashes is None:
            mixed = np.random.default_rng(self.seed).permutation(self.every_kth(wanted))
            return _picked(self.drawn, mixed)
        return _picked(self.drawn, np.arange(min(wanted, len(self.drawn))))


_Asked = Callable[[float], Flow]


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """What one replica completes at each rate, always of the same requests; each rate is simulated
    once.

    They come well mixed, and evenly where the server is full: whether a queue grows in the long run
    depends on the mean rate and the mean work, and bursts of either would only blur the answer.
    What prompts share depends on their order, which is kept then.

    A server that starts empty fills so slowly just above its capacity that it seems to keep up, so
    it starts full. But requests of one length march in step: together where they came at once,
    evenly apart or in groups where they did not, and what a full server completes depends on which.
    It also depends on it where a server that is full preempts and computes again, and one that is
    not does not. So there are three starts. A `burst` marches together. A `mixed` run is several,
    each begun anew with requests that are each some way through, as a server that was always full
    has them; there are as many as make the rate known to _PRECISE, and the interval is as wide as
    they differ. A `calm` one begins below full, with arrivals as random as Poisson's within a
    hundred and evenly spread beyond; where it does not fill it is a long one.

    Conversations begin at even distances on an empty server; their later turns come when the
    earlier ones are answered.
    """

    traffic: ProbeTraffic
    burst: _Asked
    mixed: _Asked
    calm: _Asked


def probes(fleet: FleetPlan, workload: Workload, full: Ceiling, seed: int) -> Probes:
    """What can be asked of one replica of a fleet. Raises NoQueueingPoint for a trace of few
    requests that share prefixes: the same again would find them all in the cache."""
    drawn = _drawn(workload, seed)
    traffic = ProbeTraffic(fleet.with_instances(1), drawn, full, seed)
    if drawn.previous is not None:
        talks = _asked(_talks, traffic)
        return Probes(traffic, talks, talks, talks)
    if drawn.hashes is not None and len(drawn) < _FEWEST:
        few = f"{len(drawn):,} requests that share prefixes"
        raise NoQueueingPoint(f"{few} are too few to overload it for long")
    mixed = _begun_anew if drawn.hashes is None else _one_after_another
    starts = (_from_burst, mixed, _from_below)
    return Probes(traffic, *(_asked(start, traffic) for start in starts))


def _asked(start: Callable[[ProbeTraffic], _Asked], traffic: ProbeTraffic) -> _Asked:
    """The flow of runs with a start, which are drawn when the first rate is asked."""
    begun = functools.cache(partial(start, traffic))
    return functools.cache(lambda rate: begun()(rate))


def burst_of(traffic: ProbeTraffic, fleet: FleetPlan, at_once: float, rate: float) -> Flow:
    """What one replica of another fleet completes of the requests of a burst, so many of them at
    once."""
    other = replace(traffic, one=fleet.with_instances(1))
    return _run(other, _of_a_burst(traffic), at_once, rate)


def from_empty(traffic: ProbeTraffic, requests: Requests, rate: float) -> Flow:
    """What its replica completes of requests from an empty server on, nearly as random as
    Poisson's."""
    came = replace(requests, arrival_s=_nearly_poisson(len(requests), traffic.seed) / rate)
    return _counted(traffic, came, traffic.one.serve(came))


def _drawn(workload: Workload, seed: int) -> Requests:
    """The requests that a search chooses from: drawn once for all its runs, but for a file's, which
    may have changed."""
    once = workload.trace is None and _is_stationary(workload)
    return (_drawn_once if once else _draw)(workload, seed, WHOLE)


def _draw(workload: Workload, seed: int, whole: int) -> Requests:
    """So many requests; more of those that share nothing, for their mean is taken for all."""
    rate = workload.mean_rate() or 1.0
    drawn = requests_at_rate(workload, rate, whole, seed)
    if workload.trace is None and len(drawn) < whole:
        return sample(workload.at_rate(1.0).evened(whole), seed)
    if drawn.hashes is None and drawn.previous is None and _is_stationary(workload):
        return requests_at_rate(workload, rate, _MORE * whole, seed)
    return drawn


_drawn_once = functools.lru_cache(maxsize=2)(_draw)


def _is_stationary(workload: Workload) -> bool:
    return workload.arrivals is not None and workload.arrivals.kind in STATIONARY


def _enough(full: Ceiling, wanted: tuple[int, float], most: int) -> int:
    """Requests of a run: at least so many, and so many times the batch."""
    fewest, fillings = wanted
    return min(most, max(fewest, round(fillings * full.sequences)))


def enough_talks(requests: Requests, full: Ceiling, rate_per_s: float) -> int:
    """Requests of conversations that show how a replica does at a rate: those that come while some
    stay from their first turn to their last answer, _STAYS times."""
    assert requests.previous is not None
    think = 0.0 if requests.think_s is None else float(np.nansum(requests.think_s))
    answering = len(requests) * full.sequences / full.requests_per_s
    stay_s = (think + answering) / max(1, int(np.count_nonzero(requests.previous < 0)))
    return max(_FEWEST_OF_TALKS, round(_STAYS * rate_per_s * stay_s))


def _talks(traffic: ProbeTraffic) -> _Asked:
    full, drawn = traffic.full, traffic.drawn
    enough = enough_talks(drawn, full, full.requests_per_s)
    wanted = min(WHOLE // 2, enough, len(drawn))
    talks = _picked(drawn, np.arange(wanted))
    places = _even_starts(talks)

    def flow(rate: float) -> Flow:
        requests = replace(talks, arrival_s=places / rate)
        return _counted(traffic, requests, traffic.one.serve(requests))

    return flow


def _from_burst(traffic: ProbeTraffic) -> _Asked:
    return partial(_run, traffic, _of_a_burst(traffic), traffic.full.sequences)


def _of_a_burst(traffic: ProbeTraffic) -> Requests:
    return traffic.chosen(_enough(traffic.full, _OF_FULL, round(CHECK * WHOLE)))


def _from_below(traffic: ProbeTraffic) -> _Asked:
    """Runs that are long only where a shorter one does not fill the server; what fills does not
    keep up, whatever it completes by chance."""
    most, rng = round(CHECK * WHOLE), np.random.default_rng(traffic.seed)
    sizes = sorted({_enough(traffic.full, each, most) for each in (_TO_FILL, _OF_CALM)})
    shared = traffic.drawn.hashes is not None
    at_once = 0 if shared else round(_BELOW * traffic.full.sequences)
    tries = [_begun(traffic.chosen(size), at_once, rng) for size in sizes]

    def flow(rate: float) -> Flow:
        for begun in tries:
            later = _nearly_poisson(len(begun) - at_once, traffic.seed)
            requests = replace(begun, arrival_s=np.append(np.zeros(at_once), later) / rate)
            trace = traffic.one.serve(requests)
            late = _late(trace)
            full = _is_full(trace, late)
            if full:
                break
        edges = late if full else _edges(trace, requests)
        found = pooled([parts_of(trace, requests, traffic.full, [edges], traffic.mean, at_once)])
        return replace(found, low_per_s=0.0) if full else found

    return flow


def _run(traffic: ProbeTraffic, many: Requests, at_once: float, rate: float) -> Flow:
    """One run at a rate; so many of the requests come at once."""
    crowd = min(round(at_once), len(many) // _LEAST_FILLINGS)
    requests = replace(many, arrival_s=_places(len(many), crowd) / rate)
    return _counted(traffic, requests, traffic.one.serve(requests))


def _counted(traffic: ProbeTraffic, requests: Requests, trace: RunRecord) -> Flow:
    edges = _edges(trace, requests)
    return pooled([parts_of(trace, requests, traffic.full, [edges], traffic.mean)])


def _late(trace: RunRecord) -> Floats:
    """The edges of the parts of the end of a run."""
    end = last_arrival(trace)
    return np.linspace((1 - _LATE) * end, end, BATCHES + 1, dtype=np.float64)


def _is_full(trace: RunRecord, edges: Floats) -> bool:
    """Whether requests wait in most of the time between the first and the last edge."""
    s, begin, end = trace.stretches, edges[0], edges[-1]
    inside = np.clip(np.minimum(s["end_s"], end) - np.maximum(s["start_s"], begin), 0.0, None)
    return bool(inside[s["waiting"] > 0].sum() > MOSTLY * (end - begin))


def _begun_anew(traffic: ProbeTraffic) -> _Asked:
    """Runs of requests that share nothing, one after another until the rate is known."""
    rng = np.random.default_rng(traffic.seed)
    rows = _dealt(traffic, rng)
    at_once = min(round(traffic.full.sequences), rows.shape[1])
    begun = [_begun(_picked(traffic.drawn, row), at_once, rng) for row in rows]
    measured = partial(_measured, traffic, at_once, BATCHES if len(rows) == 1 else _RUN_PARTS)

    def flow(rate: float) -> Flow:
        seen: list[Parts | None] = []
        for requests in begun:
            seen.append(measured(requests, rate))
            if len(seen) >= _LEAST_RUNS and _is_known(pooled(seen)):
                break
        return pooled(seen)

    return flow


def _measured(
    traffic: ProbeTraffic, at_once: int, parts: int, begun: Requests, rate: float
) -> Parts | None:
    """One of the runs that begin full, at a rate."""
    requests = replace(begun, arrival_s=_places(len(begun), at_once) / rate)
    trace = traffic.one.serve(requests)
    edges = _begun_edges(trace, at_once, parts)
    return parts_of(trace, requests, traffic.full, [edges], traffic.mean, at_once)


def _is_known(flow: Flow) -> bool:
    """Whether more runs would tell no more: the rate is known, or that the server keeps up."""
    known = flow.high_per_s - flow.completed_per_s <= _PRECISE * flow.completed_per_s
    return known or (flow.keeps_up(TOLERANCE) and not flow.grows)


def _dealt(traffic: ProbeTraffic, rng: np.random.Generator) -> Ints:
    """The rows of several runs, shape (runs, requests), or of a long one where the batch is large.

    Every k-th by the work in them, dealt out like cards, so that each run has the mean work of all.
    """
    length = _enough(traffic.full, _OF_FULL, WHOLE // _LEAST_RUNS)
    runs = min(_MOST_RUNS, WHOLE // length)
    if length < _LEAST_FILLINGS * traffic.full.sequences:
        runs, length = 1, WHOLE
    dealt = rng.permuted(traffic.every_kth(runs * length).reshape(length, runs), axis=1).T
    return rng.permuted(dealt, axis=1)


def _begun(requests: Requests, at_once: int, rng: np.random.Generator) -> Requests:
    """The requests, and before them so many as a full server would have under way: a long one more
    often than a short one, each with a part of its output written, which is now its context."""
    upto = np.cumsum(requests.output_tokens)
    under_way = np.searchsorted(upto, rng.random(at_once) * upto[-1], side="right")
    begun = _picked(requests, np.concatenate([under_way, np.arange(len(requests))]))
    written = np.zeros(len(begun), np.int64)
    written[:at_once] = begun.output_tokens[:at_once] * rng.random(at_once)
    prompt, left = begun.prompt_tokens + written, begun.output_tokens - written
    return replace(begun, prompt_tokens=prompt, output_tokens=left)


def _begun_edges(trace: RunRecord, at_once: int, parts: int) -> Floats:
    """The edges of the parts of a run that began full: from when three quarters of those under way
    have left to the last arrival."""
    left, end = np.sort(trace.requests["left_s"][:at_once]), last_arrival(trace)
    warm = float(left[3 * at_once // 4]) if at_once else 0.0
    start = min(warm, end / 2) if np.isfinite(warm) else end / 2
    return np.linspace(start, end, parts + 1, dtype=np.float64)


def _one_after_another(traffic: ProbeTraffic) -> _Asked:
    """Runs of requests that share prefixes: in one simulation, whose cache lives on."""
    full = traffic.full
    many = traffic.chosen(_RUNS * _enough(full, _OF_FULL, WHOLE // _RUNS))
    runs = _RUNS if len(many) >= _RUNS * _LEAST_FILLINGS * full.sequences else 1
    rows = np.linspace(0, len(many), runs + 1).astype(np.int64)
    places, started = _from_full(rows, round(full.sequences))
    begun = _under_way(many, started, traffic.seed)

    def flow(rate: float) -> Flow:
        requests = replace(begun, arrival_s=places / rate)
        trace = traffic.one.serve(requests)
        return pooled([parts_of(trace, requests, full, _windows(trace, rows), traffic.mean)])

    return flow


def _places(requests: int, at_once: int) -> Floats:
    """When requests come, some at once and the others evenly, in units of the distance between."""
    places: Floats = np.maximum(0.0, np.arange(requests) - at_once)
    return places


def _from_full(edges: Ints, sequences: int) -> tuple[Floats, Ints]:
    """When the requests of each run come, in units of the distance between requests, and the rows
    of those that come at once.

    A run begins when the one before it is long over; time in which nothing happens costs nothing.
    """
    lengths = np.diff(edges)
    place = np.arange(edges[-1]) - np.repeat(edges[:-1], lengths)
    at_once = np.repeat(np.minimum(sequences, lengths // _LEAST_FILLINGS), lengths)
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
    begins = np.arange(requests) // _STRATUM * _STRATUM
    length = np.minimum(_STRATUM, requests - begins)
    within: Floats = np.random.default_rng(seed).random(requests)
    return np.sort(begins + within * length)


def _even_starts(requests: Requests) -> Floats:
    """When conversations begin, each turn at the time of its first, in units of the mean distance
    between requests."""
    assert requests.previous is not None
    first = requests.previous < 0
    starts: Floats = (np.cumsum(first) - 1.0) * (len(first) / np.count_nonzero(first))
    return starts


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


def _edges(trace: RunRecord, requests: Requests) -> Floats:
    """The edges of the parts of a run: from the end of its warm-up to its last arrival."""
    end = last_arrival(trace)
    start = min(max(warmup_end(trace), _stay(trace, requests)), end / 2)
    return np.linspace(start, end, BATCHES + 1, dtype=np.float64)


def _windows(trace: RunRecord, runs: Ints) -> list[Floats]:
    """The edges of the parts of several runs in one: of each from the end of its warm-up to its
    last arrival. `runs`: the rows at which they begin, and the end of the last."""
    if len(runs) == 2:
        return [_window(trace, 0, int(runs[-1]), BATCHES)]
    return [_window(trace, a, b, _RUN_PARTS) for a, b in itertools.pairwise(runs.tolist())]


def _window(trace: RunRecord, first: int, last: int, parts: int) -> Floats:
    arrival, left = trace.requests["arrival_s"], trace.requests["left_s"]
    begin, end = float(arrival[first]), float(arrival[last - 1])
    leaders = left[first : first + max(20, (last - first) // 20)]
    warm = float(np.nanmax(leaders)) if np.isfinite(leaders).any() else begin
    start = min(warm, begin + (end - begin) / 2)
    return np.linspace(start, end, parts + 1, dtype=np.float64)


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
