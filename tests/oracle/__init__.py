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

from oracle.adapters import AdapterServer
from oracle.parallel import ALONE, FrontLane, Ranks, Reports
from oracle.rules import Arguments, Group, Rules, rules_of
from oracle.server import Item, Server
from oracle.sglang import SglangServer
from oracle.trtllm import NoEvictServer
from simulator.engine.fleet.router import (
    LeastKvUse,
    LeastOutstanding,
    LlmD,
    PowerOfTwoChoices,
    PrefixAffinity,
    Random,
    SessionAffinity,
)
from simulator.engine.load import ClosedLoop
from simulator.workload.requests import Requests

__all__ = ["ALONE", "Arguments", "Group", "Oracle", "Rules", "rules_of"]

FINISHED, REFUSED, TIMED_OUT, CANCELLED, NEVER_SCHEDULED = range(5)


def kind_of(limits) -> type[Server]:
    if limits.sglang is not None:
        return SglangServer
    if limits.adapter_slots is not None:
        return AdapterServer
    return NoEvictServer if limits.guaranteed_no_evict else Server


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
        data_parallel=ALONE,
        front_end=None,
    ) -> None:
        n = len(requests)
        self.requests, self.router, self.source = requests, router, source
        times = ("arrival", "scheduled", "first_token", "finish", "left")
        self.log = {name: [math.nan] * n for name in times}
        self.log |= {"replica": [-1] * n, "status": [CANCELLED] * n, "preemptions": [0] * n, "cached": [0] * n}
        self.rules = rules or Rules()
        self.arguments = arguments or Arguments()
        how = self.rules, self.arguments
        self.servers = [kind_of(limits)(i, t, limits, self.log, *how) for i, (t, limits) in enumerate(replicas)]
        for server in self.servers:
            if isinstance(server, AdapterServer):
                server.of = requests.adapter.tolist()
        self.steps: list[dict[str, float]] = []
        self.gaps: list[float] = []
        self.events: list[tuple] = []
        self.count = self.turn = 0
        self.rng = np.random.default_rng(seed)
        self.seen: dict[int, Server] = {}
        self.now = 0.0
        self.front_end = front_end
        self.lanes = [FrontLane() for _ in replicas]
        self.entered = [math.nan] * len(requests)
        self.sent_at: dict[tuple[int, float], float] = {}
        self.under_way = 0
        self.parallel = data_parallel
        n = data_parallel.ranks
        self.groups = [Ranks(i, self.servers[i : i + n]) for i in range(0, len(self.servers), n)]
        self.endpoints = self.servers if n == 1 or data_parallel.balance == "router" else self.groups
        self.reports = Reports(self.endpoints)
        self.went_to: dict[int, Ranks] = {}
        self.sent: dict[int, list] = {}
        self.held: list[int] = []

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
        for item in (item for server in self.servers for item in server.waiting):
            self.log["status"][item.index] = NEVER_SCHEDULED
        if self.front_end is not None:
            self.now = math.inf
            first = self.log["first_token"]
            for i, replica in enumerate(self.log["replica"]):
                if replica >= 0:
                    self.catch_up(replica)
                    first[i] = self.sent_at.get((replica, first[i]), first[i])
        return self

    def arrive_at(self, when: float, i: int) -> None:
        self.at(when, (0, i), lambda: self.send_or_hold(i))

    def send_or_hold(self, i: int) -> None:
        """The client sends a request, or keeps it while as many are under way as it allows."""
        most = getattr(self.source, "max_concurrency", None)
        if most is not None and self.under_way == most:
            self.held.append(i)
        else:
            self.under_way += 1
            self.arrive(i)

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
        if self.held:  # who was held longest takes the place
            i = self.held.pop(0)
            self.at(self.now, (0, i), lambda: self.arrive(i))
        else:
            self.under_way -= 1

    def arrive(self, i: int) -> None:
        r = self.requests
        priority = 0 if r.priority is None else int(r.priority[i])
        item = Item(i, int(r.prompt_tokens[i]), int(r.output_tokens[i]), self.now, priority, [])
        self.log["arrival"][i] = self.now
        item.labels = self.labels(i)
        item.steps = 0 if r.decode_steps is None else int(r.decode_steps[i])
        endpoint = self.endpoints[0] if len(self.endpoints) == 1 else self.route(item)
        servers = endpoint.servers if isinstance(endpoint, Ranks) else [endpoint]
        self.name_own(item, servers[0])
        if self.never_fits(item, servers[0]) or self.turned_away(servers):
            self.departed(i, REFUSED)
            return
        server = self.rank_of(endpoint) if isinstance(endpoint, Ranks) else endpoint
        server.present.append(item)
        self.log["replica"][i] = server.number
        server.outstanding += 1
        if self.source.timeout_s is not None:
            self.at(self.now + self.source.timeout_s, (3, 0), lambda: self.time_out(item, server))
        if self.front_end is None:
            self.enter(item, server)
        else:
            lane, times = self.lanes[server.number], self.front_end
            begins = max(self.catch_up(server.number), self.now)
            lane.free_at = begins + times.request_s + times.prompt_token_s * item.prompt
            server.in_front.append(item)
            self.at(lane.free_at, (0, i), lambda: self.pass_on(item, server))

    def pass_on(self, item: Item, server: Server) -> None:
        if item in server.in_front:
            server.in_front.remove(item)
            item.arrived = self.now
            self.enter(item, server)

    def catch_up(self, number: int) -> float:
        """When the front end of a server will have sent the tokens of all steps that have ended by now."""
        lane = self.lanes[number]
        for row in [row for row in self.steps if row["replica"] == number][lane.steps :]:
            end = row["start"] + row["seconds"]
            if end > self.now:
                break
            lane.steps += 1
            if row["sampled"] and self.front_end.chunk_s:
                lane.free_at = max(lane.free_at, end) + row["sampled"] * self.front_end.chunk_s
            self.sent_at[number, end] = max(lane.free_at, end)
        return lane.free_at

    def enter(self, item: Item, server: Server) -> None:
        self.entered[item.index] = self.now
        server.waiting.append(item)
        self.wake(server)

    def wake(self, server: Server) -> None:
        mine = next(group for group in self.groups if server in group.servers)
        if self.parallel.lock_step is not None:
            mine.resting = False
            if not mine.awake:
                mine.awake = True
                self.at(self.now, (1, mine.number), lambda: self.common_boundary(mine))
        elif not server.awake:
            server.awake = True
            self.at(self.now, (1, server.number), lambda: self.boundary(server))

    def labels(self, i: int) -> list[int]:
        hashes = self.requests.hashes
        return [] if hashes is None else hashes.ids[hashes.offsets[i] : hashes.offsets[i + 1]].tolist()

    def turned_away(self, servers: list[Server]) -> bool:
        """Whether the front end of a server's ranks answers 503, as too many requests or prompt tokens are with it."""
        reqs, tokens = self.arguments.max_num_queued_reqs, self.arguments.max_num_queued_tokens
        here = [item for server in servers for item in server.present if math.isnan(self.log["left"][item.index])]
        here = [item for item in here if item.received < item.output]
        ahead = sum(item.prompt for item in here if not item.received)
        full = reqs is not None and len(here) + 1 > reqs
        return full or (tokens is not None and ahead >= tokens)

    def name_own(self, item: Item, server: Server) -> None:
        """The blocks that no list names are the request's own, as its answer is."""
        if self.rules.own_blocks:
            blocks = (item.prompt + item.output) // server.unit
            item.labels = item.labels[:blocks]
            item.labels += [("own", item.index, k) for k in range(len(item.labels), blocks)]

    def never_fits(self, item: Item, server: Server) -> bool:
        limits, longest = server.limits, item.prompt + item.output - 1
        if isinstance(server, SglangServer):
            most = min(limits.max_model_len or math.inf, limits.kv_blocks * limits.block_size - 2)
            return item.prompt + item.output > most
        longest += isinstance(server, NoEvictServer)  # it reserves a place for the last token too
        most = sum(min(g.need(longest + limits.beyond), g.most) for g in server.layers)
        longest -= isinstance(server, NoEvictServer)
        too_long = limits.max_model_len is not None and longest + 1 > limits.max_model_len
        at_once = longest if self.rules.lone_prefill_uncut else min(longest, limits.prefill_cap)
        whole = not limits.enable_chunked_prefill and at_once > server._budget()
        return most + limits.state_blocks > limits.kv_blocks or too_long or whole

    def told(self, reports: Reports, every: float) -> list[list[float]]:
        """The latest reports; all of them come `every` so long while anything is outstanding."""
        if not reports.reporting:
            reports.take()
            if every:
                reports.reporting = True
                self.at(self.now + every, (2, 0), lambda: self.report(reports, every))
        return reports.known

    def report(self, reports: Reports, every: float) -> None:
        reports.take()
        reports.reporting = any(self.works(s) for server in reports.of for s in getattr(server, "servers", [server]))
        if reports.reporting:
            self.at(self.now + every, (2, 0), lambda: self.report(reports, every))

    def works(self, server: Server) -> bool:
        """Whether a server has requests, not only such as can never be scheduled."""
        mine = next(group for group in self.groups if server in group.servers)
        idle = not server.awake if self.parallel.lock_step is None else mine.resting
        return server.outstanding > (server.queued() if idle else 0)

    def rank_of(self, group: Ranks) -> Server:
        """The rank that the front end of one server gives a request to."""
        ranks, how = group.servers, self.parallel.balance
        if len(ranks) == 1:
            return ranks[0]
        if how == "in_turn":
            group.turn += 1
            return ranks[(group.turn - 1) % len(ranks)]
        counts = self.told(group.reports, self.parallel.report_s)
        order = [(group.first + i) % len(ranks) for i in range(len(ranks))]
        if how == "fewest_waiting":
            i = min(order, key=lambda i: (counts[i][0], counts[i][1]))
            counts[i][0 if counts[i][0] else 1] += 1
            return ranks[i]
        if how == "in_flight":
            i = min(
                order,
                key=lambda i: (
                    max(ranks[i].outstanding, counts[i][0] + counts[i][1]) + counts[i][0] * (6.0 * max(0.0, counts[i][2] - 0.5))
                ),
            )
        else:
            i = min(order, key=lambda i: 4 * counts[i][0] + counts[i][1])
        counts[i][0] += 1
        if how != "weighted":
            group.first = (group.first + 1) % len(ranks)
        return ranks[i]

    def any_of(self, servers: list) -> Server:
        return servers[0] if len(servers) == 1 else servers[int(self.rng.integers(len(servers)))]

    def route(self, item: Item):
        servers, name = self.endpoints, type(self.router)
        least = min(servers, key=lambda s: s.outstanding)
        if name is LeastOutstanding:
            return least
        if name is LeastKvUse:
            return min(servers, key=lambda s: s.kv_use())
        if name is Random:
            return self.any_of(servers)
        if name is SessionAffinity:
            previous = self.requests.previous
            before = None if previous is None else self.went_to.get(int(previous[item.index]))
            self.went_to[item.index] = before or self.any_of(servers)
            return self.went_to[item.index]
        if name is LlmD:
            return self.by_scores(item)
        if name is PowerOfTwoChoices:
            first, second = int(self.rng.integers(len(servers))), int(self.rng.integers(len(servers) - 1))
            others = [s for s in servers if s is not servers[first]]
            return min([servers[first], others[second]], key=lambda s: s.outstanding)
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

    def by_scores(self, item: Item):
        """The endpoint with the greatest weighted score, any of those that tie."""
        router, servers = self.router, self.endpoints
        counts = self.told(self.reports, router.report_s)
        blocks = min(item.prompt // servers[0].limits.block_size, router.most_blocks)
        longest, shortest = max(c[0] for c in counts), min(c[0] for c in counts)
        scores = []
        for server, (waiting, _, use) in zip(servers, counts, strict=True):
            queue = 1.0 if longest == shortest else (longest - waiting) / (longest - shortest)
            load = 0.5 * (1.0 - min(waiting, router.threshold) / router.threshold)
            score = router.queue * queue + router.kv_cache * (1.0 - use) + router.load_aware * load
            had = sum(server in self.sent.get(label, []) for label in item.labels[:blocks])
            scores.append(score + (router.prefix * had / blocks if blocks and router.prefix else 0.0))
        chosen = self.any_of([s for s, score in zip(servers, scores, strict=True) if score == max(scores)])
        for label in item.labels[:blocks]:
            self.sent.setdefault(label, []).append(chosen)
        return chosen

    def time_out(self, item: Item, server: Server) -> None:
        if math.isnan(self.log["left"][item.index]) and not item.done:
            item.gone = True
            server.outstanding -= 1
            if item in server.in_front:
                server.in_front.remove(item)
            else:
                server.aborted.append(item)
                self.wake(server)
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
                    self.token(item, server, samples)
        server.current, server.upcoming = server.upcoming, None
        while server.current is None:
            server.current = server.compose(self.now)
            self.composed(server, self.now)
            if server.current is None and not server.just_preempted:
                server.awake = False
                return
        self.steps.append({"replica": server.number, "start": self.now, "seconds": server.current.seconds, **server.current.row})
        if server.limits.async_scheduling:
            server.upcoming = server.compose(self.now)
            self.composed(server, self.now + server.current.seconds)
        self.at(self.now + server.current.seconds, (1, server.number), lambda: self.boundary(server))

    def composed(self, server: Server, begins: float) -> None:
        """A step of this server that begins then has been composed, or none is needed."""

    def common_boundary(self, group: Ranks) -> None:
        """The ranks of a server end a step together, and begin the next."""
        rules, servers = self.parallel.lock_step, group.servers
        for server in servers:
            for item in server.aborted:
                self.abort(item, server)
            server.aborted = []
            for item, tokens, samples in server.current.parts if server.current is not None else []:
                item.in_flight -= tokens
                if samples:
                    self.token(item, server, samples)
        for server in servers:
            server.current, server.upcoming = server.upcoming, None
        while not any(server.current for server in servers):
            for server in servers:
                server.just_preempted = True
                server.steps_of_all = group.asked
                while server.current is None and server.just_preempted:
                    server.current = server.compose(self.now)
            if not any(server.current for server in servers):
                self.go_on_idle(group)
                return
        busy = [server for server in servers if server.current is not None]
        most = max(server.current.tokens for server in busy)
        tokens = servers[0].time.tokens
        padded = most <= rules.pads_up_to
        seconds = max(s.current.seconds + (tokens[most] - tokens[s.current.tokens] if padded else 0) for s in busy)
        for server in busy:
            self.steps.append({"replica": server.number, "start": self.now, "seconds": seconds, **server.current.row})
        if servers[0].limits.async_scheduling:
            for server in servers:
                server.steps_of_all = group.asked + 1
                server.upcoming = server.compose(self.now)
        group.asked += 1
        self.at(self.now + seconds, (1, group.number), lambda: self.common_boundary(group))

    def go_on_idle(self, group: Ranks) -> None:
        """Nobody has work: dummy batches until the ranks ask each other, then sleep."""
        group.resting = True
        rules, asked = self.parallel.lock_step, group.asked
        time = group.servers[0].time
        dummy = time.tokens[1] + time.constant
        if not dummy or asked % rules.asks_every == 0 or (rules.asks_first and asked == 1):
            group.awake, group.asked = False, 0
            return
        group.asked += 1
        self.at(self.now + dummy, (1, group.number), lambda: self.common_boundary(group))

    def abort(self, item: Item, server: Server) -> None:
        if item in server.waiting:
            server.waiting.remove(item)
        elif item in server.running and server.limits.scheduling_policy != "static":
            server.running.remove(item)
            server._free(item)

    def token(self, item: Item, server: Server, tokens: int) -> None:
        """Tokens of this request have come, together."""
        item.received += tokens
        item.pending -= tokens
        if item.gone:
            return
        if item.received == 1 and math.isnan(server.log["first_token"][item.index]):
            server.log["first_token"][item.index] = self.now
        else:
            self.gaps.append(self.now - item.last_token)
        item.last_token = self.now
        if item in server.running:
            server._register(item, item.computed - item.pending)
        if item.received == item.output:
            if item in server.running and server.limits.scheduling_policy != "static":
                server.running.remove(item)
                server._free_finished(item)
            self.finish(item, server)

    def finish(self, item: Item, server: Server) -> None:
        """A request has all its tokens."""
        server.outstanding -= 1
        self.log["finish"][item.index] = self.now
        if self.front_end is None:
            self.departed(item.index, FINISHED)
        else:
            item.done = True
            self.catch_up(server.number)
            sent = self.sent_at.get((server.number, self.now), self.now)
            self.log["finish"][item.index] = sent
            self.at(sent, (0, item.index), lambda: self.departed(item.index, FINISHED))
