"""Lengths of a continuous law: lognormal, gamma, normal, or drawn through quantiles; rounded to whole tokens and clipped."""

from __future__ import annotations

import math
from abc import abstractmethod
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.numbers import LONGEST
from simulator.spec import MeanTokens, Tokens, Variation, spec
from simulator.workload.lengths.distribution_functions import gamma_cdf, normal_cdf, normal_quantile
from simulator.workload.requests import Floats, Ints

_Z95 = NormalDist().inv_cdf(0.95)
_KNOTS = 16384


class Clipped:
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
class LogNormal(Clipped):
    """Lognormal lengths by two of `mean`, `median`, `std`, `p95` (tokens), or by `mu` and `sigma` of the logarithm.

    `mean` goes with any other one, `median` with `p95`.
    """

    kind: Literal["lognormal"] = "lognormal"
    mean: MeanTokens | None = None
    median: MeanTokens | None = None
    std: MeanTokens | None = None
    p95: MeanTokens | None = None
    mu: Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)] | None = None
    sigma: Annotated[float, Field(ge=1e-9, le=10, allow_inf_nan=False)] | None = None
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _determined(self) -> LogNormal:
        lognormal_parameters(self)
        refuse_crossed_bounds(self.min, self.max)
        return self

    def quantile(self, u: Floats) -> Floats:
        """The value that a share `u` of the unclipped law stays below, tokens, shape of `u`."""
        mu, sigma = lognormal_parameters(self)
        values: Floats = np.exp(mu + sigma * normal_quantile(u))
        return values

    def below(self, x: Floats) -> Floats:
        """The share of the unclipped law below `x` tokens, shape of `x`."""
        mu, sigma = lognormal_parameters(self)
        return normal_cdf((np.log(x) - mu) / sigma)

    def raw_moments(self) -> tuple[float, float]:
        """Mean, tokens, and mean square of the unclipped law."""
        mu, sigma = lognormal_parameters(self)
        return math.exp(mu + sigma**2 / 2), math.exp(2 * mu + 2 * sigma**2)


@spec
class GammaLengths(Clipped):
    """Gamma lengths by `mean` (tokens) and `cv`, their coefficient of variation."""

    kind: Literal["gamma"] = "gamma"
    mean: MeanTokens
    cv: Annotated[Variation, Field(gt=0)]
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _in_order(self) -> GammaLengths:
        refuse_crossed_bounds(self.min, self.max)
        return self

    def quantile(self, u: Floats) -> Floats:
        """By linear interpolation in the distribution function, 16384 points over forty deviations on a logarithmic axis."""
        farthest = self.mean * (1 + 40 * self.cv + 40 * self.cv**2)
        values = np.concatenate([[0.0], np.geomspace(min(1e-3, self.mean / 1e3), farthest, _KNOTS)])
        lengths: Floats = np.interp(u, self.below(values), values)
        return lengths

    def below(self, x: Floats) -> Floats:
        """The share of the unclipped law below `x` tokens, shape of `x`."""
        return gamma_cdf(self.cv**-2, x / (self.mean * self.cv**2))

    def raw_moments(self) -> tuple[float, float]:
        """Mean, tokens, and mean square of the unclipped law."""
        return self.mean, self.mean**2 * (1 + self.cv**2)


@spec
class Normal(Clipped):
    """Normal lengths by `mean` and `std` (tokens), clipped: inference-perf's `input_distribution`."""

    kind: Literal["normal"] = "normal"
    mean: MeanTokens
    std: MeanTokens
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Normal:
        refuse_crossed_bounds(self.min, self.max)
        return self

    def quantile(self, u: Floats) -> Floats:
        """The value that a share `u` of the unclipped law stays below, tokens, shape of `u`."""
        values: Floats = self.mean + self.std * normal_quantile(u)
        return values

    def below(self, x: Floats) -> Floats:
        """The share of the unclipped law below `x` tokens, shape of `x`."""
        return normal_cdf((x - self.mean) / self.std)

    def raw_moments(self) -> tuple[float, float]:
        """Mean, tokens, and mean square of the unclipped law."""
        return self.mean, self.mean**2 + self.std**2


def _named_quantiles(value: Any) -> Any:
    """`{p50: 400}` or `{0.5: 400}` as pairs of share and length, by share."""
    if not isinstance(value, dict):
        return value
    pairs = []
    for name, length in value.items():
        try:
            share = round(float(str(name)[1:]) / 100, 12) if str(name).startswith("p") else float(name)
        except ValueError:
            raise ValueError(f"'{name}' is not a quantile; write p50, p99.9, or 0.5") from None
        pairs.append((share, length))
    return tuple(sorted(pairs))


@spec
class Quantiles(Clipped):
    """Lengths by their quantiles, such as {p0: 3, p50: 400, p95: 2000, p100: 8000}, log-linear between two of them."""

    kind: Literal["quantiles"] = "quantiles"
    points: Annotated[tuple[tuple[float, MeanTokens], ...], BeforeValidator(_named_quantiles)]
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Quantiles:
        shares, values = zip(*self.points, strict=True) if self.points else ((), ())
        if list(shares) != sorted(set(shares)) or shares[:1] != (0.0,) or shares[-1:] != (1.0,):
            raise ValueError("quantiles must run from p0 (the least) to p100 (the greatest), each named once")
        if list(values) != sorted(values):
            raise ValueError("a higher quantile cannot be shorter than a lower one")
        refuse_crossed_bounds(self.min, self.max)
        return self

    def quantile(self, u: Floats) -> Floats:
        """The value that a share `u` of the unclipped law stays below, tokens, shape of `u`."""
        shares, logs = self._knots()
        values: Floats = np.exp(np.interp(u, shares, logs))
        return values

    def below(self, x: Floats) -> Floats:
        """The share of the unclipped law below `x` tokens, shape of `x`."""
        shares, logs = self._knots()
        return np.interp(np.log(x), logs, shares, left=0.0, right=1.0)

    def raw_moments(self) -> tuple[float, float]:
        """Mean, tokens, and mean square of the unclipped law."""
        return float(self.pieces(1).sum()), float(self.pieces(2).sum())

    def pieces(self, k: int) -> Floats:
        """What each piece between two points adds to the k-th raw moment, of shape (points - 1,): the integral of an
        exponential, share * (x1**k - x0**k) / (k * log(x1 / x0))."""
        shares, logs = self._knots()
        rises = np.diff(logs)
        slopes = np.where(rises > 0, rises, 1.0)
        means = np.where(rises > 0, np.diff(np.exp(k * logs)) / (k * slopes), np.exp(k * logs[1:]))
        added: Floats = np.diff(shares) * means
        return added

    def _knots(self) -> tuple[Floats, Floats]:
        """Shares and logarithms of the lengths."""
        shares, values = np.array(self.points).T
        return shares, np.log(values)


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


def refuse_crossed_bounds(low: int, high: int | None) -> None:
    """Raises ValueError when the greatest length allowed is below the least."""
    if high is not None and high < low:
        raise ValueError(f"max {high} is below min {low}")
