"""A prefill pool and a decode pool on one clock: the way of a request through both, and of its KV between them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from simulator.engine.admission import most_tokens, why_never
from simulator.engine.clock import Alarm, Clock
from simulator.engine.fleet.build import build_instances, chooser, rank_sets
from simulator.engine.fleet.fleet import no_garbage_collection
from simulator.engine.fleet.front_end import Lane
from simulator.engine.fleet.hand_over import KvLink, PoolServers, Routing
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.queue_limits import NO_LIMITS
from simulator.engine.fleet.router import Router, blocks_sent_before, note_sent
from simulator.engine.instance.durations import Durations, Ticks, in_seconds, in_ticks
from simulator.engine.instance.instance import Instance
from simulator.engine.kv.prefix_tree import Branch, PrefixTree
from simulator.engine.link import Link
from simulator.engine.load import Load
from simulator.engine.record import REFUSED, Recorder, RunRecord, Transfers
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.build import Role
from simulator.engine.scheduler.pools import DecodePoolScheduler, PrefillPoolScheduler
from simulator.latency.client import ApiServer
from simulator.workload.requests import Requests

_NEVER = math.nan


class PoolSide:
    """The instances of one pool, who chooses among them, and what is written down of them."""

    def __init__(self, role: Role, of: PoolServers, fleet: PooledFleet, first: int, front_end: ApiServer | None) -> None:
        requests, clock, ticks = fleet.requests, fleet.clock, fleet.ticks
        self.recorder = Recorder(len(requests))
        self.configs = [config for _, config in of.servers]
        self.block_size = self.configs[0].block_size
        self.most_tokens = min(map(most_tokens, self.configs))
        self.first = first
        finished = fleet.prefilled if role == "prefill" else fleet.answered
        prefixes = requests.hashes is not None
        kind = {"prefixes": prefixes, "role": role, "first": first}
        durations = cache(partial(Durations, ticks=ticks))  # equal instances share their tables
        self.instances = build_instances(of.servers, of.data_parallel, clock, self.recorder, finished, durations, **kind)  # type: ignore[arg-type]
        sets = rank_sets(self.instances, of.data_parallel, NO_LIMITS, clock, self.recorder, ticks)
        self.sets = {rank: each for each in sets for rank in each.ranks}
        self.choose_endpoint = self._chooser(sets or self.instances, of.router, fleet)
        self.taken, self.entered = (array("d", [_NEVER]) * (len(requests) if front_end else 0) for _ in range(2))
        self.lanes = (
            [Lane(front_end, each, clock, ticks, self.taken, self.entered) for each in self.instances] if front_end else []
        )

    def _chooser(self, endpoints: Sequence[Any], router: Router, fleet: PooledFleet) -> Any:
        pool = InstancePool(endpoints, self.block_size, fleet.clock, fleet.ticks, fleet.requests.previous)
        return chooser(pool, router, fleet.rng)

    def choose(self, request: Request) -> Instance:
        """The instance that a request goes to."""
        endpoint = self.choose_endpoint(request)
        chosen: Instance = endpoint.choose(request) if self.sets else endpoint
        return chosen

    def give(self, request: Request, instance: Instance) -> None:
        """Give a request to an instance, through its front end if there is one."""
        self.recorder.arrival[request.index] = request.arrived
        self.recorder.replica[request.index] = instance.number
        if self.lanes:
            self.lanes[instance.number - self.first].take(request)
        else:
            instance.arrive(request)

    def note_finish(self, request: Request, now: Any) -> None:
        """Write that a request has all its tokens here."""
        self.recorder.finish[request.index] = now
        if request.preemptions:
            self.recorder.preemptions[request.index] = request.preemptions

    def sent_at(self, request: Request, now: Any) -> Any:
        """When the front end will have sent what a step that ends now gives."""
        if not self.lanes:
            return now
        return self.lanes[self.recorder.replica[request.index] - self.first].sent_at(now)


class PooledFleet:
    """Two pools, a link between them and a feed in front.

    A request goes to a prefill instance with an answer of one token, then to a decode instance with
    the answer it wants, which fetches its KV; `sources` says from where. One that needs no prefill
    instance goes to its decode instance at once.
    """

    def __init__(
        self,
        requests: Requests,
        prefill: PoolServers,
        decode: PoolServers,
        link: KvLink,
        routing: Routing,
        load: Load,
        seed: int,
        tick_s: float | None,
        front_end: ApiServer | None = None,
    ) -> None:
        self.requests, self.routing, self.tick_s = requests, routing, tick_s
        self.ticks: Ticks = in_seconds if tick_s is None else in_ticks(tick_s)
        self.clock = Clock()
        self.rng = np.random.default_rng(seed)
        self.prefill = PoolSide("prefill", prefill, self, 0, front_end)
        self.decode = PoolSide("decode", decode, self, len(prefill.servers), front_end)
        self.block_bytes = link.block_bytes
        self.link = self._link(link)
        for instance in self.decode.instances:
            scheduler = instance.scheduler
            assert isinstance(scheduler, DecodePoolScheduler)
            scheduler.load = partial(self._load, instance)
        self.sources: dict[int, tuple[Instance, Request]] = {}
        self.chosen: dict[int, Instance] = {}
        self.sent: dict[Branch, dict[Any, int]] = {}
        self.transfers = Transfers()
        self.arrival = array("d", [_NEVER]) * len(requests)
        self.paths = PrefixTree(requests.hashes, self.decode.block_size)
        self.feed = load.feed(requests, self.paths, self.clock, self.ticks, self._arrive)

    def _link(self, link: KvLink) -> Link:
        tick = self.tick_s or 1.0
        ports = zip(self.prefill.instances, link.out, strict=True), zip(self.decode.instances, link.into, strict=True)
        capacities: dict[Hashable, float] = {each.number: capacity * tick for pairs in ports for each, capacity in pairs}
        return Link(self.clock, capacities, self.ticks(link.latency_s), whole=self.tick_s is not None)

    def run(self) -> RunRecord:
        """Let the clock run until nothing is left to happen."""
        self.feed.start()
        with no_garbage_collection():
            while self.clock.work(4096):
                pass
        for pool in (self.prefill, self.decode):
            self._leave_waiting(pool)
        return self._record()

    def _leave_waiting(self, pool: PoolSide) -> None:
        """Note who waits for ever: nothing more happens, and their blocks never come free."""
        for instance in pool.instances:
            for request in instance.scheduler.waiting:
                self.decode.recorder.keep_waiting(request, "the KV blocks that it needs never come free")

    # The way of a request

    def _arrive(self, request: Request) -> None:
        """Send a request to a prefill instance, or away if it can never be served."""
        index, total = request.index, request.prompt + request.output
        self.arrival[index] = request.arrived
        if total > self.decode.most_tokens or request.prompt + 1 > self.prefill.most_tokens:
            self._turn_away(request)
            return
        if self.routing.decode_first:
            chosen = self.decode.choose(request)
            if self._stays(request, chosen):
                self.decode.give(request, chosen)
                return
            self.chosen[index] = chosen
        request.output = 1
        self.prefill.give(request, self.prefill.choose(request))

    def _turn_away(self, request: Request) -> None:
        recorder = self.decode.recorder
        pool = self.decode if request.prompt + request.output > self.decode.most_tokens else self.prefill
        config = min(pool.configs, key=most_tokens)
        recorder.refusals[request.index] = why_never(request, config)
        recorder.fail(request, request.arrived, REFUSED)
        self.feed.failed(request)

    def _stays(self, request: Request, instance: Instance) -> bool:
        """Whether a decode instance computes this prompt itself."""
        routing, size = self.routing, self.decode.block_size
        blocks = request.prompt // size
        had = blocks_sent_before(self.sent, request.path, blocks, instance)
        note_sent(self.sent, request.path, blocks, instance)
        if request.prompt - had * size < routing.local_below:
            return True
        waiting = sum(each.waiting for each in self.prefill.instances)
        return routing.most_waiting is not None and waiting >= routing.most_waiting

    def prefilled(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Prompts have been computed: the requests go on to decode instances, once the front end has answered."""
        pool = self.prefill
        self.clock.reach(now, turn)
        for request in finished:
            pool.note_finish(request, now)
            then = Alarm(self.clock, request.index, partial(self._hand_over, request))
            self.clock.set(then, pool.sent_at(request, now))

    def _hand_over(self, first: Request, alarm: Alarm) -> None:
        index = first.index
        output = self.requests.output_tokens.item(index)
        request = Request(index, first.prompt, output, alarm.when, first.priority, self.paths.path(index))
        source = self.prefill.instances[self.prefill.recorder.replica[index]]
        scheduler = source.scheduler
        assert isinstance(scheduler, PrefillPoolScheduler)
        if first in scheduler.kept:
            request.status = Status.WAITING_FOR_KV
            self.sources[index] = source, first
        chosen = self.chosen.pop(index) if self.routing.decode_first else self.decode.choose(request)
        self.decode.give(request, chosen)

    def _load(self, instance: Instance, request: Request, blocks: int) -> None:
        """Fetch KV when the step begins that was composed with it."""
        source, _ = self.sources[request.index]
        begins, amount = instance.stretch.start, blocks * self.block_bytes
        row = self.transfers.add(request.index, source.number, instance.number, begins, amount)
        self.link.send(source.number, instance.number, amount, begins, partial(self._arrived, instance, request, row))

    def _arrived(self, instance: Instance, request: Request, row: int, now: Any) -> None:
        """All KV of a request has come: its blocks at the source are free, and it can go on."""
        self.transfers.ended[row] = now
        source, first = self.sources.pop(request.index)
        source.drop_later(first)
        instance.kv_arrived(request)

    def answered(self, finished: Sequence[Request], now: float, turn: int) -> None:
        """Requests have all their tokens, and others may come for it."""
        pool = self.decode
        self.clock.reach(now, turn)
        for request in finished:
            pool.note_finish(request, now)
            if self.feed.heeds_departures:
                tell = Alarm(self.clock, request.index, partial(self._tell, request))
                self.clock.set(tell, pool.sent_at(request, now))

    def _tell(self, request: Request, _: Alarm) -> None:
        self.feed.finished(request)

    # What is left

    def _record(self) -> RunRecord:
        """The log of both pools as one: a request's times at the prefill pool, between the pools and at the decode pool."""
        first, then = self.prefill.recorder, self.decode.recorder
        for pool in (self.prefill, self.decode):
            _deliver_tokens(pool)
        then.logs = [*first.logs, *then.logs]
        sizes = tuple(config.block_size for pool in (self.prefill, self.decode) for config in pool.configs)
        trace = then.record(self.requests, self.tick_s, sizes)
        went = np.frombuffer(first.replica, np.int32) >= 0
        scale = self.tick_s or 1.0

        def seconds(column: array[float]) -> Any:
            return np.frombuffer(column) * scale

        scheduled, cached = np.frombuffer(then.scheduled), np.frombuffer(then.cached, np.int32)
        columns = {
            "arrival_s": seconds(self.arrival),
            "scheduled_s": np.where(went, np.frombuffer(first.scheduled), scheduled) * scale,
            "cached_tokens": np.where(went, np.frombuffer(first.cached, np.int32), cached),
            "preemptions": trace.requests["preemptions"] + np.frombuffer(first.preemptions, np.int32),
            "prefill_replica": np.array(first.replica, np.int32),
            "prefilled_s": seconds(first.finish),
            "handed_over_s": np.where(went, np.frombuffer(then.arrival), _NEVER) * scale,
            "decode_scheduled_s": scheduled * scale,
        }
        if self.prefill.lanes:
            for name in ("taken", "entered"):
                at_first, at_then = (np.frombuffer(getattr(pool, name)) for pool in (self.prefill, self.decode))
                columns[f"{name}_s"] = np.where(went, at_first, at_then) * scale
        transfers = self.transfers.columns(scale)
        link = {"at_s": seconds(self.link.at), "bytes_per_s": np.frombuffer(self.link.carried) / scale}
        return replace(trace, requests={**trace.requests, **columns}, transfers=transfers, link=link)


def _deliver_tokens(pool: PoolSide) -> None:
    """Put the times at which clients have their first and last tokens in place of the engine's."""
    replica = np.frombuffer(pool.recorder.replica, np.int32)
    columns = [np.frombuffer(column) for column in (pool.recorder.first_token, pool.recorder.finish)]
    for instance, lane in zip(pool.instances, pool.lanes, strict=False):
        lane.catch_up(math.inf)
        for column in columns:
            mine = replica == instance.number
            column[mine] = lane.delivered(column[mine])
