"""SLO: the latencies that are promised to requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from simulator.spec import Fraction, spec
from simulator.workload.text_units import Duration


def _not_a_share(value: float) -> float:
    """The percentile. Raises ValueError for a share, which 0.95 for p95 is."""
    if 0 < value <= 1:
        raise ValueError(f"{value:g} reads as a share; a percentile is written {100 * value:g}")
    return value


Percentile = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False), AfterValidator(_not_a_share)]
LATENCIES = ("ttft_s", "tpot_s", "e2e_s")


@spec
class Slo:
    """Limits in seconds, each held at one percentile of the requests: `ttft_s: 1.0` or `ttft: 1000ms` at `percentile: 99`.

    `goodput`: the share of requests that must meet all limits at once; without it only the percentiles count.
    A request of one output token has no TPOT and meets that limit, as in vLLM's benchmark. One that gets no answer, refused at
    the door say, meets none and is the slowest of all: where more of them are lost than the percentile leaves out, it is missed.
    """

    ttft_s: Duration | None = None
    tpot_s: Duration | None = None
    e2e_s: Duration | None = None
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
