"""serve: requests and replicas in, a trace of everything that happened out."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import numpy as np

from simulator.engine.admission import check_requests, most_tokens, why_never
from simulator.engine.clock import DEADLINE, Alarm, Clock
from simulator.engine.fleet.router import RoundRobin, Router
from simulator.engine.instance.durations import Durations, in_seconds, in_ticks
from simulator.engine.instance.instance import Replica
from simulator.engine.kv.grouped_cache import BlockCache
from simulator.engine.kv.prefix_cache import PrefixCache
from simulator.engine.kv.prefix_tree import Branches
from simulator.engine.kv.windowed import BlockwiseScheduler, HybridScheduler
from simulator.engine.load import OpenLoop, Source
from simulator.engine.progress import Progress
from simulator.engine.record import REFUSED, TIMED_OUT, Recorder, Trace
from simulator.engine.request import Request
from simulator.engine.scheduler.config import KvGroup, Limits
from simulator.engine.scheduler.static import StaticScheduler
from simulator.engine.scheduler.vllm import Scheduler
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests

IN_TURN, BY_THE_CLOCK = RoundRobin(), OpenLoop()


def serve(
    requests: Requests,
    replicas: Sequence[tuple[StepTime, Limits]],
    *,
    router: Router = IN_TURN,
    source: Source = BY_THE_CLOCK,
    seed: int = 0,
    tick_s: float | None = None,
    progress: bool = False,
) -> Trace:
    """Serve `requests` on `replicas` and give the trace of it.

    Times are seconds. With `tick_s` every time that goes in is rounded to whole ticks of that many seconds and the simulation
    counts ticks in integers, so equal means equal. `seed` is for routers that draw. `progress` shows a bar on stderr when it
    takes over a second. Raises SimulatorError for columns or step times that make no sense, before the clock starts; a request
    that can never fit is refused, with a reason in `Trace.refusals`.
    """
    check_requests(requests, source)
    if not replicas:
        raise SimulatorError("serve: at least one replica is needed")
    return Cluster(requests, replicas, router, source, seed, tick_s).run(progress)


class Cluster:
    """Replicas behind a router, a feed in front, one clock."""

    def __init__(
        self,
        requests: Requests,
        replicas: Sequence[tuple[StepTime, Limits]],
        router: Router,
        source: Source,
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
        self.choose = router.bind(self.replicas, np.random.default_rng(seed))
        branches = Branches(requests.hashes, self.limits[0].block_size)
        self.feed = source.feed(requests, branches, self.clock, ticks, self._arrive)
        if self.feed.heeds_departures:
            for replica in self.replicas:
                replica.departed = self.feed.finished
        self.most_tokens = [most_tokens(limits) for limits in self.limits]
        self.timeout = None if source.timeout_s is None else ticks(source.timeout_s)
        self.deadlines: deque[tuple[Request, Replica]] = deque()
        self.deadline = Alarm(self.clock, DEADLINE, self._give_up)

    def _replica(self, number: int, durations: Durations, limits: Limits) -> Replica:
        scheduler = self._scheduler(limits, {size for size, _, _ in durations.windows})
        return Replica(number, scheduler, durations, lag=limits.async_scheduling, clock=self.clock, recorder=self.recorder)

    def _scheduler(self, limits: Limits, windows: set[int]) -> Scheduler:
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
            blocks = BlockCache(limits.kv_blocks, limits.block_size, groups, lag=limits.async_scheduling)
            return BlockwiseScheduler(limits, blocks, windows)
        prefixes = PrefixCache(limits.kv_blocks, limits.block_size, lag=limits.async_scheduling) if caching else None
        return Scheduler(limits, prefixes) if plain and not windows else HybridScheduler(limits, prefixes, windows)

    def run(self, progress: bool) -> Trace:
        """Let the clock run until nothing is left to happen."""
        bar = Progress(len(self.requests), shown=progress)
        self.feed.start()
        with no_garbage_collection():
            while self.clock.work(4096):
                bar.update(self.recorder.finish)
        bar.close()
        return self.recorder.trace(self.requests, self.tick_s, tuple(limits.block_size for limits in self.limits))

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

    def _set_deadline(self, request: Request, replica: Replica) -> None:
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
