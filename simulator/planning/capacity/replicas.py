"""Replicas: how many copies of a deployment carry a demand within the SLO."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from simulator.planning.capacity.deployment_run import DeploymentRun, measured
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import full_server, requests_at_rate
from simulator.results.slo import SloCheck
from simulator.scenario import Deployment, Scenario
from simulator.simulation import Bound, bind, source_of
from simulator.text import number
from simulator.workload.requests import Requests
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

_FEWEST_REQUESTS = 2_500
_FILLINGS = 8
_IDLE = 0.02
OPTIMISM = 1.25


@dataclass(frozen=True, slots=True)
class Miss:
    """What of the SLO is missed, in words and as times over the limit."""

    words: str
    excess: float


@dataclass(frozen=True, slots=True)
class Fitting:
    """The replicas that today's traffic and the grown one need; None where no number of them will do, and why.

    `excess`: how many times over the limit the worst term of the SLO is at best; infinite where it does not start.
    """

    replicas: int | None
    grown: int | None
    why: str
    excess: float = 0.0


def fit_replicas(scenario: Scenario, deployment: Deployment, *, growth: float = 1.0, most: int = 64) -> Fitting:
    """The fewest replicas, at most `most`, that keep up and meet the SLO, each number simulated with its router."""
    one = bind(scenario, dataclasses.replace(deployment, replicas=1))
    if not one.starts:
        help_ = f"; would start with {one.plan.remedies[0].change}" if one.plan.remedies else ""
        return Fitting(None, None, f"does not start: {one.plan.reason}{help_}", math.inf)
    demand = _Demand(scenario, one, sample(scenario.workload, scenario.seed))
    idle = demand.idle_miss()
    if idle:
        return Fitting(None, None, f"SLO out of reach: {idle.words} even when hardly used", idle.excess)
    today, miss = demand.fewest(scenario.workload, most)
    grown = today if growth == 1 else demand.fewest(scenario.workload.scaled(growth), most)[0]
    if today is None:
        return Fitting(None, None, f"not with {most} replicas either: {miss.words}" if miss else "", miss.excess if miss else 0.0)
    return Fitting(today, grown, f"with {today - 1}, {miss.words}" if miss else "")


def fewest_conceivable(scenario: Scenario, deployment: Deployment) -> int | None:
    """Fewer will not do, for the closed-form ceiling is at most OPTIMISM times too low; None where it does not start."""
    one = bind(scenario, dataclasses.replace(deployment, replicas=1))
    if not one.starts:
        return None
    rate = scenario.workload.mean_rate()
    full = full_server(one, sample(scenario.workload, scenario.seed))
    return 1 if rate is None else max(1, math.ceil(rate / (full.requests_per_s * OPTIMISM)))


class _Demand:
    """A demand put to one, two, more replicas of a deployment."""

    def __init__(self, scenario: Scenario, one: Bound, requests: Requests) -> None:
        self.scenario, self.one = scenario, one
        self.full: Ceiling = full_server(one, requests)

    def fewest(self, workload: Workload, most: int) -> tuple[int | None, Miss | None]:
        """The fewest replicas that carry the workload, None where `most` do not, and what is missed with one less."""
        rate = workload.mean_rate()
        low = 0 if rate is None else min(most - 1, math.floor(rate / (self.full.requests_per_s * OPTIMISM)))
        high, misses = low + 1, dict[int, Miss]()
        while (miss := self.miss(workload, high)) is not None:
            misses[high] = miss
            if high >= most:
                return None, miss
            low, high = high, min(most, high + max(1, high // 2))
        while high - low > 1:
            middle = (low + high) // 2
            miss = self.miss(workload, middle)
            if miss is None:
                high = middle
            else:
                low, misses[middle] = middle, miss
        return high, misses.get(high - 1)

    def miss(self, workload: Workload, replicas: int) -> Miss | None:
        """What such a number of replicas misses, None where it carries the workload."""
        run = self._run(workload, replicas)
        if run.steadiness.verdict == "overloaded":
            return Miss("the queue grows without end", math.inf)
        return worst_miss(run.slo)

    def idle_miss(self) -> Miss | None:
        """What of the SLO even a hardly used replica misses."""
        if not self.scenario.promises:
            return None
        run = self._run(self.scenario.workload.at_rate(_IDLE * self.full.requests_per_s), 1)
        return worst_miss(run.slo)

    def _run(self, workload: Workload, replicas: int) -> DeploymentRun:
        bound = dataclasses.replace(self.one, deployment=dataclasses.replace(self.one.deployment, replicas=replicas))
        loop, rate = workload.closed_loop, workload.mean_rate()
        if loop is not None or rate is None:
            source = source_of(workload) if loop else None
            return measured(self.scenario, bound, sample(workload, self.scenario.seed), source=source)
        enough = max(_FEWEST_REQUESTS, round(_FILLINGS * self.full.sequences * replicas), workload.requests or 0)
        return measured(self.scenario, bound, requests_at_rate(workload, rate, enough, self.scenario.seed))


def worst_miss(checks: tuple[SloCheck, ...]) -> Miss | None:
    """The latency that is missed by most, or else the share of good requests; None when all are met."""
    missed = [check for check in checks if not check.met]
    found = [Miss(_words(check), _excess(check)) for check in [c for c in missed if c.unit] or missed]
    return max(found, key=lambda miss: miss.excess, default=None)


def _words(check: SloCheck) -> str:
    unit = f" {check.unit}" if check.unit else ""
    measured_ = "undefined" if check.measured is None else f"{number(check.measured)}{unit}"
    return f"{check.term} is {measured_} against {number(check.limit, 6)}{unit}"


def _excess(check: SloCheck) -> float:
    """Times over a limit; of a share that must be high, times below it."""
    if not check.measured:
        return math.inf
    return check.measured / check.limit if check.unit else check.limit / check.measured
