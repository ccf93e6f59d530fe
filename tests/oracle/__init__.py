"""A naive simulator of the same servers, one step and one block at a time.

It is slow, short, and meant to be obviously right. It follows vLLM V1's own loop (scheduler.py,
kv_cache_manager.py, block_pool.py), release by release, keeps every block as an object, and knows
nothing of stretches or closed forms. Times are whatever numbers the StepTime holds: integers where
tests ask for equality.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from oracle.rules import Arguments, Group, Rules, rules_of
from oracle.server import Item, Server
from simulator.engine.router import (
    LeastKvUse,
    LeastOutstanding,
    PowerOfTwoChoices,
    PrefixAffinity,
)
from simulator.engine.source import ClosedLoop
from simulator.workload.requests import Requests

__all__ = ["Arguments", "Group", "Oracle", "Rules", "rules_of"]

FINISHED, REFUSED, TIMED_OUT, CANCELLED = range(4)


class Oracle:
    """Serves requests; afterwards `log` holds the request columns, `steps` a row a step, `gaps` every inter-token latency."""

    def __init__(
        self,
        requests: Requests,
        replicas,
        router,
        source,
        seed: int,
        rules: Rules | None = None,
        arguments: Arguments | None = None,
    ) -> None:
        n = len(requests)
        self.requests, self.router, self.source = requests, router, source
        times = ("arrival", "scheduled", "first_token", "finish", "left")
        self.log = {name: [math.nan] * n for name in times}
        self.log |= {"replica": [-1] * n, "status": [CANCELLED] * n, "preemptions": [0] * n, "cached": [0] * n}
        self.rules = rules or Rules()
        self.arguments = arguments or Arguments()
        how = self.rules, self.arguments
        self.servers = [Server(i, t, limits, self.log, *how) for i, (t, limits) in enumerate(replicas)]
        self.steps: list[dict[str, float]] = []
        self.gaps: list[float] = []
        self.events: list[tuple] = []
        self.count = self.turn = 0
        self.rng = np.random.default_rng(seed)
        self.seen: dict[int, Server] = {}
        self.present: list[Item] = []
        self.now = 0.0

    # At one instant: arrivals by index, then ends of steps by replica, then time-outs.

    def at(self, when: float, rank: tuple[int, int], action) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, rank, self.count, action))

    def run(self) -> Oracle:
        previous = self.requests.previous
        self.first_turns = [i for i in range(len(self.requests)) if previous is None or previous[i] < 0]
        if isinstance(self.source, ClosedLoop):
            for _ in range(self.source.concurrency):
                self.next_of_user()
        else:
            for i in self.first_turns:
                self.arrive_at(float(self.requests.arrival_s[i]), i)
        while self.events:
            self.now, _, _, action = heapq.heappop(self.events)
            action()
        return self

    def arrive_at(self, when: float, i: int) -> None:
        self.at(when, (0, i), lambda: self.arrive(i))

    def think(self, i: int, otherwise: float) -> float:
        return otherwise if self.requests.think_s is None else float(self.requests.think_s[i])

    def next_of_user(self) -> None:
        if self.first_turns:
            i = self.first_turns.pop(0)
            self.arrive_at(self.now + self.think(i, self.source.think_s), i)

    def departed(self, i: int, status: int) -> None:
        self.log["status"][i], self.log["left"][i] = status, self.now
        later = [] if self.requests.previous is None else np.flatnonzero(self.requests.previous == i).tolist()
        if status == FINISHED:
            for j in later:
                self.arrive_at(self.now + self.think(j, 0.0), j)
        if isinstance(self.source, ClosedLoop) and not (later and status == FINISHED):
            self.next_of_user()

    def arrive(self, i: int) -> None:
        r = self.requests
        priority = 0 if r.priority is None else int(r.priority[i])
        item = Item(i, int(r.prompt_tokens[i]), int(r.output_tokens[i]), self.now, priority, [])
        self.log["arrival"][i] = self.now
        item.labels = self.labels(i)
        if self.turned_away():
            self.departed(i, REFUSED)
            return
        server = self.choose(item)
        self.name_own(item, server)
        if self.never_fits(item, server):
            self.departed(i, REFUSED)
            return
        self.present.append(item)
        self.log["replica"][i] = server.number
        server.outstanding += 1
        server.waiting.append(item)
        if self.source.timeout_s is not None:
            self.at(self.now + self.source.timeout_s, (2, 0), lambda: self.time_out(item, server))
        if not server.awake:
            server.awake = True
            self.at(self.now, (1, server.number), lambda: self.boundary(server))

    def labels(self, i: int) -> list[int]:
        hashes = self.requests.hashes
        return [] if hashes is None else hashes.ids[hashes.offsets[i] : hashes.offsets[i + 1]].tolist()

    def turned_away(self) -> bool:
        """Whether the front end answers 503, as too many requests or prompt tokens are there."""
        reqs, tokens = self.arguments.max_num_queued_reqs, self.arguments.max_num_queued_tokens
        self.present = [i for i in self.present if math.isnan(self.log["left"][i.index])]
        ahead = sum(item.prompt for item in self.present if not item.received)
        full = reqs is not None and len(self.present) + 1 > reqs
        return full or (tokens is not None and ahead >= tokens)

    def name_own(self, item: Item, server: Server) -> None:
        """The blocks that no list names are the request's own, as its answer is."""
        if self.rules.own_blocks:
            blocks = (item.prompt + item.output) // server.unit
            item.labels = item.labels[:blocks]
            item.labels += [("own", item.index, k) for k in range(len(item.labels), blocks)]

    def never_fits(self, item: Item, server: Server) -> bool:
        limits, longest = server.limits, item.prompt + item.output - 1
        most = sum(min(g.need(longest), g.most) for g in server.layers)
        if limits.reserve_full_prompt and not self.rules.cap_at_admission:
            most = max(most, sum(g.need(item.prompt) for g in server.layers))
        too_long = limits.max_model_len is not None and longest + 1 > limits.max_model_len
        cap = longest if self.rules.lone_prefill_uncut else limits.prefill_cap
        whole = not limits.enable_chunked_prefill and min(longest, cap) > server.budget()
        return most + limits.state_blocks > limits.kv_blocks or too_long or whole

    def choose(self, item: Item) -> Server:
        servers, name = self.servers, type(self.router)
        least = min(servers, key=lambda s: s.outstanding)
        if name is LeastOutstanding:
            return least
        if name is LeastKvUse:
            return min(servers, key=lambda s: s.used() / s.limits.kv_blocks)
        if name is PowerOfTwoChoices:
            if len(servers) == 1:
                return servers[0]
            first, second = int(self.rng.integers(len(servers))), int(self.rng.integers(len(servers) - 1))
            return min([servers[first], [s for s in servers if s.number != first][second]], key=lambda s: s.outstanding)
        if name is PrefixAffinity:
            size, most = servers[0].limits.block_size, max(s.outstanding for s in servers)
            labels = item.labels[: item.prompt // size]
            known = [self.seen[label] for label in labels if label in self.seen]
            balanced = most - least.outstanding <= self.router.slack or most <= self.router.ratio * least.outstanding
            chosen = known[-1] if balanced and known and len(known) * size > self.router.threshold * item.prompt else least
            self.seen |= dict.fromkeys(labels, chosen)
            return chosen
        self.turn += 1
        return servers[(self.turn - 1) % len(servers)]

    def time_out(self, item: Item, server: Server) -> None:
        if math.isnan(self.log["left"][item.index]):
            item.gone = True
            server.outstanding -= 1
            server.aborted.append(item)
            self.departed(item.index, TIMED_OUT)

    def boundary(self, server: Server) -> None:
        """A step has ended, or the first request came to a server with nothing to do."""
        for item in server.aborted:
            self.abort(item, server)
        server.aborted = []
        if server.current is not None:
            for item, tokens, samples in server.current.parts:
                item.in_flight -= tokens
                if samples:
                    self.token(item, server)
        server.current, server.upcoming = server.upcoming, None
        while server.current is None:
            server.current = server.compose(self.now)
            if server.current is None and not server.just_preempted:
                server.awake = False
                return
        self.steps.append({"replica": server.number, "start": self.now, "seconds": server.current.seconds, **server.current.row})
        if server.limits.async_scheduling:
            server.upcoming = server.compose(self.now)
        self.at(self.now + server.current.seconds, (1, server.number), lambda: self.boundary(server))

    def abort(self, item: Item, server: Server) -> None:
        if item in server.waiting:
            server.waiting.remove(item)
        elif item in server.running and server.limits.scheduling_policy != "static":
            server.running.remove(item)
            server._free(item)

    def token(self, item: Item, server: Server) -> None:
        """A token of this request has come."""
        item.received += 1
        item.pending -= 1
        if item.gone:
            return
        if item.received == 1:
            self.log["first_token"][item.index] = self.now
        else:
            self.gaps.append(self.now - item.last_token)
        item.last_token = self.now
        if item in server.running:
            server._register(item, item.computed - item.pending)
        if item.received == item.output:
            if item in server.running and server.limits.scheduling_policy != "static":
                server.running.remove(item)
                server._free(item)
            server.outstanding -= 1
            self.log["finish"][item.index] = self.now
            self.departed(item.index, FINISHED)
