"""Saturation: at how many concurrent users the throughput of a closed loop stops growing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

SHARE = 0.98
_STEP = math.sqrt(2)
_NARROWING = 3


def saturating_concurrency(
    throughput: Callable[[int], float], *, share: float = SHARE, most: int = 65_536
) -> float | None:
    """The users at which throughput levels off, by simulations of more and more of them, and then
    of those around the place.

    Asked upwards until the last doubling added less than half of what may be missing, 1 - `share`.
    None where it grows to `most`.
    """
    seen = {1: throughput(1)}
    while len(seen) < 5 or _grows(list(seen.values()), share):
        users = max(max(seen) + 1, round(max(seen) * _STEP))
        if users > most:
            return None
        seen[users] = throughput(users)
    for _ in range(_NARROWING):
        middle = _between(seen, share)
        if middle not in seen:
            seen[middle] = throughput(middle)
    return levels_off(sorted(seen.items()), share)


def _between(seen: Mapping[int, float], share: float) -> int:
    """Users between the fewest that reach the share of the highest throughput and those below."""
    wanted = share * max(seen.values())
    high = min(users for users, rate in seen.items() if rate >= wanted)
    low = max((users for users in seen if users < high), default=high)
    return round(math.sqrt(low * high))


def _grows(rates: Sequence[float], share: float) -> bool:
    return max(rates[-2:]) >= max(rates[:-2]) * (1 + (1 - share) / 2)


def levels_off(points: Sequence[tuple[float, float]], share: float = SHARE) -> float:
    """Where a curve of (users, throughput), in order of users, first reaches a share of its highest
    throughput.

    Straight lines in the logarithm of the users join the points.

    >>> levels_off([(1, 10.0), (2, 20.0), (4, 20.0)], share=1.0)
    2.0
    """
    wanted = share * max(rate for _, rate in points)
    place = next(i for i, (_, rate) in enumerate(points) if rate >= wanted)
    return _crossing(points[max(0, place - 1)], points[place], wanted)


def _crossing(before: tuple[float, float], after: tuple[float, float], wanted: float) -> float:
    """Users at which the line between two points has the wanted throughput."""
    (low, below), (high, above) = before, after
    part = 1.0 if above == below else (wanted - below) / (above - below)
    return float(low * (high / low) ** part)
