"""The fleet: instances behind a router, requests sent to them as they come, one clock."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import numpy as np

from simulator.engine.admission import most_tokens, why_never
from simulator.engine.clock import DEADLINE, Alarm, Clock
from simulator.engine.fleet.router import Router
from simulator.engine.instance.durations import Durations, in_seconds, in_ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.kv.grouped_cache import GroupedCache
from simulator.engine.kv.prefix_cache import PrefixCache
from simulator.engine.kv.prefix_tree import PrefixTree
from simulator.engine.kv.windowed import BlockwiseScheduler, HybridScheduler
from simulator.engine.load import Load
from simulator.engine.record import REFUSED, TIMED_OUT, Recorder, RunRecord
from simulator.engine.request import Request
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.engine.scheduler.static import StaticScheduler
from simulator.engine.scheduler.vllm import Scheduler
from simulator.errors import NotModelled
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests


class Fleet:
    """Replicas behind a router, a feed in front, one clock."""

    def __init__(
        self,
        requests: Requests,
        replicas: Sequence[tuple[StepTime, SchedulerConfig]],
        router: Router,
        load: Load,
        seed: int,
        tick_s: float | None,
    ) -> None:
        self.requests, self.tick_s = requests, tick_s
        ticks = in_seconds if tick_s is None else in_ticks(tick_s)
        self.clock = Clock()
        self.recorder = Recorder(len(requests))
        self.limits = [limits for _, limits in replicas]
        durations = cache(partial(Durations, ticks=ticks))  # equal replicas share their tables
        self.replicas = [self._replica(number, durations(*settings), settings[1]) for number, settings in enumerate(replicas)]
        self.choose = router.start(self.replicas, np.random.default_rng(seed))
        branches = PrefixTree(requests.hashes, self.limits[0].block_size)
        self.feed = load.feed(requests, branches, self.clock, ticks, self._arrive)
        if self.feed.heeds_departures:
            for replica in self.replicas:
                replica.departed = self.feed.finished
        self.most_tokens = [most_tokens(limits) for limits in self.limits]
        self.timeout = None if load.timeout_s is None else ticks(load.timeout_s)
        self.deadlines: deque[tuple[Request, Instance]] = deque()
        self.deadline = Alarm(self.clock, DEADLINE, self._give_up)

    def _replica(self, number: int, durations: Durations, limits: SchedulerConfig) -> Instance:
        scheduler = self._scheduler(limits, {size for size, _, _ in durations.windows})
        return Instance(
            number, scheduler, durations, async_scheduling=limits.async_scheduling, clock=self.clock, recorder=self.recorder
        )

    def _scheduler(self, limits: SchedulerConfig, windows: set[int]) -> Scheduler:
        """The scheduler for these limits, and for step times with these sliding windows."""
        plain = limits.kv_groups == (KvGroup(),)
        caching = limits.enable_prefix_caching and self.requests.hashes is not None
        if limits.scheduling_policy == "static":
            if limits.async_scheduling or caching or windows or limits.state_blocks or not plain:
                raise NotModelled(
                    "static batching with async scheduling, a prefix cache, sliding windows, states or several KV groups"
                )
            return StaticScheduler(limits)
        if caching and limits.state_blocks:
            raise NotModelled("a prefix cache beside recurrent states that are not cached; switch enable_prefix_caching off")
        if caching and not plain:
            groups = [group.window for group in limits.kv_groups for _ in range(group.groups)]
            blocks = GroupedCache(limits.kv_blocks, limits.block_size, groups, async_scheduling=limits.async_scheduling)
            return BlockwiseScheduler(limits, blocks, windows)
        prefixes = PrefixCache(limits.kv_blocks, limits.block_size, async_scheduling=limits.async_scheduling) if caching else None
        return Scheduler(limits, prefixes) if plain and not windows else HybridScheduler(limits, prefixes, windows)

    def run(self) -> RunRecord:
        """Let the clock run until nothing is left to happen."""
        self.feed.start()
        with no_garbage_collection():
            while self.clock.work(4096):
                pass
        return self.recorder.record(self.requests, self.tick_s, tuple(limits.block_size for limits in self.limits))

    def _arrive(self, request: Request) -> None:
        """Send a request to a replica, or away if it can never be served there."""
        index, recorder = request.index, self.recorder
        recorder.arrival[index] = request.arrived
        replica = self.choose(request)
        number = replica.number
        if request.prompt + request.output > self.most_tokens[number]:
            recorder.refusals[index] = why_never(request, self.limits[number])
            recorder.fail(request, request.arrived, REFUSED)
            self.feed.failed(request)
            return
        recorder.replica[index] = number
        if self.timeout is not None:
            self._set_deadline(request, replica)
        replica.arrive(request)

    def _set_deadline(self, request: Request, replica: Instance) -> None:
        assert self.timeout is not None
        if not self.deadlines:
            self.clock.set(self.deadline, request.arrived + self.timeout)
        self.deadlines.append((request, replica))

    def _give_up(self, _: Alarm) -> None:
        """Time out the request that has been in the system longest, unless it has left."""
        assert self.timeout is not None
        self.clock.reach(self.clock.now, DEADLINE)
        request, replica = self.deadlines.popleft()
        if not request.left:
            self.recorder.fail(request, self.clock.now, TIMED_OUT)
            replica.abandon(request)
            self.feed.failed(request)
        while self.deadlines and self.deadlines[0][0].left:
            self.deadlines.popleft()
        if self.deadlines:
            self.clock.set(self.deadline, self.deadlines[0][0].arrived + self.timeout)


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
