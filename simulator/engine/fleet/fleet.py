"""The fleet: instances behind a router, requests sent to them as they come, one clock."""

from __future__ import annotations

import gc
import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any, cast

import numpy as np

from simulator.engine.admission import most_tokens, why_never, why_stuck
from simulator.engine.clock import DEADLINE, Alarm, Clock
from simulator.engine.fleet.data_parallel import DataParallel, RankSet
from simulator.engine.fleet.front_end import Lane
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.queue_limits import NO_LIMITS, Door, QueueLimits
from simulator.engine.fleet.reports import LoadReports
from simulator.engine.fleet.router import Router
from simulator.engine.instance.durations import Durations, SpeculativeTimer, StepTimer, Ticks, in_seconds, in_ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.lock_step import Rank, RankGroup
from simulator.engine.kv.prefix_tree import PrefixTree
from simulator.engine.load import Load
from simulator.engine.record import REFUSED, TIMED_OUT, Recorder, RunRecord
from simulator.engine.request import Request
from simulator.engine.scheduler.build import build_scheduler
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.speculative import SpeculativeBatch
from simulator.engine.scheduler.windows import InWindow
from simulator.latency.client import ApiServer
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests


class Fleet:
    """A pool of instances behind a router, a feed in front, one clock: the way of every request from its arrival on."""

    def __init__(
        self,
        requests: Requests,
        servers: Sequence[tuple[StepTime, SchedulerConfig]],
        router: Router,
        load: Load,
        seed: int,
        tick_s: float | None,
        data_parallel: DataParallel,
        front_end: ApiServer | None = None,
        queue_limits: QueueLimits = NO_LIMITS,
    ) -> None:
        self.requests, self.tick_s = requests, tick_s
        ticks = in_seconds if tick_s is None else in_ticks(tick_s)
        self.clock = Clock()
        self.recorder = Recorder(len(requests))
        self.configs = [config for _, config in servers]
        self.most_tokens = [most_tokens(config) for config in self.configs]
        durations = cache(partial(Durations, ticks=ticks))  # equal instances share their tables
        kind = Instance if data_parallel.lock_step is None else Rank
        self.instances = instances = [
            self._instance(kind, number, config, durations(time, config)) for number, (time, config) in enumerate(servers)
        ]
        self.only = instances[0] if len(instances) == 1 else None  # which needs no router
        self.block_size = self.configs[0].block_size
        rng = np.random.default_rng(seed)
        sets = self._servers(instances, data_parallel, queue_limits, ticks)
        if sets:
            self.route = self._router(sets, router, rng, ticks)
        else:
            self.choose = self._router(instances, router, rng, ticks)
        paths = PrefixTree(requests.hashes, self.block_size)
        self.taken, self.entered = (array("d", [math.nan]) * (len(requests) if front_end else 0) for _ in range(2))
        lane = None if front_end is None else partial(Lane, front_end)
        self.lanes = [lane(each, self.clock, ticks, self.taken, self.entered) for each in instances] if lane else []
        arrive = self._arrive_at_server if sets else self._arrive
        self.feed = load.feed(requests, paths, self.clock, ticks, arrive)
        if self.feed.heeds_departures:
            for instance in instances:
                instance.finished = self._deliver if self.lanes else self._finish_and_tell
        self.timeout = None if load.timeout_s is None else ticks(load.timeout_s)
        self.deadlines: deque[tuple[Request, Instance]] = deque()
        self.deadline = Alarm(self.clock, DEADLINE, self._give_up)

    def _servers(
        self, instances: list[Instance], data_parallel: DataParallel, limits: QueueLimits, ticks: Ticks
    ) -> list[RankSet]:
        """The servers that have several ranks, or turn requests away; none where each instance just serves what it is sent."""
        ranks, lock_step, balance = data_parallel.ranks, data_parallel.lock_step, data_parallel.balance
        servers = [instances[i : i + ranks] for i in range(0, len(instances), ranks)]
        if lock_step is not None:
            for of_one in servers:
                RankGroup(cast("list[Rank]", of_one), lock_step, self.clock)
        if balance == "router":
            servers = [[instance] for instance in instances]
        if len(servers[0]) == 1 and not limits.limit:
            return []
        every = ticks(data_parallel.report_s)
        doors = [Door(limits, self.recorder, self.clock) if limits.limit else None for _ in servers]
        return [
            RankSet(of_one, balance, LoadReports(self.clock, every), door) for of_one, door in zip(servers, doors, strict=True)
        ]

    def _router(self, endpoints: list[Any], router: Router, rng: np.random.Generator, ticks: Ticks) -> Callable[[Request], Any]:
        """What gives a request its endpoint: the router, where there are several."""
        if len(endpoints) == 1:
            return lambda request: endpoints[0]
        return router.start(InstancePool(endpoints, self.block_size, self.clock, ticks, self.requests.previous), rng)

    def _instance(self, kind: type[Instance], number: int, config: SchedulerConfig, durations: Durations) -> Instance:
        sizes = {size for size, *_ in durations.windows}
        scheduler, sums = build_scheduler(config, sizes, prefixes=self.requests.hashes is not None)
        return kind(
            number,
            scheduler,
            self._timer(durations, scheduler.batch, sums),
            async_scheduling=config.async_scheduling,
            clock=self.clock,
            recorder=self.recorder,
            finished=self._finish,
        )

    @staticmethod
    def _timer(durations: Durations, batch: DecodeBatch, sums: Mapping[int, InWindow]) -> StepTimer:
        return SpeculativeTimer(durations, batch) if isinstance(batch, SpeculativeBatch) else StepTimer(durations, batch, sums)

    def run(self) -> RunRecord:
        """Let the clock run until nothing is left to happen."""
        self.feed.start()
        with no_garbage_collection():
            while self.clock.work(4096):
                pass
        for instance in self.instances:
            self._leave_waiting(instance)
        sizes = tuple(config.block_size for config in self.configs)
        if not self.lanes:
            return self.recorder.record(self.requests, self.tick_s, sizes)
        self._deliver_tokens()
        trace = self.recorder.record(self.requests, self.tick_s, sizes)
        times = {"taken_s": self.taken, "entered_s": self.entered}
        columns = {name: np.frombuffer(column) * (self.tick_s or 1.0) for name, column in times.items()}
        return replace(trace, requests={**trace.requests, **columns})

    def _deliver_tokens(self) -> None:
        """Put the times at which clients have their first and last tokens in place of the engine's."""
        replica = np.frombuffer(self.recorder.replica, np.int32)
        columns = [np.frombuffer(column) for column in (self.recorder.first_token, self.recorder.finish)]
        for number, lane in enumerate(self.lanes):
            lane.catch_up(math.inf)
            mine = replica == number
            for column in columns:
                column[mine] = lane.delivered(column[mine])

    def _leave_waiting(self, instance: Instance) -> None:
        """Note who waits for ever: the first in the queue, which can never be scheduled, and those behind it."""
        waiting = instance.scheduler.waiting
        if waiting:
            first = waiting[0]
            for request in waiting:
                self.recorder.keep_waiting(request, f"request {first.index} is ahead of it, which can never be scheduled")
            self.recorder.keep_waiting(first, why_stuck(first, self.configs[instance.number]))

    def _arrive(self, request: Request) -> None:
        """Send a request to an instance, or away if it can never be served there."""
        self.recorder.arrival[request.index] = request.arrived
        instance = self.only
        if instance is None:
            choose = self.choose
            instance = choose(request)
        if request.prompt + request.output > self.most_tokens[instance.number]:
            self._turn_away(request, why_never(request, self.configs[instance.number]))
        else:
            self._give(request, instance)

    def _arrive_at_server(self, request: Request) -> None:
        """Send a request to a rank of a server, or away if it can never be served there, or the server takes no more now."""
        self.recorder.arrival[request.index] = request.arrived
        server = self.route(request)
        number = server.ranks[0].number
        if request.prompt + request.output > self.most_tokens[number]:
            self._turn_away(request, why_never(request, self.configs[number]))
        elif closed := server.why_closed():
            self._turn_away(request, closed)
        else:
            if server.door is not None:
                server.door.enter(request)
            self._give(request, server.choose(request))

    def _turn_away(self, request: Request, reason: str) -> None:
        self.recorder.refusals[request.index] = reason
        self.recorder.fail(request, request.arrived, REFUSED)
        self.feed.failed(request)

    def _give(self, request: Request, instance: Instance) -> None:
        self.recorder.replica[request.index] = instance.number
        if self.timeout is not None:
            self._set_deadline(request, instance, request.arrived + self.timeout)
        if self.lanes:
            self.lanes[instance.number].take(request)
        else:
            instance.arrive(request)

    def _deliver(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens, and others come for it once the front end has sent them."""
        self._finish(finished, now, turn)
        self.clock.reach(now, turn)
        for request in finished:
            sent = self.lanes[self.recorder.replica[request.index]].sent_at(now)
            self.clock.set(Alarm(self.clock, request.index, partial(self._tell, request)), sent)

    def _tell(self, request: Request, _: Alarm) -> None:
        self.feed.finished(request)

    def _finish(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens."""
        recorder = self.recorder
        for request in finished:
            recorder.finish[request.index] = now
            if request.preemptions:
                recorder.preemptions[request.index] = request.preemptions

    def _finish_and_tell(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens, and others come for it."""
        self._finish(finished, now, turn)
        self.clock.reach(now, turn)
        for request in finished:
            self.feed.finished(request)

    def _set_deadline(self, request: Request, instance: Instance, when: float) -> None:
        if not self.deadlines:
            self.clock.set(self.deadline, when)
        self.deadlines.append((request, instance))

    def _give_up(self, _: Alarm) -> None:
        """Time out the request that has been in the system longest, unless it has left."""
        assert self.timeout is not None
        self.clock.reach(self.clock.now, DEADLINE)
        request, instance = self.deadlines.popleft()
        if not self.recorder.has_left(request):
            self.recorder.fail(request, self.clock.now, TIMED_OUT)
            if instance.door is not None:
                instance.door.give_up(request)
            if not self.lanes or not self.lanes[instance.number].gives_up(request):
                instance.abandon(request)
            self.feed.failed(request)
        while self.deadlines and self.recorder.has_left(self.deadlines[0][0]):
            self.deadlines.popleft()
        if self.deadlines:
            self.clock.set(self.deadline, self.recorder.arrival[self.deadlines[0][0].index] + self.timeout)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking all live requests again and again: what leaves the system is in no cycle."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
