"""Limits: of a deployment that runs, the queueing point, the SLO capacity, the curve through both, and where KV memory ends."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from simulator.planning.capacity.closed_loop import saturating_concurrency
from simulator.planning.capacity.deployment_run import DeploymentRun, curve_point, measured, overloaded, standing
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import CHECK, STATIONARY, WHOLE, copies, flows, full_server, requests_at_rate
from simulator.planning.capacity.replicas import worst_miss
from simulator.planning.capacity.scaled_down import ScaledDown, fleet
from simulator.planning.capacity.search import Standing, queueing_point, slo_capacity
from simulator.planning.costs import usd_per
from simulator.results.model import Cost, DeploymentResult, Estimate, OomPoint
from simulator.results.steady_state import MOSTLY
from simulator.scenario import Scenario
from simulator.simulation import Bound, source_of
from simulator.text import number, plural
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

CURVE = (0.2, 0.5, 0.7, 0.85, 0.95, 1.1)
"""Rates of the curve, as shares of the queueing point."""
_CURVE_REQUESTS, _CURVE_TALKS = 2_000, 10_000
_CURVE_FILLINGS = 8
_LOOP_REQUESTS, _LOOP_ROUNDS = 200, 5
_KV_FULL = 0.98


@dataclass(slots=True)
class _Rates:
    """A deployment at any rate, each simulated once, on the part of a large fleet that stands for it."""

    scenario: Scenario
    fleet: ScaledDown
    requests: int
    seen: dict[float, DeploymentRun]

    def at(self, rate: float) -> DeploymentRun:
        if rate not in self.seen:
            load = requests_at_rate(self.scenario.workload, rate / self.fleet.times, self.requests, self.scenario.seed)
            self.seen[rate] = self.fleet.measured(self.scenario, load)
        return self.seen[rate]

    def standing(self, rate: float) -> Standing:
        return standing(rate, self.at(rate))


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a deployment carries, all replicas together; `slo` is None where no rate meets it, or there is none."""

    queueing: Estimate
    slo: Estimate | None


def capacity(scenario: Scenario, bound: Bound, requests: Requests) -> Capacity:
    """What a deployment that starts carries, from short searches and without a curve. May raise NoQueueingPoint."""
    full, many = full_server(bound, requests), fleet(bound)
    rates = _Rates(scenario, many, _curve_requests(many, full, requests), {})
    queueing = _queueing(scenario, bound, full, CHECK)
    return Capacity(queueing, slo_capacity(rates.standing, queueing) if scenario.promises else None)


def with_limits(
    scenario: Scenario, bound: Bound, result: DeploymentResult, run: DeploymentRun, requests: Requests
) -> DeploymentResult:
    """Queueing point, SLO capacity, the curve through both, and where KV memory runs out. May raise NoQueueingPoint."""
    full, many, demand = full_server(bound, requests), fleet(bound), scenario.workload.mean_rate()
    queueing = _queueing(scenario, bound, full, 1.0)
    levels = _levels(scenario, many) if scenario.workload.closed_loop else None
    rates = _Rates(scenario, many, _curve_requests(many, full, requests), {} if demand is None else {demand: run})
    grid = [share * queueing.value for share in CURVE]
    for rate in grid:
        rates.at(rate)
    tried = [rate for rate in rates.seen if rate < queueing.value]
    slo = slo_capacity(rates.standing, queueing, tried=tried) if scenario.promises else None
    result = _settled(scenario, result, run, queueing)
    return dataclasses.replace(
        result,
        queueing_point=queueing,
        slo_capacity=slo,
        ceiling_per_s=full.requests_per_s * copies(bound),
        curve=tuple(curve_point(rate, _judged(scenario, rate, rates.seen[rate], queueing)) for rate in sorted(rates.seen)),
        oom_point=_with_rates(bound, result.oom_point, rates.seen),
        cost=_with_slo(result.cost, slo, requests),
        notes=(*result.notes, *_notes(levels, slo, rates), *_left_out(scenario, requests), *many.notes(requests)),
    )


def _settled(scenario: Scenario, result: DeploymentResult, run: DeploymentRun, queueing: Estimate) -> DeploymentResult:
    """The verdict where the run alone is too short for one and steady traffic is surely above, or below, the queueing point."""
    demand, waits = scenario.workload.mean_rate(), run.steadiness.waiting_share
    if demand is None or not _is_steady_traffic(scenario):
        return result
    point = f"the queueing point is {number(queueing.value)} requests/s"
    if (judged := _judged(scenario, demand, run, queueing)) is not run:
        reason = f"the backlog grows, which this run is too short to show: {point}"
        cost = result.cost and dataclasses.replace(result.cost, usd_per_thousand_good_requests=None)
        return dataclasses.replace(
            result, verdict=judged.steadiness.verdict, reason=reason, metrics=judged.metrics, slo=judged.slo, cost=cost
        )
    if run.steadiness.verdict == "saturated" and waits <= MOSTLY and demand < queueing.low:
        return dataclasses.replace(
            result, verdict="stable", reason=f"it keeps up: {point}; requests wait for a place {waits:.0%} of the time"
        )
    return result


def _judged(scenario: Scenario, rate: float, run: DeploymentRun, queueing: Estimate) -> DeploymentRun:
    """The run, or where steady traffic comes faster than the queueing point surely is, the same as overloaded."""
    grows = _is_steady_traffic(scenario) and queueing.high is not None and rate > queueing.high
    return overloaded(run) if grows and run.steadiness.verdict != "overloaded" else run


def _is_steady_traffic(scenario: Scenario) -> bool:
    arrivals = scenario.workload.arrivals
    return arrivals is not None and arrivals.kind in STATIONARY


def _notes(levels: float | None, slo: Estimate | None, rates: _Rates) -> list[str]:
    notes = [f"throughput stops growing at about {levels:,.0f} concurrent users"] if levels else []
    miss = worst_miss(rates.at(min(rates.seen)).slo) if slo is None else None
    return [*notes, *([f"no rate meets the SLO: {miss.words} even when hardly used"] if miss else [])]


def _left_out(scenario: Scenario, requests: Requests) -> list[str]:
    """What other rates are tried with where the traffic is too long to be tried whole."""
    if _is_steady_traffic(scenario) or scenario.workload.mean_rate() is None or len(requests) <= WHOLE:
        return []
    tried = f"the first {WHOLE:,} requests" if scenario.workload.trace is not None else "Poisson arrivals of the mean rate"
    return [f"curve and SLO capacity come from {tried}; the traffic asked for has {len(requests):,}"]


def _curve_requests(many: ScaledDown, full: Ceiling, requests: Requests) -> int:
    """Enough to fill the batch several times, and of conversations, whose later turns are long in coming, more."""
    fewest = _CURVE_REQUESTS if requests.previous is None else _CURVE_TALKS
    return max(fewest, round(_CURVE_FILLINGS * full.sequences * copies(many.part)))


def _queueing(scenario: Scenario, bound: Bound, full: Ceiling, share: float) -> Estimate:
    """The queueing point of one replica times their number; searched with a share of the usual requests."""
    flow = flows(bound, scenario.workload, full, scenario.seed, share)
    check = flows(bound, scenario.workload, full, scenario.seed, CHECK) if share > CHECK else flow
    one, many = queueing_point(flow, full.requests_per_s, check=check), copies(bound)
    return Estimate(one.value * many, one.low * many, None if one.high is None else one.high * many)


def _levels(scenario: Scenario, many: ScaledDown) -> float | None:
    """Users at which the throughput of the scenario's closed loop stops growing."""
    loop = scenario.workload.closed_loop
    assert loop is not None

    def throughput(users: int) -> float:
        workload = scenario.workload.scaled(users / loop.concurrency)
        enough = dataclasses.replace(workload, requests=max(_LOOP_REQUESTS, _LOOP_ROUNDS * users), duration=None)
        run = measured(scenario, many.part, sample(enough, scenario.seed), source=source_of(workload))
        return run.metrics["output_tokens_per_s"] or 0.0

    found = saturating_concurrency(throughput)
    return None if found is None else found * many.times


def _with_rates(bound: Bound, point: OomPoint | None, seen: dict[float, DeploymentRun]) -> OomPoint | None:
    """The OOM point with the rates at which KV memory ran out in the simulations."""
    if point is None:
        return None
    share = {rate: float((m.trace.requests["preemptions"] > 0).mean()) for rate, m in seen.items()}
    return dataclasses.replace(
        point,
        full_at_per_s=min((rate for rate, m in seen.items() if (m.metrics["kv_use_peak"] or 0.0) >= _KV_FULL), default=None),
        preempts_at_per_s=min((rate for rate, each in share.items() if each > 0), default=None),
        preempts_most_at_per_s=min((rate for rate, each in share.items() if each > 0.5), default=None),
        next_limit=_next_limit(bound, point),
    )


def _next_limit(bound: Bound, point: OomPoint) -> str:
    assert bound.limits is not None
    seats = bound.limits.max_num_seqs * copies(bound)
    memory = f"KV memory at {plural(round(point.concurrency), 'sequence')} of {point.typical_context_tokens:,.0f} tokens"
    places = f"max_num_seqs at {plural(seats, 'sequence')}"
    first, then = (memory, places) if point.concurrency < seats else (places, memory)
    return f"{first} binds first, then {then}"


def _with_slo(found: Cost | None, slo: Estimate | None, requests: Requests) -> Cost | None:
    """The cost of a token at the SLO capacity."""
    if found is None or slo is None:
        return found
    output = float(requests.output_tokens.mean())
    total = output + float(requests.prompt_tokens.mean())
    return dataclasses.replace(
        found,
        usd_per_million_output_tokens_at_slo=usd_per(1e6, found.usd_per_hour, slo.value * output),
        usd_per_million_total_tokens_at_slo=usd_per(1e6, found.usd_per_hour, slo.value * total),
    )
