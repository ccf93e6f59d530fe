"""A deployment of a scenario as the fleet that is simulated, and how requests reach it."""

from __future__ import annotations

from simulator.engine.fleet.operation import Operation
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.errors import NotModelled
from simulator.latency import calibration
from simulator.scenario import Deployment, Pool, Scenario
from simulator.server import DoesNotStart, FleetPlan, LinkPlan, PoolPlan, Server, plan_server
from simulator.units import GB
from simulator.workload.workload import Workload


def plan_fleet(scenario: Scenario, deployment: Deployment) -> FleetPlan | DoesNotStart:
    """The servers of a deployment, or why they do not start. Raises NotModelled for several
    pools."""
    planned = plan_pools(scenario, deployment)
    client = scenario.frontend if scenario.measured_at == "client" else None
    fleet = []
    for pool, server in zip(deployment.pools, planned, strict=True):
        if isinstance(server, DoesNotStart):
            return server
        fleet.append(PoolPlan(server, pool.instances, pool.router))
    link = deployment.link
    if link is None:
        return FleetPlan(tuple(fleet), client, operation=_operation(deployment, fleet[0].server))
    if any(pool.changes for pool in deployment.pools):
        raise NotModelled("autoscaler and faults are not modelled of prefill and decode pools")
    between = LinkPlan(link.port_bytes_per_s, link.latency_s)
    return FleetPlan(tuple(fleet), client, between, deployment.routing)


def _operation(deployment: Deployment, server: Server) -> Operation | None:
    """How the replicas of its only pool come and go, if they do. Raises NotModelled where the
    router knows ranks."""
    pool = deployment.pool
    if not pool.changes:
        return None
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


def plan_pools(scenario: Scenario, deployment: Deployment) -> list[Server | DoesNotStart]:
    """What each instance of each pool of a deployment is, or why it does not start."""
    if not deployment.apart:
        return [_plan_pool(scenario, deployment, deployment.pool)]
    return [_plan_pool(scenario, deployment, pool) for pool in deployment.pools]


def _plan_pool(scenario: Scenario, deployment: Deployment, pool: Pool) -> Server | DoesNotStart:
    return plan_server(
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
        network=pool.network,
        apart=deployment.apart,
    )


def source_of(workload: Workload) -> Load:
    """How requests reach the servers: at their own times, or as earlier ones finish."""
    loop = workload.closed_loop
    if loop is None:
        return OpenLoop(max_concurrency=workload.max_concurrency)
    return ClosedLoop(concurrency=loop.concurrency, think_s=loop.think_s)
