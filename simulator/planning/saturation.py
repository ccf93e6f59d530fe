"""Saturation: at how many concurrent requests a closed loop's throughput stops growing."""

from __future__ import annotations

import math
from collections.abc import Callable

SHARE = 0.98


def saturating_concurrency(
    throughput: Callable[[int], float], *, share: float = SHARE, most: int = 65_536, tolerance: float = 0.03
) -> int | None:
    """The fewest users at which a share of the plateau is reached, within `tolerance`; None where it grows to `most` users.

    `throughput` of a number of users is asked at powers of two until doubling them adds less than half of what is missing to the
    plateau, 1 - `share`; then between.
    """
    seen = {1: throughput(1)}
    users = 1
    while True:
        users *= 2
        if users > most:
            return None
        seen[users] = throughput(users)
        if users > 2 and seen[users] < seen[users // 2] * (1 + (1 - share) / 2):
            break
    wanted = share * max(seen.values())
    high = min(n for n, rate in seen.items() if rate >= wanted)
    low = max((n for n in seen if n < high), default=1)
    while high > max(low + 1, low * (1 + tolerance)):
        middle = round(math.sqrt(low * high))
        if middle in (low, high):
            break
        low, high = (low, middle) if throughput(middle) >= wanted else (middle, high)
    return high
