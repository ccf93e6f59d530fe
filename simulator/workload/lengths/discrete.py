"""Lengths: how many tokens a prompt has, or an answer.

A law is its quantile function: a uniform number in, a length out. So each request's length hangs on its own uniform number,
and prompt and output lengths can be correlated whatever their laws. Lengths are whole and at least one; `min` and `max` clip.

Every law gives `tokens_at(u)`, lengths at uniform numbers, shape of `u`; its mean `expected()`, tokens; and its `variance()`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.spec import NonNegative, Positive, Tokens, spec
from simulator.workload.lengths.continuous import GammaLengths, LogNormal, Normal, Quantiles, refuse_crossed_bounds
from simulator.workload.requests import Floats, Ints


class _Tabled:
    """A law that takes each of some values with its share."""

    __slots__ = ()

    @abstractmethod
    def table(self) -> tuple[Ints, Floats]:
        """The values, increasing, and their shares of one."""

    def tokens_at(self, u: Floats) -> Ints:
        """Lengths at uniform numbers, tokens, shape of `u`."""
        values, shares = self.table()
        return values[np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(values) - 1)]

    def expected(self) -> float:
        """Mean length, tokens."""
        values, shares = self.table()
        return float(values @ shares)

    def variance(self) -> float:
        """Variance of the length, tokens squared."""
        values, shares = self.table()
        return float((values - self.expected()) ** 2 @ shares)


@spec
class Fixed:
    """Always `tokens`."""

    kind: Literal["fixed"] = "fixed"
    tokens: Tokens

    def tokens_at(self, u: Floats) -> Ints:
        """Lengths at uniform numbers, tokens, shape of `u`."""
        return np.full(len(u), self.tokens, dtype=np.int64)

    def expected(self) -> float:
        """Mean length, tokens."""
        return float(self.tokens)

    def variance(self) -> float:
        """Variance of the length, tokens squared."""
        return 0.0


@spec
class Uniform:
    """Every whole length from `min` to `max` alike."""

    kind: Literal["uniform"] = "uniform"
    min: Tokens
    max: Tokens

    @model_validator(mode="after")
    def _in_order(self) -> Uniform:
        refuse_crossed_bounds(self.min, self.max)
        return self

    def tokens_at(self, u: Floats) -> Ints:
        """Lengths at uniform numbers, tokens, shape of `u`."""
        steps = np.floor(u * (self.max - self.min + 1)).astype(np.int64)
        return np.minimum(self.min + steps, self.max)

    def expected(self) -> float:
        """Mean length, tokens."""
        return (self.min + self.max) / 2

    def variance(self) -> float:
        """Variance of the length, tokens squared."""
        return ((self.max - self.min + 1) ** 2 - 1) / 12


@spec
class Zipf(_Tabled):
    """Lengths from `min` to `max`, each with a chance that falls as length ** -`exponent`."""

    kind: Literal["zipf"] = "zipf"
    exponent: Annotated[Positive, Field(le=100)]
    min: Tokens = 1
    max: Tokens

    @model_validator(mode="after")
    def _in_order(self) -> Zipf:
        refuse_crossed_bounds(self.min, self.max)
        return self

    def table(self) -> tuple[Ints, Floats]:
        """The lengths, tokens, increasing, and their shares of one, each of shape (max - min + 1,)."""
        values = np.arange(self.min, self.max + 1, dtype=np.int64)
        weights = (values / self.min) ** -self.exponent
        return values, weights / weights.sum()


@spec
class Empirical(_Tabled):
    """Lengths seen, as they are: `values` with `weights` (all alike without)."""

    kind: Literal["empirical"] = "empirical"
    values: tuple[Tokens, ...]
    weights: tuple[NonNegative, ...] | None = None

    @model_validator(mode="after")
    def _paired(self) -> Empirical:
        if not self.values:
            raise ValueError("values is empty; list at least one length")
        if self.weights is not None and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError(f"weights must be {len(self.values)} numbers, one a value, not all zero")
        return self

    def table(self) -> tuple[Ints, Floats]:
        """The lengths, tokens, in order, and their shares of one, each of shape (values,)."""
        values = np.array(self.values, dtype=np.int64)
        weights = np.ones(len(values)) if self.weights is None else np.array(self.weights)
        order = np.argsort(values, kind="stable")
        return values[order], weights[order] / weights.sum()


def _shorthand(value: Any) -> Any:
    """A bare number of tokens means that length always."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"kind": "fixed", "tokens": value}
    if isinstance(value, bool | float | str):
        raise ValueError(
            f"must be a whole number of tokens, or a law such as {{kind: uniform, min: 10, max: 500}}, not {value!r:.60}"
        )
    return value


Lengths = Annotated[
    Annotated[Fixed | Uniform | LogNormal | GammaLengths | Normal | Zipf | Quantiles | Empirical, Field(discriminator="kind")],
    BeforeValidator(_shorthand),
]
