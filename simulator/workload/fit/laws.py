"""Laws fitted to what was seen: arrival processes to times, length laws to tokens."""

from __future__ import annotations

import math

import numpy as np

from simulator.workload.arrivals.gaps import rate_of
from simulator.workload.arrivals.steady import Arrivals, Gamma, Poisson, Weibull
from simulator.workload.arrivals.varying import Bursts, Stages
from simulator.workload.fit.statistics import dispersion
from simulator.workload.lengths.continuous import LogNormal, Quantiles
from simulator.workload.lengths.discrete import Empirical, Fixed, Lengths
from simulator.workload.requests import Floats, Ints
from simulator.workload.streams import Streams

NEAR = 0.02
_NEAR_MEAN = 0.003
FEWEST_STAGES = 4
_REQUESTS_A_STAGE, _MOST_STAGES = 200, 60
_POINTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_FEW_POINTS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
_MOST_POINTS, _FEW_VALUES = 40, 12
_EM_STEPS = 200
_COARSE = 0.2


def stage_count(requests: int) -> int:
    """The number of stages that this many requests can show."""
    return min(_MOST_STAGES, requests // _REQUESTS_A_STAGE)


def fitted_arrivals(arrival_s: Floats) -> Arrivals:
    """Stages where the rate changes by more than chance; else the simplest steady process whose gaps are near."""
    span, count = float(arrival_s[-1]), stage_count(len(arrival_s))
    if count >= FEWEST_STAGES:
        counts = np.histogram(arrival_s, count)[0]
        stages = staged(arrival_s, span, count)
        chance = max(1.0, stages.cv**2) * (1 + 4 * math.sqrt(2 / (count - 1)))
        if counts.var() / counts.mean() > chance:
            return stages
    return _steady(arrival_s)


def staged(arrival_s: Floats, span: float, count: int) -> Stages:
    """Stages of equal length over a span, with the numbers of these arrivals and the cv of their gaps in the time that the
    rates bend."""
    knots = np.linspace(0.0, span, count + 1)
    counts = np.histogram(arrival_s, knots)[0]
    epochs = np.interp(arrival_s, knots, np.concatenate([[0], np.cumsum(counts)]))
    length = span / count
    rates = tuple(_rounded(c / length, 5) for c in counts)
    return Stages(rates=rates, every=_rounded(length, 6), cv=max(_rounded(_gap_cv(epochs)), 0.01), exact=True)


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
        if distance < least - NEAR:
            best, least = arrivals, distance
        if least <= NEAR:
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


def fitted_lengths(tokens: Ints, near: float = NEAR) -> Lengths:
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
    """A law through quantiles, with more of them where it is farthest from the lengths, until it is near, their mean too, or
    has many."""
    at_most = np.cumsum(counts) / len(tokens)
    points = {p: float(np.quantile(tokens, p, method="inverted_cdf")) for p in (_POINTS if near <= NEAR else _FEW_POINTS)}
    while True:
        law = Quantiles(points=tuple(sorted(points.items())))
        off = np.abs(law.below((values + 0.5).astype(np.float64)) - at_most)
        worst = int(np.argmax(off))
        before, after = float(at_most[worst] - counts[worst] / len(tokens)), float(at_most[worst])
        new = {round(p, 4): float(values[worst]) for p in (before, after)}
        if off[worst] <= near:
            if abs(law.raw_moments()[0] / tokens.mean() - 1) <= _NEAR_MEAN:
                return law
            new = _in_the_piece_that_is_most_off(tokens, law)
        new = {p: value for p, value in new.items() if 0 < p < 1 and p not in points}
        if len(points) >= _MOST_POINTS or not new:
            return law
        points.update(new)


def _in_the_piece_that_is_most_off(tokens: Ints, law: Quantiles) -> dict[float, float]:
    """The quantile in the middle of that piece of a law whose tokens are farthest from the lengths', which are sorted."""
    shares = np.array([share for share, _ in law.points])
    ends = np.rint(shares * len(tokens)).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(tokens)])
    worst = int(np.argmax(np.abs(law.pieces(1) - np.diff(sums[ends]) / len(tokens))))
    middle = round(float(shares[worst] + shares[worst + 1]) / 2, 4)
    return {middle: float(np.quantile(tokens, middle, method="inverted_cdf"))}


def ks_distance(a: Ints | Floats, b: Ints | Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples: the greatest difference of their distribution functions."""
    at = np.unique(np.concatenate([a, b]))
    below_a = np.searchsorted(np.sort(a), at, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), at, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def _rounded(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
