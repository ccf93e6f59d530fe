"""What is refused of a scenario that each field alone does not tell: it could not run, or would run for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from simulator import catalog
from simulator.budget import Budget
from simulator.catalog.models import Model
from simulator.catalog.prices import providers
from simulator.document import Document, Location
from simulator.engine.fleet.autoscaler import most_replicas
from simulator.engine.scheduler.build import DECODE, PREFILL, check_role
from simulator.errors import NotModelled, ScenarioError, SimulatorError, UnknownName
from simulator.latency import calibration
from simulator.memory.kv_cache import stored_as
from simulator.memory.plan import MemoryPlan
from simulator.numbers import LONGEST, MOST_ENGINES
from simulator.scenario.specs import SEVERAL_POOLS, Deployment, Pool, Prices, Scenario
from simulator.server import DoesNotStart, Server, plan_server
from simulator.text import number
from simulator.workload.arrivals.steady import AllAtOnce, Arrivals, ClosedLoopArrivals, Recorded
from simulator.workload.arrivals.varying import Diurnal, Ramp, Stages
from simulator.workload.traces.trace_file import TraceFile
from simulator.workload.workload import Workload

_MOST_PER_S, _BLOCK = 1e9, 16


def refuse(scenario: Scenario, document: Document, budget: Budget) -> None:
    """Raise ScenarioError, with its place, for what no run could come of. Too little memory is a result and passes.

    So is a deployment that cannot be among others that can.
    """
    _refuse_endless(scenario.workload, document, budget)
    _refuse_missing(scenario.workload, document)
    _refuse_unreadable(scenario.calibration, document)
    _refuse_unknown(scenario.prices, {pool.gpu.name for d in scenario.deployments for pool in d.pools}, document)
    for index, deployment in enumerate(scenario.deployments):
        if len(deployment.pools) > 1 and not deployment.apart:
            place = ("deployments", index, "pools", 1)
            raise document.error(place, f"deployments[{index}].pools[1]: a second pool: {SEVERAL_POOLS}")
    problems = [(index, problem) for index, d in enumerate(scenario.deployments) if (problem := impossible(scenario, d))]
    endless = [(index, problem) for index, problem in problems if isinstance(problem, TooMuch)]
    if endless or len(problems) == len(scenario.deployments):
        index, problem = (endless or problems)[0]
        raise document.error(_culprit(document, index, problem.fields), f"deployments[{index}]: {problem}") from None


class TooMuch(ScenarioError):
    """More than can be simulated: a slip of the pen rather than a deployment to compare."""


def impossible(scenario: Scenario, deployment: Deployment) -> SimulatorError | None:
    """Why no engine would start so, or why there is no model of it; None where one would try. Too little memory is a result."""
    try:
        _refuse_impossible(scenario, deployment)
    except SimulatorError as problem:
        return problem
    return None


def _culprit(document: Document, index: int, fields: Sequence[str]) -> Location:
    """The first of the arguments at fault that is written: in the deployment, or for all; else the deployment."""
    pools = [("deployments", index, "pools", 0), *(("deployments", index, name) for name in ("prefill", "decode"))]
    for within in (("deployments", index), *pools, ("engine",)):
        for field in fields:
            location = (*within, field)
            if document.written(location) == location:
                return location
    return ("deployments", index)


def _refuse_unreadable(path: Path | None, document: Document) -> None:
    """Raise for a calibration that cannot be read, before anything is simulated with it."""
    try:
        if path is not None:
            calibration.load_calibration(path)
    except SimulatorError as problem:
        raise document.error(("calibration",), f"calibration: {problem}") from None


def _refuse_endless(workload: Workload, document: Document, budget: Budget) -> None:
    """Raise for rates that nobody has, and for more than may be simulated, before anything is drawn."""
    arrivals: list[Arrivals | None] = [c.arrivals for c in workload.classes if c.arrivals] or [workload.arrivals]
    timed = [a for a in arrivals if a is not None and not isinstance(a, Recorded)]
    rate = workload.mean_rate() if len(timed) == len(arrivals) else None
    if rate and not 1 / _MOST_PER_S <= rate <= _MOST_PER_S:
        raise document.error(
            ("workload", "arrivals"), f"workload.arrivals: {number(rate, 6)} requests a second; is that the unit?"
        )
    by_time = [expected for a in timed if (expected := _expected(a, workload.duration)) is not None]
    by_duration = sum(by_time) if by_time and len(by_time) == len(arrivals) else math.inf
    expected = min(workload.requests or math.inf, by_duration)
    if not math.isfinite(expected):
        return
    field = "requests" if workload.requests == expected else "duration" if workload.duration else "arrivals"
    shared = [c.mean_context() / _BLOCK for c in workload.mix() if c.prefix or c.sessions]
    try:
        budget.check(expected, max((c.mean_context() for c in workload.mix()), default=0.0), max(shared, default=0.0))
    except SimulatorError as problem:
        raise document.error(("workload", field), f"workload.{field}: {problem}") from None


def _expected(arrivals: Arrivals, duration_s: float | None) -> float | None:
    """Requests that arrive until the duration or the arrivals end; None where they do neither."""
    if isinstance(arrivals, AllAtOnce | ClosedLoopArrivals):
        return None
    end = min(
        math.inf if duration_s is None else duration_s, arrivals.end_s() if isinstance(arrivals, Stages | Ramp) else math.inf
    )
    if not math.isfinite(end):
        return None
    return arrivals.expected_by(end) if isinstance(arrivals, Stages | Ramp | Diurnal) else arrivals.mean_rate() * end


def _refuse_missing(workload: Workload, document: Document) -> None:
    """Raise for a trace that is not there."""
    traces: list[tuple[Location, TraceFile | None]] = [(("workload",), workload.trace)]
    if isinstance(workload.arrivals, Recorded):
        traces.append((("workload", "arrivals"), workload.arrivals.trace))
    for within, trace in traces:
        if trace is not None and not Path(trace.path).exists():
            raise document.error((*within, "trace", "path"), f"{'.'.join(map(str, within))}.trace: {trace.path}: no such file")


def _refuse_unknown(prices: Prices, gpus: set[str], document: Document) -> None:
    """Raise for a price of a GPU that neither the catalog nor the scenario has, and for a provider without prices."""
    for field in ("usd_per_gpu_hour", "reserved_usd_per_gpu_hour", "spot_usd_per_gpu_hour"):
        for name in getattr(prices, field).keys() - gpus:
            try:
                catalog.gpu(name)
            except SimulatorError as problem:
                raise document.error(("prices", field, name), f"prices.{field}: {problem}") from None
    for index, offer in enumerate(prices.offers):
        if offer.gpu not in gpus:
            try:
                catalog.gpu(offer.gpu)
            except SimulatorError as problem:
                raise document.error(("prices", "offers", index, "gpu"), f"prices.offers[{index}].gpu: {problem}") from None
    known = (*providers(), *dict.fromkeys(offer.provider.lower() for offer in prices.offers))
    if prices.provider is not None and prices.provider.lower() not in known:
        unknown = UnknownName("provider", prices.provider, known)
        raise document.error(("prices", "provider"), f"prices.provider: {unknown}")


def _refuse_untimed(pool: Pool) -> None:
    """Raise for what takes memory that is modelled, and time that is not."""
    if (pool.spec_method or pool.spec_model) and not pool.spec_tokens:
        drafter = pool.spec_method or pool.spec_model
        raise SimulatorError(f"{drafter} drafts no tokens: state num_speculative_tokens (spec_tokens)", field="spec_tokens")


def _refuse_adapters(scenario: Scenario, pool: Pool) -> None:
    """Raise for requests whose LoRA adapter no engine would take, in the engine's words where it has some."""
    asked = [traffic.adapters for traffic in scenario.workload.mix() if traffic.adapters is not None]
    if asked and not pool.enable_lora:
        raise SimulatorError(
            "requests ask for LoRA adapters, and the engine serves none; set enable_lora: true", field="enable_lora"
        )
    for adapters in asked:
        if adapters.rank is not None and adapters.rank > pool.max_lora_rank:
            raise SimulatorError(
                f"LoRA rank {adapters.rank} is greater than max_lora_rank {pool.max_lora_rank}; raise it to {adapters.rank}",
                field="max_lora_rank",
            )


def _refuse_impossible(scenario: Scenario, deployment: Deployment) -> None:
    """Raise for what no engine would start with and for what has no model; too little memory is a result and passes."""
    planned = [_refuse_impossible_pool(scenario, scenario.model_of(deployment), pool) for pool in deployment.pools]
    if deployment.apart:
        if any(pool.changes for pool in deployment.pools):
            raise NotModelled("replicas that come and go in a prefill or a decode pool; leave autoscaler and faults out")
        refuse_untransferable(*planned)


def _refuse_impossible_pool(scenario: Scenario, model: Model, pool: Pool) -> Server | DoesNotStart:
    _refuse_untimed(pool)
    _refuse_adapters(scenario, pool)
    args = pool.engine_args()
    resolved = scenario.engine.resolve(args, pool.gpu, model)
    if resolved.max_num_batched_tokens > LONGEST:
        raise TooMuch(
            f"max_num_batched_tokens {resolved.max_num_batched_tokens:,} exceeds the {LONGEST:,} modelled; lower it",
            field="max_num_batched_tokens",
        )
    planned = plan_server(model, pool.quantization, pool.gpu, args, scenario.engine, latency=scenario.latency)
    if isinstance(planned, DoesNotStart):
        scenario.latency.bind(planned.target)
    most = most_replicas(pool.replicas, pool.autoscaler) * pool.data_parallel_size
    if most > MOST_ENGINES:
        field = "replicas" if pool.instances > MOST_ENGINES else "autoscaler"
        raise TooMuch(f"{most:,} engines; at most {MOST_ENGINES:,} are simulated, so lower replicas", field=field)
    longest = resolved.max_model_len
    prompts = (traffic.prompt_law().expected() for traffic in scenario.workload.mix())
    if (prompt := max(prompts, default=0.0)) >= longest:
        raise ScenarioError(
            f"prompts of {prompt:,.0f} tokens exceed max_model_len {longest:,}; shorten the prompts or raise it",
            field="max_model_len",
        )
    return planned


def refuse_untransferable(prefill: Server | DoesNotStart, decode: Server | DoesNotStart) -> None:
    """Raise ScenarioError where the KV blocks of one pool cannot be read by the other, and NotModelled for layouts that are not.

    Source: vLLM 0.33, vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py: engines
    compare their layouts before the first transfer.
    """
    ours, theirs = prefill.plan, decode.plan
    same = (
        ("block_size", ours.args.block_size, theirs.args.block_size),
        ("kv_cache_dtype", kv_type(ours), kv_type(theirs)),
        ("pipeline_parallel_size", ours.args.pipeline_parallel_size, theirs.args.pipeline_parallel_size),
    )
    for field, one, other in same:
        if one != other:
            raise ScenarioError(
                f"the prefill pool has {field} {one} and the decode pool {other}: KV blocks of one cannot be read by the "
                "other; give both the same",
                field=field,
            )
    kinds = {(group.kind, group.reach) for plan in (ours, theirs) for group in plan.layout.groups}
    if kinds != {("full", 0)} or ours.layout.shards > 1 or theirs.layout.shards > 1:
        raise NotModelled(
            f"{theirs.model.name} keeps sliding windows, recurrent states or sequences split over ranks; transfers between pools "
            "are modelled for full attention only"
        )
    for server, role in ((prefill, PREFILL), (decode, DECODE)):
        if isinstance(server, Server):
            check_role(server.limits, role)


def kv_type(plan: MemoryPlan) -> str:
    """The type of the KV cache, by its bytes: what a transfer takes it for."""
    return stored_as(plan.model, plan.quantization, plan.args)
