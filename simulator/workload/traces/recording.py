"""Recording: what a trace file holds once its broken lines are out, its times in seconds and its requests in order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.workload.arrivals.gaps import rate_of
from simulator.workload.requests import Requests


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The requests of a file, in order, the first at 0 s; hashes in the file's own blocks.

    `lines` counts the rows of the file, `broken` those left out, `examples` the first of them with their lines and reasons,
    `failures` the failed requests left out, `unsorted` the requests that were earlier than the line above them.
    `images`: how many the requests bring, where the file counts them, and `with_images` the requests that bring any: their tokens
    are in the prompts (Azure's ContextTokens has text and image).
    """

    requests: Requests
    format: str
    has_times: bool
    lines: int
    broken: int = 0
    examples: tuple[str, ...] = ()
    failures: int = 0
    unsorted: int = 0
    images: int = 0
    with_images: int = 0

    def rate(self) -> float:
        """Requests per second from the first to the last; infinite when they all come at once."""
        return rate_of(self.requests.arrival_s)

    def period_s(self) -> float:
        """Seconds after which the file can begin anew: the time of the last request and one mean gap."""
        return 0.0 if math.isinf(self.rate()) else float(self.requests.arrival_s[-1]) + 1 / self.rate()
