"""Whether a run keeps the latencies that were promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.workload.slo import Slo

Bools = NDArray[np.bool_]
Columns = Mapping[str, NDArray[np.float64]]
_ROUNDING = 1e-9


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

    def term(self, words: str) -> str:
        """A term in words, with whose it is."""
        return f"{self.name}: {words}" if self.name else words


@dataclass(frozen=True, slots=True)
class SloCheck:
    """One term and what came out. `term`: "p99 TTFT"; `unit`: "s", or "" for a share; `measured`: None if nothing was steady."""

    term: str
    limit: float
    measured: float | None
    met: bool
    unit: str = "s"


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


def check_slo(promises: Sequence[Promise], latencies: Columns | None) -> tuple[SloCheck, ...]:
    """Each term of each promise against the latencies of a steady run, columns `ttft_s`, `tpot_s`, `e2e_s` of shape (n,).

    None in place of latencies means there were none to measure (it does not fit, or is overloaded): no term is met.
    """
    return tuple(check for promise in promises for check in _checks(promise, latencies and promise.columns(latencies)))


def _checks(promise: Promise, latencies: Columns | None) -> list[SloCheck]:
    slo = promise.slo
    checks = [_check_limit(promise, name, limit, latencies) for name, limit in slo.limits().items()]
    if slo.goodput is not None:
        share = None if latencies is None or not len(latencies["e2e_s"]) else float(np.mean(meets_slo(slo, latencies)))
        met = share is not None and share >= slo.goodput
        checks.append(SloCheck(promise.term("goodput share"), slo.goodput, share, met, unit=""))
    return checks


def _check_limit(promise: Promise, name: str, limit: float, latencies: Columns | None) -> SloCheck:
    slo, measured = promise.slo, None
    if latencies is not None:
        finished = latencies[name][np.isfinite(latencies[name])]
        measured = float(np.percentile(finished, slo.percentile)) if len(finished) else None
    undefined_tpot = name == "tpot_s" and latencies is not None and bool(np.isfinite(latencies["e2e_s"]).any())
    met = measured <= limit if measured is not None else undefined_tpot
    if latencies is not None and _lost_share(latencies) * 100 > 100 - slo.percentile + _ROUNDING:
        met = False
    return SloCheck(promise.term(f"p{slo.percentile:g} {name[:-2].upper()}"), limit, measured, met)


def _lost_share(latencies: Columns) -> float:
    """The share of requests that never finished."""
    e2e = latencies["e2e_s"]
    return float(np.mean(~np.isfinite(e2e))) if len(e2e) else 0.0
