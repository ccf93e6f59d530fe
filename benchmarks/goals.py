"""What must be reached, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Standing = Literal["aim", "must", "short", "-"]


@dataclass(frozen=True, slots=True)
class Goal:
    """Bounds of a figure: at most these, or at least these with `more`."""

    must: float
    aim: float
    more: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the benchmark; None where what it needs is not there."""

    name: str
    unit: str
    value: float | None
    goal: Goal | None = None
    note: str = ""

    @property
    def standing(self) -> Standing:
        """Which bound is reached."""
        if self.goal is None or self.value is None:
            return "-"
        sign = -1 if self.goal.more else 1
        if sign * self.value <= sign * self.goal.aim:
            return "aim"
        return "must" if sign * self.value <= sign * self.goal.must else "short"


ORACLE_CHAT = Goal(15, 25, more=True)
ORACLE_LONG = Goal(80, 150, more=True)
ORACLE_STARVED = Goal(12, 20, more=True)
TIMEOUTS_CHAT = Goal(20, 12)
REPLICAS = Goal(1.6, 1.3)
PREFIX_CACHED = Goal(15_000, 60_000, more=True)
GROWTH = Goal(1.15, 1.05)
MEMORY = Goal(350, 150)
RUN_WITHOUT_REPORT = Goal(3.0, 1.5)
