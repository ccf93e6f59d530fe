"""Sure: of a sizing, the configuration that surely carries the demand at the least cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.planning.growth import surely_needed
from simulator.planning.serve_command import wording
from simulator.results.model import DeploymentResult

if TYPE_CHECKING:
    from simulator.planning.size import Candidate, Sizing


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration with so many replicas, spare ones included; dollars an hour, infinite without
    a price. `answer`: what a run of it says of its `candidate`'s own number of replicas.
    """

    candidate: Candidate
    replicas: int
    answer: DeploymentResult | None = None

    @property
    def usd_per_hour(self) -> float:
        """Dollars an hour of all its replicas."""
        return self.candidate.usd_per_hour / (self.candidate.replicas or 1) * self.replicas

    @property
    def gpus(self) -> int:
        """GPUs of all its replicas."""
        return self.candidate.deployment.pool.gpus_per_replica * self.replicas

    @property
    def wording(self) -> str:
        """`2 GPUs = 2 replicas x 1 GPU`."""
        return wording(self.candidate.deployment.with_pool(replicas=self.replicas))

    @property
    def simulated(self) -> bool:
        """Whether this number of replicas was run, and not read off what one of them carries."""
        return self.replicas == self.candidate.replicas


def surest(sizing: Sizing) -> Choice | None:
    """What is 90 % sure to carry the demand at the least cost, of the candidates that were run;
    None where no number of replicas of any is."""
    return min(_sure(sizing), key=lambda one: (one.usd_per_hour, one.gpus), default=None)


def chosen(sizing: Sizing) -> Choice | None:
    """What to take: the cheapest that is sure, or where none is, the cheapest that should do."""
    best = sizing.best
    if best is None or best.replicas is None:
        return None
    return surest(sizing) or Choice(best, best.replicas, sizing.answer_of(best))


def settled(sizing: Sizing, upcoming: Candidate) -> bool:
    """Whether nothing cheaper that is sure could come of running `upcoming`, the next by cost."""
    found = surest(sizing)
    return found is not None and found.usd_per_hour <= upcoming.usd_per_hour < math.inf


def _sure(sizing: Sizing) -> Iterator[Choice]:
    rate = sizing.scenario.workload.mean_rate()
    for candidate in sizing.fitting:
        answer = sizing.answer_of(candidate)
        if answer is None:
            continue
        if rate is None:
            replicas = candidate.replicas if answer.standing == "meets" else None
        else:
            replicas = surely_needed(sizing, candidate, answer, rate)
        if replicas is not None:
            yield Choice(candidate, replicas, answer)
