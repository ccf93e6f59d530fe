"""serve: requests and instances in, a record of everything that happened out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator.engine.admission import check_requests
from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.fleet import Fleet
from simulator.engine.fleet.hand_over import KvLink, PoolServers, Routing
from simulator.engine.fleet.lives import LifeRules
from simulator.engine.fleet.pooled import PooledFleet
from simulator.engine.fleet.queue_limits import NO_LIMITS, QueueLimits
from simulator.engine.fleet.router import RoundRobin, Router
from simulator.engine.kv.grouped_cache import OwnBlocksNeeded
from simulator.engine.load import Load, OpenLoop
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.client import ApiServer
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests

IN_TURN, BY_THE_CLOCK, EACH_ALONE = RoundRobin(), OpenLoop(), DataParallel(ranks=1)


def serve(
    requests: Requests,
    replicas: Sequence[tuple[StepTime, SchedulerConfig]],
    *,
    router: Router = IN_TURN,
    load: Load = BY_THE_CLOCK,
    data_parallel: DataParallel = EACH_ALONE,
    front_end: ApiServer | None = None,
    queue_limits: QueueLimits = NO_LIMITS,
    life_rules: LifeRules | None = None,
    seed: int = 0,
    tick_s: float | None = None,
) -> RunRecord:
    """Serve `requests` on `replicas`, an instance each, and give the record of it.

    With `data_parallel` they are the ranks of servers, so many next to each other a server, and the
    router chooses among servers. With a `front_end` requests and tokens pass through one.
    `queue_limits`: what each server lets in, of what could be served. With `life_rules` servers
    come and go, and `replicas` are the ranks of each one of them.

    Times are seconds. With `tick_s` every time that goes in is rounded to whole ticks of that many
    seconds and the simulation counts ticks in integers, so equal means equal. `seed` is for routers
    that draw. Raises SimulatorError for columns or step times that make no sense, before the clock
    starts; a request that can never fit, or that a server turns away, is refused, with a reason in
    `RunRecord.refusals`.
    """
    check_requests(requests, load)
    if not replicas:
        raise SimulatorError("serve: at least one replica is needed")
    if len(replicas) % data_parallel.ranks:
        raise SimulatorError(f"serve: {len(replicas)} instances are no whole servers of {data_parallel.ranks} ranks")
    if life_rules is not None and data_parallel.balance == "router" and data_parallel.ranks > 1:
        raise SimulatorError("serve: ranks that the router knows cannot come and go one by one")
    more = router, load, seed, tick_s, data_parallel, front_end, queue_limits, life_rules
    try:
        return Fleet(requests, replicas, *more).run()
    except OwnBlocksNeeded:  # seldom, so it is cheaper to begin again than always to follow them
        followed = [(time, replace(config, names_own=True)) for time, config in replicas]
        return Fleet(requests, followed, *more).run()


PROXY = Routing()


def serve_pools(
    requests: Requests,
    prefill: PoolServers,
    decode: PoolServers,
    link: KvLink,
    *,
    routing: Routing = PROXY,
    load: Load = BY_THE_CLOCK,
    front_end: ApiServer | None = None,
    seed: int = 0,
    tick_s: float | None = None,
) -> RunRecord:
    """Serve `requests` on two pools: prompts on the first, answers on the second, KV sent from one to the other.

    The prefill instances come first among the replicas of the record. Times are as `serve` has them.
    Raises NotModelled for time-outs, and SimulatorError as `serve` does.
    """
    check_requests(requests, load)
    if load.timeout_s is not None:
        raise NotModelled("clients that give up, with a prefill and a decode pool")
    sizes = {config.block_size for pool in (prefill, decode) for _, config in pool.servers}
    if len(sizes) > 1:
        raise SimulatorError(f"serve: KV blocks of {sorted(sizes)} tokens cannot be read by each other")
    return PooledFleet(requests, prefill, decode, link, routing, load, seed, tick_s, front_end).run()
