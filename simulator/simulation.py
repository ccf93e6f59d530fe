"""A scenario's deployment bound and simulated."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.catalog.models import Model
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency import calibration
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.plan import MemoryPlan
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, plan_server
from simulator.units import GB
from simulator.workload.requests import Requests
from simulator.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Bound:
    """A deployment with everything a simulation needs; `step_time` and `limits` are None where it does not start."""

    deployment: Deployment
    model: Model
    plan: MemoryPlan
    target: Target
    step_time: StepTime | None
    limits: SchedulerConfig | None

    @property
    def starts(self) -> bool:
        """Whether the engine would start."""
        return self.limits is not None


def bind(scenario: Scenario, deployment: Deployment) -> Bound:
    """The memory plan of a deployment and, where it starts, the step time and limits of one replica."""
    found = plan_server(
        scenario.model_of(deployment),
        deployment.quantization,
        deployment.gpu,
        deployment.engine_args(),
        scenario.engine,
        latency=scenario.latency,
        calibration=None if scenario.calibration is None else calibration.load(scenario.calibration),
        link_bytes_per_s=deployment.link_gb_per_s and deployment.link_gb_per_s * GB,
    )
    model = found.plan.model
    if isinstance(found, DoesNotStart):
        return Bound(deployment, model, found.plan, found.target, None, None)
    return Bound(deployment, model, found.plan, found.target, found.step_time, found.limits)


def source_of(workload: Workload) -> Load:
    """How requests reach the servers: at their own times, or as earlier ones finish."""
    loop = workload.closed_loop
    return OpenLoop() if loop is None else ClosedLoop(concurrency=loop.concurrency, think_s=loop.think_s)


def simulate(bound: Bound, requests: Requests, *, source: Load | None = None, seed: int = 0) -> RunRecord:
    """Serve the requests on all replicas of a deployment that starts."""
    assert bound.step_time is not None and bound.limits is not None, bound.plan.reason
    copies = bound.deployment.replicas * bound.deployment.data_parallel_size
    replicas = [(bound.step_time, bound.limits)] * copies
    return serve(requests, replicas, router=bound.deployment.router, load=source or OpenLoop(), seed=seed)
