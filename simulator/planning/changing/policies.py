"""Policies: fixed, by the clock, by an autoscaler, each with the numbers that keep the SLO."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.engine.fleet.autoscaler import HorizontalPodAutoscaler, Hours, Keda, Schedule
from simulator.engine.record import FleetEvent, RunRecord
from simulator.errors import NotModelled
from simulator.planning.capacity.deployment_run import promised
from simulator.planning.capacity.replicas import fewest_that
from simulator.planning.changing.commitments import CommitmentMix, cheapest_mix, paid_for
from simulator.planning.changing.hours import Day
from simulator.planning.costs import price_of
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.kept import share_kept
from simulator.results.over_time import OverTime, clock, fleet_over_time
from simulator.results.slo import Floats
from simulator.scenario import Deployment
from simulator.server import DoesNotStart
from simulator.units import DAY, MINUTE

_TRIES = 6
_SOON_S = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class DayRun:
    """A deployment over all of the time: what became of it, and of each stretch whether it kept the
    SLO (1, 0, NaN where nobody asked)."""

    deployment: Deployment
    over_time: OverTime
    kept: Floats
    mix: CommitmentMix | None = None

    @property
    def availability(self) -> float:
        """The share of the stretches that kept the SLO."""
        return share_kept(self.kept)


def run_day(day: Day, deployment: Deployment) -> DayRun:
    """All requests on a deployment. Raises NotModelled where it does not start."""
    scenario, pool = day.scenario, deployment.pool
    fleet = plan_fleet(scenario, deployment)
    if isinstance(fleet, DoesNotStart):
        raise NotModelled(f"{deployment.name} does not start: {fleet.reason}")
    record = always_ready(fleet.serve(day.requests, seed=scenario.seed), pool.replicas)
    found = price_of(pool, scenario.prices)
    each = found[0] * pool.gpus_per_replica if found else None
    starts = fleet.operation.cold_start if fleet.operation else {}
    told = fleet_over_time(record, promised(scenario, day.requests), starts, each)
    seconds = paid_for(record.events, told.horizon_s)
    mix = cheapest_mix(seconds, told.horizon_s, pool, scenario.prices)
    return DayRun(deployment, told, day.kept(record), mix)


def always_ready(record: RunRecord, replicas: int) -> RunRecord:
    """The record; where nothing befell its replicas with events that say that all were ready."""
    if record.events:
        return record
    ready = tuple(FleetEvent(0.0, replica, "ready") for replica in range(replicas))
    return dataclasses.replace(record, events=ready)


def sized(
    day: Day, deployment: Deployment, needs: Sequence[int], availability: float, most: int
) -> tuple[DayRun, str]:
    """The cheapest of a deployment's own policy that keeps the SLO in that share of the stretches,
    seen to do; and why there is none, empty where there is."""
    policy = deployment.pool.autoscaler
    if isinstance(policy, Schedule):
        return _by_the_clock(day, deployment, policy, needs, availability, most)
    if policy is not None:
        return _by_metric(day, deployment, policy, needs, availability, most)
    return _fixed(day, deployment, needs, availability, most)


def _fixed(
    day: Day, d: Deployment, needs: Sequence[int], availability: float, most: int
) -> tuple[DayRun, str]:
    """The fewest replicas, from those on that enough of the stretches need."""
    asked = np.sort(np.array(needs)[day.asked > 0])
    start = int(asked[max(0, math.ceil(availability * len(asked)) - 1)])
    return _first(
        day,
        (d.with_pool(replicas=n) for n in range(start, min(most, start + _TRIES) + 1)),
        availability,
    )


def _first(day: Day, deployments: Iterable[Deployment], availability: float) -> tuple[DayRun, str]:
    """The first of some deployments that keeps the SLO, or the last with why it does not."""
    run: DayRun | None = None
    for each in deployments:
        run = run_day(day, each)
        if run.availability >= availability:
            return run, ""
    assert run is not None
    return run, missed(run)


def missed(run: DayRun) -> str:
    """In how many of the stretches the SLO was missed, in words."""
    asked = np.isfinite(run.kept)
    count = int((run.kept[asked] == 0).sum())
    return f"misses the SLO in {count} of {int(asked.sum())} stretches of the time"


def _by_metric(
    day: Day,
    d: Deployment,
    policy: HorizontalPodAutoscaler | Keda,
    needs: Sequence[int],
    availability: float,
    most: int,
) -> tuple[DayRun, str]:
    """The fewest `min_replicas` that keep the SLO, where `max_replicas` is one more than the
    busiest stretch needs."""
    highest = min(most, max(needs) + 1)
    runs: dict[int, DayRun] = {}

    def keeps(least: int, highest: int = highest) -> bool:
        scaled = dataclasses.replace(policy, min_replicas=least, max_replicas=highest)
        runs[least] = run_day(day, d.with_pool(replicas=max(least, needs[0]), autoscaler=scaled))
        return runs[least].availability >= availability

    if isinstance(policy, Keda) and policy.min_replicas == 0 and keeps(0):
        return runs[0], ""
    least = fewest_that(keeps, max(1, min(needs)), highest)
    return (runs[least], "") if least is not None else (runs[highest], missed(runs[highest]))


def _by_the_clock(
    day: Day, d: Deployment, policy: Schedule, needs: Sequence[int], availability: float, most: int
) -> tuple[DayRun, str]:
    """As many in each step of the schedule as its busiest stretch needs, a rise earlier by what a
    start takes; one more where that misses the SLO."""
    fleet = plan_fleet(day.scenario, d)
    start_s = (
        0.0
        if isinstance(fleet, DoesNotStart) or fleet.operation is None
        else sum(fleet.operation.cold_start.values())
    )
    steps = [_Step(each.from_s, 0) for each in sorted(policy.hours, key=lambda each: each.from_s)]
    of_stretch = [
        _holding(steps, start, end)
        for start, end in zip(day.edges[:-1], day.edges[1:], strict=True)
    ]
    for stretch, touched in enumerate(of_stretch):
        for step in touched:
            step.replicas = max(step.replicas, needs[stretch])
    run, tries = None, 0
    while run is None or (run.availability < availability and tries < _TRIES):
        if run is not None:
            for stretch in np.flatnonzero(run.kept == 0).tolist():
                for step in of_stretch[stretch]:
                    step.wanted = True
            for step in steps:
                step.replicas, step.wanted = min(most, step.replicas + step.wanted), False
        hours = _in_time(steps, start_s)
        at_first = Schedule(hours=hours).at(0.0)
        run = run_day(
            day,
            d.with_pool(
                replicas=max(1, at_first), autoscaler=dataclasses.replace(policy, hours=hours)
            ),
        )
        tries += 1
    return run, "" if run.availability >= availability else missed(run)


@dataclass(slots=True)
class _Step:
    """A step of a schedule, as many as it has so far; `wanted`: one more."""

    from_s: float
    replicas: int
    wanted: bool = False


def _holding(steps: Sequence[_Step], start: float, end: float) -> list[_Step]:
    """The steps that hold at some time of a stretch, by the time of day."""
    if end - start >= DAY:
        return list(steps)
    last = end - _SOON_S
    begin = [step.from_s + DAY * (start // DAY) for step in steps]
    found = {}
    for time in (start, *(when for when in begin if start < when < last), last):
        begun = [step for step in steps if step.from_s <= time % DAY]
        step = (begun or steps)[-1]
        found[step.from_s] = step
    return list(found.values())


def _in_time(steps: Sequence[_Step], start_s: float) -> tuple[Hours, ...]:
    """The steps as a schedule: one to more replicas comes earlier, by the whole minutes of a
    start."""
    early = math.ceil(start_s / MINUTE) * MINUTE
    hours = {}
    for place, step in enumerate(steps):
        rises = step.replicas > steps[place - 1].replicas
        hours[(step.from_s - early * rises) % DAY] = step.replicas
    return tuple(Hours(from_s=when, replicas=count) for when, count in sorted(hours.items()))


def policy_words(d: Deployment) -> str:
    """What a deployment is, in words: `by the clock: 1 from 0:00, 4 from 6:54`."""
    pool, policy = d.pool, d.pool.autoscaler
    if policy is None:
        return f"{pool.replicas} replica{'s' * (pool.replicas != 1)} all the time"
    if isinstance(policy, Schedule):
        steps = ", ".join(
            f"{each.replicas} from {clock(each.from_s)[:-3]}" for each in policy.hours
        )
        return f"by the clock: {steps}"
    between = f"{policy.min_replicas} to {policy.max_replicas} replicas"
    return f"{policy.kind} on {policy.metric} at {policy.target:g}: {between}"
