"""Arrivals: when requests come.

Every process tells its `mean_rate()`, requests per second in the long run (not finite where the clock does not decide), can
be `scaled(factor)` to that many times its rate with its pattern kept, and draws `times(rng, requests, duration_s)`: seconds,
shape (n,), not decreasing, until so many requests or so many seconds are reached, whichever is first.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.spec import Count, NonNegative, Variation, spec
from simulator.workload.arrivals.gaps import Draw, epochs, gamma_gaps, rate_of, weibull_gaps, weibull_shape
from simulator.workload.arrivals.varying import Bursts, Diurnal, Ramp, Stages
from simulator.workload.requests import Floats
from simulator.workload.text_units import Pause, Rate
from simulator.workload.traces.trace_file import Trace


@spec
class Poisson:
    """Independent requests at `rate` per second: gaps are exponential."""

    kind: Literal["poisson"] = "poisson"
    rate: Rate

    def mean_rate(self) -> float:
        """Requests per second in the long run."""
        return self.rate

    def scaled(self, factor: float) -> Poisson:
        """The same pattern at `factor` times the rate."""
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; gaps are exponential."""
        return _steady(gamma_gaps(rng, 1.0), self.rate, requests, duration_s)


@spec
class Gamma:
    """Gamma-distributed gaps at `rate` per second, by `cv`, their coefficient of variation, or by vLLM's `burstiness`.

    Burstiness is the gamma shape, 1 / cv**2: below 1 is burstier than Poisson, above 1 more regular.
    Source: vLLM vllm/benchmarks/serve.py, --burstiness.
    """

    kind: Literal["gamma"] = "gamma"
    rate: Rate
    cv: Annotated[Variation, Field(gt=0)] | None = None
    burstiness: Annotated[float, Field(ge=1e-4, le=1e6, allow_inf_nan=False, strict=True)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Gamma:
        if (self.cv is None) == (self.burstiness is None):
            raise ValueError("give either cv or burstiness (which is 1 / cv**2), not both and not neither")
        return self

    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps."""
        return self.cv if self.cv is not None else 1 / math.sqrt(self.burstiness or 1.0)

    def mean_rate(self) -> float:
        """Requests per second in the long run."""
        return self.rate

    def scaled(self, factor: float) -> Gamma:
        """The same pattern at `factor` times the rate."""
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; gaps are gamma."""
        return _steady(gamma_gaps(rng, self.gap_cv()), self.rate, requests, duration_s)


@spec
class Weibull:
    """Weibull-distributed gaps at `rate` per second, by their coefficient of variation `cv` or by `shape` (below 1 is bursty)."""

    kind: Literal["weibull"] = "weibull"
    rate: Rate
    cv: Annotated[Variation, Field(gt=0)] | None = None
    shape: Annotated[float, Field(ge=0.05, le=1000, allow_inf_nan=False, strict=True)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Weibull:
        if (self.cv is None) == (self.shape is None):
            raise ValueError("give either cv or shape, not both and not neither")
        self.gap_shape()
        return self

    def gap_shape(self) -> float:
        """The Weibull shape of the gaps."""
        return self.shape if self.shape is not None else weibull_shape(self.cv or 1.0)

    def mean_rate(self) -> float:
        """Requests per second in the long run."""
        return self.rate

    def scaled(self, factor: float) -> Weibull:
        """The same pattern at `factor` times the rate."""
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; gaps are Weibull."""
        return _steady(weibull_gaps(rng, self.gap_shape()), self.rate, requests, duration_s)


@spec
class Constant:
    """One request every 1 / `rate` seconds."""

    kind: Literal["constant"] = "constant"
    rate: Rate

    def mean_rate(self) -> float:
        """Requests per second in the long run."""
        return self.rate

    def scaled(self, factor: float) -> Constant:
        """The same pattern at `factor` times the rate."""
        return replace(self, rate=self.rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; gaps are equal."""
        return _steady(gamma_gaps(rng, 0.0), self.rate, requests, duration_s)


@spec
class Users:
    """`users` people, each asking `each` times a second on average (`each: 12/h`), on their own: together a Poisson process."""

    kind: Literal["users"] = "users"
    users: Count
    each: Rate

    def mean_rate(self) -> float:
        """Requests per second of all users together."""
        return self.users * self.each

    def scaled(self, factor: float) -> Users:
        """As many users, each `factor` times as busy."""
        return replace(self, each=self.each * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; gaps are exponential."""
        return _steady(gamma_gaps(rng, 1.0), self.mean_rate(), requests, duration_s)


@spec
class Recorded:
    """The very times (seconds) that are listed in `times_s`, or those of a `trace`."""

    kind: Literal["recorded"] = "recorded"
    times_s: tuple[NonNegative, ...] | None = None
    trace: Trace | None = None

    @model_validator(mode="after")
    def _one_of_two_in_order(self) -> Recorded:
        if (self.times_s is None) == (self.trace is None):
            raise ValueError("give either times_s or trace, not both and not neither")
        for i, (before, after) in enumerate(pairwise(self.times_s or ())):
            if after < before:
                raise ValueError(f"times_s runs backwards: entry {i + 2} is {after:g}, after {before:g}; sort it")
        return self

    def all_times(self) -> Floats:
        """Every time there is, seconds, shape (n,)."""
        if self.trace is not None:
            from simulator.workload.traces.replay import trace_times

            return trace_times(self.trace)
        return np.array(self.times_s)

    def mean_rate(self) -> float:
        """Requests per second from the first to the last; infinite when they all come at once."""
        return rate_of(self.all_times())

    def scaled(self, factor: float) -> Recorded:
        """The same times, drawn together to `factor` times the rate."""
        if self.trace is not None:
            return replace(self, trace=replace(self.trace, scale=self.trace.scale * factor))
        return replace(self, times_s=tuple(t / factor for t in self.times_s or ()))

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """The first of the recorded times, seconds, shape (n,); `rng` is not used."""
        times = self.all_times()
        return times[: None if duration_s is None else np.searchsorted(times, duration_s, side="right")][:requests]


@spec
class AllAtOnce:
    """Every request at time zero, as an offline batch."""

    kind: Literal["all_at_once"] = "all_at_once"

    def mean_rate(self) -> float:
        """Infinite: they all come at once."""
        return math.inf

    def scaled(self, factor: float) -> AllAtOnce:
        """The same: there is no rate to scale."""
        return self

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Zeros, seconds, shape (requests,)."""
        return np.zeros(requests or 0)


@spec
class ClosedLoopArrivals:
    """`concurrency` users, each with one request under way; the next follows `think` seconds, on average, after the last
    finished.

    `think_cv` is the coefficient of variation of the think time, 0 for always the same. The engine decides when a request
    comes, so the times drawn here are all zero.
    """

    kind: Literal["closed_loop"] = "closed_loop"
    concurrency: Count
    think: Pause = 0.0
    think_cv: Variation = 0.0

    @property
    def think_s(self) -> float:
        """Mean seconds between a finish and the same user's next request."""
        return self.think

    def mean_rate(self) -> float:
        """Not a number: the answers decide when requests come."""
        return math.nan

    def scaled(self, factor: float) -> ClosedLoopArrivals:
        """`factor` times as many users, at least one."""
        return replace(self, concurrency=max(1, round(self.concurrency * factor)))

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Zeros, seconds, shape (requests,): the engine decides when each comes."""
        return np.zeros(requests or 0)


def _shorthand(value: Any) -> Any:
    """A bare rate means Poisson arrivals."""
    return {"kind": "poisson", "rate": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value


Steady = Poisson | Gamma | Weibull | Constant | Users
Varying = Stages | Ramp | Diurnal | Bursts
Arrivals = Annotated[
    Annotated[Steady | Varying | Recorded | AllAtOnce | ClosedLoopArrivals, Field(discriminator="kind")],
    BeforeValidator(_shorthand),
]


def _steady(draw: Draw, rate: float, requests: int | None, duration_s: float | None) -> Floats:
    until = math.inf if duration_s is None else duration_s * rate
    times: Floats = epochs(draw, requests, until) / rate
    return times
