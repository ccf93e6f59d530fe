"""Whether a run keeps the latencies that were promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from simulator.statistics import BATCHES, standard_error
from simulator.text import banded, number, share
from simulator.workload.slo import Slo

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]
ROUNDING = 1e-9
UNSEEN = 0.1
"""How often a percentile may lie beyond the largest of the requests that it is read from."""


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """An SLO and the requests it was promised to: `of` them, shape (n,), or all; `name` is their class, "" where it has none."""

    slo: Slo
    of: Bools | None = None
    name: str = ""

    def within(self, chosen: Bools) -> Promise:
        """The same promise where only chosen requests are looked at."""
        return self if self.of is None else Promise(self.slo, self.of[chosen], self.name)

    def columns(self, latencies: Columns) -> Columns:
        """The latencies of its requests."""
        return latencies if self.of is None else {name: column[self.of] for name, column in latencies.items()}


Latency = Literal["ttft", "tpot", "e2e"]
_LATENCIES: tuple[Latency, ...] = get_args(Latency)


@dataclass(frozen=True, slots=True)
class SloCheck:
    """One term of an SLO and what came out.

    `latency`: what is limited, at a `percentile` of the requests; both None for the goodput term,
    which asks for a share of requests within all limits. `label`: the class it was promised to, ""
    for all requests. `limit` and `measured`: seconds, or a share. `measured` is None if nothing was
    steady, or where the unanswered alone are more than may miss. `unanswered`: the share of the
    requests that got no answer, each a miss; `left_out`: the share that may miss. `strain`: the
    latency at the percentile over its limit, of goodput that of the worst latency at the share that
    must be good. `spread`: the relative standard error of the latency from so many `requests`
    alone; fewer than `needed` say little of it. `low`, `high`: where a real server's value lies in
    four of five cases, no `high` where it may not keep up; `chance`: that it keeps the limit. None
    where these are not known.
    """

    latency: Latency | None
    percentile: float | None
    label: str
    limit: float
    measured: float | None
    met: bool
    unanswered: float = 0.0
    left_out: float = 0.0
    strain: float | None = None
    spread: float = 0.0
    requests: int = 0
    needed: int = 0
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @property
    def too_few(self) -> bool:
        """Whether so few requests say little of the percentile."""
        return self.requests < self.needed

    @property
    def term(self) -> str:
        """The term in words: `p99 TTFT`, `chat: goodput share`."""
        words = f"p{self.percentile:g} {self.latency.upper()}" if self.latency else "goodput share"
        return f"{self.label}: {words}" if self.label else words

    @property
    def too_few_answers(self) -> bool:
        """Whether the requests without an answer alone make the term missed."""
        return self.unanswered > self.left_out + ROUNDING

    @property
    def excess(self) -> float:
        """Times over the limit, of a share that must be high times below it; infinite where nothing was measured."""
        if self.measured is None or not self.measured:
            some = self.too_few_answers and self.left_out
            return self.unanswered / self.left_out if some else float("inf")
        return self.measured / self.limit if self.latency else self.limit / self.measured

    @property
    def said(self) -> str:
        """`p99 TTFT 2.2 s (1.3 to 3.1) against 2 s`: the value with where the real one lies."""
        if self.measured is None:
            return f"{self.term} not steady"
        unit = " s" if self.latency else ""
        return f"{self.term} {banded(self.measured, self.low, self.high, unit)} against {number(self.limit, 6)}{unit}"

    def __str__(self) -> str:
        """`p99 TTFT is 1.2 s against 1 s`, or what else it is."""
        lost = f"{share(self.unanswered)} of the requests get no answer"
        if self.latency and self.too_few_answers:
            return f"{lost} and {self.term} leaves out {share(self.left_out)}"
        if self.measured is None:
            return f"{self.term} has no steady value"
        unit = " s" if self.latency else ""
        words = f"{self.term} is {number(self.measured)}{unit} against {number(self.limit, 6)}{unit}"
        return f"{words}; {lost}" if self.unanswered else words


def good(promises: Sequence[Promise], latencies: Columns) -> Bools:
    """Which requests met every limit promised to them, shape (n,).

    A NaN TPOT (one token) counts as met, a NaN E2E (never finished) as missed.
    """
    met = np.isfinite(latencies["e2e_s"])
    for promise in promises:
        met &= meets_slo(promise.slo, latencies) if promise.of is None else meets_slo(promise.slo, latencies) | ~promise.of
    return met


def meets_slo(slo: Slo, latencies: Columns) -> Bools:
    """Which requests finished and met every limit of an SLO, shape (n,)."""
    met = np.isfinite(latencies["e2e_s"])
    for name, limit in slo.limits().items():
        column = latencies[name]
        met &= (column <= limit) | (np.isnan(column) if name == "tpot_s" else False)
    return met


def kept_terms(slo: Slo, latencies: Columns) -> list[tuple[Bools, float]]:
    """Each term of an SLO as which requests keep it, shape (n,), and the share that must."""
    terms = []
    for name in slo.limits():
        others: dict[str, Any] = dict.fromkeys(slo.limits().keys() - {name})
        one_limit = replace(slo, **others)
        terms.append((meets_slo(one_limit, latencies), slo.percentile / 100))
    return [*terms, *([(meets_slo(slo, latencies), slo.goodput)] if slo.goodput else [])]


def check_slo(
    promises: Sequence[Promise], latencies: Columns | None, unanswered: Sequence[float] | None = None
) -> tuple[SloCheck, ...]:
    """Each term of each promise against the latencies of a steady run, columns `ttft_s`, `tpot_s`, `e2e_s` of shape (n,).

    None in place of latencies means there were none to measure (it does not fit, or is overloaded): no term is met.
    `unanswered`: for each promise the share of its requests that got no answer, where that is known of more than these.
    """
    if latencies is None:
        return tuple(check for promise in promises for check in _checks(promise, None, 0.0))
    columns = [promise.columns(latencies) for promise in promises]
    lost = map(_lost_share, columns) if unanswered is None else unanswered
    return tuple(c for one in zip(promises, columns, lost, strict=True) for c in _checks(*one))


@dataclass(frozen=True, slots=True)
class PromisedLatency:
    """One latency at the percentile that is promised of it, seconds: of the requests of class
    `label`, or of all.

    `limit` is None for a latency that nobody limits. `low`, `high`: where a real server's lies in
    four of five cases.
    """

    label: str
    latency: Latency
    percentile: float
    limit: float | None
    median: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        """`TTFT p99`, `chat: TTFT p99`."""
        words = f"{self.latency.upper()} p{self.percentile:g}"
        return f"{self.label}: {words}" if self.label else words


USUAL_PERCENTILE = 99.0


def promised_latencies(promises: Sequence[Promise], latencies: Columns | None) -> tuple[PromisedLatency, ...]:
    """Each latency at its promised percentile, class by class; those that nobody limits at the
    first promise's, of all requests.

    Without values where there are no latencies.
    """
    found = []
    usual = promises[0].slo.percentile if promises else USUAL_PERCENTILE
    for latency in _LATENCIES:
        limiting = [promise for promise in promises if f"{latency}_s" in promise.slo.limits()]
        for promise in limiting:
            limit = promise.slo.limits()[f"{latency}_s"]
            chosen = None if latencies is None else promise.columns(latencies)
            found.append(_promised(PromisedLatency(promise.name, latency, promise.slo.percentile, limit), chosen))
        if not limiting:
            found.append(_promised(PromisedLatency("", latency, usual, None), latencies))
    return tuple(found)


def _promised(wanted: PromisedLatency, latencies: Columns | None) -> PromisedLatency:
    if latencies is None:
        return wanted
    values = latencies[f"{wanted.latency}_s"]
    answered = values[np.isfinite(values)]
    share_ = wanted.percentile / 100 / max(1 - _lost_share(latencies), 1e-9)
    if not len(answered) or share_ > 1 + ROUNDING:
        return wanted
    median, value = (float(q) for q in np.quantile(answered, (0.5, min(1.0, share_))))
    return replace(wanted, median=median, value=value)


def left_out(slo: Slo) -> float:
    """The share of requests that may miss an SLO: what its percentile leaves out, or its goodput where that is stricter."""
    beyond = 1 - slo.percentile / 100
    return beyond if slo.goodput is None else min(beyond, 1 - slo.goodput)


def _checks(promise: Promise, latencies: Columns | None, lost: float) -> list[SloCheck]:
    checks = [_check_limit(promise, latency, latencies, lost) for latency in _LATENCIES if f"{latency}_s" in promise.slo.limits()]
    if promise.slo.goodput is not None:
        checks.append(_check_goodput(promise, promise.slo.goodput, latencies, lost))
    return checks


def _check_goodput(promise: Promise, least: float, latencies: Columns | None, lost: float) -> SloCheck:
    """The share of requests within all limits."""
    check = SloCheck(None, None, promise.name, least, None, met=False, unanswered=lost, left_out=1 - least)
    if latencies is None or not len(latencies["e2e_s"]):
        return check
    measured = float(np.mean(meets_slo(promise.slo, latencies)))
    check = replace(check, measured=measured, met=measured >= least)
    strains = _worst_strains(promise.slo, latencies)
    return _sampled(check, strains[np.isfinite(strains)], 1.0, least / (1 - lost)) if lost < 1 - least else check


def _check_limit(promise: Promise, latency: Latency, latencies: Columns | None, lost: float) -> SloCheck:
    """One limit at its percentile of all requests; those without an answer are the slowest of them."""
    percentile = promise.slo.percentile
    limit = promise.slo.limits()[f"{latency}_s"]
    beyond = 1 - percentile / 100
    check = SloCheck(latency, percentile, promise.name, limit, None, met=False)
    if latencies is None:
        return check
    check = replace(check, unanswered=lost, left_out=beyond)
    if lost > beyond + ROUNDING:
        return check
    answered = latencies[f"{latency}_s"][np.isfinite(latencies[f"{latency}_s"])]
    if not len(answered):
        nothing_to_keep = latency == "tpot" and bool(np.isfinite(latencies["e2e_s"]).any())
        return replace(check, met=nothing_to_keep)
    share_ = min(1.0, percentile / 100 / (1 - lost))
    measured = float(np.percentile(answered, 100 * share_))
    return _sampled(replace(check, measured=measured, met=measured <= limit), answered, limit, share_)


def _worst_strains(slo: Slo, latencies: Columns) -> Floats:
    """Of each request the largest latency over its limit, shape (n,); infinite where it got no
    answer."""
    strains = [np.nan_to_num(latencies[name] / limit, nan=0.0) for name, limit in slo.limits().items()]
    worst: Floats = np.where(np.isfinite(latencies["e2e_s"]), np.max(strains, axis=0), np.inf)
    return worst


def _sampled(check: SloCheck, values: Floats, limit: float, share_: float) -> SloCheck:
    """The check with its strain at a share of some values, in order of arrival, and how far chance
    moves that.

    The share below a percentile varies as the batches of the run do, which see that slow requests
    come in crowds; the percentiles at that much more and less say what it is in the unit of the
    values. `needed`: so many that the percentile is beyond the largest of them in one case of ten
    at most.
    """
    at = min(1.0, share_)
    if not len(values):
        return check
    middle = float(np.quantile(values, at))
    below = values <= middle
    error = float(np.sqrt(max(at * (1 - at), 1e-12) / len(values)))
    if len(values) >= 2 * BATCHES:
        error = max(error, standard_error(np.array([batch.mean() for batch in np.array_split(below, BATCHES)])))
    low, high = (float(q) for q in np.quantile(values, (max(0.0, at - error), min(1.0, at + error))))
    spread = float(np.log(high / low)) / 2 if low > 0 else 0.0
    needed = ceil(log(UNSEEN) / log(at)) if 0 < at < 1 else 1
    return replace(check, strain=middle / limit, spread=spread, requests=len(values), needed=needed)


def _lost_share(latencies: Columns) -> float:
    """The share of requests that got no answer."""
    e2e = latencies["e2e_s"]
    return float(np.mean(~np.isfinite(e2e))) if len(e2e) else 0.0
