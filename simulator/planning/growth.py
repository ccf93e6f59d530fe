"""Growth: replicas that a configuration needs at other rates than the demand, read off what one of
them carries."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from simulator.results.model import DeploymentResult

if TYPE_CHECKING:
    from simulator.planning.size import Candidate, Sizing

_SAME = 1e-9


def carried_by_each(
    sizing: Sizing, candidate: Candidate, answer: DeploymentResult | None = None
) -> float | None:
    """Requests/s that one of its replicas carries, within the SLO where there is one; None where
    that is not known.

    From what was searched of the candidate, or else from a run that answers it.
    """
    if candidate.capacity is not None and candidate.replicas is not None:
        return candidate.capacity.value / candidate.replicas
    if answer is None:
        return None
    found = answer.slo_capacity if sizing.scenario.promises else answer.queueing_point
    return found.value / answer.replicas if found else None


def surely_by_each(answer: DeploymentResult | None) -> float | None:
    """Requests/s that one of its replicas is 90 % sure to carry; None where that is not known, or
    no rate is sure."""
    sure = answer.assurance.sure_per_s if answer and answer.assurance else None
    return sure / answer.replicas if sure and answer else None


def surely_needed(
    sizing: Sizing, candidate: Candidate, answer: DeploymentResult, rate_per_s: float
) -> int | None:
    """Replicas, spare ones included, that are 90 % sure to carry a rate; None where that is not
    known, or none are."""
    demand = sizing.scenario.workload.mean_rate()
    if rate_per_s == demand and answer.standing == "meets":
        return candidate.replicas
    each = surely_by_each(answer)
    if each is None:
        return None
    least = candidate.replicas or 1 if demand is None or rate_per_s >= demand else 1
    return max(sharing(rate_per_s, each) + sizing.ask.spare, least)


def replicas_at(sizing: Sizing, candidate: Candidate, each_per_s: float, rate_per_s: float) -> int:
    """Replicas, spare ones included, that a rate needs where each carries so much.

    Every replica is taken to carry as much as those of today's demand do, so it is at most so many:
    a router that sends each request to the replica with the least to do keeps a latency with fewer.
    What was simulated holds at its rate.
    """
    wanted = sharing(rate_per_s, each_per_s) + sizing.ask.spare
    for rate, replicas in _simulated(sizing, candidate):
        bound = min if rate_per_s <= rate * (1 + _SAME) else max
        wanted = bound(wanted, replicas)
    return wanted


def _simulated(sizing: Sizing, candidate: Candidate) -> list[tuple[float, int]]:
    """Rates that were simulated, with the replicas that they need."""
    demand = sizing.scenario.workload.mean_rate()
    needed = [(1.0, candidate.replicas), (sizing.ask.growth, candidate.grown)]
    return (
        [(demand * times, replicas) for times, replicas in needed if replicas is not None]
        if demand
        else []
    )


def sharing(rate_per_s: float, each_per_s: float) -> int:
    """How many share a rate where each carries so much.

    >>> sharing(3.0, 1.5), sharing(3.1, 1.5)
    (2, 3)
    """
    return max(1, math.ceil(rate_per_s / each_per_s - _SAME))


def replica_steps(
    sizing: Sizing, candidate: Candidate, each_per_s: float, most_per_s: float
) -> list[tuple[float, int]]:
    """Rates, requests/s from 0 to `most_per_s`, with the replicas needed from there on."""
    steps: list[tuple[float, int]] = []
    for low, high in itertools.pairwise(_corners(sizing, candidate, each_per_s, most_per_s)):
        needed = replicas_at(sizing, candidate, each_per_s, (low + high) / 2)
        if not steps or steps[-1][1] != needed:
            steps.append((low, needed))
    return [*steps, (most_per_s, steps[-1][1])]


def _corners(
    sizing: Sizing, candidate: Candidate, each_per_s: float, most_per_s: float
) -> list[float]:
    """Rates, requests/s, between which the replicas needed do not change."""
    full = {each_per_s * n for n in range(1, math.ceil(most_per_s / each_per_s) + 1)}
    simulated = {rate for rate, _ in _simulated(sizing, candidate)}
    return [0.0, *sorted(end for end in full | simulated if end < most_per_s), most_per_s]
