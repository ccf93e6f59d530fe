"""Distribution functions of the normal and gamma laws, for arrays, without SciPy."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from simulator.workload.requests import Floats

_TERMS = 10_000
_PRECISION = 1e-15


def normal_quantile(u: Floats) -> Floats:
    """Standard normal quantiles, shape of `u`; 0 and 1 give the farthest finite ones."""
    inside = np.clip(u, 2.0**-54, 1 - 2.0**-53)
    return np.fromiter(map(NormalDist().inv_cdf, inside.tolist()), dtype=np.float64, count=len(inside))


def normal_cdf(z: Floats) -> Floats:
    """Standard normal distribution function, shape of `z`."""
    return np.fromiter((0.5 * math.erfc(-x / math.sqrt(2)) for x in z.tolist()), dtype=np.float64, count=len(z))


def gamma_cdf(shape: float, x: Floats) -> Floats:
    """Distribution function of the gamma law of scale one: the regularized lower incomplete gamma function.

    By its power series below `shape + 1` and its continued fraction above.
    Source: Press et al., Numerical Recipes, 3rd ed., section 6.2; NIST DLMF 8.11.4 and 8.9.2.
    """
    result = np.zeros(len(x))
    low = (x > 0) & (x < shape + 1)
    high = x >= shape + 1
    result[low] = _series(shape, x[low])
    result[high] = 1.0 - _continued_fraction(shape, x[high])
    return np.clip(result, 0.0, 1.0)


def _leading(shape: float, x: Floats) -> Floats:
    factor: Floats = np.exp(-x + shape * np.log(x) - math.lgamma(shape))
    return factor


def _series(shape: float, x: Floats) -> Floats:
    term = total = np.full(len(x), 1.0 / shape)
    for n in range(1, _TERMS):
        term = term * x / (shape + n)
        total = total + term
        if np.all(term < total * _PRECISION):
            break
    return total * _leading(shape, x)


def _continued_fraction(shape: float, x: Floats) -> Floats:
    """The upper tail, by Lentz's method."""
    b = x + 1 - shape
    c, d = np.full(len(x), 1e300), 1 / b
    value = d
    for n in range(1, _TERMS):
        a = -n * (n - shape)
        b = b + 2
        d = 1 / (a * d + b)
        c = b + a / c
        value = value * d * c
        if np.all(np.abs(d * c - 1) < _PRECISION * 10):
            break
    return value * _leading(shape, x)
