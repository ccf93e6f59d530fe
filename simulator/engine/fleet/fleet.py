"""The fleet: instances behind a router, requests sent to them as they come, one clock."""

from __future__ import annotations

import gc
import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import cast

import numpy as np

from simulator.engine.admission import most_tokens, why_never, why_stuck
from simulator.engine.clock import DEADLINE, Alarm, Clock
from simulator.engine.fleet.data_parallel import DataParallel, RankSet
from simulator.engine.fleet.front_end import Lane
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.reports import LoadReports
from simulator.engine.fleet.router import Router
from simulator.engine.instance.durations import Durations, StepTimer, Ticks, in_seconds, in_ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.lock_step import Rank, RankGroup
from simulator.engine.kv.prefix_tree import PrefixTree
from simulator.engine.load import Load
from simulator.engine.record import REFUSED, TIMED_OUT, Recorder, RunRecord
from simulator.engine.request import Request
from simulator.engine.scheduler.build import build_scheduler
from simulator.engine.scheduler.config import SchedulerConfig
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
        self.choose = self._chooser(instances, data_parallel, router, np.random.default_rng(seed), ticks)
        paths = PrefixTree(requests.hashes, self.block_size)
        self.lanes = [] if front_end is None else [Lane(front_end, each, self.clock, ticks) for each in instances]
        self.taken, self.entered = (array("d", [math.nan]) * (len(requests) if self.lanes else 0) for _ in range(2))
        self.feed = load.feed(requests, paths, self.clock, ticks, self._arrive)
        if self.lanes or self.feed.heeds_departures:
            for instance in instances:
                instance.finished = self._deliver if self.lanes else self._finish_and_tell
        self.timeout = None if load.timeout_s is None else ticks(load.timeout_s)
        self.deadlines: deque[tuple[Request, Instance]] = deque()
        self.deadline = Alarm(self.clock, DEADLINE, self._give_up)

    def _chooser(
        self,
        instances: list[Instance],
        data_parallel: DataParallel,
        router: Router,
        rng: np.random.Generator,
        ticks: Ticks,
    ) -> Callable[[Request], Instance]:
        """What gives a request its instance: the router, and where servers have several ranks their front end behind it."""
        ranks, lock_step = data_parallel.ranks, data_parallel.lock_step
        servers = [instances[i : i + ranks] for i in range(0, len(instances), ranks)]
        if lock_step is not None:
            for of_one in servers:
                RankGroup(cast("list[Rank]", of_one), lock_step, self.clock)
        if ranks == 1 or data_parallel.balance == "router":
            pool = InstancePool(instances, self.block_size, self.clock, ticks, self.requests.previous)
            return router.start(pool, rng)
        every = ticks(data_parallel.report_s)
        sets = [RankSet(of_one, data_parallel.balance, LoadReports(self.clock, every)) for of_one in servers]
        if len(sets) == 1:
            return sets[0].choose
        pool = InstancePool(sets, self.block_size, self.clock, ticks, self.requests.previous)
        route = router.start(pool, rng)
        return lambda request: cast("Instance", route(request).choose(request))

    def _instance(self, kind: type[Instance], number: int, config: SchedulerConfig, durations: Durations) -> Instance:
        sizes = {size for size, _, _ in durations.windows}
        scheduler, sums = build_scheduler(config, sizes, prefixes=self.requests.hashes is not None)
        return kind(
            number,
            scheduler,
            StepTimer(durations, scheduler.batch, sums),
            async_scheduling=config.async_scheduling,
            clock=self.clock,
            recorder=self.recorder,
            finished=self._finish,
        )

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
        self._deliver_first_tokens()
        trace = self.recorder.record(self.requests, self.tick_s, sizes)
        times = {"taken_s": self.taken, "entered_s": self.entered}
        columns = {name: np.frombuffer(column) * (self.tick_s or 1.0) for name, column in times.items()}
        return replace(trace, requests={**trace.requests, **columns})

    def _deliver_first_tokens(self) -> None:
        """Put the times at which clients have their first tokens in place of the engine's."""
        recorder = self.recorder
        first, replica = np.frombuffer(recorder.first_token), np.frombuffer(recorder.replica, np.int32)
        for number, lane in enumerate(self.lanes):
            lane.catch_up(math.inf)
            mine = replica == number
            first[mine] = lane.delivered(first[mine])

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
        index, recorder = request.index, self.recorder
        recorder.arrival[index] = request.arrived
        instance = self.only
        if instance is None:
            choose = self.choose
            instance = choose(request)
        number = instance.number
        if request.prompt + request.output > self.most_tokens[number]:
            recorder.refusals[index] = why_never(request, self.configs[number])
            recorder.fail(request, request.arrived, REFUSED)
            self.feed.failed(request)
            return
        recorder.replica[index] = number
        if self.timeout is not None:
            self._set_deadline(request, instance, request.arrived + self.timeout)
        if self.lanes:
            self.taken[index] = self.lanes[number].take(request)
        else:
            instance.arrive(request)

    def _deliver(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens; their clients have them when the front end has sent them."""
        recorder = self.recorder
        self.clock.reach(now, turn)
        for request in finished:
            index = request.index
            self.entered[index] = request.arrived
            sent = max(self.lanes[recorder.replica[index]].catch_up(now), now)
            recorder.finish[index] = sent
            if request.preemptions:
                recorder.preemptions[index] = request.preemptions
            if self.feed.heeds_departures:
                self.clock.set(Alarm(self.clock, index, partial(self._tell, request)), sent)

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
