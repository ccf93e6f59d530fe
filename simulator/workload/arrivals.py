"""Arrivals: when requests come.

Every random process here is one idea: gaps of mean one are summed into epochs, and the epochs are carried through the
inverse of the expected number of arrivals. A constant rate only divides; a varying rate bends the time axis. Gaps are drawn
in order, so a longer run begins with the very arrivals of a shorter one, and the same seed at another rate gives the same
pattern, stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.spec import Count, Positive, spec
from simulator.workload.quantities import Pause, Rate
from simulator.workload.requests import Floats

_PIECE = 4096


@spec
class Poisson:
    """Independent requests at `rate` per second: gaps are exponential."""

    kind: Literal["poisson"] = "poisson"
    rate: Rate

    def mean_rate(self) -> float:
        return self.rate

    def scaled(self, factor: float) -> Poisson:
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        return _steady(_gamma_gaps(rng, 1.0), self.rate, requests, duration_s)


@spec
class Gamma:
    """Gamma-distributed gaps at `rate` per second, by `cv`, their coefficient of variation, or by vLLM's `burstiness`.

    Burstiness is the gamma shape, 1 / cv**2: below 1 is burstier than Poisson, above 1 more regular.
    Source: vLLM vllm/benchmarks/serve.py, --burstiness.
    """

    kind: Literal["gamma"] = "gamma"
    rate: Rate
    cv: Positive | None = None
    burstiness: Positive | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Gamma:
        if (self.cv is None) == (self.burstiness is None):
            raise ValueError("give either cv or burstiness (which is 1 / cv**2), not both and not neither")
        return self

    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps."""
        return self.cv if self.cv is not None else 1 / math.sqrt(self.burstiness or 1.0)

    def mean_rate(self) -> float:
        return self.rate

    def scaled(self, factor: float) -> Gamma:
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        return _steady(_gamma_gaps(rng, self.gap_cv()), self.rate, requests, duration_s)


@spec
class Constant:
    """One request every 1 / `rate` seconds."""

    kind: Literal["constant"] = "constant"
    rate: Rate

    def mean_rate(self) -> float:
        return self.rate

    def scaled(self, factor: float) -> Constant:
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        return _steady(_gamma_gaps(rng, 0.0), self.rate, requests, duration_s)


@spec
class AllAtOnce:
    """Every request at time zero, as an offline batch."""

    kind: Literal["all_at_once"] = "all_at_once"

    def mean_rate(self) -> float:
        return math.inf

    def scaled(self, factor: float) -> AllAtOnce:
        return self

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        return np.zeros(requests or 0)


@spec
class ClosedLoop:
    """`concurrency` users, each with one request under way; the next one follows `think` seconds after the last one finished.

    The engine decides when a request comes, so the times drawn here are all zero.
    """

    kind: Literal["closed_loop"] = "closed_loop"
    concurrency: Count
    think: Pause = 0.0

    @property
    def think_s(self) -> float:
        """Seconds between a finish and the same user's next request."""
        return self.think

    def mean_rate(self) -> float:
        return math.nan

    def scaled(self, factor: float) -> ClosedLoop:
        return replace(self, concurrency=max(1, round(self.concurrency * factor)))

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        return np.zeros(requests or 0)


def _shorthand(value: Any) -> Any:
    """A bare rate means Poisson arrivals."""
    return {"kind": "poisson", "rate": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value


Arrivals = Annotated[
    Annotated[Poisson | Gamma | Constant | AllAtOnce | ClosedLoop, Field(discriminator="kind")], BeforeValidator(_shorthand)
]
Draw = Callable[[int], Floats]


def _gamma_gaps(rng: np.random.Generator, cv: float) -> Draw:
    """Gaps of mean one with coefficient of variation `cv`: all ones at 0, exponential at 1."""
    if cv == 0:
        return np.ones
    if cv == 1:
        return lambda n: rng.exponential(size=n)
    return lambda n: rng.gamma(cv**-2, cv**2, size=n)


def _epochs(draw: Draw, at_most: int | None, until: float) -> Floats:
    """Sums of gaps, shape (m,): the first `at_most`, none later than `until`."""
    pieces, count, last = [np.empty(0)], 0, 0.0
    while last <= until and (at_most is None or count < at_most):
        piece = last + np.cumsum(draw(_PIECE))
        pieces.append(piece)
        count, last = count + _PIECE, float(piece[-1])
    epochs = np.concatenate(pieces)
    return epochs[: np.searchsorted(epochs, until, side="right")][:at_most]


def _steady(draw: Draw, rate: float, requests: int | None, duration_s: float | None) -> Floats:
    until = math.inf if duration_s is None else duration_s * rate
    times: Floats = _epochs(draw, requests, until) / rate
    return times
