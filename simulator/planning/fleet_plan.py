"""A deployment of a scenario as the fleet that is simulated, and how requests reach it."""

from __future__ import annotations

from simulator.engine.fleet.operation import Operation
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.errors import NotModelled
from simulator.latency import calibration
from simulator.scenario import Deployment, Pool, Scenario
from simulator.server import DoesNotStart, FleetPlan, PoolPlan, Server, plan_server
from simulator.units import GB
from simulator.workload.workload import Workload


def plan_fleet(scenario: Scenario, deployment: Deployment) -> FleetPlan | DoesNotStart:
    """The servers of a deployment, or why they do not start. Raises NotModelled for several
    pools."""
    pool = deployment.pool
    planned = plan_server(
        scenario.model_of(deployment),
        pool.quantization,
        pool.gpu,
        pool.engine_args(),
        scenario.engine,
        latency=scenario.latency,
        calibration=None
        if scenario.calibration is None
        else calibration.load_calibration(scenario.calibration),
        link_bytes_per_s=pool.link_gb_per_s and pool.link_gb_per_s * GB,
        host=pool.host,
        sampling=scenario.sampling,
    )
    if isinstance(planned, DoesNotStart):
        return planned
    client = scenario.frontend if scenario.measured_at == "client" else None
    operation = _operation(pool, planned) if pool.changes else None
    return FleetPlan((PoolPlan(planned, pool.instances, pool.router),), client, operation)


def _operation(pool: Pool, server: Server) -> Operation:
    """How the replicas of a pool come and go. Raises NotModelled where the router knows ranks."""
    if pool.data_parallel_external_lb:
        raise NotModelled("autoscaler and faults are not modelled with data_parallel_external_lb")
    weights = server.plan.weights_bytes * pool.gpus_per_replica
    return Operation(
        cold_start=pool.cold_start.causes(weights),
        autoscaler=pool.autoscaler,
        faults=pool.faults,
        retries=pool.retries,
        drain_s=pool.drain_s,
    )


def source_of(workload: Workload) -> Load:
    """How requests reach the servers: at their own times, or as earlier ones finish."""
    loop = workload.closed_loop
    if loop is None:
        return OpenLoop(max_concurrency=workload.max_concurrency)
    return ClosedLoop(concurrency=loop.concurrency, think_s=loop.think_s)
