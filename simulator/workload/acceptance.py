"""Acceptance: how many tokens a verification step gives a sequence, drawn before the clock starts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.spec import Count, spec
from simulator.workload.requests import Ints


@spec
class Acceptance:
    """The law of how many of `tokens` drafted tokens are accepted, each step and sequence for itself.

    `rates`: the chance of each position that it and all before it are accepted. What a step gives is
    one token more than are accepted.

    >>> round(Acceptance.of_length(3, 2.49).mean_length, 2)
    2.49
    """

    tokens: Count
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.rates) != self.tokens:
            raise ValueError(f"acceptance rates must be one for each of {self.tokens} drafted tokens, not {len(self.rates)}")
        if not all(0.0 <= rate <= 1.0 for rate in self.rates):
            raise ValueError(f"acceptance rates must lie in 0 to 1, not {list(self.rates)}")
        if any(later > earlier for earlier, later in zip(self.rates, self.rates[1:], strict=False)):
            raise ValueError(f"acceptance rates count all positions before too, so they must not rise: {list(self.rates)}")

    @classmethod
    def of_length(cls, tokens: int, length: float) -> Acceptance:
        """The law of a mean length: its whole part always, and one token more with its fraction.

        It has the least variance of all with this mean, as vLLM's synthetic_acceptance_length has.
        Raises ValueError for a length below 1 or above `tokens` + 1.
        """
        if not (math.isfinite(length) and 1.0 <= length <= tokens + 1):
            raise ValueError(
                f"an acceptance length must lie in 1 to {tokens + 1}, one more than are drafted; {length:g} does not"
            )
        return cls(tokens=tokens, rates=tuple(min(max(length - 1.0 - i, 0.0), 1.0) for i in range(tokens)))

    @property
    def mean_length(self) -> float:
        """Mean tokens that a step gives."""
        return 1.0 + sum(self.rates)

    @property
    def chances(self) -> NDArray[np.float64]:
        """Chance that a step gives 1, 2, ... tokens, shape (tokens + 1,)."""
        chances: NDArray[np.float64] = -np.diff([1.0, *self.rates, 0.0])
        return chances

    def decode_steps(self, output_tokens: Ints, rng: np.random.Generator) -> Ints:
        """Steps in which each request has all its output tokens but the first; at least 1; shape (n,).

        The number of independent steps until their tokens sum up to what is left. Many steps that
        cannot yet be the last are drawn at once.
        """
        left = np.maximum(output_tokens.astype(np.int64) - 1, 0)
        steps = np.zeros(len(left), dtype=np.int64)
        gives, chances = np.arange(1, self.tokens + 2), self.chances
        going = np.flatnonzero(left > 0)
        while len(going):
            count = np.maximum((left[going] - 1) // (self.tokens + 1), 1)
            left[going] -= rng.multinomial(count, chances) @ gives
            steps[going] += count
            going = going[left[going] > 0]
        return np.maximum(steps, 1)
