"""A long horizon: what weeks of traffic come to, from the simulated hours of each kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.errors import NotModelled, SimulatorError
from simulator.planning.costs import price_of, watts_by_phase
from simulator.planning.horizon.hour import HourRun, run_hour
from simulator.planning.horizon.kinds import HourKind, check_horizon, kinds_of_hours
from simulator.planning.machines.pool import Machine, Processes, each
from simulator.planning.run import named
from simulator.results.slo import Floats
from simulator.scenario import Deployment, Scenario
from simulator.units import HOUR
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

_FEWEST = 24


@dataclass(frozen=True, slots=True)
class KindRun:
    """A kind of hours with the runs of those that were simulated, the quietest first."""

    kind: HourKind
    runs: tuple[HourRun, ...]

    def total(self, of: Callable[[HourRun], float]) -> float:
        """A quantity over all hours of the kind: the mean of the simulated ones, times as many."""
        return float(np.mean([of(run) for run in self.runs])) * len(self.kind.hours)

    def spread(self, of: Callable[[HourRun], float]) -> float:
        """Half of what the quietest and the busiest hour differ by, times as many hours."""
        values = [of(run) for run in self.runs]
        return (max(values) - min(values)) / 2 * len(self.kind.hours)

    @property
    def good_share(self) -> float:
        """The share of its requests that were answered within the SLO."""
        asked = sum(run.asked for run in self.runs)
        return sum(run.good for run in self.runs) / asked if asked else 1.0

    @property
    def keeps(self) -> tuple[int, int]:
        """The fewest and the most of its hours that keep the SLO."""
        kept = [run.kept != 0 for run in self.runs]
        hours = len(self.kind.hours)
        if all(kept):
            return hours, hours
        return (1, hours - 1) if any(kept) else (0, 0)


@dataclass(frozen=True, slots=True)
class Horizon:
    """What a deployment comes to over all hours.

    `good`: the share of the requests answered within the SLO, with `good_error`, half of what the
    hours of a kind differ by. `kept_hours`: the fewest and the most hours that keep the SLO.
    `idle`: the share of the paid time in which an engine had nothing to do. `kwh` by phase at the
    GPUs; `usd` of the replica-hours, `usd_energy` of the kWh, None without a price. `simulated`:
    requests that were, of `asked`. `left_s`: the most requests that were still there when an hour
    ended, as seconds of its traffic.
    """

    deployment: Deployment
    kinds: tuple[KindRun, ...]
    hours: int
    asked: int
    simulated: int
    good: float
    good_error: float
    kept_hours: tuple[int, int]
    output_tokens: float
    replica_hours: float
    idle: float
    kwh: dict[str, float]
    usd: float | None
    usd_energy: float | None
    left_s: float


def horizon(
    scenario: Scenario, *, seed: int | None = None, machine: Machine | None = None
) -> tuple[Horizon, ...]:
    """Each deployment over all of the scenario's hours, of which a quietest and a busiest of each
    kind are simulated.

    Raises SimulatorError without an SLO or for less than a day; NotModelled for pools, closed
    loops, sessions, faults and autoscalers that follow a metric.
    """
    scenario = dataclasses.replace(scenario, seed=scenario.seed if seed is None else seed)
    if not scenario.promises:
        raise SimulatorError(
            "a horizon needs an slo, which says what is served well; give slo.ttft_s"
        )
    if scenario.workload.closed_loop is not None:
        raise NotModelled("a horizon of a closed loop: what its users ask depends on the answers")
    every = named(scenario.deployments)
    for deployment in every:
        if deployment.apart:
            raise NotModelled(f"{deployment.name}: a horizon of prefill and decode pools")
        check_horizon(deployment)
    requests = sample(scenario.workload, scenario.seed)
    hours = math.ceil(max(scenario.workload.duration or 0.0, requests.arrival_s[-1]) / HOUR)
    if hours < _FEWEST:
        raise SimulatorError(f"a horizon is of days; this workload lasts {hours} h: use `sim run`")
    edges = HOUR * np.arange(hours + 1.0)
    machine = machine or Processes(at_most=len(every))
    jobs = [(scenario, deployment, requests, edges) for deployment in every]
    found = {i: outcome.value() for i, outcome in each(_horizon, jobs, machine)}
    return tuple(found[i] for i in range(len(every)))


def _horizon(job: tuple[Scenario, Deployment, Requests, Floats]) -> Horizon:
    scenario, deployment, requests, edges = job
    kinds = []
    for kind in kinds_of_hours(requests, edges, deployment):
        times = [edges[i : i + 2].tolist() for i in kind.simulated]
        runs = tuple(run_hour(scenario, deployment, requests, *time) for time in times)
        kinds.append(KindRun(kind, runs))
    return _summed(scenario, deployment, tuple(kinds), len(edges) - 1, len(requests))


def _left_s(run: HourRun) -> float:
    return run.left / run.asked * HOUR if run.asked else 0.0


def _summed(
    scenario: Scenario, deployment: Deployment, kinds: tuple[KindRun, ...], hours: int, asked: int
) -> Horizon:
    pool = deployment.pool
    paid = sum(kind.total(lambda run: run.paid_s) for kind in kinds)
    prefill = sum(kind.total(lambda run: run.prefill_s) for kind in kinds)
    decode = sum(kind.total(lambda run: run.decode_s) for kind in kinds)
    engines = paid * pool.data_parallel_size
    seconds = {"idle": max(0.0, engines - prefill - decode), "prefill": prefill, "decode": decode}
    gpus = pool.gpus_per_replica / pool.data_parallel_size
    draw = watts_by_phase(pool.gpu, scenario.prices)
    kwh = {phase: seconds[phase] * gpus * draw[phase] / 1000 / HOUR for phase in seconds}
    found, per_kwh = price_of(pool, scenario.prices), scenario.prices.electricity()
    replica_hours = paid / HOUR
    weights = [kind.kind.asked / asked for kind in kinds]
    shares = [[run.good / run.asked if run.asked else 1.0 for run in kind.runs] for kind in kinds]
    pairs = list(zip(weights, shares, strict=True))
    return Horizon(
        deployment=deployment,
        kinds=kinds,
        hours=hours,
        asked=asked,
        simulated=sum(run.asked for kind in kinds for run in kind.runs),
        good=sum(w * kind.good_share for w, kind in zip(weights, kinds, strict=True)),
        good_error=sum(w * (max(s) - min(s)) / 2 for w, s in pairs),
        kept_hours=(sum(k.keeps[0] for k in kinds), sum(k.keeps[1] for k in kinds)),
        output_tokens=sum(kind.total(lambda run: run.output_tokens) for kind in kinds),
        replica_hours=replica_hours,
        idle=seconds["idle"] / engines if engines else 0.0,
        kwh=kwh,
        usd=None if found is None else found[0] * pool.gpus_per_replica * replica_hours,
        usd_energy=None if per_kwh is None else per_kwh * sum(kwh.values()),
        left_s=max(_left_s(run) for kind in kinds for run in kind.runs),
    )
