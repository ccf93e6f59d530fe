"""Examine: one deployment of a scenario, answered: does it start, how does it do at this traffic, and where are its limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from simulator.engine.source import Source
from simulator.latency.models import Roofline
from simulator.latency.step import StepTime
from simulator.planning.capacity import Standing, queueing_point, slo_capacity
from simulator.planning.ceiling import Ceiling, ceiling, running_context
from simulator.planning.costs import cost, usd_per
from simulator.planning.loads import at_rate, flows
from simulator.planning.measured import Measured, curve_point, measured, standing
from simulator.planning.wording import serve_command, title, wording
from simulator.results.binding import binding
from simulator.results.outcome import Cost, CurvePoint, DeploymentResult, Estimate, OomPoint, Verdict, plain_memory
from simulator.results.steps import resource_seconds, step_seconds
from simulator.scenario import Deployment, Scenario
from simulator.simulation import Bound, bind, source_of
from simulator.units import GB
from simulator.workload.requests import Requests

CURVE = (0.2, 0.5, 0.7, 0.85, 0.95, 1.1)
"""Rates of the curve, as shares of the queueing point."""
_CURVE_REQUESTS = 2_000
_CURVE_FILLINGS = 8
_KV_FULL = 0.98
_REFUSALS: dict[str, Verdict] = {"max_model_len_exceeds_kv": "max_model_len exceeds KV"}


def examine(scenario: Scenario, deployment: Deployment, requests: Requests, *, curve: bool = True) -> DeploymentResult:
    """Answer one deployment at the scenario's traffic, `requests`; with `curve` also its limits and the curve around them.

    What does not start is a result with its reason and what would help. Raises NotModelled, or SimulatorError for engine
    arguments that the engine refuses.
    """
    bound = bind(scenario, deployment)
    result = _described(scenario, bound, requests)
    if not bound.starts:
        return result
    run = measured(scenario, bound, requests, source=_source(scenario))
    result = _with_run(scenario, bound, result, run)
    return _with_limits(scenario, bound, result, run, requests) if curve else result


def _source(scenario: Scenario) -> Source | None:
    return None if scenario.workload.closed_loop is None else source_of(scenario.workload)


def _described(scenario: Scenario, bound: Bound, requests: Requests) -> DeploymentResult:
    """What can be said before anything runs; it stands where nothing can run."""
    d, plan = bound.deployment, bound.plan
    memory = plain_memory(plan)
    return DeploymentResult(
        name=d.name,
        title=title(d, memory.quantization),
        wording=wording(d),
        gpu=d.gpu.name,
        gpus=d.gpus,
        replicas=d.replicas,
        verdict=_REFUSALS.get(plan.outcome, "does not fit"),
        reason=plan.reason,
        memory=memory,
        remedies=tuple(f"{remedy.change}: {remedy.gives}" for remedy in plan.remedies),
        oom_point=_oom_point(bound, requests) if plan.longest_sequence else None,
        cost=cost(d, scenario.prices),
        serve_command=serve_command(scenario, bound),
        notes=(*plan.notes, *bound.model.approximations),
    )


def _oom_point(bound: Bound, requests: Requests) -> OomPoint:
    context, plan = running_context(requests), bound.plan
    longest = plan.layout.longest_in(plan.num_gpu_blocks * plan.layout.block_bytes, bound.model.max_position)
    return OomPoint(longest, _kv_sequences(bound, context), context)


def _kv_sequences(bound: Bound, context: float) -> float:
    """How many such sequences the KV caches of all replicas hold at once."""
    return bound.plan.concurrency_at(max(1, round(context))) * _copies(bound)


def _copies(bound: Bound) -> int:
    return bound.deployment.replicas * bound.deployment.data_parallel_size


def _with_run(scenario: Scenario, bound: Bound, result: DeploymentResult, run: Measured) -> DeploymentResult:
    """The result of the traffic asked for."""
    assert bound.limits is not None
    note, warm = run.steadiness.note, run.steadiness.warmup_s
    parts = _parts(scenario, bound)
    return dataclasses.replace(
        result,
        verdict=run.steadiness.verdict,
        reason=_reason(run),
        metrics=run.metrics,
        slo=run.slo,
        binding=binding(run.trace, bound.limits, resource_seconds(run.trace, parts, warm), warm),
        step_seconds=step_seconds(run.trace, parts, warm),
        cost=_run_cost(scenario, bound, run),
        notes=(*result.notes, *([note] if note else [])),
        warmup_s=warm,
        trace=run.trace,
    )


def _parts(scenario: Scenario, bound: Bound) -> dict[str, StepTime]:
    """The step time by part; one part where the latency model has none."""
    assert bound.step_time is not None
    if not isinstance(scenario.latency, Roofline):
        return {"step": bound.step_time}
    d = bound.deployment
    link = d.link_gb_per_s * GB if d.link_gb_per_s else None
    quantization = d.quantization or bound.model.quantization
    return scenario.latency.parts(bound.model, quantization, d.gpu, bound.plan.args, scenario.engine, link)


def _reason(run: Measured) -> str:
    s = run.steadiness
    if s.verdict == "overloaded":
        return f"the backlog grows by {s.drift_per_s:.3g} requests/s ({s.drift_low_per_s:.2g} to {s.drift_high_per_s:.2g})"
    if s.verdict == "saturated":
        return f"requests wait for a place {s.waiting_share:.0%} of the time"
    return f"it keeps up; requests wait for a place {s.waiting_share:.0%} of the time"


def _run_cost(scenario: Scenario, bound: Bound, run: Measured) -> Cost | None:
    s, m = run.sample, run.metrics
    busy = float(s.overlap_s.sum()) / (s.seconds * s.replicas) if s.seconds > 0 else None
    return cost(
        bound.deployment,
        scenario.prices,
        output_tokens_per_s=m["output_tokens_per_s"],
        total_tokens_per_s=m["total_tokens_per_s"],
        good_per_s=m.get("goodput_per_s"),
        busy=busy,
    )


@dataclass(slots=True)
class _Rates:
    """A deployment at any rate, each simulated once."""

    scenario: Scenario
    bound: Bound
    requests: int
    seen: dict[float, Measured]

    def at(self, rate: float) -> Measured:
        if rate not in self.seen:
            load = at_rate(self.scenario.workload, rate, self.requests, self.scenario.seed)
            self.seen[rate] = measured(self.scenario, self.bound, load)
        return self.seen[rate]

    def standing(self, rate: float) -> Standing:
        assert self.scenario.slo is not None
        return standing(rate, self.at(rate), self.scenario.slo)


def _with_limits(
    scenario: Scenario, bound: Bound, result: DeploymentResult, run: Measured, requests: Requests
) -> DeploymentResult:
    """Queueing point, SLO capacity, the curve through both, and where KV memory runs out."""
    assert bound.step_time is not None and bound.limits is not None
    copies = _copies(bound)
    full = ceiling(bound.step_time, bound.limits, requests)
    one = queueing_point(flows(bound, scenario.workload, full, scenario.seed), full.requests_per_s)
    queueing = Estimate(one.value * copies, one.low * copies, None if one.high is None else one.high * copies)
    demand = scenario.workload.mean_rate()
    rates = _Rates(
        scenario,
        bound,
        max(_CURVE_REQUESTS, round(_CURVE_FILLINGS * full.sequences * copies)),
        {} if demand is None else {demand: run},
    )
    grid = tuple(share * queueing.value for share in CURVE)
    for rate in grid:
        rates.at(rate)
    capacity = None
    if scenario.slo is not None:
        capacity = slo_capacity(rates.standing, queueing, tried=grid[:-1])
    curve = tuple(curve_point(rate, rates.seen[rate]) for rate in sorted(rates.seen))
    return dataclasses.replace(
        result,
        queueing_point=queueing,
        slo_capacity=capacity,
        ceiling_per_s=full.requests_per_s * copies,
        curve=curve,
        oom_point=_with_rates(bound, result.oom_point, full, rates.seen),
        cost=_with_slo(result.cost, capacity, curve, requests),
    )


def _with_rates(bound: Bound, point: OomPoint | None, full: Ceiling, seen: dict[float, Measured]) -> OomPoint | None:
    """The OOM point with the rates at which KV memory ran out in the simulations."""
    if point is None:
        return None
    share = {rate: (m.metrics["preemptions"] or 0.0) / max(1, len(m.trace)) for rate, m in seen.items()}
    return dataclasses.replace(
        point,
        full_at_per_s=min((rate for rate, m in seen.items() if (m.metrics["kv_use_peak"] or 0.0) >= _KV_FULL), default=None),
        preempts_at_per_s=min((rate for rate, each in share.items() if each > 0), default=None),
        preempts_most_at_per_s=min((rate for rate, each in share.items() if each > 0.5), default=None),
        next_limit=_next_limit(bound, point),
    )


def _next_limit(bound: Bound, point: OomPoint) -> str:
    assert bound.limits is not None
    seats = bound.limits.max_num_seqs * _copies(bound)
    memory = f"KV memory at {point.concurrency:,.0f} sequences of {point.typical_context_tokens:,.0f} tokens"
    places = f"max_num_seqs at {seats:,} sequences"
    first, then = (memory, places) if point.concurrency < seats else (places, memory)
    return f"{first} binds first, then {then}"


def _with_slo(found: Cost | None, capacity: Estimate | None, curve: tuple[CurvePoint, ...], requests: Requests) -> Cost | None:
    """The cost of a token at the SLO capacity."""
    if found is None or capacity is None:
        return found
    output = float(requests.output_tokens.mean())
    total = output + float(requests.prompt_tokens.mean())
    return dataclasses.replace(
        found,
        usd_per_million_output_tokens_at_slo=usd_per(1e6, found.usd_per_hour, capacity.value * output),
        usd_per_million_total_tokens_at_slo=usd_per(1e6, found.usd_per_hour, capacity.value * total),
    )
