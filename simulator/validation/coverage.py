"""Coverage: of the bands that predictions are shown with, how many measured values lie inside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from simulator.latency.error_bands import BandClass, band_of, class_of, class_path
from simulator.validation.measurements import Comparison

NOMINAL, LEAST, MOST = 0.80, 0.75, 0.88
"""What a band is said to hold, and what it may hold of a class of ENOUGH rows."""
ENOUGH = 20
_METRICS = {
    "ttft": "ttft",
    "tpot": "tpot",
    "itl": "tpot",
    "e2e": "tpot",
    "output": "output_tokens_per_s",
    "total": "output_tokens_per_s",
    "req": "output_tokens_per_s",
    "request": "output_tokens_per_s",
}
_TAILS = ("p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Measured values of one class: how many, and how many lie below, inside and above its band."""

    band: BandClass
    below: int
    inside: int
    above: int

    @property
    def rows(self) -> int:
        """Values of the class."""
        return self.below + self.inside + self.above

    @property
    def share(self) -> float:
        """Of the values, those inside."""
        return self.inside / self.rows

    @property
    def holds(self) -> bool:
        """Whether the band holds what it says, or there are too few rows to tell."""
        return self.rows < ENOUGH or LEAST <= self.share <= MOST


def coverage(comparisons: Iterable[Comparison]) -> list[Coverage]:
    """By class, in the order of their names; comparisons without a band (memory, single requests)
    are left out."""
    seen: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for comparison in comparisons:
        if (path := path_of(comparison)) is not None:
            band, multiple = band_of(path), multiple_of(comparison)
            seen[class_of(path).name][0 if multiple < band.low else 2 if multiple > band.high else 1] += 1
    return [Coverage(class_of(tuple(name.split(" / "))), *seen[name]) for name in sorted(seen)]


def multiple_of(comparison: Comparison) -> float:
    """The measured value over the predicted one."""
    return float(comparison.measured) / float(comparison.predicted)


def path_of(comparison: Comparison) -> tuple[str, ...] | None:
    """The classes of a comparison, widest first; None where it is of no metric that has bands."""
    words = comparison.metric.split("_")
    metric = _METRICS.get(words[0])
    if comparison.setting is None or comparison.load is None or metric is None or words[-1] == "each":
        return None
    return class_path(metric, comparison.setting, comparison.load, tail=words[-1] in _TAILS)
