"""Statistics: the mean of a simulation's batches, and the interval that Student's t gives it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BATCHES = 20
"""Equal parts that a run is cut into. Their means are nearly independent, which single requests are not."""

# Two-sided quantiles by level and degrees of freedom, to four digits, as every statistical table has them.
_STUDENT_T = {
    0.90: {19: 1.7291},
    0.95: {2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 19: 2.0930},
    0.99: {9: 3.2498, 12: 3.0545, 15: 2.9467, 18: 2.8784, 19: 2.8609, 21: 2.8314, 24: 2.7969},
}


def student_t(level: float, freedom: int) -> float:
    """The quantile of Student's t that `level` of the values lie within, both sides together.

    Raises KeyError for one that is not in the table.

    >>> student_t(0.95, 19)
    2.093
    """
    return _STUDENT_T[level][freedom]


def standard_error(batches: NDArray[np.float64]) -> float:
    """How far the mean of batches, shape (n,), is from the true one, as a standard deviation."""
    return float(batches.std(ddof=1)) / math.sqrt(len(batches))


def half_width(batches: NDArray[np.float64], level: float = 0.95) -> float:
    """Half of the interval in which the true mean of batches, shape (n,), lies with probability `level`."""
    return student_t(level, len(batches) - 1) * standard_error(batches)
