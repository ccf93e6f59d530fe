"""Examine: one deployment of a scenario, answered: does it start, how does it do at this traffic, and where are its limits."""

from __future__ import annotations

import dataclasses

from simulator.engine.load import Load
from simulator.latency import calibration
from simulator.latency.error_bands import extrapolations, typical_error
from simulator.latency.models import Roofline
from simulator.latency.step import StepTime
from simulator.planning.capacity.deployment_run import DeploymentRun, measured
from simulator.planning.capacity.full_batch import running_context
from simulator.planning.capacity.probes import copies
from simulator.planning.costs import cost
from simulator.planning.serve_command import STREAMED_AT_BEST, STREAMED_PER_S, serve_command, title, wording
from simulator.results.bottleneck import bottleneck
from simulator.results.model import Cost, DeploymentResult, ErrorBand, OomPoint, Verdict, plain_memory
from simulator.results.steady_state import MOSTLY
from simulator.results.time_breakdown import resource_seconds, step_seconds
from simulator.scenario import Deployment, Scenario
from simulator.simulation import Bound, bind, source_of, target
from simulator.text import number, plural
from simulator.workload.requests import Requests

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
    if not (curve and run.metrics["finished"]):
        return result
    from simulator.planning.capacity.curve import with_limits
    from simulator.planning.capacity.search import NoQueueingPoint

    try:
        return with_limits(scenario, bound, result, run, requests)
    except NoQueueingPoint as reason:
        return dataclasses.replace(result, notes=(*result.notes, f"no queueing point and no curve: {reason}"))


def _source(scenario: Scenario) -> Load | None:
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
        extrapolations=_extrapolations(scenario, bound),
        error_bands=_error_bands(scenario, bound),
        serve_command=serve_command(scenario, bound),
        notes=(*plan.notes, *bound.model.approximations),
    )


def _extrapolations(scenario: Scenario, bound: Bound) -> tuple[str, ...]:
    """What of the step time was not measured on this GPU and engine but taken from a sibling."""
    return extrapolations(target(bound.plan, bound.deployment)) if isinstance(scenario.latency, Roofline) else ()


def _error_bands(scenario: Scenario, bound: Bound) -> dict[str, ErrorBand]:
    """How far runs of this class were from measurements; a calibrated or measured step time has no class."""
    if not isinstance(scenario.latency, Roofline) or scenario.calibration is not None:
        return {}
    typical = typical_error(bound.model, bound.deployment.gpu, scenario.engine)
    return {name: ErrorBand(percent, basis) for name, (percent, basis) in typical.items()}


def _oom_point(bound: Bound, requests: Requests) -> OomPoint:
    context, plan = running_context(requests), bound.plan
    longest = plan.layout.longest_in(plan.num_gpu_blocks * plan.layout.block_bytes, bound.model.max_position)
    return OomPoint(longest, _kv_sequences(bound, context), context)


def _kv_sequences(bound: Bound, context: float) -> float:
    """How many such sequences the KV caches of all replicas hold at once."""
    return bound.plan.concurrency_at(max(1, round(context))) * copies(bound)


def _with_run(scenario: Scenario, bound: Bound, result: DeploymentResult, run: DeploymentRun) -> DeploymentResult:
    """The result of the traffic asked for."""
    assert bound.limits is not None
    warm = run.steadiness.warmup_s
    parts = _parts(scenario, bound)
    return dataclasses.replace(
        result,
        verdict=run.steadiness.verdict,
        reason=_reason(run),
        metrics=run.metrics,
        slo=run.slo,
        binding=bottleneck(run.trace, bound.limits, resource_seconds(run.trace, parts, warm), warm),
        step_seconds=step_seconds(run.trace, parts, warm),
        cost=_run_cost(scenario, bound, run),
        notes=(*result.notes, *_run_notes(run), *_streaming(bound, run)),
        warmup_s=warm,
        trace=run.trace,
    )


def _run_notes(run: DeploymentRun) -> list[str]:
    """What the reader must know of the run: that it is short, and that requests were refused."""
    notes = [run.steadiness.note] if run.steadiness.note else []
    refused = run.trace.refusals
    if refused:
        of = f"of {plural(len(run.trace), 'request')} {'is' if len(refused) == 1 else 'are'} refused"
        notes.append(f"{len(refused):,} {of}, the first because {next(iter(refused.values()))}")
    return notes


def _streaming(bound: Bound, run: DeploymentRun) -> list[str]:
    """That one API server may not keep up with what a replica writes."""
    each = (run.metrics["output_tokens_per_s"] or 0.0) / bound.deployment.replicas
    if each <= STREAMED_PER_S:
        return []
    return [
        f"a replica writes {each:,.0f} tokens/s: one API server process was seen to stream {STREAMED_PER_S:,} to "
        f"{STREAMED_AT_BEST:,} a second, and is not modelled; give it several (--api-server-count)"
    ]


def _parts(scenario: Scenario, bound: Bound) -> dict[str, StepTime]:
    """The step time by part; one part where the latency model has none."""
    assert bound.step_time is not None
    if not isinstance(scenario.latency, Roofline):
        return {"step": bound.step_time}
    plan = bound.plan
    parts = scenario.latency.parts(target(plan, bound.deployment))
    if scenario.calibration is None:
        return parts
    factors = calibration.load_calibration(scenario.calibration).find(plan.model, plan.quantization, plan.gpu, plan.args)
    return {name: calibration.apply(part, factors) for name, part in parts.items()}


def _reason(run: DeploymentRun) -> str:
    s = run.steadiness
    if s.verdict == "overloaded":
        between = f"{number(s.drift_low_per_s, 2)} to {number(s.drift_high_per_s, 2)}"
        return f"the backlog grows by {number(s.drift_per_s)} requests/s ({between})"
    waits = f"requests wait for a place {s.waiting_share:.0%} of the time"
    if s.verdict == "stable":
        return f"it keeps up; {waits}"
    if s.waiting_share > MOSTLY:
        return waits
    return f"the backlog may grow, by up to {number(s.drift_high_per_s, 2)} requests/s; {waits}"


def _run_cost(scenario: Scenario, bound: Bound, run: DeploymentRun) -> Cost | None:
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
