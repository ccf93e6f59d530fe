"""What a fleet is made of: instances, the servers of several ranks that they form, and who chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from simulator.engine.clock import Clock
from simulator.engine.fleet.data_parallel import DataParallel, RankSet
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.queue_limits import Door, QueueLimits
from simulator.engine.fleet.reports import LoadReports
from simulator.engine.fleet.router import Router
from simulator.engine.instance.durations import AdapterTimer, Durations, ReceiverTimer, SpeculativeTimer, StepTimer, Ticks
from simulator.engine.instance.instance import Finished, Instance
from simulator.engine.instance.lock_step import Rank, RankGroup
from simulator.engine.record import Recorder
from simulator.engine.request import Request
from simulator.engine.scheduler.adapters import AdapterScheduler
from simulator.engine.scheduler.build import Role, build_scheduler
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.scheduler import Scheduler
from simulator.engine.scheduler.speculative import SpeculativeBatch
from simulator.engine.scheduler.windows import InWindow
from simulator.latency.step import StepTime


def build_instances(
    servers: Sequence[tuple[StepTime, SchedulerConfig]],
    data_parallel: DataParallel,
    clock: Clock,
    recorder: Recorder,
    finished: Finished,
    durations: Callable[[StepTime, SchedulerConfig], Durations],
    *,
    prefixes: bool,
    role: Role = "",
    first: int = 0,
    adapters: Sequence[int] | None = None,
) -> list[Instance]:
    """An instance a server, numbered from `first` on; `prefixes`: whether requests tell what their blocks hold.

    `adapters`: the LoRA adapter of each request, by its index.
    """
    kind = Instance if data_parallel.lock_step is None else Rank

    def build(number: int, step_time: StepTime, config: SchedulerConfig) -> Instance:
        times = durations(step_time, config)
        sizes = {size for size, *_ in times.windows}
        scheduler, sums = build_scheduler(config, sizes, prefixes=prefixes, role=role, adapters=adapters)
        return kind(
            number,
            scheduler,
            _timer(times, scheduler, sums, role),
            async_scheduling=config.async_scheduling,
            clock=clock,
            recorder=recorder,
            finished=finished,
        )

    return [build(number, *server) for number, server in enumerate(servers, first)]


def _timer(durations: Durations, scheduler: Scheduler, sums: Mapping[int, InWindow], role: Role) -> StepTimer:
    batch = scheduler.batch
    if role == "decode":
        return ReceiverTimer(durations, batch, sums)
    if isinstance(batch, SpeculativeBatch):
        return SpeculativeTimer(durations, batch)
    if isinstance(scheduler, AdapterScheduler):
        return AdapterTimer(durations, batch, sums, scheduler.adapters)
    return StepTimer(durations, batch, sums)


def rank_sets(
    instances: list[Instance],
    data_parallel: DataParallel,
    limits: QueueLimits,
    clock: Clock,
    recorder: Recorder,
    ticks: Ticks,
) -> list[RankSet]:
    """The servers that have several ranks, or turn requests away; none where each instance just serves what it is sent."""
    ranks, lock_step, balance = data_parallel.ranks, data_parallel.lock_step, data_parallel.balance
    servers = [instances[i : i + ranks] for i in range(0, len(instances), ranks)]
    if lock_step is not None:
        for of_one in servers:
            RankGroup(cast("list[Rank]", of_one), lock_step, clock)
    if balance == "router":
        servers = [[instance] for instance in instances]
    if len(servers[0]) == 1 and not limits.limit:
        return []
    every = ticks(data_parallel.report_s)
    doors = [Door(limits, recorder, clock) if limits.limit else None for _ in servers]
    return [RankSet(of_one, balance, LoadReports(clock, every), door) for of_one, door in zip(servers, doors, strict=True)]


def chooser(pool: InstancePool, router: Router, rng: np.random.Generator) -> Callable[[Request], Any]:
    """What gives a request its endpoint: the router, where there are several."""
    if len(pool.ready) == 1:
        only = pool.ready[0]
        return lambda request: only
    return router.start(pool, rng)
