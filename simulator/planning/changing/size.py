"""A size over time: each deployment with the numbers that its own policy needs, by cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.engine.fleet.faults import ColdStart
from simulator.errors import NotModelled, SimulatorError
from simulator.planning.capacity.probes import WHOLE
from simulator.planning.changing.commitments import CommitmentMix
from simulator.planning.changing.hours import Day, day_by_hours, needs_of
from simulator.planning.changing.policies import DayRun, policy_words, sized
from simulator.planning.changing.spares import Spares, fails_at_random, spares_of
from simulator.planning.machines.pool import Machine, Processes, each
from simulator.planning.run import named
from simulator.scenario import Deployment, Scenario
from simulator.text import plural
from simulator.units import DAY, HOUR
from simulator.workload.arrivals.steady import AllAtOnce
from simulator.workload.rates import known_rates
from simulator.workload.sample import sample

USUAL_AVAILABILITY = 0.99
"""Asked of spares where nothing is stated."""


@dataclass(frozen=True, slots=True, eq=False)
class SizedFleet:
    """A deployment with the numbers that it needs, `how` in words, or `why` none will do.

    `availability`: the share of time in which the SLO is kept. `usd_per_day` infinite without a
    price. `run`: all of the time simulated; `spares`: its table, where nodes fail at random.
    """

    deployment: Deployment
    how: str
    keeps: bool
    why: str = ""
    availability: float = 0.0
    usd_per_day: float = math.inf
    needs: tuple[int, ...] = ()
    run: DayRun | None = None
    spares: Spares | None = None

    @property
    def mix(self) -> CommitmentMix | None:
        """The cheapest mix of commitments for its hours, where their prices are stated."""
        return self.run.mix if self.run else None

    @property
    def mixed_usd_per_day(self) -> float:
        """Dollars a day with that mix; on demand where there is none."""
        if self.mix is None or self.run is None or not self.run.over_time.horizon_s:
            return self.usd_per_day
        return self.mix.usd * DAY / self.run.over_time.horizon_s


@dataclass(frozen=True, slots=True, eq=False)
class SizingOverTime:
    """The fleets: those that keep the SLO from the cheapest up, then the others.

    `stretch_s`: seconds of each stretch of the time that is judged.
    """

    scenario: Scenario
    asked: float
    stretch_s: float
    fleets: tuple[SizedFleet, ...]

    @property
    def best(self) -> SizedFleet | None:
        """The cheapest that keeps the SLO."""
        return next((fleet for fleet in self.fleets if fleet.keeps), None)


def goes_over_time(scenario: Scenario, deployments: Sequence[Deployment]) -> bool:
    """Whether a size must follow the time: replicas come and go, or a rate that varies for so long
    that one number for its mean would not do."""
    if any(d.pool.changes for d in deployments):
        return True
    rate, known = scenario.workload.mean_rate(), known_rates(scenario.workload)
    return (
        known is not None
        and rate is not None
        and rate * (scenario.workload.duration or 0.0) > WHOLE
    )


def size_over_time(
    scenario: Scenario,
    *,
    deployments: Sequence[Deployment] | None = None,
    availability: float | None = None,
    most: int = 64,
    seed: int | None = None,
    machine: Machine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SizingOverTime:
    """Size each deployment as what it is: a fixed number, an autoscaler's minimum and maximum, the
    numbers of a schedule, or a fixed number with spares where nodes fail at random.

    `availability`: the share of the time in which the SLO must be kept; without it all of it, of
    spares USUAL_AVAILABILITY. Raises SimulatorError without an SLO; NotModelled for pools, sessions
    and closed loops.
    """
    scenario = dataclasses.replace(scenario, seed=scenario.seed if seed is None else seed)
    every = named(deployments or scenario.deployments)
    for d in every:
        if d.apart:
            raise NotModelled(
                f"{d.name}: a size over time of prefill and decode pools; `sim run` takes written "
                "numbers"
            )
    if isinstance(scenario.workload.arrivals, AllAtOnce):
        raise NotModelled("a size over time of a batch: all its requests come at once")
    day = day_by_hours(scenario, sample(scenario.workload, scenario.seed))
    machine, fleets = machine or Processes(at_most=len(every)), list[SizedFleet]()
    kinds = list({repr(kind): kind for kind in map(_hardware, every)}.values())
    needs = {
        repr(kinds[i]): outcome.value()
        for i, outcome in each(_needs, [(day, k, most) for k in kinds], machine)
    }
    jobs = [(day, d, needs[repr(_hardware(d))], availability, most) for d in every]
    for index, outcome in each(_sized, jobs, machine):
        refused = isinstance(outcome.error, SimulatorError)
        fleets.append(
            _will_not_do(every[index], str(outcome.error)) if refused else outcome.value()
        )
        if progress:
            progress(len(fleets), len(every))
    asked = availability
    if asked is None:
        asked = USUAL_AVAILABILITY if all(f.spares for f in fleets) else 1.0
    ranked = sorted(
        fleets, key=lambda f: (not f.keeps, _cents(f.mixed_usd_per_day), f.deployment.name)
    )
    return SizingOverTime(scenario, asked, float(day.edges[1]), tuple(ranked))


def _cents(usd: float) -> float:
    return round(usd, 2)


_Job = tuple[Day, Deployment, "tuple[int, ...] | str", "float | None", int]


def _hardware(d: Deployment) -> Deployment:
    """A deployment without what makes its replicas come and go: equal ones need the same."""
    return dataclasses.replace(
        d.with_pool(replicas=1, autoscaler=None, faults=(), cold_start=ColdStart()), name=""
    )


def _needs(task: tuple[Day, Deployment, int]) -> tuple[int, ...] | str:
    try:
        return needs_of(*task)
    except SimulatorError as problem:
        return str(problem)


def _sized(job: _Job) -> SizedFleet:
    day, d, needs, availability, most = job
    if isinstance(needs, str):
        return _will_not_do(d, needs)
    if _steady(day.scenario) and fails_at_random(d):
        return _with_spares(day.scenario, d, availability or USUAL_AVAILABILITY, most)
    run, why = sized(day, d, needs, 1.0 if availability is None else availability, most)
    told = run.over_time
    usd = math.inf if told.usd is None else told.usd * DAY / told.horizon_s
    return SizedFleet(
        run.deployment,
        policy_words(run.deployment),
        not why,
        why,
        run.availability,
        usd,
        needs,
        run,
    )


def _will_not_do(d: Deployment, why: str) -> SizedFleet:
    return SizedFleet(d, "", keeps=False, why=why)


def _steady(scenario: Scenario) -> bool:
    return known_rates(scenario.workload) is None and scenario.workload.trace is None


def _with_spares(scenario: Scenario, d: Deployment, asked: float, most: int) -> SizedFleet:
    found = spares_of(scenario, d, asked, most)
    if not found.rows:
        return dataclasses.replace(_will_not_do(d, found.why), spares=found)
    row = found.enough or found.rows[-1]
    how = f"{plural(row.replicas, 'replica')}, {row.spares} of them spare"
    bought, usd = d.with_pool(replicas=row.replicas), row.usd_per_hour * DAY / HOUR
    return SizedFleet(
        bought, how, found.enough is not None, found.why, row.availability, usd, spares=found
    )
