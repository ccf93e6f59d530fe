"""Lengths: how many tokens a prompt has, or an answer.

A law is its quantile function: a uniform number in, a length out. So each request's length hangs on its own uniform number,
and prompt and output lengths can be correlated whatever their laws. Lengths are whole and at least one; `min` and `max` clip.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.spec import Count, NonNegative, Positive, spec
from simulator.workload.requests import Floats, Ints

_Z95 = NormalDist().inv_cdf(0.95)
LONGEST = 100_000_000


class _Clipped:
    """A continuous law, rounded to whole tokens and clipped to [min, max]; the subclass is a spec with those two fields."""

    __slots__ = ()
    min: int
    max: int | None

    @abstractmethod
    def quantile(self, u: Floats) -> Floats:
        """The value that a share `u` of the unclipped law stays below."""

    @abstractmethod
    def below(self, x: Floats) -> Floats:
        """The share of the unclipped law below `x`."""

    @abstractmethod
    def raw_moments(self) -> tuple[float, float]:
        """Mean and mean square of the unclipped law."""

    def tokens_at(self, u: Floats) -> Ints:
        """Lengths at uniform numbers, shape of `u`."""
        whole = np.clip(np.rint(self.quantile(u)), self.min, LONGEST if self.max is None else self.max)
        return whole.astype(np.int64)

    def expected(self) -> float:
        """Mean length, tokens."""
        return self._moments()[0]

    def variance(self) -> float:
        """Variance of the length, tokens squared."""
        mean, square = self._moments()
        return square - mean * mean

    def _moments(self) -> tuple[float, float]:
        """Mean and mean square of what is drawn: sums over the survival function of the rounded and clipped law.

        Without `max`, the closed form of the law itself, plus 1/12 for rounding and what clipping at `min` adds.
        """
        if self.max is None:
            mean, square = self.raw_moments()
            below_min = np.arange(self.min, dtype=float)
            lifted = self.below(below_min + 0.5)
            return mean + float(lifted.sum()), square + 1 / 12 + float(((2 * below_min + 1) * lifted).sum())
        k = np.arange(self.max, dtype=float)
        longer = np.where(k < self.min, 1.0, 1.0 - self.below(k + 0.5))
        return float(longer.sum()), float(((2 * k + 1) * longer).sum())


@spec
class Fixed:
    """Always `tokens`."""

    kind: Literal["fixed"] = "fixed"
    tokens: Count

    def tokens_at(self, u: Floats) -> Ints:
        return np.full(len(u), self.tokens, dtype=np.int64)

    def expected(self) -> float:
        return float(self.tokens)

    def variance(self) -> float:
        return 0.0


@spec
class Uniform:
    """Every whole length from `min` to `max` alike."""

    kind: Literal["uniform"] = "uniform"
    min: Count
    max: Count

    @model_validator(mode="after")
    def _in_order(self) -> Uniform:
        refuse_crossed_bounds(self.min, self.max)
        return self

    def tokens_at(self, u: Floats) -> Ints:
        steps = np.floor(u * (self.max - self.min + 1)).astype(np.int64)
        return np.minimum(self.min + steps, self.max)

    def expected(self) -> float:
        return (self.min + self.max) / 2

    def variance(self) -> float:
        return ((self.max - self.min + 1) ** 2 - 1) / 12


@spec
class LogNormal(_Clipped):
    """Lognormal lengths by two of `mean`, `median`, `std`, `p95` (tokens), or by `mu` and `sigma` of the logarithm.

    `mean` goes with any other one, `median` with `p95`.
    """

    kind: Literal["lognormal"] = "lognormal"
    mean: Positive | None = None
    median: Positive | None = None
    std: Positive | None = None
    p95: Positive | None = None
    mu: float | None = None
    sigma: Positive | None = None
    min: Count = 1
    max: Count | None = None

    @model_validator(mode="after")
    def _determined(self) -> LogNormal:
        lognormal_parameters(self)
        refuse_crossed_bounds(self.min, self.max)
        return self

    def quantile(self, u: Floats) -> Floats:
        mu, sigma = lognormal_parameters(self)
        values: Floats = np.exp(mu + sigma * normal_quantile(u))
        return values

    def below(self, x: Floats) -> Floats:
        mu, sigma = lognormal_parameters(self)
        return normal_cdf((np.log(x) - mu) / sigma)

    def raw_moments(self) -> tuple[float, float]:
        mu, sigma = lognormal_parameters(self)
        return math.exp(mu + sigma**2 / 2), math.exp(2 * mu + 2 * sigma**2)


@spec
class Empirical:
    """Lengths seen, as they are: `values` with `weights` (all alike without)."""

    kind: Literal["empirical"] = "empirical"
    values: tuple[Count, ...]
    weights: tuple[NonNegative, ...] | None = None

    @model_validator(mode="after")
    def _paired(self) -> Empirical:
        if not self.values:
            raise ValueError("values is empty; list at least one length")
        if self.weights is not None and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError(f"weights must be {len(self.values)} numbers, one a value, not all zero")
        return self

    def tokens_at(self, u: Floats) -> Ints:
        values, shares = self._table()
        return values[np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(values) - 1)]

    def expected(self) -> float:
        values, shares = self._table()
        return float(values @ shares)

    def variance(self) -> float:
        values, shares = self._table()
        return float((values - self.expected()) ** 2 @ shares)

    def _table(self) -> tuple[Ints, Floats]:
        """The values, increasing, and their shares of one."""
        values = np.array(self.values, dtype=np.int64)
        weights = np.ones(len(values)) if self.weights is None else np.array(self.weights)
        order = np.argsort(values, kind="stable")
        return values[order], weights[order] / weights.sum()


def _shorthand(value: Any) -> Any:
    """A bare number of tokens means that length always."""
    return {"kind": "fixed", "tokens": value} if isinstance(value, int) and not isinstance(value, bool) else value


Lengths = Annotated[Annotated[Fixed | Uniform | LogNormal | Empirical, Field(discriminator="kind")], BeforeValidator(_shorthand)]


def lognormal_parameters(law: LogNormal) -> tuple[float, float]:
    """mu and sigma from what was given. Raises ValueError for too little, too much, or what no lognormal can be."""
    given = {name for name in ("mean", "median", "std", "p95", "mu", "sigma") if getattr(law, name) is not None}
    mean, median, std, p95 = law.mean or 0.0, law.median or 0.0, law.std or 0.0, law.p95 or 0.0
    if given == {"mu", "sigma"}:
        return float(law.mu or 0.0), float(law.sigma or 0.0)
    if given == {"mean", "std"}:
        sigma = math.sqrt(math.log1p((std / mean) ** 2))
    elif given == {"mean", "median"} and mean > median:
        sigma = math.sqrt(2 * math.log(mean / median))
    elif given == {"median", "p95"} and p95 > median:
        return math.log(median), math.log(p95 / median) / _Z95
    elif given == {"mean", "p95"} and 1 < p95 / mean <= math.exp(_Z95**2 / 2):
        sigma = _Z95 - math.sqrt(_Z95**2 - 2 * math.log(p95 / mean))
    elif given in ({"mean", "median"}, {"median", "p95"}, {"mean", "p95"}):
        raise ValueError(
            "no lognormal has these two; mean must exceed median, p95 exceed median, and p95 / mean lie between 1 and "
            f"{math.exp(_Z95**2 / 2):.2f}"
        )
    else:
        raise ValueError("give mean and p95 (or mean and std, mean and median, median and p95), or mu and sigma")
    return math.log(mean) - sigma**2 / 2, sigma


def normal_quantile(u: Floats) -> Floats:
    """Standard normal quantiles, shape of `u`; 0 and 1 give the farthest finite ones."""
    inside = np.clip(u, 2.0**-54, 1 - 2.0**-53)
    return np.fromiter(map(NormalDist().inv_cdf, inside.tolist()), dtype=np.float64, count=len(inside))


def normal_cdf(z: Floats) -> Floats:
    """Standard normal distribution function, shape of `z`."""
    return np.fromiter((0.5 * math.erfc(-x / math.sqrt(2)) for x in z.tolist()), dtype=np.float64, count=len(z))


def refuse_crossed_bounds(low: int, high: int | None) -> None:
    """Raises ValueError when the greatest length allowed is below the least."""
    if high is not None and high < low:
        raise ValueError(f"max {high} is below min {low}")
