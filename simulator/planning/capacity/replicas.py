"""Replicas: how many copies of a deployment carry a demand within the SLO."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.engine.admission import never_answered, why_never
from simulator.engine.request import Request
from simulator.planning.capacity.api_server import api_server_ceiling
from simulator.planning.capacity.deployment_run import DeploymentRun, measured, promised
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import full_server, requests_at_rate
from simulator.planning.fleet_plan import plan_fleet, source_of
from simulator.results.answers import too_many
from simulator.results.slo import SloCheck
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan
from simulator.text import number, share
from simulator.workload.requests import Requests
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

_FEWEST_REQUESTS, _FEWEST_TALKS = 2_500, 10_000
_FILLINGS = 8
_IDLE = 0.02
OPTIMISM = 1.25


@dataclass(frozen=True, slots=True)
class Miss:
    """A term of the SLO that is missed, in words and as times over the limit."""

    words: str
    excess: float


@dataclass(frozen=True, slots=True)
class Fitting:
    """The replicas that today's traffic and the grown one need; None where no number of them will
    do, and why.

    `excess`: how many times over the limit the worst term of the SLO is at best; infinite where it
    does not start. `unanswered`: what of the requests gets no answer all the same, in words.
    """

    replicas: int | None
    grown: int | None
    why: str
    excess: float = 0.0
    unanswered: str = ""


def fit_replicas(
    scenario: Scenario, deployment: Deployment, *, growth: float = 1.0, most: int = 64
) -> Fitting:
    """The fewest replicas, at most `most`, that keep up and meet the SLO, each number simulated
    with its router."""
    one = plan_fleet(scenario, deployment.with_pool(replicas=1))
    if isinstance(one, DoesNotStart):
        help_ = f"; would start with {one.plan.remedies[0].change}" if one.plan.remedies else ""
        return Fitting(None, None, f"does not start: {one.plan.reason}{help_}", math.inf)
    requests = sample(scenario.workload, scenario.seed)
    refused = _refusal(scenario, one, requests)
    if refused is not None:
        return Fitting(None, None, refused.words, refused.excess)
    demand = _Demand(scenario, one, requests)
    idle = demand.idle_miss()
    if idle:
        return Fitting(
            None, None, f"SLO out of reach: {idle.words} even when hardly used", idle.excess
        )
    today, miss = demand.fewest(scenario.workload, most)
    grown = today if growth == 1 else demand.fewest(scenario.workload.scaled(growth), most)[0]
    if today is None:
        return Fitting(
            None,
            None,
            f"not with {most} replicas either: {miss.words}" if miss else "",
            miss.excess if miss else 0.0,
        )
    return Fitting(
        today,
        grown,
        f"with {today - 1}, {miss.words}" if miss else "",
        unanswered=_lost(one, requests),
    )


def _refusal(scenario: Scenario, one: FleetPlan, requests: Requests) -> Miss | None:
    """That a deployment refuses too many of the requests, however many replicas it has; None where
    it does not."""
    lost = never_answered(requests, one.server.limits)
    if not too_many(lost, promised(scenario, requests)):
        return None
    return Miss(_lost(one, requests), math.inf)


def _lost(one: FleetPlan, requests: Requests) -> str:
    """The requests that get no answer, in words; empty where all get one."""
    lost = never_answered(requests, one.server.limits)
    if not lost.any():
        return ""
    first = int(np.flatnonzero(lost)[0])
    asked = Request(
        first, requests.prompt_tokens.item(first), requests.output_tokens.item(first), 0.0
    )
    counted = (
        f"{share(float(lost.mean()))} of the requests get no answer ({np.count_nonzero(lost):,} of "
        f"{len(lost):,})"
    )
    return f"{counted}, the first because {why_never(asked, one.server.limits)}"


def fewest_conceivable(scenario: Scenario, deployment: Deployment) -> int | None:
    """Fewer will not do: the closed-form ceiling, at best, is at most OPTIMISM times too low; None
    where it does not start, or refuses too many requests.

    A bound on the price alone, of what need not be simulated.
    """
    one = plan_fleet(scenario, deployment.with_pool(replicas=1))
    if isinstance(one, DoesNotStart):
        return None
    requests = sample(scenario.workload, scenario.seed)
    return None if _refusal(scenario, one, requests) else _fewest_at_best(scenario, one, requests)


def _fewest_at_best(scenario: Scenario, one: FleetPlan, requests: Requests) -> int:
    rate, full = scenario.workload.mean_rate(), full_server(one.server, requests, at_best=True)
    return 1 if rate is None else _fewest_at(rate, full, one, api_server_ceiling(one, requests))


def _fewest_at(rate_per_s: float, full: Ceiling, one: FleetPlan, taken_in: float) -> int:
    """Replicas that a rate needs if each copy of the model in them completes OPTIMISM times its
    ceiling, or what is `taken_in` by its API server where that is less."""
    most = min(full.requests_per_s * OPTIMISM, taken_in)
    return max(1, math.ceil(rate_per_s / (most * one.instances)))


def fewest_that(carries: Callable[[int], bool], start: int, most: int) -> int | None:
    """The fewest replicas, 1 to `most`, that carry a demand which more of them carry too; None
    where `most` do not.

    Asked from `start` on, downwards where that carries it and else upwards, in growing steps, then
    in between: what is given was asked, and so was one less.
    """
    if carries(start):
        low, high = _downwards(carries, start)
    else:
        low, found = _upwards(carries, start, most)
        if found is None:
            return None
        high = found
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if carries(middle) else (middle, high)
    return high


def _downwards(carries: Callable[[int], bool], high: int) -> tuple[int, int]:
    """A number of replicas that does not carry it, 0 where one does, and a higher one that does."""
    step = 1
    while (low := high - step) > 0 and carries(low):
        high, step = low, 2 * step
    return max(low, 0), high


def _upwards(carries: Callable[[int], bool], low: int, most: int) -> tuple[int, int | None]:
    """A number of replicas that does not carry it, and a higher one that does; None where `most`
    does not."""
    while low < most:
        high = min(most, low + max(1, low // 2))
        if carries(high):
            return low, high
        low = high
    return low, None


class _Demand:
    """A demand put to one, two, more replicas of a deployment."""

    def __init__(self, scenario: Scenario, one: FleetPlan, requests: Requests) -> None:
        self.scenario, self.one = scenario, one
        self.taken_in = api_server_ceiling(one, requests)
        self.least = _FEWEST_REQUESTS if requests.previous is None else _FEWEST_TALKS
        self.full: Ceiling = full_server(one.server, requests)

    def fewest(self, workload: Workload, most: int) -> tuple[int | None, Miss | None]:
        """The fewest replicas that carry the workload, None where `most` do not, and what is missed
        with one less.

        The search starts where the ceiling says, and goes up or down from there: what it gives was
        seen to do, and one less was seen not to.
        """
        rate, misses = workload.mean_rate(), dict[int, Miss | None]()

        def carries(replicas: int) -> bool:
            misses[replicas] = self.miss(workload, replicas)
            return misses[replicas] is None

        start = 1 if rate is None else _fewest_at(rate, self.full, self.one, self.taken_in)
        found = fewest_that(carries, min(start, most), most)
        return found, misses.get(most if found is None else found - 1)

    def miss(self, workload: Workload, replicas: int) -> Miss | None:
        """The worst miss of this many replicas; None where they carry the workload."""
        rate, most = workload.mean_rate(), self.taken_in * replicas * self.one.instances
        if rate is not None and rate > most:
            return Miss(f"their API servers take {number(most)} requests/s", math.inf)
        return _miss_of(self._run(workload, replicas))

    def idle_miss(self) -> Miss | None:
        """The term of the SLO that even a nearly idle replica misses; None where it meets all."""
        if not self.scenario.promises:
            return None
        run = self._run(
            self.scenario.workload.at_rate(_IDLE * min(self.full.requests_per_s, self.taken_in)), 1
        )
        return worst_miss(run.slo)

    def _run(self, workload: Workload, replicas: int) -> DeploymentRun:
        fleet = self.one.with_instances(replicas * self.one.instances)
        loop, rate = workload.closed_loop, workload.mean_rate()
        if loop is not None or rate is None:
            source = source_of(workload) if loop else None
            return measured(
                self.scenario, fleet, sample(workload, self.scenario.seed), source=source
            )
        enough = max(
            self.least,
            round(_FILLINGS * self.full.sequences * fleet.instances),
            workload.requests or 0,
        )
        return measured(
            self.scenario, fleet, requests_at_rate(workload, rate, enough, self.scenario.seed)
        )


def _miss_of(run: DeploymentRun) -> Miss | None:
    """What a run shows that does not carry its workload; None where it does."""
    if run.steadiness.verdict == "overloaded":
        return Miss("the queue grows without end", math.inf)
    return Miss(str(run.unanswered), math.inf) if run.unanswered.too_many else worst_miss(run.slo)


def worst_miss(checks: tuple[SloCheck, ...]) -> Miss | None:
    """The latency that is missed by most, or else the share of good requests; None when all are
    met."""
    missed = [check for check in checks if not check.met]
    latencies = [check for check in missed if check.latency]
    found = [Miss(str(check), check.excess) for check in latencies or missed]
    return max(found, key=lambda miss: miss.excess, default=None)
