"""Drawing a mixture of classes: first its sessions, then the requests of each session, as columns."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from simulator.errors import ScenarioError
from simulator.numbers import MOST_REQUESTS
from simulator.workload.lengths.distribution_functions import normal_cdf, normal_quantile
from simulator.workload.prompts.prefixes import Stems
from simulator.workload.requests import Floats, Ints
from simulator.workload.streams import Streams
from simulator.workload.traffic import TrafficClass

Mix = tuple[TrafficClass, ...]
MOST_ROWS = 4 * MOST_REQUESTS
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class DrawnSessions:
    """One row a session: `kind` is its class, `number` counts within the class, `turns` its requests, `stems` what it begins
    with.

    `stock` is the number of its first prompt where the class repeats a stock of prompts, -1 where every prompt is new.
    """

    kind: Ints
    number: Ints
    turns: Ints
    stems: Stems
    stock: Ints


@dataclass(frozen=True, slots=True, eq=False)
class DrawnRows:
    """One row a request, the turns of a session together: `said` are the tokens of the session before this turn's own."""

    session: Ints
    turn: Ints
    said: Ints
    prompt: Ints
    output: Ints
    think_s: Floats

    def at(self, keep: Ints) -> DrawnRows:
        """The rows with these numbers."""
        return DrawnRows(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def draw_kinds(mix: Mix, streams: Streams, n: int) -> Ints:
    """The classes of `n` sessions; a class begins as many as its share of requests asks for, given its mean number of turns."""
    if len(mix) == 1:
        return np.zeros(n, dtype=np.int64)
    weights = np.array([c.share / c.mean_turns() for c in mix])
    kind = np.searchsorted(np.cumsum(weights / weights.sum()), streams.uniform("class", n), side="right")
    return np.minimum(kind, len(mix) - 1).astype(np.int64)


def draw_sessions(mix: Mix, kind: Ints, streams: Streams) -> DrawnSessions:
    """Sessions of these classes."""
    n = len(kind)
    number, turns, stock = np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    draws_turns = streams.uniform("turns", n)
    parts = []
    for index, traffic in enumerate(mix):
        own = kind == index
        number[own] = np.arange(np.count_nonzero(own))
        if traffic.sessions is not None:
            turns[own] = traffic.sessions.length().tokens_at(draws_turns[own])
        if traffic.prefix is not None and (size := traffic.prefix.stock()) is not None:
            stock[own] = number[own] % size
        parts.append(_class_stems(traffic, streams, number[own]))
    return DrawnSessions(kind, number, turns, _joined(parts, kind), stock)


def draw_rows(mix: Mix, sessions: DrawnSessions, streams: Streams, at_most: int | None) -> DrawnRows:
    """The first `at_most` requests of the sessions; a session ends before a later turn that would exceed its `max_context`."""
    most = np.array([_max_context(traffic) for traffic in mix])
    # A turn adds two tokens at least, so that so many more than the context has room for never come.
    turns = np.minimum(sessions.turns, np.minimum(most, MOST_ROWS)[sessions.kind].astype(np.int64) // 2 + 1)
    if at_most is not None and np.isinf(most).all():
        turns = turns[: np.searchsorted(np.cumsum(turns), at_most) + 1]
    if int(turns.sum()) > MOST_ROWS:
        raise ScenarioError(f"sessions of {int(turns.sum()):,} turns in all; at most {MOST_ROWS:,} are drawn, so lower turns")
    session = np.repeat(np.arange(len(turns)), turns)
    first = np.concatenate([[0], np.cumsum(turns)[:-1]])
    turn = np.arange(len(session)) - first[session]
    own, output = _lengths(mix, sessions, session, turn, streams)
    before = np.concatenate([[0], np.cumsum(own + output)[:-1]])
    said = sessions.stems.tokens[session] + before - before[first][session]
    rows = DrawnRows(session, turn, said, said + own, output, _think(mix, sessions.kind[session], turn, streams))
    fits = (turn == 0) | (rows.prompt + rows.output <= most[sessions.kind[session]])
    return rows.at(np.flatnonzero(fits)[:at_most])


def _class_stems(traffic: TrafficClass, streams: Streams, numbers: Ints) -> Stems:
    if traffic.prefix is None:
        return Stems(np.zeros((len(numbers), 1), dtype=np.int64), np.zeros((len(numbers), 1), dtype=np.int64))
    return traffic.prefix.stems(streams.within(traffic.name), numbers)


def _joined(parts: list[Stems], kind: Ints) -> Stems:
    """The stems of all classes in the order of the sessions, the nodes of different classes made different."""
    width = max(part.ends.shape[1] for part in parts)
    ends, nodes = np.zeros((len(kind), width), dtype=np.int64), np.zeros((len(kind), width), dtype=np.int64)
    taken = 0
    for index, part in enumerate(parts):
        missing = ((0, 0), (0, width - part.ends.shape[1]))
        ends[kind == index] = np.pad(part.ends, missing, mode="edge")
        nodes[kind == index] = np.pad(part.nodes, missing, mode="edge") + taken
        taken += int(part.nodes.max(initial=0)) + 1
    return Stems(ends, nodes)


def draw_lone(mix: Mix, kind: Ints, streams: Streams) -> tuple[Ints, Ints]:
    """Prompt and output tokens of requests of these classes that stand alone: no turns, and nothing in front that is shared.

    As `draw_rows` draws them, so many at once, so that a long run takes no more memory than its columns.
    """
    prompt, output = np.empty(len(kind), dtype=np.int64), np.empty(len(kind), dtype=np.int64)
    prompts, outputs = streams.of("prompt"), streams.of("output")
    for first in range(0, len(kind), _ROWS_AT_ONCE):
        at = slice(first, first + _ROWS_AT_ONCE)
        kinds, p, o = kind[at], prompt[at], output[at]
        u, v = prompts.random(len(kinds)), outputs.random(len(kinds))
        for index, traffic in enumerate(mix):
            ours = kinds == index
            p[ours] = traffic.prompt_law().tokens_at(u[ours])
            o[ours] = _answers(traffic, u[ours], v[ours])
    return prompt, output


def _answers(traffic: TrafficClass, u: Floats, v: Floats) -> Ints:
    """Tokens of answers whose uniform numbers are `v`, to prompts whose uniform numbers are `u`."""
    return traffic.output_law().tokens_at(correlated(u, v, traffic.rank_correlation()))


def _lengths(mix: Mix, sessions: DrawnSessions, session: Ints, turn: Ints, streams: Streams) -> tuple[Ints, Ints]:
    """Tokens that each request adds to its session, and those of its answer."""
    u_prompt, u_output = streams.uniform("prompt", len(session)), streams.uniform("output", len(session))
    own, output = np.empty(len(session), dtype=np.int64), np.empty(len(session), dtype=np.int64)
    for index, traffic in enumerate(mix):
        ours = sessions.kind[session] == index
        u, v, nth = u_prompt[ours], u_output[ours], turn[ours]
        stock = sessions.stock[session[ours]]
        repeated = (stock >= 0) & (nth == 0)
        if repeated.any():
            scope = streams.within(traffic.name)
            u[repeated] = scope.uniform_at("stock prompt", stock[repeated])
            v[repeated] = scope.uniform_at("stock output", stock[repeated])
        later = traffic.sessions.later_prompt() if traffic.sessions is not None else None
        tokens = traffic.prompt_law().tokens_at(u)
        own[ours] = tokens if later is None else np.where(nth == 0, tokens, later.tokens_at(u))
        output[ours] = _answers(traffic, u, v)
    return own, output


def correlated(u: Floats, v: Floats, spearman: float) -> Floats:
    """Uniform numbers made from `v` so that their rank correlation with `u` is `spearman`, through a Gaussian copula.

    The normal correlation is 2 sin(pi * spearman / 6). Source: Kruskal, JASA 53 (1958), section 6.
    """
    if spearman == 0:
        return v
    r = 2 * math.sin(math.pi * spearman / 6)
    return normal_cdf(r * normal_quantile(u) + math.sqrt(max(0.0, 1 - r * r)) * normal_quantile(v))


def _think(mix: Mix, kind: Ints, turn: Ints, streams: Streams) -> Floats:
    """Seconds before each later turn, gamma distributed; zero before a first one."""
    pauses = np.array([(0.0, 0.0) if traffic.sessions is None else traffic.sessions.pause() for traffic in mix])
    mean, cv = pauses[kind, 0], pauses[kind, 1]
    mean = np.where(turn > 0, mean, 0.0)
    if not (mean > 0).any():
        return mean
    shape = np.where(cv > 0, cv, 1.0) ** -2
    return np.where(cv > 0, mean * streams.of("think").standard_gamma(shape) / shape, mean)


def _max_context(traffic: TrafficClass) -> float:
    most = None if traffic.sessions is None else traffic.sessions.max_context
    return math.inf if most is None else most
