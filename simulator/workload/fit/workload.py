"""Fitting: a workload of laws that stands for a trace, the distance between the two, and what the laws cannot show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from simulator.errors import MeasurementError
from simulator.text import number, plural
from simulator.workload.arrivals.varying import Stages
from simulator.workload.fit.laws import FEWEST_STAGES, NEAR, fitted_arrivals, fitted_lengths, ks_distance, stage_count, staged
from simulator.workload.fit.prefix_reuse import cached_tokens, common_prefix_blocks
from simulator.workload.fit.statistics import dispersion, rate_figures, spearman
from simulator.workload.lengths.discrete import Fixed
from simulator.workload.prompts.prefixes import SharedPrefix
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.sample import sample
from simulator.workload.traces.block_hashes import gathered
from simulator.workload.traces.recording import Recording
from simulator.workload.traffic import TrafficClass
from simulator.workload.workload import Workload

_NEAR_IN_CLASS = 0.03
_ENOUGH, _PARTS = 10, 8
_SHARED_BY, _NOTICED, _FACTOR = 0.9, 0.05, 1.5


@dataclass(frozen=True, slots=True)
class Distance:
    """One property, in the trace and in the fitted workload; `ks` is the greatest distance between distribution functions."""

    name: str
    trace: float
    fitted: float
    ks: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted workload, its distances from the trace (over one draw of as many requests), and what it loses, in words."""

    workload: Workload
    distances: tuple[Distance, ...]
    lost: tuple[str, ...]


def fit(recording: Recording) -> Fit:
    """The workload that stands for a recording. Raises MeasurementError for one of fewer than ten requests, or without times."""
    requests = recording.requests
    if len(requests) < _ENOUGH or not recording.has_times or requests.arrival_s[-1] == 0:
        raise MeasurementError(
            f"nothing to fit: {plural(len(requests), 'request')}{'' if recording.has_times else ' without times'}"
        )
    arrivals = fitted_arrivals(requests.arrival_s)
    count = None if isinstance(arrivals, Stages) else len(requests)
    workload = Workload(arrivals=arrivals, requests=count, **_traffic(requests))
    drawn = sample(workload, seed=0)
    if _mix_changes(requests):
        workload = Workload(classes=_classes(requests, apart=True))
        drawn = sample(workload, seed=0)
    elif _lost_dependence(requests, drawn):
        workload = Workload(arrivals=arrivals, requests=count, classes=_classes(requests, apart=False))
        drawn = sample(workload, seed=0)
    return Fit(workload, _distances(requests, drawn), _lost(requests, drawn))


def _traffic(requests: Requests, near: float = NEAR) -> dict[str, Any]:
    """One class of traffic: lengths, their correlation, and what all prompts begin with."""
    shared = _system_prompt(requests)
    return {
        "prompt": fitted_lengths(requests.prompt_tokens - shared, near),
        "output": fitted_lengths(requests.output_tokens, near),
        "correlation": round(_spearman(requests), 2) or None,
        "prefix": SharedPrefix(system_prompt_len=Fixed(tokens=shared)) if shared else None,
    }


def _classes(requests: Requests, *, apart: bool) -> tuple[TrafficClass, ...]:
    """A class for each eighth of the prompts by length: for answers that hang on the prompt in no simple way.

    With `apart` each has stages of its own, for traffic whose mix changes.
    """
    part = _parts(requests.prompt_tokens)
    classes = []
    for at in np.unique(part):
        own = np.flatnonzero(part == at)
        some = Requests(
            arrival_s=requests.arrival_s[own],
            prompt_tokens=requests.prompt_tokens[own],
            output_tokens=requests.output_tokens[own],
            hashes=None if requests.hashes is None else gathered(requests.hashes, own),
        )
        when: dict[str, Any] = {"share": round(len(own) / len(requests), 3)}
        if apart:
            when = {"arrivals": staged(some.arrival_s, float(requests.arrival_s[-1]), stage_count(len(requests)))}
        classes.append(
            TrafficClass(name=f"prompts up to {int(some.prompt_tokens.max())}", **when, **_traffic(some, _NEAR_IN_CLASS))
        )
    return tuple(classes)


def _mix_changes(requests: Requests) -> bool:
    """Whether the shares of short and long prompts change over time by more than chance: chi-squared of parts by stages."""
    stages = stage_count(len(requests))
    if stages < FEWEST_STAGES:
        return False
    part = _parts(requests.prompt_tokens)
    stage = np.minimum((requests.arrival_s / requests.arrival_s[-1] * stages).astype(np.int64), stages - 1)
    seen = np.zeros((stages, int(part.max()) + 1))
    np.add.at(seen, (stage, part), 1)
    seen = seen[seen.any(axis=1)][:, seen.any(axis=0)]
    expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / len(requests)
    freedom = max(1, (seen.shape[0] - 1) * (seen.shape[1] - 1))
    chi_squared = float(((seen - expected) ** 2 / expected).sum())
    return chi_squared / freedom > _FACTOR * (1 + 4 * math.sqrt(2 / freedom))


def _parts(prompt_tokens: Ints) -> Ints:
    """The part of the prompts, by length, that each belongs to."""
    edges = _edges(prompt_tokens)
    return np.minimum(np.searchsorted(edges, prompt_tokens, side="right"), len(edges) - 1)


def _edges(prompt_tokens: Ints) -> Floats:
    """Lengths that part the prompts into eighths, or fewer parts where many are equally long."""
    return np.unique(np.quantile(prompt_tokens, np.linspace(0, 1, _PARTS + 1)))


def _system_prompt(requests: Requests) -> int:
    """Tokens that nearly all prompts begin with alike and that leave something of each."""
    if requests.hashes is None:
        return 0
    blocks = common_prefix_blocks(requests.hashes, _SHARED_BY)
    return min(blocks * requests.hashes.block_tokens, int(requests.prompt_tokens.min()) - 1)


def _distances(trace: Requests, drawn: Requests) -> tuple[Distance, ...]:
    ours, theirs = rate_figures(drawn.arrival_s), rate_figures(trace.arrival_s)
    found = [
        Distance("requests/s", theirs.mean_per_s, ours.mean_per_s),
        Distance("cv of gaps", theirs.gap_cv, ours.gap_cv, ks_distance(np.diff(trace.arrival_s), np.diff(drawn.arrival_s))),
    ]
    for window, value in theirs.dispersion:
        found.append(Distance(f"dispersion over {window:g} s", value, dispersion(drawn.arrival_s, window)))
    for name, a, b in (
        ("prompt tokens", trace.prompt_tokens, drawn.prompt_tokens),
        ("output tokens", trace.output_tokens, drawn.output_tokens),
    ):
        found.append(Distance(f"{name}, mean", float(a.mean()), float(b.mean()), ks_distance(a, b)))
        found.append(Distance(f"{name}, p99", float(np.quantile(a, 0.99)), float(np.quantile(b, 0.99))))
    found.append(Distance("rank correlation of the two", _spearman(trace), _spearman(drawn)))
    if trace.hashes is not None:
        found.append(Distance("prompt tokens seen before, share", _seen(trace), _seen(drawn)))
    return tuple(found)


def _lost(trace: Requests, drawn: Requests) -> tuple[str, ...]:
    """What the fitted workload does not have, in words."""
    lost = []
    ours, theirs = rate_figures(drawn.arrival_s), rate_figures(trace.arrival_s)
    if theirs.together > _NOTICED + ours.together:
        lost.append(f"{theirs.together:.0%} of the requests come at the same moment as another; the fit spreads them")
    for window, value in theirs.dispersion:
        fitted = dispersion(drawn.arrival_s, window)
        chance = 1 + 3 * math.sqrt(2 * window / trace.arrival_s[-1])
        if not 1 / (_FACTOR * chance) < value / max(fitted, 1e-9) < _FACTOR * chance:
            lost.append(
                f"arrivals in {window:g} s vary {number(value)} times as much as Poisson ones, {number(fitted)} in the fit"
            )
    if lost:
        lost.append("the very times, which arrivals: {kind: recorded, trace: FILE} would keep")
    for name, tokens in (("prompts", trace.prompt_tokens), ("answers", trace.output_tokens)):
        alike = spearman(tokens[:-1], tokens[1:])
        if alike > max(_NOTICED, 3 / math.sqrt(len(tokens))):
            lost.append(f"{name} that follow one another are alike (rank correlation {alike:.2f}); the fit draws each by itself")
    lost += _lost_dependence(trace, drawn)
    if trace.hashes is not None and (seen := _seen(trace)) > (again := _seen(drawn)) + _NOTICED:
        lost.append(
            f"{seen:.0%} of the prompt tokens were seen before, {again:.0%} in the fit, which has the common beginning only"
        )
    return tuple(lost)


def _lost_dependence(trace: Requests, drawn: Requests) -> list[str]:
    """Where answers to prompts of some length are much longer or shorter than in the fit: what a correlation does not tell."""
    lost = []
    for low, high in pairwise(_edges(trace.prompt_tokens)):
        theirs, ours = (r.output_tokens[(r.prompt_tokens >= low) & (r.prompt_tokens <= high)] for r in (trace, drawn))
        if len(theirs) and len(ours) and not 1 / _FACTOR < theirs.mean() / ours.mean() < _FACTOR:
            means = f"{theirs.mean():.0f} tokens, {ours.mean():.0f} in the fit"
            lost.append(f"answers to prompts of {low:.0f} to {high:.0f} tokens have {means}")
    return lost


def _spearman(requests: Requests) -> float:
    return spearman(requests.prompt_tokens, requests.output_tokens)


def _seen(requests: Requests) -> float:
    """Share of prompt tokens that a prefix cache without end finds."""
    if requests.hashes is None:
        return 0.0
    return cached_tokens(requests.hashes, requests.prompt_tokens, None) / int(requests.prompt_tokens.sum())
