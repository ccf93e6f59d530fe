"""Prompts computed by one pool of servers, answers by another: a naive tandem, with KV blocks on their way between them.

It follows vLLM's NixlConnector. A prefill server answers with one token and keeps the blocks until
they have been read. A decode server takes blocks for the whole prompt, but for those it finds in
its own cache, and goes on with others until they are filled; then it computes the last prompt token
again and all that follows. Each transfer is a flow that shares the ports of both servers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from oracle import FINISHED, Oracle
from oracle.parallel import Ranks, Reports
from oracle.server import Item, Server

LINK = (0.5, 0)


@dataclass(eq=False)
class Flow:
    """A transfer: of whom, from where, to where; `left` of it is still to come at `rate`."""

    item: Item
    source: PrefillServer
    sink: DecodeServer
    left: Fraction
    rate: Fraction = Fraction(0)


class PrefillServer(Server):
    """Keeps the blocks of those who have their token, until they are read."""

    def __init__(self, *how) -> None:
        super().__init__(*how)
        self.kept: list[Item] = []
        self.read: list[Item] = []

    def _free_finished(self, item: Item) -> None:
        self.kept.append(item)

    def free_read(self) -> None:
        for item in self.read:
            self.kept.remove(item)
            self._free(item)
        self.read = []


class DecodeServer(Server):
    """Takes requests whose prompts were computed elsewhere; `loading` wait for KV, the earliest first."""

    def __init__(self, *how) -> None:
        super().__init__(*how)
        self.elsewhere: list[Item] = []
        self.loading: list[Item] = []
        self.here: list[Item] = []
        self.begun: list[tuple[Item, int]] = []

    @property
    def ready(self) -> list[Item]:
        """Those who wait with their KV."""
        return [item for item in self.loading if item in self.here]

    def queued(self) -> int:
        return len(self.waiting) + len(self.ready)

    def _launches(self, given: dict[Item, int], prompt_tokens: int) -> bool:
        """A prompt's last token, or any single one, is computed as a decode is."""
        return prompt_tokens > 0 and any(n > 1 for n in given.values())

    def _admit(self, budget, given, cap, held_back, now) -> None:
        for item in self.ready:
            if not (budget and len(self.running) < self.limits.max_num_seqs):
                return
            item.computed = item.prompt
            self._register(item, item.prompt)
            item.computed -= 1
            if self._spare() > len(self.pool.free):
                return
            self.loading.remove(item)
            self.running.append(item)
            item.prefilling = True
            given[item] = 1
            budget -= 1
            self._started(item, item.prompt - 1, now)
        while self.waiting and budget and len(self.running) < self.limits.max_num_seqs:
            if self.waiting[0] in self.elsewhere:
                if not self._load(self.waiting[0]):
                    return
            elif tokens := self._admit_head(budget, given, cap, held_back, now):
                budget -= tokens
            else:
                return

    def _load(self, item: Item) -> bool:
        """Take blocks for what its own cache lacks of a prompt, and ask for them."""
        hits, tokens = self._cached(item)
        free = len(self.pool.free) - self._spare()
        if self.rules.loads_leave_prompts:
            free -= sum(self._lacking(each, each.known) for each in self.running if each.prefilling)
        if self._lacking(item, item.prompt, hits) > free:
            return False
        before = self.used()
        item.blocks = [g.adopt(hits[g.number], tokens) for g in self.layers]
        item.registered = [len(blocks) for blocks in item.blocks]
        found = sum(len(blocks) for blocks in item.blocks)
        for layers in self.layers:
            layers.extend(item.blocks[layers.number], item.prompt)
        assert self.used() >= before
        self.waiting.remove(item)
        self.elsewhere.remove(item)
        self.loading.append(item)
        self.begun.append((item, sum(len(blocks) for blocks in item.blocks) - found))
        return True


class Side(Oracle):
    """One of the two pools, as its router sees it: an oracle that only routes."""

    def __init__(self, whole: PooledOracle, servers: list, pool) -> None:
        self.whole = whole
        super().__init__(whole.requests, [], pool.router, whole.source, 0)
        self.rng, self.at = whole.rng, whole.at
        self.servers = self.endpoints = servers
        self.groups = [Ranks(server.number, [server]) for server in servers]
        self.reports = Reports(servers)

    @property
    def now(self) -> float:
        return self.whole.now

    @now.setter
    def now(self, value: float) -> None:
        assert not value


class PooledOracle(Oracle):
    """Serves requests by a prefill pool and a decode pool.

    `routing`: the engine's spec; `link` gives the speed of each server's port, (out of prefill, into
    decode), what a block is, and the latency. `passed` has the columns of a request between the
    pools, `transfers` a row each: request, source, sink, amount, when it was asked for, when it came.
    """

    def __init__(self, requests, prefill, decode, routing, link, source, seed, rules, arguments=None) -> None:
        replicas = [*prefill.servers, *decode.servers]
        super().__init__(requests, replicas, decode.router, source, seed, rules, arguments)
        n = len(requests)
        how = self.rules, self.arguments
        self.first = {name: [math.nan] * n for name in ("arrival", "scheduled", "first_token", "finish", "left")}
        self.first |= {"replica": [-1] * n, "status": [FINISHED] * n, "preemptions": [0] * n, "cached": [0] * n}
        self.prefills = [PrefillServer(i, t, c, self.first, *how) for i, (t, c) in enumerate(prefill.servers)]
        behind = len(self.prefills)
        self.decodes = [DecodeServer(behind + i, t, c, self.log, *how) for i, (t, c) in enumerate(decode.servers)]
        self.servers = [*self.prefills, *self.decodes]
        self.pools = {"prefill": Side(self, self.prefills, prefill), "decode": Side(self, self.decodes, decode)}
        self.routing, self.link = routing, link
        self.flows: list[Flow] = []
        self.counted_at, self.version = 0, 0
        self.transfers: list[dict[str, float]] = []
        self.chosen: dict[int, DecodeServer] = {}
        self.from_where: dict[int, tuple[PrefillServer, Item]] = {}

    def choose(self, name: str, item: Item):
        of = self.pools[name]
        return of.endpoints[0] if len(of.endpoints) == 1 else of.route(item)

    # The way of a request

    def item(self, i: int, output: int) -> Item:
        r = self.requests
        return Item(i, int(r.prompt_tokens[i]), output, self.now, 0, self.labels(i))

    def arrive(self, i: int) -> None:
        output = int(self.requests.output_tokens[i])
        first, then = self.item(i, 1), self.item(i, output)
        self.log["arrival"][i] = self.now
        self.name_own(first, self.prefills[0])
        self.name_own(then, self.decodes[0])
        if any(self.never_fits(then, s) for s in self.decodes) or any(self.never_fits(first, s) for s in self.prefills):
            self.departed(i, 1)
            return
        if self.routing.decode_first:
            self.chosen[i] = self.choose("decode", then)
            if self.stays(then, self.chosen[i]):
                self.send(then, self.chosen[i])
                return
        server = self.choose("prefill", first)
        self.first["arrival"][i] = self.now
        self.first["replica"][i] = server.number
        server.outstanding += 1
        server.waiting.append(first)
        self.wake(server)

    def stays(self, item: Item, server) -> bool:
        """Whether the decode server computes this prompt itself."""
        size = server.limits.block_size
        labels = [label for label in item.labels[: item.prompt // size] if not isinstance(label, tuple)]
        had = 0
        for label in labels:
            if server not in self.sent.get(label, []):
                break
            had += 1
        for label in labels:
            self.sent.setdefault(label, []).append(server)
        most = self.routing.most_waiting
        queued = sum(len(s.waiting) for s in self.prefills)
        return item.prompt - had * size < self.routing.local_below or (most is not None and queued >= most)

    def send(self, item: Item, server) -> None:
        self.log["replica"][item.index] = server.number
        server.outstanding += 1
        server.waiting.append(item)
        self.wake(server)

    def wake(self, server: Server) -> None:
        if not server.awake:
            server.awake = True
            self.at(self.now, (1, server.number), lambda: self.boundary(server))

    def hand_over(self, item: Item, server: PrefillServer) -> None:
        then = self.item(item.index, int(self.requests.output_tokens[item.index]))
        self.name_own(then, self.decodes[0])
        self.from_where[item.index] = server, item
        sink = self.chosen.get(item.index) or self.choose("decode", then)
        if item in server.kept:  # else it was preempted after its token was sampled
            sink.elsewhere.append(then)
        self.send(then, sink)

    def finish(self, item: Item, server: Server) -> None:
        if server in self.prefills:
            server.outstanding -= 1
            self.first["finish"][item.index] = self.now
            self.at(self.now, (0, item.index), lambda: self.hand_over(item, server))
        else:
            super().finish(item, server)

    # Steps

    def boundary(self, server: Server) -> None:
        if server in self.prefills:
            server.free_read()
        super().boundary(server)

    def composed(self, server: Server, begins: float) -> None:
        """Ask for what a step that was composed wants to load; transfers begin when the step does."""
        if server in self.prefills:
            return
        for item, blocks in server.begun:
            source, _ = self.from_where[item.index]
            amount = Fraction(blocks * self.link.block)
            flow = Flow(item, source, server, amount)
            self.transfers.append(
                {"request": item.index, "source": source.number, "sink": server.number, "amount": amount, "begin": begins}
            )
            row = self.transfers[-1]
            self.at(begins + self.link.latency, LINK, lambda flow=flow, row=row: self.begin(flow, row))
        server.begun = []

    # The link

    def begin(self, flow: Flow, row: dict) -> None:
        self.count_flows()
        self.flows.append(flow)
        flow.row = row
        self.share()

    def count_flows(self) -> None:
        for flow in self.flows:
            flow.left -= flow.rate * Fraction(self.now - self.counted_at)
        self.counted_at = self.now

    def share(self) -> None:
        """Give each flow its fair part of the ports, and find when the next is done: in whole ticks."""
        self.version += 1
        left = {}
        for flow in self.flows:
            left[flow.source] = Fraction(self.link.out[flow.source.number])
            left[flow.sink] = Fraction(self.link.into[flow.sink.number - len(self.prefills)])
        among = list(self.flows)
        while among:
            ports = {port: [f for f in among if port in (f.source, f.sink)] for port in left}
            port = min((p for p in ports if ports[p]), key=lambda p: (left[p] / len(ports[p]), p.number))
            rate = left[port] / len(ports[port])
            for flow in ports[port]:
                flow.rate = rate
                left[flow.source] -= rate
                left[flow.sink] -= rate
                among.remove(flow)
        if self.flows:
            version = self.version
            soonest = min(math.ceil(max(f.left, 0) / f.rate) for f in self.flows)
            self.at(self.now + soonest, LINK, lambda: self.arrived(version))

    def arrived(self, version: int) -> None:
        if version != self.version:
            return
        self.count_flows()
        done = [flow for flow in self.flows if flow.left <= 0]
        self.flows = [flow for flow in self.flows if flow.left > 0]
        self.share()
        for flow in done:
            flow.row["end"] = self.now
            flow.sink.here.append(flow.item)
            self.wake(flow.sink)
            source, first = self.from_where[flow.item.index]
            source.read.append(first)
            self.wake(source)
