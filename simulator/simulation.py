"""Where the rooms meet: a scenario's deployment becomes a memory plan, a step time, limits, and a simulation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Model
from simulator.engine.cluster import serve
from simulator.engine.limits import KvGroup, Limits
from simulator.engine.recorder import Trace
from simulator.engine.source import ClosedLoop, OpenLoop, Source
from simulator.latency import calibration
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.plan import MemoryPlan, plan_memory
from simulator.scenario import Deployment, Scenario
from simulator.units import GB
from simulator.workload.requests import Requests
from simulator.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Bound:
    """A deployment with everything a simulation needs; `step_time` and `limits` are None where it does not start."""

    deployment: Deployment
    model: Model
    plan: MemoryPlan
    step_time: StepTime | None
    limits: Limits | None

    @property
    def starts(self) -> bool:
        """Whether the engine would start."""
        return self.limits is not None


def bind(scenario: Scenario, deployment: Deployment) -> Bound:
    """The memory plan of a deployment and, where it starts, the step time and limits of one replica."""
    model = scenario.model_of(deployment)
    quantization = deployment.quantization or model.quantization
    plan = plan_memory(model, quantization, deployment.gpu, deployment.engine_args(), scenario.engine)
    if not plan.starts:
        return Bound(deployment, model, plan, None, None)
    step_time = scenario.latency.bind(target(plan, deployment))
    if scenario.calibration is not None:
        measured = calibration.load(scenario.calibration).find(model, quantization, deployment.gpu, plan.args)
        step_time = calibration.apply(step_time, measured)
    return Bound(deployment, model, plan, step_time, _limits(plan.args, plan))


def target(plan: MemoryPlan, deployment: Deployment) -> Target:
    """What the step time of a planned deployment is bound to."""
    link = deployment.link_gb_per_s * GB if deployment.link_gb_per_s else None
    return Target(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine, link)


def _limits(args: EngineArgs, plan: MemoryPlan) -> Limits:
    assert args.block_size is not None and args.max_num_seqs is not None and args.max_num_batched_tokens is not None
    blocks, groups, states = kv_pool(plan)
    return Limits(
        kv_blocks=blocks,
        kv_groups=groups,
        state_blocks=states,
        block_size=args.block_size,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_model_len=args.max_model_len,
        long_prefill_token_threshold=args.long_prefill_token_threshold,
        max_num_partial_prefills=args.max_num_partial_prefills,
        scheduling_policy=args.scheduling_policy,
        enable_chunked_prefill=bool(args.enable_chunked_prefill),
        enable_prefix_caching=bool(args.enable_prefix_caching),
        reserve_full_prompt=bool(args.scheduler_reserve_full_isl),
        async_scheduling=bool(args.async_scheduling),
    )


def kv_pool(plan: MemoryPlan) -> tuple[int, tuple[KvGroup, ...], int]:
    """The blocks that requests share, one being vLLM's null block; the layer groups that take them; those of a sequence's states.

    Where groups differ in block size, or ranks split a sequence's tokens, the pool is that of one group which holds as many
    sequences of max_model_len.
    """
    states = sum(layer.states for layer in plan.layout.groups if layer.kind == "state")
    growing = [layer for layer in plan.layout.groups if layer.kind != "state" or not layer.states]
    if plan.layout.shards > 1 or any(layer.block_size != plan.layout.block_size for layer in growing) or not growing:
        return max(1, plan.scheduler_blocks - 1), (KvGroup(),), 0
    reaches = Counter(layer.reach or None for layer in growing)
    groups = tuple(KvGroup(groups=n, window=reach) for reach, n in reaches.items())
    return max(1, plan.num_gpu_blocks - 1), groups, states


def source_of(workload: Workload) -> Source:
    """How requests reach the servers: at their own times, or as earlier ones finish."""
    loop = workload.closed_loop
    return OpenLoop() if loop is None else ClosedLoop(concurrency=loop.concurrency, think_s=loop.think_s)


def simulate(bound: Bound, requests: Requests, *, source: Source | None = None, seed: int = 0, progress: bool = False) -> Trace:
    """Serve the requests on all replicas of a deployment that starts."""
    assert bound.step_time is not None and bound.limits is not None, bound.plan.reason
    copies = bound.deployment.replicas * bound.deployment.data_parallel_size
    replicas = [(bound.step_time, bound.limits)] * copies
    return serve(requests, replicas, router=bound.deployment.router, source=source or OpenLoop(), seed=seed, progress=progress)
