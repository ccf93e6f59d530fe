"""Portraits: what is in a trace, in figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.workload.fit.prefix_reuse import Reuse, prefix_reuse
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.traces.recording import Recording

_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_WINDOWS_S = (1.0, 10.0, 60.0, 300.0)
_BINS = 60


@dataclass(frozen=True, slots=True)
class LengthStatistics:
    """Tokens of prompts or answers; `quantiles` are pairs of share and tokens, `lag_1` the rank correlation of neighbors."""

    mean: float
    std: float
    least: int
    greatest: int
    total: int
    quantiles: tuple[tuple[float, float], ...]
    lag_1: float


@dataclass(frozen=True, slots=True)
class RateStatistics:
    """Requests per second: on average, and in `bin_s` long bins from the first request on.

    `gap_cv` is the coefficient of variation of the gaps. `dispersion` are pairs of a window (s) and the variance of the
    counts in such windows over their mean: 1 for a Poisson process at any window, growing with the window where the rate
    itself changes. `together` is the share of requests that come at the same moment as the one before.
    """

    mean_per_s: float
    bin_s: float
    per_s: tuple[float, ...]
    gap_cv: float
    dispersion: tuple[tuple[float, float], ...]
    together: float


@dataclass(frozen=True, slots=True)
class Portrait:
    """A trace in figures; `spearman` and `pearson` are the correlations of prompt and output tokens, `labels` shares of
    requests."""

    format: str
    lines: int
    broken: int
    examples: tuple[str, ...]
    failures: int
    unsorted: int
    images: int
    with_images: int
    requests: int
    duration_s: float
    rate: RateStatistics | None
    prompt: LengthStatistics
    output: LengthStatistics
    spearman: float
    pearson: float
    labels: tuple[tuple[str, float], ...]
    reuse: Reuse | None


def portrait(recording: Recording) -> Portrait:
    """The figures of a recording; no rate where it has no times."""
    requests = recording.requests
    return Portrait(
        format=recording.format,
        lines=recording.lines,
        broken=recording.broken,
        examples=recording.examples,
        failures=recording.failures,
        unsorted=recording.unsorted,
        images=recording.images,
        with_images=recording.with_images,
        requests=len(requests),
        duration_s=float(requests.arrival_s[-1]),
        rate=rate_figures(requests.arrival_s) if recording.has_times and requests.arrival_s[-1] > 0 else None,
        prompt=length_figures(requests.prompt_tokens),
        output=length_figures(requests.output_tokens),
        spearman=spearman(requests.prompt_tokens, requests.output_tokens),
        pearson=_correlation(requests.prompt_tokens, requests.output_tokens),
        labels=_label_shares(requests),
        reuse=prefix_reuse(requests),
    )


def rate_figures(arrival_s: Floats) -> RateStatistics:
    """Rate and burstiness of arrivals, which begin at 0 s and do not all come at once."""
    span = float(arrival_s[-1])
    gaps = np.diff(arrival_s)
    bin_s = span / _BINS
    counts = np.bincount(np.minimum(arrival_s // bin_s, _BINS - 1).astype(np.int64), minlength=_BINS)
    return RateStatistics(
        mean_per_s=len(gaps) / span,
        bin_s=bin_s,
        per_s=tuple(float(count / bin_s) for count in counts),
        gap_cv=float(gaps.std() / gaps.mean()),
        dispersion=tuple((window, dispersion(arrival_s, window)) for window in _WINDOWS_S if span >= 10 * window),
        together=float((gaps == 0).mean()),
    )


def dispersion(arrival_s: Floats, window_s: float) -> float:
    """Variance over mean of the number of arrivals in windows of this length, the last, incomplete one left out."""
    window = arrival_s // window_s
    _, counts = np.unique(window[window < window[-1]], return_counts=True)  # of windows that have any, which may be few
    windows, arrivals = float(window[-1]), float(counts.sum())
    return float((counts**2).sum()) / arrivals - arrivals / windows if arrivals else 0.0


def length_figures(tokens: Ints) -> LengthStatistics:
    """Moments and quantiles of lengths."""
    return LengthStatistics(
        mean=float(tokens.mean()),
        std=float(tokens.std()),
        least=int(tokens.min()),
        greatest=int(tokens.max()),
        total=int(tokens.sum()),
        quantiles=tuple(zip(_SHARES, np.quantile(tokens, _SHARES).tolist(), strict=True)),
        lag_1=spearman(tokens[:-1], tokens[1:]),
    )


def spearman(a: Ints, b: Ints) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where one side does not vary."""
    return _correlation(_ranks(a), _ranks(b))


def _ranks(values: Ints) -> Floats:
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[at]
    return ranks


def _correlation(a: Ints | Floats, b: Ints | Floats) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _label_shares(requests: Requests) -> tuple[tuple[str, float], ...]:
    if requests.label is None:
        return ()
    counts = np.bincount(requests.label, minlength=len(requests.labels))
    order = np.argsort(-counts, kind="stable")
    return tuple((requests.labels[i], float(counts[i] / len(requests))) for i in order.tolist())
