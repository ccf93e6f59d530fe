"""Saturation: at how many concurrent users the throughput of a closed loop stops growing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

SHARE = 0.98
_STEP = math.sqrt(2)


def saturating_concurrency(throughput: Callable[[int], float], *, share: float = SHARE, most: int = 65_536) -> float | None:
    """The users at which throughput levels off, from simulations in steps of a factor of the square root of two.

    Asked upwards until the last doubling added less than half of what may be missing, 1 - `share`. None where it grows to `most`.
    """
    points: list[tuple[int, float]] = []
    for step in range(math.ceil(math.log(most, _STEP)) + 1):
        users = round(_STEP**step)
        if points and users == points[-1][0]:
            continue
        points.append((users, throughput(users)))
        if len(points) > 4 and max(rate for _, rate in points[-2:]) < max(rate for _, rate in points[:-2]) * (
            1 + (1 - share) / 2
        ):
            return levels_off(points, share)
    return None


def levels_off(points: Sequence[tuple[float, float]], share: float = SHARE) -> float:
    """Where a curve of (users, throughput), in order of users, first reaches a share of its highest throughput.

    Straight lines in the logarithm of the users join the points.

    >>> levels_off([(1, 10.0), (2, 20.0), (4, 20.0)], share=1.0)
    2.0
    """
    wanted = share * max(rate for _, rate in points)
    before = points[0]
    for users, rate in points:
        if rate >= wanted:
            low, below = before
            part = 1.0 if rate == below else (wanted - below) / (rate - below)
            return float(low * (users / low) ** part)
        before = (users, rate)
    return float(points[-1][0])
