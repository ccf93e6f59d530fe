"""Gaps between arrivals: laws of mean one, and the epochs that they add up to.

Every random arrival process here is one idea: gaps of mean one are summed into epochs, and the epochs are carried through the
inverse of the expected number of arrivals. A constant rate only divides; a varying rate bends the time axis. Gaps are drawn
in order, so a longer run begins with the very arrivals of a shorter one, and the same seed at another rate gives the same
pattern, stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simulator.workload.requests import Floats

Draw = Callable[[int], Floats]
_PIECE = 4096
_LEAST_SHAPE, _GREATEST_SHAPE = 0.05, 1000.0


def gamma_gaps(rng: np.random.Generator, cv: float) -> Draw:
    """Gamma gaps of mean one with coefficient of variation `cv`: all ones at 0, exponential at 1."""
    if cv == 0:
        return np.ones
    if cv == 1:
        return lambda n: rng.exponential(size=n)
    return lambda n: rng.gamma(cv**-2, cv**2, size=n)


def weibull_gaps(rng: np.random.Generator, shape: float) -> Draw:
    """Weibull gaps of mean one."""
    mean = math.gamma(1 + 1 / shape)
    return lambda n: rng.weibull(shape, size=n) / mean


def weibull_shape(cv: float) -> float:
    """The Weibull shape whose coefficient of variation is `cv`, by bisection.

    cv**2 = gamma(1 + 2/k) / gamma(1 + 1/k)**2 - 1, falling in k. Raises ValueError outside 0.0013 < cv < 1e5, about.
    """

    def excess(k: float) -> float:
        return math.lgamma(1 + 2 / k) - 2 * math.lgamma(1 + 1 / k) - math.log1p(cv * cv)

    low, high = _LEAST_SHAPE, _GREATEST_SHAPE
    if excess(low) < 0 or excess(high) > 0:
        raise ValueError(f"no Weibull law between shapes {low:g} and {high:g} has cv {cv:g}")
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low


def epochs(draw: Draw, at_most: int | None, until: float) -> Floats:
    """Sums of gaps, shape (m,), increasing: the first `at_most`, none later than `until`."""
    pieces, count, last = [np.empty(0)], 0, 0.0
    while last <= until and (at_most is None or count < at_most):
        piece = last + np.cumsum(draw(_PIECE))
        pieces.append(piece)
        count, last = count + _PIECE, float(piece[-1])
    sums = np.concatenate(pieces)
    return sums[: np.searchsorted(sums, until, side="right")][:at_most]


def rate_of(times: Floats) -> float:
    """Arrivals per second from the first to the last; infinite when they all come at once."""
    span = float(times[-1] - times[0]) if len(times) else 0.0
    return (len(times) - 1) / span if span > 0 else math.inf
