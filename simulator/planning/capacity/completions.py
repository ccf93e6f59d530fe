"""Completions: what a replica gets done in equal parts of a run, and what a long run would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.search import Flow
from simulator.statistics import student_t
from simulator.workload.requests import Floats, Requests

_SAME = 1e-4
_NO_TIME_S = 1e-30


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Requests/s that came and that were completed in equal parts of runs, shape (2, runs, parts).

    Counted twice. By work: the seconds of a full server that a request takes. By context: the
    tokens that all its output tokens attend to. How many requests finish in a part varies with
    every long one; what a server gets done hardly does. A long run gives the same rate by either.
    `offered`: what comes in the long run, shape (2, runs).
    """

    came: Floats
    done: Floats
    offered: Floats


def parts_of(
    trace: RunRecord,
    requests: Requests,
    full: Ceiling,
    edges: Sequence[Floats],
    mean: Floats,
    under_way: int = 0,
) -> Parts | None:
    """A run of one replica in parts, between the edges (seconds) of one run or several in it; None
    where nothing was completed or no time passed.

    `mean`: the work and the context of a request of the traffic that gets an answer. What is
    refused at the door counts as a share of the arrivals. `under_way`: how many of the first
    requests are so at the start.
    """
    finished = np.isfinite(trace.requests["finish_s"])
    if not finished.any() or any(e[-1] <= e[0] for e in edges):
        return None
    seconds = np.array([e[1] - e[0] for e in edges])[None, :, None]
    units = seconds * (mean * float(finished.mean()))[:, None, None]
    arrivals = trace.requests["arrival_s"]
    each = amounts(requests, full)[:, finished]
    came = np.array([[_between(arrivals[finished], amount, e) for e in edges] for amount in each])
    work = _work_done(trace, requests, full, finished, edges)
    context = [_context_done(trace, requests, finished, e) for e in edges]
    if requests.previous is None:
        usual = amounts(requests, full)[:, under_way:][:, finished[under_way:]].mean(axis=1) / mean
        offered = np.outer(usual, [_arrivals_per_s(arrivals, e) for e in edges])
    else:  # later turns come when earlier ones are answered
        offered = (came / units).mean(axis=2)
    return Parts(came / units, np.array([work, context]) / units, offered)


def _arrivals_per_s(arrivals: Floats, edges: Floats) -> float:
    inside = (arrivals > edges[0]) & (arrivals <= edges[-1])
    return float(np.count_nonzero(inside) / (edges[-1] - edges[0]))


def pooled(parts: Sequence[Parts | None]) -> Flow:
    """What came and was completed over all runs, requests/s, with its interval."""
    runs = [each for each in parts if each is not None]
    if len(runs) < len(parts) or not runs:
        return Flow(0.0, 0.0, 0.0, 0.0)
    done = np.concatenate([each.done for each in runs], axis=1)
    share = _calmest(done)
    left = _weighed(done, share)
    came = _weighed(np.concatenate([each.came for each in runs], axis=1), share)
    offered = float(_weighed(np.concatenate([each.offered for each in runs], axis=1), share).mean())
    rates = left - _followed(left, came) * (came - offered)
    mean, half = float(rates.mean()), half_of(rates)
    return Flow(offered, mean, max(0.0, mean - half), mean + half)


def _followed(left: Floats, came: Floats) -> float:
    """How far what leaves follows what comes, part by part: not at all where a server is always
    full, in all where it keeps up. Chance in what comes is known, and left out so far."""
    apart = came - came.mean()
    spread = float((apart**2).mean())
    if spread <= (_SAME * float(came.mean())) ** 2:
        return 0.0
    return min(1.0, max(0.0, float((apart * (left - left.mean())).mean()) / spread))


def _weighed(counts: Floats, share: float) -> Floats:
    """One count of the two, in which the second has a share."""
    one: Floats = counts[0] + share * (counts[1] - counts[0])
    return one


def _calmest(done: Floats) -> float:
    """The share of the second count in the mean of both that varies least from part to part.

    Both counts have the same mean in the long run, so their difference tells what of a part is
    chance. Source: Lavenberg and Welch, A perspective on the use of control variables to increase
    the efficiency of Monte Carlo simulations, Management Science 27(3), 1981.
    """
    first, apart = done[0].ravel(), (done[1] - done[0]).ravel()
    spread = float(apart.var())
    if spread <= (_SAME * float(first.mean())) ** 2:
        return 0.0
    together = float(((first - first.mean()) * (apart - apart.mean())).mean())
    return min(1.0, max(0.0, -together / spread))


def half_of(rates: Floats) -> float:
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


def amounts(requests: Requests, full: Ceiling) -> Floats:
    """Work, seconds of the full server, and context, tokens, of each request, shape (2, n)."""
    output = requests.output_tokens.astype(np.float64)
    return np.stack([full.work_s(requests), _context(requests, output)])


def _context(requests: Requests, written: Floats) -> Floats:
    """Tokens that the first `written` output tokens attend to: each to the prompt and those before
    it."""
    context: Floats = written * (requests.prompt_tokens + written / 2)
    return context


def _work_done(
    trace: RunRecord,
    requests: Requests,
    full: Ceiling,
    finished: NDArray[np.bool_],
    edges: Sequence[Floats],
) -> list[Floats]:
    """Seconds of a full server that were done in each part: prompts by their first tokens, output
    as it is written."""
    first = trace.requests["first_token_s"][finished]
    prompts = np.asarray(full.prompt_token_s * requests.prompt_tokens[finished])
    written = [np.diff(_emitted_by(trace, e)) * full.output_token_s for e in edges]
    return [_between(first, prompts, e) + output for e, output in zip(edges, written, strict=True)]


def _context_done(
    trace: RunRecord, requests: Requests, finished: NDArray[np.bool_], edges: Floats
) -> Floats:
    """Tokens attended to in each part, shape (parts,), where each request writes evenly between its
    first token and its last."""
    columns = trace.requests
    begun = columns["first_token_s"]
    rows = finished & (columns["finish_s"] > edges[0]) & (begun < edges[-1])
    span = np.maximum(columns["finish_s"] - begun, _NO_TIME_S)
    prompt, output = requests.prompt_tokens[rows], requests.output_tokens[rows]
    share = np.clip((edges[:, None] - begun[rows]) / span[rows], 0.0, 1.0)
    written = share * output
    context: Floats = np.diff((written * (prompt + written / 2)).sum(axis=1))
    return context


def _between(at_s: Floats, amounts: Floats, edges: Floats) -> Floats:
    """Amounts at times in each part of a window, shape (parts,)."""
    order = np.argsort(at_s, kind="stable")
    upto = np.concatenate([[0.0], np.cumsum(amounts[order])])
    sums: Floats = np.diff(upto[np.searchsorted(at_s[order], edges)])
    return sums


def _emitted_by(trace: RunRecord, times: Floats) -> Floats:
    """Output tokens that one replica has emitted by each time, shape of `times`."""
    s = trace.stretches
    emitted = s["steps"] * trace.emitted
    after = np.cumsum(emitted)
    knots = np.stack([s["start_s"], s["end_s"]], axis=1).ravel()
    known = np.stack([after - emitted, after], axis=1).ravel()
    tokens: Floats = np.interp(times, knots, known)
    return tokens
