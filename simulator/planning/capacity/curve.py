"""Limits: of a deployment that runs, the queueing point, the SLO capacity, the curve through both,
and where KV memory ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from simulator.planning.agreement import Agreed, agreed, varying
from simulator.planning.capacity.api_server import api_server_ceiling
from simulator.planning.capacity.closed_loop import saturating_concurrency
from simulator.planning.capacity.deployment_run import (
    DeploymentRun,
    curve_point,
    measured,
    rejudged,
    standing,
)
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.pools import pools_ceiling, pools_turn
from simulator.planning.capacity.probes import (
    STATIONARY,
    WHOLE,
    Probes,
    answered_by,
    enough_talks,
    full_server,
    probes,
    requests_at_rate,
    work_error,
)
from simulator.planning.capacity.replicas import worst_miss
from simulator.planning.capacity.scaled_down import ScaledDown, fleet
from simulator.planning.capacity.search import (
    OVERLOAD,
    Standing,
    Turn,
    queueing_point,
    slo_capacity,
)
from simulator.planning.costs import usd_per
from simulator.planning.fleet_plan import source_of
from simulator.planning.machines.pool import IN_PROCESS, Machine, each
from simulator.results.model import Cost, CurvePoint, DeploymentResult, Estimate, OomPoint
from simulator.scenario import Scenario
from simulator.server import FleetPlan
from simulator.text import plural
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

CURVE = (0.2, 0.5, 0.7, 0.85, 0.95, 1.1)
"""Rates of the curve, as shares of the queueing point."""
_CURVE_REQUESTS, _CURVE_TALKS = 1_500, 10_000
_CURVE_FILLINGS = 5
_LOOP_REQUESTS, _LOOP_ROUNDS = 200, 5
_KV_FULL = 0.98
_WORTH_PROCESSES = 50_000


@dataclass(slots=True)
class _Rates:
    """A deployment at any rate, each simulated once, on the part of a large fleet that stands for
    it."""

    scenario: Scenario
    fleet: ScaledDown
    requests: Callable[[float], int]
    seen: dict[float, DeploymentRun]

    def at(self, rate: float) -> DeploymentRun:
        if rate not in self.seen:
            self.seen[rate] = _at_rate((self.scenario, self.fleet, self.requests(rate), rate))
        return self.seen[rate]

    def simulate(self, rates: Sequence[float], machine: Machine) -> None:
        """Simulate several rates, beside each other where that is worth starting processes."""
        missing = [rate for rate in dict.fromkeys(rates) if rate not in self.seen]
        tasks = [(self.scenario, self.fleet, self.requests(rate), rate) for rate in missing]
        many = sum(requests for _, _, requests, _ in tasks) >= _WORTH_PROCESSES
        for place, outcome in each(_at_rate, tasks, machine if many else IN_PROCESS):
            self.seen[missing[place]] = outcome.value()

    def standing(self, rate: float) -> Standing:
        return standing(rate, self.at(rate))


def _at_rate(task: tuple[Scenario, ScaledDown, int, float]) -> DeploymentRun:
    scenario, fleet, requests, rate = task
    load = requests_at_rate(scenario.workload, rate / fleet.times, requests, scenario.seed)
    return fleet.measured(scenario, load)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a deployment carries, all replicas together; `slo` is None where no rate meets it, or
    there is none. With a backlog it recovers only below `recovers_below`, None where it does
    wherever it keeps up."""

    queueing: Estimate
    slo: Estimate | None
    recovers_below: float | None


def capacity(scenario: Scenario, plan: FleetPlan, requests: Requests) -> Capacity:
    """What a deployment that starts carries, without a curve. May raise NoQueueingPoint."""
    full = full_server(plan.server, requests)
    rates = _rates(scenario, plan, full, requests)
    turn = _queueing(scenario, plan, full, asked_of(scenario, plan, full), requests)
    slo = slo_capacity(rates.standing, turn.estimate) if scenario.promises else None
    return Capacity(turn.estimate, slo, turn.recovers_below)


def asked_of(scenario: Scenario, plan: FleetPlan, full: Ceiling) -> Probes | None:
    """What its engine alone is asked, which gets all requests; None of two pools, which are asked
    together. May raise NoQueueingPoint."""
    if plan.link is not None:
        return None
    engine = dataclasses.replace(plan.letting_all_in(), client=None)
    return probes(engine, scenario.workload, full, scenario.seed)


def with_limits(
    scenario: Scenario,
    plan: FleetPlan,
    result: DeploymentResult,
    run: DeploymentRun,
    requests: Requests,
    full: Ceiling,
    asked: Probes | None,
    machine: Machine = IN_PROCESS,
) -> DeploymentResult:
    """Queueing point, SLO capacity, the curve through both, and where KV memory runs out, from
    simulations on a machine. May raise NoQueueingPoint."""
    found = _queueing(scenario, plan, full, asked, requests)
    told = _agreed(scenario, plan, full, run, found)
    rates = _rates(scenario, plan, full, requests)
    demand, queueing = scenario.workload.mean_rate(), told.turn.estimate
    if demand is not None:
        rates.seen[demand], result = told.run, _told(result, told)
    rates.simulate([share * queueing.value for share in CURVE], machine)
    slo = _slo_capacity(scenario, rates, queueing, demand)
    return dataclasses.replace(
        result,
        queueing_point=queueing,
        recovers_below_per_s=told.turn.recovers_below,
        slo_capacity=slo,
        ceiling_per_s=_ceiling(plan, full, requests),
        curve=_curve(scenario, rates, queueing),
        oom_point=with_rates(plan, result.oom_point, rates.seen),
        cost=_with_slo(result.cost, slo, plan, requests),
        notes=(*result.notes, *_notes(scenario, plan, slo, rates, requests)),
    )


def _part(plan: FleetPlan) -> ScaledDown:
    """The part of a fleet that is simulated; of two pools, all."""
    return ScaledDown(plan, plan) if plan.link is not None else fleet(plan)


def _ceiling(plan: FleetPlan, full: Ceiling, requests: Requests) -> float:
    """What all replicas complete in closed form, or the API servers before them."""
    if plan.link is not None:
        return pools_ceiling(plan, requests)
    return min(full.requests_per_s, api_server_ceiling(plan, requests)) * plan.instances


def _rates(scenario: Scenario, plan: FleetPlan, full: Ceiling, requests: Requests) -> _Rates:
    many = _part(plan)
    taken_in = min(1.0, api_server_ceiling(plan, requests) / full.requests_per_s)
    filled = round(_CURVE_FILLINGS * taken_in * full.sequences * many.part.pool.instances)
    least = max(_CURVE_REQUESTS, filled)

    def enough(rate: float) -> int:
        """Fills the batch several times, and lets conversations, whose later turns are long in
        coming, come and go."""
        if requests.previous is None:
            return least
        each = rate / plan.instances
        talks = min(_CURVE_TALKS, enough_talks(requests, full, each)) * many.part.instances
        return max(least, talks)

    return _Rates(scenario, many, enough, {})


def _slo_capacity(
    scenario: Scenario, rates: _Rates, queueing: Estimate, demand: float | None
) -> Estimate | None:
    if not scenario.promises:
        return None
    tried = [rate for rate in rates.seen if rate < queueing.value]
    return slo_capacity(rates.standing, queueing, tried=tried, demand=demand)


def _curve(scenario: Scenario, rates: _Rates, queueing: Estimate) -> tuple[CurvePoint, ...]:
    """Every rate that was simulated, in order."""
    seen = sorted(rates.seen.items())
    judged = [(rate, _judged(scenario, rate, run, queueing)) for rate, run in seen]
    return tuple(curve_point(rate, run) for rate, run in judged)


def _agreed(
    scenario: Scenario, plan: FleetPlan, full: Ceiling, run: DeploymentRun, turn: Turn
) -> Agreed:
    """Verdict and queueing point at the demand, from the run and the search."""
    demand = scenario.workload.mean_rate()
    if demand is None or run.turned_away:
        return Agreed(run, turn)
    if not _is_steady_traffic(scenario):
        return varying(demand, run, turn)
    return agreed(demand, run, turn, partial(_longer, scenario, plan, demand, run))


def _longer(
    scenario: Scenario, plan: FleetPlan, demand: float, run: DeploymentRun
) -> DeploymentRun:
    """Other requests at the demand, at least twice as many."""
    many = max(WHOLE, 2 * len(run.trace))
    longer = requests_at_rate(scenario.workload, demand, many, scenario.seed + 1)
    return measured(scenario, plan, longer)


def _told(result: DeploymentResult, told: Agreed) -> DeploymentResult:
    """The result with what was agreed on."""
    run, cost = told.run, result.cost
    verdict = run.steadiness.verdict
    if cost and verdict == "overloaded":
        cost = dataclasses.replace(cost, usd_per_thousand_good_requests=None)
    reason = told.reason or result.reason
    return dataclasses.replace(
        result,
        verdict=verdict,
        reason=reason,
        metrics=dict(run.metrics),
        slo=run.slo,
        promised=run.promised,
        cost=cost,
    )


def _judged(
    scenario: Scenario, rate: float, run: DeploymentRun, queueing: Estimate
) -> DeploymentRun:
    """The run, or where steady traffic comes faster than the queueing point surely is, the same as
    overloaded.

    Not so where the queue is kept short by turning requests away.
    """
    grows = (
        not run.turned_away
        and _is_steady_traffic(scenario)
        and queueing.high is not None
        and rate > queueing.high
    )
    return rejudged(run, "overloaded") if grows and run.steadiness.verdict != "overloaded" else run


def _is_steady_traffic(scenario: Scenario) -> bool:
    arrivals = scenario.workload.arrivals
    return arrivals is not None and arrivals.kind in STATIONARY


def _notes(
    scenario: Scenario,
    plan: FleetPlan,
    slo: Estimate | None,
    rates: _Rates,
    requests: Requests,
) -> list[str]:
    """What is said beside the limits."""
    notes = _growth(scenario, plan)
    miss = worst_miss(rates.at(min(rates.seen)).slo) if slo is None else None
    if miss:
        notes.append(f"no rate meets the SLO: {miss.words} even when hardly used")
    return [*notes, *_left_out(scenario, requests), *rates.fleet.notes(requests)]


def _growth(scenario: Scenario, plan: FleetPlan) -> list[str]:
    """Where more users of a closed loop get no more done."""
    if not scenario.workload.closed_loop:
        return []
    levels = _levels(scenario, _part(plan.letting_all_in()))
    return [f"throughput stops growing at about {levels:,.0f} concurrent users"] if levels else []


def _left_out(scenario: Scenario, requests: Requests) -> list[str]:
    """What other rates are tried with where the traffic is too long to be tried whole."""
    if (
        _is_steady_traffic(scenario)
        or scenario.workload.mean_rate() is None
        or len(requests) <= WHOLE
    ):
        return []
    tried = (
        f"the first {WHOLE:,} requests"
        if scenario.workload.trace is not None
        else "Poisson arrivals of the mean rate"
    )
    return [
        f"curve and SLO capacity come from {tried}; the traffic asked for has {len(requests):,}"
    ]


def _queueing(
    scenario: Scenario, plan: FleetPlan, full: Ceiling, asked: Probes | None, requests: Requests
) -> Turn:
    """Where one replica turns, times their number.

    The search is of the engine alone: what its API server takes is known, and the less of the two
    is what both do.
    """
    if asked is None:
        return pools_turn(scenario, plan, full, requests)
    taken_in = api_server_ceiling(plan, requests)
    beyond = OVERLOAD * taken_in
    if full.requests_per_s > beyond and asked.burst(beyond).low_per_s >= taken_in:
        return Turn(taken_in, taken_in, taken_in).times(plan.instances)
    turn = queueing_point(asked.mixed, full.requests_per_s, check=asked.burst, calm=asked.calm)
    if scenario.workload.trace is None:  # a trace is what it is; other requests are drawn
        turn = turn.widened(work_error(full, requests, len(asked.traffic.drawn)))
    return turn.within(taken_in).times(plan.instances)


def _levels(scenario: Scenario, many: ScaledDown) -> float | None:
    """Users at which the throughput of the scenario's closed loop stops growing."""
    loop = scenario.workload.closed_loop
    assert loop is not None

    def throughput(users: int) -> float:
        workload = scenario.workload.scaled(users / loop.concurrency)
        enough = dataclasses.replace(
            workload, requests=max(_LOOP_REQUESTS, _LOOP_ROUNDS * users), duration=None
        )
        run = measured(
            scenario, many.part, sample(enough, scenario.seed), source=source_of(workload)
        )
        return run.metrics["output_tokens_per_s"] or 0.0

    found = saturating_concurrency(throughput)
    return None if found is None else found * many.times


def with_rates(
    plan: FleetPlan, point: OomPoint | None, seen: dict[float, DeploymentRun]
) -> OomPoint | None:
    """The OOM point with the rates at which KV memory ran out in the simulations."""
    if point is None:
        return None
    share = {rate: float((m.trace.requests["preemptions"] > 0).mean()) for rate, m in seen.items()}
    peak = {rate: m.metrics["kv_use_peak"] or 0.0 for rate, m in seen.items()}
    return dataclasses.replace(
        point,
        full_at_per_s=_lowest(rate for rate, use in peak.items() if use >= _KV_FULL),
        preempts_at_per_s=_lowest(rate for rate, each in share.items() if each > 0),
        preempts_most_at_per_s=_lowest(rate for rate, each in share.items() if each > 0.5),
        next_limit=_next_limit(plan, point),
    )


def _lowest(rates: Iterable[float]) -> float | None:
    return min(rates, default=None)


def _next_limit(plan: FleetPlan, point: OomPoint) -> str:
    limits = plan.server.limits
    seats = limits.seats * plan.instances
    memory = (
        f"KV memory at {plural(round(point.concurrency), 'sequence')} of "
        f"{point.typical_context_tokens:,.0f} tokens"
    )
    places = f"{limits.seats_argument} at {plural(seats, 'sequence')}"
    first, then = (memory, places) if point.concurrency < seats else (places, memory)
    return f"{first} binds first, then {then}"


def _with_slo(
    found: Cost | None, slo: Estimate | None, plan: FleetPlan, requests: Requests
) -> Cost | None:
    """The cost of a token at the SLO capacity; of requests that get no answer there are no
    tokens."""
    if found is None or slo is None:
        return found
    answered = answered_by(plan.server, requests)
    output = float(answered.output_tokens.sum()) / len(requests)
    total = output + float(answered.prompt_tokens.sum()) / len(requests)
    return dataclasses.replace(
        found,
        usd_per_million_output_tokens_at_slo=usd_per(1e6, found.usd_per_hour, slo.value * output),
        usd_per_million_total_tokens_at_slo=usd_per(1e6, found.usd_per_hour, slo.value * total),
    )
