"""SLO: the latencies that were promised, and whether a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.results.percentiles import percentile
from simulator.spec import Fraction, Positive, spec

Percentile = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
_ROUNDING = 1e-9
LATENCIES = ("ttft_s", "tpot_s", "e2e_s")


@spec
class Slo:
    """Limits in seconds, each held at one percentile of the requests, as `ttft_s: 1.0` at `percentile: 99`.

    `goodput`: the share of requests that must meet all limits at once; without it only the percentiles count.
    A request of one output token has no TPOT and meets that limit, as in vLLM's benchmark. One that never finishes, refused at
    the door say, meets none: where more of them are lost than the percentile leaves out, it is missed.
    """

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    percentile: Percentile = 99.0
    goodput: Fraction | None = None

    @model_validator(mode="after")
    def _something_is_promised(self) -> Slo:
        if not self.limits():
            raise ValueError(f"sets no limit; give one of {', '.join(LATENCIES)}, or leave slo out")
        return self

    def limits(self) -> dict[str, float]:
        """The limits that are set, by latency name, seconds."""
        return {name: limit for name in LATENCIES if (limit := getattr(self, name)) is not None}

    def sentences(self) -> tuple[str, ...]:
        """The terms in words: `p99 TTFT ≤ 1 s`."""
        terms = [f"p{self.percentile:g} {name[:-2].upper()} ≤ {limit:g} s" for name, limit in self.limits().items()]
        return (*terms, *([f"{self.goodput * 100:.4g}% of requests within all limits"] if self.goodput else []))


@dataclass(frozen=True, slots=True)
class SloCheck:
    """One term and what came out. `term`: "p99 TTFT"; `unit`: "s", or "" for a share; `measured`: None if nothing was steady."""

    term: str
    limit: float
    measured: float | None
    met: bool
    unit: str = "s"


def good(slo: Slo | None, latencies: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which requests met every limit, shape (n,). A NaN TPOT (one token) counts as met, a NaN E2E (never finished) as missed."""
    met = np.isfinite(latencies["e2e_s"])
    for name, limit in slo.limits().items() if slo else ():
        column = latencies[name]
        met = met & ((column <= limit) | (np.isnan(column) if name == "tpot_s" else False))
    return met


def check_slo(slo: Slo | None, latencies: Mapping[str, NDArray[np.float64]] | None) -> tuple[SloCheck, ...]:
    """Each term of the SLO against the latencies of a steady run, columns `ttft_s`, `tpot_s`, `e2e_s` of shape (n,).

    None in place of latencies means there were none to measure (it does not fit, or is overloaded): no term is met.
    """
    if slo is None:
        return ()
    checks = [_check_limit(slo, name, limit, latencies) for name, limit in slo.limits().items()]
    if slo.goodput is not None:
        share = None if latencies is None or not len(latencies["e2e_s"]) else float(np.mean(good(slo, latencies)))
        checks.append(SloCheck("goodput share", slo.goodput, share, share is not None and share >= slo.goodput, unit=""))
    return tuple(checks)


def _check_limit(slo: Slo, name: str, limit: float, latencies: Mapping[str, NDArray[np.float64]] | None) -> SloCheck:
    measured = None
    if latencies is not None:
        finished = latencies[name][np.isfinite(latencies[name])]
        measured = percentile(np.sort(finished), slo.percentile) if len(finished) else None
    undefined_tpot = name == "tpot_s" and latencies is not None and bool(np.isfinite(latencies["e2e_s"]).any())
    met = measured <= limit if measured is not None else undefined_tpot
    if latencies is not None and _lost_share(latencies) * 100 > 100 - slo.percentile + _ROUNDING:
        met = False
    return SloCheck(f"p{slo.percentile:g} {name[:-2].upper()}", limit, measured, met)


def _lost_share(latencies: Mapping[str, NDArray[np.float64]]) -> float:
    """The share of requests that never finished."""
    e2e = latencies["e2e_s"]
    return float(np.mean(~np.isfinite(e2e))) if len(e2e) else 0.0
