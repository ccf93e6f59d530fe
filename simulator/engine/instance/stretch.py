"""Stretch: equal steps of one instance, one after another, in closed form."""

from __future__ import annotations

from typing import Any


class Stretch:
    """`steps` steps from `start`, the j-th taking base + j * slope: one stretch, or arrays of many."""

    __slots__ = ("base", "slope", "start", "steps")

    def __init__(self, start: Any = 0.0, base: Any = 0.0, slope: Any = 0.0, steps: Any = 0) -> None:
        self.start = start
        self.base = base
        self.slope = slope
        self.steps = steps

    def until(self, steps: Any) -> Any:
        """When the first `steps` of them have ended."""
        return self.start + (steps * self.base + self.slope * (steps * (steps - 1) // 2))

    def ended(self, now: float) -> int:
        """How many have ended by now."""
        if self.until(self.steps) <= now:
            return int(self.steps)
        return max(self.begun(now, passed=True) - 1, 0)

    def begun(self, now: float, passed: bool) -> int:
        """How many have begun by now; one that begins at this very instant counts if its turn has `passed`."""
        gone, base, until, all_steps = now - self.start, self.base, self.until, self.steps
        near = 0
        if gone > 0 and base:
            near = int(gone / (base + self.slope * (gone / base) / 2))  # no slope is below 0
            near = near if near < all_steps else all_steps
        begins = until(near)
        if begins < now or (passed and begins == now):
            near += 1
            while near < all_steps and ((begins := until(near)) < now or (passed and begins == now)):
                near += 1
        else:
            while near and ((begins := until(near - 1)) > now or (begins == now and not passed)):
                near -= 1
        return int(near)
