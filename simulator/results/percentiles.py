"""Percentiles of values that are sorted once, however many are asked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def percentile(increasing: NDArray[np.float64], q: float) -> float:
    """The value that `q` % do not exceed, shape (n,), n at least 1: `np.percentile` of sorted values, to the last bit.

    Between two values it interpolates, from the nearer of them.

    >>> percentile(np.array([1.0, 2.0, 3.0]), 75)
    2.5
    """
    place = (len(increasing) - 1) * (q / 100)
    at = math.floor(place)
    low, high = float(increasing[at]), float(increasing[min(at + 1, len(increasing) - 1)])
    share = place - at
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
