"""Examine: one deployment of a scenario, answered: does it start, how does it do at this traffic,
and where are its limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from simulator.engine.admission import most_tokens, never_answered
from simulator.engine.fleet.operation import Operation
from simulator.engine.load import Load, OpenLoop
from simulator.errors import SimulatorError
from simulator.latency import calibration
from simulator.latency.error_bands import extrapolations
from simulator.latency.models import Roofline
from simulator.latency.step import StepTime
from simulator.memory.plan import MemoryPlan
from simulator.planning.adapters import adapter_notes
from simulator.planning.agreement import grows, keeps_up
from simulator.planning.assured import assured
from simulator.planning.bench_command import bench_command
from simulator.planning.capacity.api_server import api_servers_for
from simulator.planning.capacity.deployment_run import DeploymentRun, measured, promised
from simulator.planning.capacity.full_batch import running_context
from simulator.planning.capacity.probes import Probes, answered_by, full_server
from simulator.planning.costs import cost
from simulator.planning.fleet_plan import plan_fleet, source_of
from simulator.planning.launch import serve_command
from simulator.planning.machines.pool import IN_PROCESS, Machine
from simulator.planning.pool_summaries import with_pools
from simulator.planning.serve_command import STREAMED_AT_BEST, STREAMED_PER_S, title, wording
from simulator.planning.speculation import speculation_notes, what_drafting_gains
from simulator.results.bottleneck import bottleneck
from simulator.results.model import Binding, Cost, DeploymentResult, OomPoint, Verdict, plain_memory
from simulator.results.over_time import fleet_over_time
from simulator.results.steady_state import MOSTLY
from simulator.results.time_breakdown import resource_seconds, step_seconds
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan, Server
from simulator.text import number
from simulator.units import HOUR
from simulator.workload.requests import Requests

NO_LIMITS = "no queueing point and no curve: its replicas come and go"
_REFUSALS: dict[str, Verdict] = {"max_model_len_exceeds_kv": "max_model_len exceeds KV"}


@dataclass(frozen=True, slots=True, eq=False)
class AtDemand:
    """A deployment at the scenario's traffic, `requests`, before its limits are searched.

    `result`: what is known of it by then. `fleet` and `run` are None of one that does not start,
    of which there is no more to know.
    """

    scenario: Scenario
    deployment: Deployment
    requests: Requests
    result: DeploymentResult
    fleet: FleetPlan | None = None
    run: DeploymentRun | None = None

    @property
    def has_limits(self) -> bool:
        """Whether there are limits to search: it runs, always with the same replicas, and finished
        something."""
        if self.fleet is None or self.run is None or self.fleet.operation is not None:
            return False
        return bool(self.run.metrics["finished"])

    def answered(self, *, note: str = "") -> DeploymentResult:
        """The result without limits, with how sure it is, and a note on why it has none."""
        return self._sure(_noted(self.result, note) if note and self.has_limits else self.result)

    def limited(self, machine: Machine = IN_PROCESS) -> DeploymentResult:
        """The result with its limits and the curve around them, simulated on a machine."""
        if self.fleet is None or self.run is None or not self.has_limits:
            return self.answered()
        return self._sure(_limited(self, self.fleet, self.run, machine))

    def _sure(self, result: DeploymentResult) -> DeploymentResult:
        if self.fleet is None or self.run is None:
            return result
        answers = _with_answers(self.scenario, self.deployment, self.fleet, result, self.run)
        return assured(self.scenario, self.fleet.server, answers, self.run)


def examine(
    scenario: Scenario, deployment: Deployment, requests: Requests, *, curve: bool = True
) -> DeploymentResult:
    """Answer one deployment at the scenario's traffic, `requests`; with `curve` also its limits and
    the curve around them.

    What does not start is a result with its reason and what would help. Raises NotModelled, or
    SimulatorError for engine arguments that the engine refuses.
    """
    found = at_demand(scenario, deployment, requests)
    return found.limited() if curve else found.answered()


def at_demand(scenario: Scenario, deployment: Deployment, requests: Requests) -> AtDemand:
    """A deployment simulated at the scenario's traffic alone. Raises as `examine` does."""
    fleet = plan_fleet(scenario, deployment)
    if isinstance(fleet, DoesNotStart):
        described = _described(scenario, deployment, fleet, requests)
        return AtDemand(scenario, deployment, requests, with_pools(scenario, deployment, described))
    described = _described(scenario, deployment, fleet.server, requests)
    run = measured(scenario, fleet, requests, source=_source(scenario))
    result = _with_run(scenario, deployment, fleet, described, run, requests)
    result = with_pools(scenario, deployment, result, fleet, run)
    if fleet.operation is not None:
        result = _over_time(scenario, deployment, fleet.operation, result, run, requests)
    return AtDemand(scenario, deployment, requests, result, fleet, run)


def _noted(result: DeploymentResult, note: str) -> DeploymentResult:
    return dataclasses.replace(result, notes=(*result.notes, note))


def _over_time(
    scenario: Scenario,
    deployment: Deployment,
    operation: Operation,
    result: DeploymentResult,
    run: DeploymentRun,
    requests: Requests,
) -> DeploymentResult:
    """The result of replicas that come and go: what became of them, and their mean cost."""
    pool, price = deployment.pool, cost(deployment, scenario.prices)
    each = price.usd_per_gpu_hour * pool.gpus_per_replica if price else None
    told = fleet_over_time(run.trace, promised(scenario, requests), operation.cold_start, each)
    mean = told.replica_hours * HOUR / told.horizon_s if told.horizon_s else float(pool.replicas)
    costs = _run_cost(scenario, deployment, run, gpus=mean * pool.gpus_per_replica)
    swings = told.swings_s
    notes = [NO_LIMITS]
    if swings:
        notes.append(
            f"the autoscaler adds and takes away replicas in turn, every {number(swings)} s"
        )
    reason = f"{result.reason}; {told.worst}" if told.worst else result.reason
    result = dataclasses.replace(result, reason=reason)
    return dataclasses.replace(result, over_time=told, cost=costs, notes=(*result.notes, *notes))


def _limited(
    at: AtDemand, fleet: FleetPlan, run: DeploymentRun, machine: Machine
) -> DeploymentResult:
    """The result with its limits and what binds, or with why it has none."""
    from simulator.planning.capacity.curve import asked_of, with_limits
    from simulator.planning.capacity.search import NoQueueingPoint

    full = full_server(fleet.server, at.requests)
    try:
        asked = asked_of(at.scenario, fleet, full)
        limited = with_limits(at.scenario, fleet, at.result, run, at.requests, full, asked, machine)
    except NoQueueingPoint as reason:
        return _noted(at.result, f"no queueing point and no curve: {reason}")
    return dataclasses.replace(limited, binding=_bound(at, fleet, run, limited, asked))


def _bound(
    at: AtDemand,
    fleet: FleetPlan,
    run: DeploymentRun,
    limited: DeploymentResult,
    asked: Probes | None,
) -> Binding | None:
    """What binds, by trial, of what was seen to hold requests back."""
    from simulator.planning.capacity.pools import pools_binding
    from simulator.planning.capacity.relief import binding

    seen, point = limited.binding, limited.queueing_point
    if asked is None:
        assert point is not None
        return pools_binding(at.scenario, fleet, at.requests, point.value)
    if seen is None:
        return None
    parts = _parts(at.scenario, fleet.server)
    seconds = resource_seconds(run.trace, parts, run.steadiness.warmup_s)
    return binding(at.scenario, at.deployment, fleet, at.requests, asked, seen, seconds)


def _with_answers(
    scenario: Scenario,
    deployment: Deployment,
    fleet: FleetPlan,
    result: DeploymentResult,
    run: DeploymentRun,
) -> DeploymentResult:
    """The result with the requests that got no answer in its verdict and reason, and what would let
    them in."""
    none, keeps_up = run.unanswered, result.verdict != "overloaded"
    if not none.count:
        return result
    if not (keeps_up and none.too_many):
        return dataclasses.replace(result, reason=f"{result.reason}; {none}")
    reason = str(none) if none.count == none.of else f"{none}; otherwise {result.reason}"
    remedies = _roomier(scenario, deployment, fleet.plan, run)
    return dataclasses.replace(
        result, verdict="requests unanswered", reason=reason, remedies=remedies
    )


def _roomier(
    scenario: Scenario, deployment: Deployment, plan: MemoryPlan, run: DeploymentRun
) -> tuple[str, ...]:
    """The max_model_len that refuses none of the requests, where it starts with it."""
    r = run.trace.requests
    needed = int((r["prompt_tokens"] + r["output_tokens"]).max())
    if needed <= plan.args.max_model_len:
        return ()
    try:
        wider = plan_fleet(scenario, deployment.with_pool(max_model_len=needed))
    except SimulatorError:
        return ()
    fits = not isinstance(wider, DoesNotStart) and needed <= most_tokens(wider.server.limits)
    return (f"max_model_len {needed}: no request is too long for it",) if fits else ()


def _source(scenario: Scenario) -> Load | None:
    """How requests come, None where nothing but the clock decides it."""
    source = source_of(scenario.workload)
    return None if source == OpenLoop() else source


def _described(
    scenario: Scenario, d: Deployment, server: Server | DoesNotStart, requests: Requests
) -> DeploymentResult:
    """What can be said before anything runs; it stands where nothing can run."""
    plan, pool = server.plan, d.pool
    memory = plain_memory(plan)
    return DeploymentResult(
        name=d.name,
        title=title(d, memory.quantization),
        wording=wording(d),
        gpu=pool.gpu.name,
        gpus=d.gpus,
        replicas=pool.replicas,
        verdict=_REFUSALS.get(plan.outcome, "does not fit"),
        reason=plan.reason,
        memory=memory,
        remedies=tuple(f"{remedy.change}: {remedy.gives}" for remedy in plan.remedies),
        oom_point=_oom_point(server, pool.instances, requests) if plan.longest_sequence else None,
        cost=cost(d, scenario.prices),
        extrapolations=_extrapolations(scenario, server),
        serve_command=serve_command(scenario, pool, plan),
        bench_command=bench_command(scenario, pool, plan.model, requests),
        notes=(*plan.notes, *plan.model.approximations),
    )


def _extrapolations(scenario: Scenario, server: Server | DoesNotStart) -> tuple[str, ...]:
    """The parts of the step time that were taken from a similar GPU or engine, not measured on this
    one."""
    return extrapolations(server.target) if isinstance(scenario.latency, Roofline) else ()


def _oom_point(server: Server | DoesNotStart, instances: int, requests: Requests) -> OomPoint:
    """Where KV memory ends, for the requests that it answers; for all of them where it answers
    none."""
    plan = server.plan
    longest = plan.layout.longest_in(
        plan.num_gpu_blocks * plan.layout.block_bytes, plan.model.max_position
    )
    if isinstance(server, DoesNotStart) or never_answered(requests, server.limits).all():
        context = running_context(requests)
        return OomPoint(longest, plan.concurrency_at(max(1, round(context))) * instances, context)
    context, full = running_context(answered_by(server, requests)), full_server(server, requests)
    return OomPoint(longest, full.kv_sequences * instances, context)


def _with_run(
    scenario: Scenario,
    deployment: Deployment,
    fleet: FleetPlan,
    result: DeploymentResult,
    run: DeploymentRun,
    requests: Requests,
) -> DeploymentResult:
    """The result of the traffic asked for."""
    warm, server = run.steadiness.warmup_s, fleet.server
    parts = _parts(scenario, server)
    binding = bottleneck(run.trace, server.limits, resource_seconds(run.trace, parts, warm), warm)
    waits = binding.resource == "API server" and not _well(run)
    gains = what_drafting_gains(scenario, fleet.server, requests)
    return dataclasses.replace(
        result,
        verdict=run.steadiness.verdict,
        reason="; ".join(filter(None, (_reason(run), gains))),
        metrics=dict(run.metrics),
        slo=run.slo,
        promised=run.promised,
        binding=binding,
        remedies=(_more_api_servers(scenario, fleet, requests),) if waits else result.remedies,
        step_seconds=step_seconds(run.trace, parts, warm),
        cost=_run_cost(scenario, deployment, run),
        notes=(
            *result.notes,
            *([run.steadiness.note] if run.steadiness.note else []),
            *_streaming(deployment, fleet, run),
            *speculation_notes(fleet.server),
            *adapter_notes(fleet.server),
        ),
        warmup_s=warm,
        trace=run.trace,
    )


def _well(run: DeploymentRun) -> bool:
    """Whether nothing has to be helped: it is stable, and keeps its SLO where there is one."""
    return run.verdict == "stable" and all(check.met for check in run.slo)


def _more_api_servers(scenario: Scenario, fleet: FleetPlan, requests: Requests) -> str:
    """How many API server processes take the traffic; of a closed loop, what the engines themselves
    complete."""
    completed = full_server(fleet.server, requests).requests_per_s * fleet.instances
    rate = scenario.workload.mean_rate() or completed
    count = api_servers_for(fleet, requests, rate)
    engine = scenario.engine
    each = "" if fleet.instances == 1 else " of each replica"
    if engine.family == "vllm" and engine.at_least("0.9.1"):
        return (
            f"--api-server-count {count}: so many API server processes{each} take {number(rate)} "
            "requests/s"
        )
    return (
        f"{count} API server processes{each}, which take {number(rate)} requests/s, or more "
        "replicas"
    )


def _streaming(deployment: Deployment, fleet: FleetPlan, run: DeploymentRun) -> list[str]:
    """That no API server is modelled, and may not keep up with what a replica writes."""
    if fleet.client is None or fleet.api_server is not None:
        return []
    engine = fleet.server.target.engine
    said = (
        f"API server not modelled for {engine.name}: nothing waits for it here"
        if fleet.client.queue
        else ""
    )
    each = (run.metrics["output_tokens_per_s"] or 0.0) / deployment.pool.replicas
    if each <= STREAMED_PER_S:
        return [said] if said else []
    return [
        f"{said or 'API server left out'}; a replica writes {each:,.0f} tokens/s, and one process "
        "of vLLM "
        f"was seen to stream {STREAMED_PER_S:,} to {STREAMED_AT_BEST:,} a second"
    ]


def _parts(scenario: Scenario, server: Server) -> dict[str, StepTime]:
    """The step time by part; one part where the latency model has none."""
    if not isinstance(scenario.latency, Roofline):
        return {"step": server.step_time}
    plan = server.plan
    found = scenario.latency.parts(server.target)
    parts = {name: _always_adapted(part) for name, part in found.items()}
    if scenario.calibration is None:
        return parts
    known = calibration.load_calibration(scenario.calibration)
    factors = known.find(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine)
    return {name: calibration.apply(part, factors) for name, part in parts.items()}


def _always_adapted(part: StepTime) -> StepTime:
    """A part as it is where a LoRA adapter runs in every step."""
    if part.adapters is None:
        return part
    tokens = part.tokens + part.adapters.tokens
    return dataclasses.replace(part, tokens=tokens, adapters=None)


def _reason(run: DeploymentRun) -> str:
    s = run.steadiness
    if s.verdict == "overloaded":
        return grows(s)
    waits = f"requests wait for a place {s.waiting_share:.0%} of the time"
    if s.verdict == "stable":
        return keeps_up(s)
    if s.waiting_share > MOSTLY:
        return waits
    return f"the backlog may grow, by up to {number(s.drift_high_per_s, 2)} requests/s; {waits}"


def _run_cost(
    scenario: Scenario, deployment: Deployment, run: DeploymentRun, gpus: float | None = None
) -> Cost | None:
    s, m = run.sample, run.metrics
    busy = float(s.overlap_s.sum()) / (s.seconds * s.replicas) if s.seconds > 0 else None
    return cost(
        deployment,
        scenario.prices,
        output_tokens_per_s=m["output_tokens_per_s"],
        total_tokens_per_s=m["total_tokens_per_s"],
        good_per_s=m.get("goodput_per_s"),
        busy=busy,
        gpus=gpus,
    )
