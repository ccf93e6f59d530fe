"""Fitting: a workload drawn from laws that stands for a trace, how near it comes, and what of the trace it loses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from simulator.errors import MeasurementError
from simulator.workload.arrivals import Arrivals, Gamma, Poisson, Weibull
from simulator.workload.blocks import gathered
from simulator.workload.continuous import LogNormal, Quantiles
from simulator.workload.gaps import rate_of
from simulator.workload.lengths import Empirical, Fixed, Lengths
from simulator.workload.portraits import dispersion, rate_figures, spearman
from simulator.workload.prefixes import SharedPrefix
from simulator.workload.recordings import Recording
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.reuse import cached_tokens, common_prefix_blocks
from simulator.workload.sampling import sample
from simulator.workload.streams import Streams
from simulator.workload.traffic import TrafficClass
from simulator.workload.varying import Bursts, Stage, Stages
from simulator.workload.workload import Workload

_POINTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_FEW_POINTS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
_NEAR, _NEAR_IN_CLASS = 0.02, 0.05
_FEW_VALUES = 12
_REQUESTS_A_STAGE, _MOST_STAGES = 200, 24
_ENOUGH = 10
_MOST_POINTS = 40
_EM_STEPS = 200
_COARSE = 0.2
_PARTS = 5
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
        raise MeasurementError(f"nothing to fit: {len(requests)} requests{'' if recording.has_times else ' without times'}")
    arrivals = fitted_arrivals(requests.arrival_s)
    count = None if isinstance(arrivals, Stages) else len(requests)
    traffic = _traffic(requests)
    workload = Workload(arrivals=arrivals, requests=count, **traffic)
    drawn = sample(workload, seed=0)
    if _lost_dependence(requests, drawn):
        workload = Workload(arrivals=arrivals, requests=count, classes=_classes(requests))
        drawn = sample(workload, seed=0)
    return Fit(workload, _distances(requests, drawn), _lost(requests, drawn))


def _traffic(requests: Requests, near: float = _NEAR) -> dict[str, Any]:
    """One class of traffic: lengths, their correlation, and what all prompts begin with."""
    shared = _system_prompt(requests)
    return {
        "prompt": fitted_lengths(requests.prompt_tokens - shared, near),
        "output": fitted_lengths(requests.output_tokens, near),
        "correlation": round(_spearman(requests), 2) or None,
        "prefix": SharedPrefix(system_prompt_len=Fixed(tokens=shared)) if shared else None,
    }


def _classes(requests: Requests) -> tuple[TrafficClass, ...]:
    """A class for each fifth of the prompts by length, with lengths of its own: for answers that hang on the prompt in no
    simple way."""
    edges = _edges(requests.prompt_tokens)
    part = np.minimum(np.searchsorted(edges, requests.prompt_tokens, side="right"), len(edges) - 1)
    classes = []
    for at in np.unique(part):
        own = np.flatnonzero(part == at)
        some = Requests(
            arrival_s=requests.arrival_s[own],
            prompt_tokens=requests.prompt_tokens[own],
            output_tokens=requests.output_tokens[own],
            hashes=None if requests.hashes is None else gathered(requests.hashes, own),
        )
        name = f"prompts up to {int(some.prompt_tokens.max())}"
        classes.append(TrafficClass(name=name, share=round(len(own) / len(requests), 3), **_traffic(some, _NEAR_IN_CLASS)))
    return tuple(classes)


def _edges(prompt_tokens: Ints) -> Floats:
    """Lengths that part the prompts into fifths, or fewer parts where many are equally long."""
    return np.unique(np.quantile(prompt_tokens, np.linspace(0, 1, _PARTS + 1)))


def fitted_arrivals(arrival_s: Floats) -> Arrivals:
    """Stages where the rate changes by more than chance; else the simplest steady process whose gaps are near."""
    n, span = len(arrival_s), float(arrival_s[-1])
    count = min(_MOST_STAGES, n // _REQUESTS_A_STAGE)
    if count >= 4:
        knots = np.linspace(0.0, span, count + 1)
        counts = np.histogram(arrival_s, knots)[0]
        epochs = np.interp(arrival_s, knots, np.concatenate([[0], np.cumsum(counts)]))
        cv = _gap_cv(epochs)
        chance = max(1.0, cv * cv) * (1 + 4 * math.sqrt(2 / (count - 1)))
        if counts.var() / counts.mean() > chance:
            stages = (Stage(rate=_rounded(c / (span / count)), duration=_rounded(span / count, 6)) for c in counts)
            return Stages(stages=tuple(stages), cv=_rounded(cv))
    return _steady(arrival_s)


def _gap_cv(arrival_s: Floats) -> float:
    """The coefficient of variation of the gaps; with a clock too coarse to tell them, what makes counts over five ticks vary
    as they do."""
    gaps = np.diff(arrival_s)
    if (gaps == 0).mean() > _COARSE:
        return math.sqrt(dispersion(arrival_s, 5 * float(np.median(gaps[gaps > 0]))))
    return float(gaps.std() / gaps.mean())


def _steady(arrival_s: Floats) -> Arrivals:
    """The first of Poisson, gamma, Weibull and bursts whose gaps are near, or that is clearly nearer than those before it."""
    gaps = np.diff(arrival_s)
    rate, cv = _rounded(rate_of(arrival_s)), max(_rounded(_gap_cv(arrival_s)), 0.01)
    if (gaps == 0).mean() > _COARSE:
        return Gamma(rate=rate, cv=cv)
    candidates: list[Arrivals] = [Poisson(rate=rate), Gamma(rate=rate, cv=cv)]
    if cv > 1:
        candidates += [Weibull(rate=rate, cv=cv), *_bursts(gaps)]
    best, least = candidates[0], 2.0
    for arrivals in candidates:
        drawn = arrivals.times(Streams(0).of("fit"), len(gaps) + 1, None)
        distance = ks_distance(gaps, np.diff(drawn))
        if distance < least - _NEAR:
            best, least = arrivals, distance
        if least <= _NEAR:
            break
    return best


def _bursts(gaps: Floats) -> list[Arrivals]:
    """Bursts whose gaps are the mixture of two exponentials that is likeliest for these, none if one exponential does.

    An interrupted Poisson process has such gaps: its rate in a burst is p * a + q * b for shares p, q and rates a, b, its
    bursts end at rate p * q * (a - b)**2 / that and begin at rate a * b / that. Source: Kuczura, Bell System Technical
    Journal 52 (1973).
    """
    seen = np.maximum(gaps, float(gaps.mean()) * 1e-6)
    p, a, b = 0.5, 2 / float(np.median(seen)), 0.5 / float(seen.mean())
    for _ in range(_EM_STEPS):
        of_a, of_b = p * a * np.exp(-a * seen), (1 - p) * b * np.exp(-b * seen)
        share = of_a / np.maximum(of_a + of_b, 1e-300)
        p = float(share.mean())
        if not 1e-4 < p < 1 - 1e-4:
            return []
        a, b = p / float((share * seen).mean()), (1 - p) / float(((1 - share) * seen).mean())
    rate = p * a + (1 - p) * b
    ends, begins = p * (1 - p) * (a - b) ** 2 / rate, a * b / rate
    return [Bursts(rate=_rounded(rate), on=_rounded(1 / ends), off=_rounded(1 / begins))] if ends > 0 and begins > 0 else []


def fitted_lengths(tokens: Ints, near: float = _NEAR) -> Lengths:
    """The simplest law that is near: always the same, a few values, lognormal, or else quantiles.

    `near` is the distance between distribution functions that is near enough.
    """
    values, counts = np.unique(tokens, return_counts=True)
    if len(values) == 1:
        return Fixed(tokens=int(values[0]))
    if len(values) <= _FEW_VALUES:
        return Empirical(values=tuple(values.tolist()), weights=tuple(counts.tolist()))
    logs = np.log(tokens)
    law = LogNormal(mu=round(float(logs.mean()), 3), sigma=max(0.001, round(float(logs.std()), 3)), max=int(values[-1]))
    even = (np.arange(4096) + 0.5) / 4096
    if ks_distance(tokens, law.tokens_at(even)) <= near:
        return law
    return _quantiles(np.sort(tokens), values, counts, near)


def _quantiles(tokens: Ints, values: Ints, counts: Ints, near: float) -> Quantiles:
    """A law through quantiles, with more of them where it is farthest from the lengths, until it is near or has many."""
    at_most = np.cumsum(counts) / len(tokens)
    points = {p: float(np.quantile(tokens, p, method="inverted_cdf")) for p in (_POINTS if near <= _NEAR else _FEW_POINTS)}
    while True:
        law = Quantiles(points=tuple(sorted(points.items())))
        off = np.abs(law.below((values + 0.5).astype(np.float64)) - at_most)
        worst = int(np.argmax(off))
        before, after = float(at_most[worst] - counts[worst] / len(tokens)), float(at_most[worst])
        new = {round(p, 4): float(values[worst]) for p in (before, after) if 0 < round(p, 4) < 1 and round(p, 4) not in points}
        if off[worst] <= near or len(points) >= _MOST_POINTS or not new:
            return law
        points.update(new)


def ks_distance(a: Ints | Floats, b: Ints | Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples: the greatest difference of their distribution functions."""
    at = np.unique(np.concatenate([a, b]))
    below_a = np.searchsorted(np.sort(a), at, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), at, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


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
            lost.append(f"arrivals in {window:g} s vary {value:.3g} times as much as Poisson ones, {fitted:.3g} in the fit")
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
        means = [float(r.output_tokens[(r.prompt_tokens >= low) & (r.prompt_tokens <= high)].mean()) for r in (trace, drawn)]
        if not 1 / _FACTOR < means[0] / means[1] < _FACTOR:
            lost.append(
                f"answers to prompts of {low:.0f} to {high:.0f} tokens have {means[0]:.0f} tokens, {means[1]:.0f} in the fit"
            )
    return lost


def _spearman(requests: Requests) -> float:
    return spearman(requests.prompt_tokens, requests.output_tokens)


def _seen(requests: Requests) -> float:
    """Share of prompt tokens that a prefix cache without end finds."""
    if requests.hashes is None:
        return 0.0
    return cached_tokens(requests.hashes, requests.prompt_tokens, None) / int(requests.prompt_tokens.sum())


def _rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
