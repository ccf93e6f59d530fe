"""Operation: how the replicas of a pool come and go, of which each run makes rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.engine.fleet.autoscaler import Autoscaler, most_replicas
from simulator.engine.fleet.faults import Happening, fault_script
from simulator.engine.fleet.lives import LifeRules
from simulator.workload.requests import Requests

_STREAM = 23
"""The stream of random numbers that faults are drawn from, beside the seed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How the replicas of a pool come and go. `cold_start`: seconds of a start by cause."""

    cold_start: dict[str, float]
    autoscaler: Autoscaler | None = None
    faults: tuple[Happening, ...] = ()
    retries: int = 1
    drain_s: float = 30.0

    def rules(self, replicas: int, requests: Requests, seed: int) -> LifeRules:
        """The rules of a run with these requests; what is random in them is drawn from `seed`."""
        start_s = sum(self.cold_start.values())
        known = requests.arrival_s[np.isfinite(requests.arrival_s)]
        horizon = float(known.max()) if len(known) else 0.0
        rng = np.random.default_rng([seed, _STREAM])
        return LifeRules(
            replicas=replicas,
            cold_start_s=start_s,
            faults=fault_script(self.faults, most_replicas(replicas, self.autoscaler), horizon, start_s, rng),
            autoscaler=self.autoscaler,
            retries=self.retries,
            drain_s=self.drain_s,
        )
