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
from typing import Any

import numpy as np

from simulator.engine.admission import most_tokens, why_never, why_stuck
from simulator.engine.clock import DEADLINE, Alarm, Clock
from simulator.engine.fleet.build import build_instances, chooser, rank_sets
from simulator.engine.fleet.data_parallel import DataParallel, RankSet
from simulator.engine.fleet.front_end import Lane
from simulator.engine.fleet.lives import LifeRules, Lives
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.queue_limits import NO_LIMITS, QueueLimits
from simulator.engine.fleet.router import Router
from simulator.engine.instance.durations import Durations, in_seconds, in_ticks
from simulator.engine.instance.instance import Finished, Instance
from simulator.engine.kv.prefix_tree import PrefixTree
from simulator.engine.load import Load
from simulator.engine.record import LOST, REFUSED, TIMED_OUT, Recorder, RunRecord, as_seconds
from simulator.engine.request import Request
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
        queue_limits: QueueLimits = NO_LIMITS,
        life_rules: LifeRules | None = None,
    ) -> None:
        self.requests, self.tick_s = requests, tick_s
        ticks = in_seconds if tick_s is None else in_ticks(tick_s)
        self.clock = Clock()
        self.recorder = Recorder(len(requests))
        self.front_end, self.data_parallel, self.queue_limits, self.ticks = front_end, data_parallel, queue_limits, ticks
        self.durations = cache(partial(Durations, ticks=ticks))  # equal instances share their tables
        self.taken, self.entered = (array("d", [math.nan]) * (len(requests) if front_end else 0) for _ in range(2))
        self.configs: list[SchedulerConfig] = []
        self.most_tokens: list[int] = []
        self.instances: list[Instance] = []
        self.lanes: list[Lane] = []
        self.finished: Finished = self._finish
        self.block_size = servers[0][1].block_size
        self.adapters = None if requests.adapter is None else requests.adapter.tolist()
        self.one_server, self.replica_of = servers, array("i")
        at_first = servers if life_rules is None else [*servers] * life_rules.replicas
        endpoints = self._build(at_first)
        self.only = self.instances[0] if len(self.instances) == 1 else None  # which needs no router
        rng = np.random.default_rng(seed)
        arrive: Callable[[Request], None] = self._arrive
        self.lives: Lives | None = None
        if life_rules is not None:
            self.replica_of.extend(np.repeat(np.arange(life_rules.replicas), len(servers)).tolist())
            pool = self._pool(endpoints)
            self.lives = Lives(life_rules, self, self.clock, ticks, tick_s or 1.0, endpoints)
            self.lives.choose = router.start(pool, rng)
            arrive = self._arrive_where_ready
        elif isinstance(endpoints[0], RankSet):
            self.route = self._router(endpoints, router, rng)
            arrive = self._arrive_at_server
        else:
            self.choose = self._router(endpoints, router, rng)
        paths = PrefixTree(requests.hashes, self.block_size)
        self.feed = load.feed(requests, paths, self.clock, ticks, arrive)
        if self.feed.heeds_departures:
            self.finished = self._deliver if self.lanes or front_end else self._finish_and_tell
        if self.lives is not None:
            self.told, self.finished = self.finished, self._finish_and_watch
        for instance in self.instances:
            instance.finished = self.finished
        self.timeout = None if load.timeout_s is None else ticks(load.timeout_s)
        self.unwatched = self.timeout is None and not self.lanes  # what is sent is at its instance, for as long as it takes
        self.deadlines: deque[tuple[Request, Instance | None]] = deque()
        self.deadline = Alarm(self.clock, DEADLINE, self._give_up)

    def _build(self, servers: Sequence[tuple[StepTime, SchedulerConfig]]) -> list[Any]:
        """Build the instances of some servers; gives what the router chooses among."""
        if not servers:
            return []
        made = build_instances(
            servers,
            self.data_parallel,
            self.clock,
            self.recorder,
            self.finished,
            self.durations,
            prefixes=self.requests.hashes is not None,
            first=len(self.instances),
            adapters=self.adapters,
        )
        for instance, (_, config) in zip(made, servers, strict=True):
            self.instances.append(instance)
            self.configs.append(config)
            self.most_tokens.append(most_tokens(config))
            if self.front_end is not None:
                self.lanes.append(Lane(self.front_end, instance, self.clock, self.ticks, self.taken, self.entered))
        sets = rank_sets(made, self.data_parallel, self.queue_limits, self.clock, self.recorder, self.ticks)
        return [*sets] or [*made]

    def _router(self, endpoints: list[Any], router: Router, rng: np.random.Generator) -> Callable[[Request], Any]:
        return chooser(self._pool(endpoints), router, rng)

    def _pool(self, endpoints: list[Any]) -> InstancePool:
        return InstancePool(endpoints, self.block_size, self.clock, self.ticks, self.requests.previous)

    def run(self) -> RunRecord:
        """Let the clock run until nothing is left to happen."""
        self.feed.start()
        with no_garbage_collection():
            while self.clock.work(4096):
                pass
        for instance in self.instances:
            self._leave_waiting(instance)
        if self.lives is not None:
            for request in self.lives.held:
                self.recorder.keep_waiting(request, "no server is ready, and none starts any more")
        sizes = tuple(config.block_size for config in self.configs)
        if self.front_end is None:
            return self._by_replica(self.recorder.record(self.requests, self.tick_s, sizes))
        self._deliver_tokens()
        trace = self.recorder.record(self.requests, self.tick_s, sizes)
        times = {"taken_s": self.taken, "entered_s": self.entered}
        columns = {name: as_seconds(np.frombuffer(column), self.tick_s or 1.0) for name, column in times.items()}
        return self._by_replica(replace(trace, requests={**trace.requests, **columns}))

    def _by_replica(self, record: RunRecord) -> RunRecord:
        """The record with the numbers of replicas, in whose places several servers were one after another."""
        if self.lives is None:
            return record
        replica_of = np.append(np.frombuffer(self.replica_of, np.int32), np.int32(-1))
        requests = {**record.requests, "replica": replica_of[record.requests["replica"]]}
        stretches = {**record.stretches, "replica": replica_of[record.stretches["replica"]]}
        sizes = (self.block_size,) * (int(replica_of.max()) + 1)
        again = sum(self.lives.tries.values())
        told = replace(record, events=tuple(self.lives.events), sent_again=again)
        return replace(told, requests=requests, stretches=stretches, block_size=sizes)

    def _deliver_tokens(self) -> None:
        """Put the times at which clients have their first and last tokens in place of the engine's."""
        replica = np.frombuffer(self.recorder.replica, np.int32)
        columns = [np.frombuffer(column) for column in (self.recorder.first_token, self.recorder.finish)]
        for number, lane in enumerate(self.lanes):
            lane.catch_up(math.inf)
            mine = replica == number
            for column in columns:
                column[mine] = lane.delivered(column[mine])
        self.lanes.clear()

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
        index, recorder, instance = request.index, self.recorder, self.only
        recorder.arrival[index] = request.arrived
        if instance is None:
            choose = self.choose
            instance = choose(request)
        number = instance.number
        if request.prompt + request.output > self.most_tokens[number]:
            self._turn_away(request, why_never(request, self.configs[number]))
        elif self.unwatched:
            recorder.replica[index] = number
            instance.arrive(request)
        else:
            self._give(request, instance)

    def _arrive_at_server(self, request: Request) -> None:
        """Send a request to a server of ranks."""
        self.recorder.arrival[request.index] = request.arrived
        self._enter(request, self.route(request))

    def _enter(self, request: Request, server: RankSet) -> None:
        """Send a request to a rank of a server, or away if it can never be served there, or the server takes no more now."""
        number = server.ranks[0].number
        if request.prompt + request.output > self.most_tokens[number]:
            self._turn_away(request, why_never(request, self.configs[number]))
        elif closed := server.why_closed():
            self._turn_away(request, closed)
        else:
            if server.door is not None:
                server.door.enter(request)
            self._give(request, server.choose(request))

    def _arrive_where_ready(self, request: Request) -> None:
        """Send a request to a server that is ready, or let it wait for one."""
        assert self.lives is not None
        self.recorder.arrival[request.index] = request.arrived
        if self.timeout is not None:
            self._set_deadline(request, None, request.arrived + self.timeout)
        self.lives.place(request)

    def _turn_away(self, request: Request, reason: str) -> None:
        self.recorder.refusals[request.index] = reason
        self.recorder.fail(request, request.arrived, REFUSED)
        self.feed.failed(request)

    def _give(self, request: Request, instance: Instance) -> None:
        self.recorder.replica[request.index] = instance.number
        if self.timeout is not None and self.lives is None:
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

    def _finish_and_watch(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens, and a server that drains may be gone with them."""
        assert self.lives is not None
        self.told(finished, now, turn)
        if self.lives.draining:
            self.clock.reach(now, turn)
            self.lives.see_who_drained()

    def _set_deadline(self, request: Request, instance: Instance | None, when: float) -> None:
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
            if self.lives is not None:
                request, instance = self._whereabouts(request)
            if instance is not None:
                self._let_go(request, instance)
            if self.lives is not None:
                self.lives.see_who_drained()
            self.feed.failed(request)
        while self.deadlines and self.recorder.has_left(self.deadlines[0][0]):
            self.deadlines.popleft()
        if self.deadlines:
            self.clock.set(self.deadline, self.recorder.arrival[self.deadlines[0][0].index] + self.timeout)

    def _let_go(self, request: Request, instance: Instance) -> None:
        """Let an instance drop a request whose client has given up."""
        if instance.door is not None:
            instance.door.give_up(request)
        if not self.lanes or not self.lanes[instance.number].gives_up(request):
            instance.abandon(request)

    # Servers that come and go

    def build(self, replica: int) -> Any:
        """A new server in the place of that number."""
        (endpoint,) = self._build(self.one_server)
        self.replica_of.extend([replica] * len(self.one_server))
        return endpoint

    def offer(self, request: Request, endpoint: Any) -> None:
        """Give a request to a server, or turn it away."""
        if isinstance(endpoint, RankSet):
            self._enter(request, endpoint)
        elif request.prompt + request.output > self.most_tokens[endpoint.number]:
            self._turn_away(request, why_never(request, self.configs[endpoint.number]))
        else:
            self._give(request, endpoint)

    def close(self, endpoint: Any) -> list[Request]:
        """End a server at once; gives the requests that it had."""
        had: list[Request] = []
        for instance in getattr(endpoint, "ranks", [endpoint]):
            had += instance.die()
            if self.lanes:
                had += self.lanes[instance.number].die()
        for request in had:
            self.recorder.forget_step_in_work(request, self.clock.now)
            if self.lanes and not self.recorder.has_token(request):
                self.taken[request.index] = self.entered[request.index] = math.nan
        return had

    def bury(self, endpoint: Any) -> None:
        """Let a server that died look as one without requests."""
        for instance in getattr(endpoint, "ranks", [endpoint]):
            instance.outstanding = 0

    def has_token(self, request: Request) -> bool:
        """Whether a request whose server died had its first token by then."""
        return self.recorder.has_token(request)

    def lose(self, request: Request, reason: str) -> None:
        """A request is lost with its server."""
        self.recorder.refusals[request.index] = reason
        self.recorder.fail(request, self.clock.now, LOST)
        self.feed.failed(request)

    def _whereabouts(self, request: Request) -> tuple[Request, Instance | None]:
        """The latest try of a request, and the instance that has it, if any has."""
        assert self.lives is not None
        request = self.lives.current[request.index]
        if self.lives.gives_up(request):
            return request, None
        return request, self.instances[self.recorder.replica[request.index]]


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
