"""Hours: how many replicas each stretch of the time needs, simulated by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.engine.record import RunRecord
from simulator.errors import NotModelled, SimulatorError
from simulator.planning.capacity.deployment_run import promised
from simulator.planning.capacity.replicas import fewest_that
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.kept import share_kept, stretches_kept
from simulator.results.slo import Floats
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan
from simulator.units import HOUR
from simulator.workload.requests import Requests
from simulator.workload.slices import between

_FEWEST, _LEAD_S = 24, 600.0
"""At least so many stretches; so long before each one its requests begin to fill the replicas."""


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """The requests of a scenario in stretches: `edges`, seconds, shape (k + 1,), and how many
    `asked` in each."""

    scenario: Scenario
    requests: Requests
    edges: Floats
    asked: Floats

    @property
    def horizon_s(self) -> float:
        """Seconds from start to end."""
        return float(self.edges[-1])

    def kept(self, record: RunRecord) -> Floats:
        """Of each stretch whether a run of all requests kept the SLO, as `stretches_kept` says."""
        return stretches_kept(record, promised(self.scenario, self.requests), self.edges)


def day_by_hours(scenario: Scenario, requests: Requests) -> Day:
    """The requests by the hour, or in as many shorter stretches as a day has hours.

    Raises NotModelled for users of a closed loop and for sessions, SimulatorError without an SLO.
    """
    if not scenario.promises:
        raise SimulatorError(
            "a size over time needs an slo, which says what is served well enough; give slo.ttft_s"
        )
    if scenario.workload.closed_loop is not None or requests.previous is not None:
        raise NotModelled(
            "a size over time of closed loops and of sessions: what they ask depends on the answers"
        )
    end = max(scenario.workload.duration or 0.0, float(requests.arrival_s[-1])) * (1 + 1e-12)
    edges = np.linspace(0.0, end, max(_FEWEST, round(end / HOUR)) + 1)
    return Day(scenario, requests, edges, np.histogram(requests.arrival_s, edges)[0].astype(float))


@dataclass(slots=True)
class Needs:
    """How many replicas of one kind each stretch of a day needs; at most `most` are tried."""

    day: Day
    one: FleetPlan
    most: int
    runs: dict[tuple[int, int], bool] = field(default_factory=dict)

    def carries(self, stretch: int, replicas: int) -> bool:
        """Whether so many replicas keep the SLO in a stretch, from a while before it on."""
        if (stretch, replicas) not in self.runs:
            self.runs[stretch, replicas] = self._run(stretch, replicas)
        return self.runs[stretch, replicas]

    def _run(self, stretch: int, replicas: int) -> bool:
        start, end = self.day.edges[stretch : stretch + 2].tolist()
        begun = max(0.0, start - min(_LEAD_S, end - start))
        requests = between(self.day.requests, begun, end)
        fleet, scenario = self.one.with_instances(replicas * self.one.instances), self.day.scenario
        record = fleet.serve(requests, seed=scenario.seed)
        edges = np.array([start - begun, end - begun])
        return share_kept(stretches_kept(record, promised(scenario, requests), edges)) == 1.0

    def fewest(self, stretch: int, start: int) -> int | None:
        """The fewest replicas for a stretch, None where `most` do not do; asked from `start` on."""
        if not self.day.asked[stretch]:
            return 1
        return fewest_that(
            lambda n: self.carries(stretch, n), max(1, min(start, self.most)), self.most
        )


def needs_of(day: Day, deployment: Deployment, most: int) -> tuple[int, ...] | str:
    """Replicas that each stretch needs, or why no number of them will do.

    Of two stretches the busier needs no fewer, so what lies between two that need the same is not
    simulated.
    """
    one = plan_fleet(day.scenario, deployment.with_pool(replicas=1, autoscaler=None, faults=()))
    if isinstance(one, DoesNotStart):
        return f"does not start: {one.plan.reason}"
    needs, order = Needs(day, one, most), np.argsort(day.asked, kind="stable").tolist()
    found: dict[int, int] = {}
    highest = needs.fewest(order[-1], 1)
    if highest is None:
        return f"with {most} replicas the busiest hour misses the SLO too"
    found[len(order) - 1] = highest
    found[0] = needs.fewest(order[0], 1) or highest

    def fill(low: int, high: int) -> None:
        if found[low] >= found[high]:
            found.update(dict.fromkeys(range(low + 1, high), found[high]))
        elif high - low > 1:
            middle = (low + high) // 2
            likely = round(highest * day.asked[order[middle]] / day.asked[order[-1]])
            fewest = needs.fewest(order[middle], likely) or found[high]
            found[middle] = min(max(fewest, found[low]), found[high])
            fill(low, middle)
            fill(middle, high)

    fill(0, len(order) - 1)
    by_stretch = sorted(zip(order, (found[i] for i in range(len(order))), strict=True))
    return tuple(replicas for _, replicas in by_stretch)
