"""Fleets: where rates are searched, a few replicas of a large fleet stand for all, each at the load
it would have there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from simulator.planning.capacity.deployment_run import DeploymentRun, measured
from simulator.scenario import Scenario
from simulator.server import FleetPlan
from simulator.workload.requests import Requests

LARGEST = 16
"""Instances that are simulated together; they stand for a larger fleet."""
_ADD_UP = (
    "requests_per_s",
    "output_tokens_per_s",
    "total_tokens_per_s",
    "goodput_per_s",
    "running_mean",
    "waiting_mean",
)


@dataclass(frozen=True, slots=True)
class ScaledDown:
    """A deployment that starts, and the part of it that is simulated: all of it, unless it has more
    than LARGEST copies.

    The part gets its share of the rate, so that a replica is as loaded as in the whole. What
    differs is who comes to a replica: arrivals are spread over fewer, so they come less evenly to
    each, and fewer caches hold the prefixes that prompts share.
    """

    whole: FleetPlan
    part: FleetPlan

    @property
    def times(self) -> float:
        """How many times the part the whole is."""
        return self.whole.instances / self.part.instances

    def measured(self, scenario: Scenario, requests: Requests) -> DeploymentRun:
        """The part under its share of the traffic, with the amounts that add up over replicas those
        of the whole."""
        run = measured(scenario, self.part, requests)
        times = dict.fromkeys(_ADD_UP, self.times)
        return dataclasses.replace(run, metrics=dataclasses.replace(run.metrics, times=times))

    def notes(self, requests: Requests) -> list[str]:
        """What was not simulated as a whole, in words; nothing where all of it was."""
        if self.part is self.whole:
            return []
        few, all_ = self.part.instances, self.whole.instances
        note = (
            f"curve and SLO capacity come from {few:,} of the {all_:,} replicas at their share of "
            "each rate: latencies are those "
            f"of the {few:,}, rates, throughput and running requests are times {self.times:,.4g}; "
            "the traffic asked for is "
            f"simulated on all {all_:,}"
        )
        shared = requests.hashes is not None and self.whole.server.limits.enable_prefix_caching
        return [
            f"{note}; prefix hits are those of {few:,} caches, which can be more than {all_:,} "
            "would have"
            if shared
            else note
        ]


def fleet(whole: FleetPlan, largest: int = LARGEST) -> ScaledDown:
    """The fleet, at most `largest` copies of it to be simulated, and at least one replica with its
    data-parallel copies."""
    each = whole.plan.args.data_parallel_size
    part = max(1, largest // each) * each
    return ScaledDown(whole, whole if whole.instances <= part else whole.with_instances(part))
