"""Workload: the traffic of a scenario, as it is written."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic import model_validator

from simulator.spec import Count, spec
from simulator.workload.arrivals import AllAtOnce, Arrivals, ClosedLoop, Poisson
from simulator.workload.lengths import Lengths
from simulator.workload.quantities import Duration


@spec
class Workload:
    """Requests of `prompt` tokens in and `output` out, arriving as `arrivals` says until `requests` or `duration` is reached."""

    arrivals: Arrivals
    prompt: Lengths
    output: Lengths
    requests: Count | None = None
    duration: Duration | None = None

    @model_validator(mode="after")
    def _ends(self) -> Workload:
        if isinstance(self.arrivals, AllAtOnce | ClosedLoop) and self.requests is None:
            raise ValueError(f"{self.arrivals.kind} arrivals need a number of requests, such as requests: 1000")
        if self.requests is None and self.duration is None:
            raise ValueError("say how long: requests: 2000, or duration: 10min, or both (the first to be reached ends it)")
        return self

    @property
    def closed_loop(self) -> ClosedLoop | None:
        """The users of a closed loop, or None when requests come by the clock."""
        return self.arrivals if isinstance(self.arrivals, ClosedLoop) else None

    def mean_rate(self) -> float | None:
        """Requests per second in the long run; None for a closed loop and for all at once, which have no rate of their own."""
        rate = self.arrivals.mean_rate()
        return rate if math.isfinite(rate) else None

    def scaled(self, factor: float) -> Workload:
        """The same traffic `factor` times as fast; in a closed loop, with that many times the users."""
        return replace(self, arrivals=self.arrivals.scaled(factor))

    def at_rate(self, rate: float) -> Workload:
        """The same requests at `rate` a second, the pattern of arrivals kept; Poisson where they had no rate of their own."""
        now = self.mean_rate()
        return replace(self, arrivals=Poisson(rate=rate)) if now is None else self.scaled(rate / now)
