"""Whether a run keeps the latencies that were promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from simulator.text import number, share
from simulator.workload.slo import Slo

Bools = NDArray[np.bool_]
Columns = Mapping[str, NDArray[np.float64]]
ROUNDING = 1e-9


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

    `latency`: what is limited, at a `percentile` of the requests; both None for the goodput term, which asks for a share of
    requests within all limits. `label`: the class it was promised to, "" for all requests. `limit` and `measured`: seconds, or
    a share. `measured` is None if nothing was steady, or where the unanswered alone are more than may miss.
    `unanswered`: the share of the requests that got no answer, each a miss; `left_out`: the share that may miss.
    """

    latency: Latency | None
    percentile: float | None
    label: str
    limit: float
    measured: float | None
    met: bool
    unanswered: float = 0.0
    left_out: float = 0.0

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
    measured = None
    if latencies is not None and len(latencies["e2e_s"]):
        measured = float(np.mean(meets_slo(promise.slo, latencies)))
    met = measured is not None and measured >= least
    return SloCheck(None, None, promise.name, least, measured, met, lost, 1 - least)


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
    measured = float(np.percentile(answered, min(100.0, percentile / (1 - lost))))
    return replace(check, measured=measured, met=measured <= limit)


def _lost_share(latencies: Columns) -> float:
    """The share of requests that got no answer."""
    e2e = latencies["e2e_s"]
    return float(np.mean(~np.isfinite(e2e))) if len(e2e) else 0.0
