"""A naive simulator of the same servers, one step and one block at a time: slow, short, and meant to be obviously right.

It follows vLLM V1's own loop (scheduler.py, kv_cache_manager.py, block_pool.py), keeps every block as an object, and knows
nothing of stretches or closed forms. Times are whatever numbers the StepTime holds: integers where tests ask for equality.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from simulator.engine.fleet.data_parallel import DataParallel
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
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests

FINISHED, REFUSED, TIMED_OUT, CANCELLED = range(4)


@dataclass(eq=False)
class Block:
    label: tuple[int, int] | None = None
    users: int = 0


@dataclass(eq=False)
class Pool:
    """All blocks of a replica; the free ones in the order in which they will be used again."""

    free: list[Block]
    by_label: dict[tuple[int, int], list[Block]] = field(default_factory=dict)

    def new(self) -> Block:
        block = self.free.pop(0)
        if block.label is not None:
            self.by_label[block.label].remove(block)
            block.label = None
        block.users = 1
        return block

    def touch(self, block: Block) -> None:
        if block.users == 0:
            self.free.remove(block)
        block.users += 1

    def give_back(self, block: Block) -> None:
        block.users -= 1
        if block.users == 0:
            self.free.append(block)

    def register(self, block: Block, label: tuple[int, int]) -> None:
        block.label = label
        self.by_label.setdefault(label, []).append(block)


@dataclass(eq=False)
class Item:
    """A request; `pending` tokens are being sampled by a step that has not ended (vLLM's num_output_placeholders)."""

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int
    labels: list[int]
    received: int = 0
    pending: int = 0
    computed: int = 0
    registered: int = 0
    blocks: list[list[Block | None]] = field(default_factory=list)
    states: list[Block] = field(default_factory=list)
    prefilling: bool = True
    gone: bool = False
    last_token: float = 0

    @property
    def known(self) -> int:
        return self.prompt + self.received

    @property
    def complete(self) -> bool:
        return self.received + self.pending == self.output


@dataclass(eq=False)
class Step:
    """A composed step: who is in it and whether it gets a token of it, and what the log says."""

    parts: list[tuple[Item, bool]]
    seconds: float
    row: dict[str, float]
    tokens: int


class Server:
    def __init__(self, number: int, step_time: StepTime, limits: SchedulerConfig, log: dict[str, list]) -> None:
        self.number, self.time, self.limits, self.log = number, step_time, limits, log
        self.pool = Pool([Block() for _ in range(limits.kv_blocks)])
        self.groups = [g.window for g in limits.kv_groups for _ in range(g.groups)]
        self.waiting: list[Item] = []
        self.running: list[Item] = []
        self.aborted: list[Item] = []
        self.current: Step | None = None
        self.upcoming: Step | None = None
        self.preempted = 0
        self.just_preempted = False
        self.awake = False
        self.outstanding = 0

    # Blocks

    def _lacking(self, item: Item, tokens: int, admission: bool = False) -> int:
        size, lacking = self.limits.block_size, self.limits.state_blocks - len(item.states)
        for window, blocks in zip(self.groups, item.blocks, strict=True):
            need = math.ceil(tokens / size)
            if admission and window is not None:
                need = min(need, self.window_cap(window))
            lacking += max(need - len(blocks), 0)
        return lacking

    def window_cap(self, window: int) -> int:
        in_flight = self.limits.max_num_batched_tokens * (2 if self.limits.async_scheduling else 1)
        return math.ceil(min(window - 1 + in_flight, self.limits.max_model_len or math.inf) / self.limits.block_size) + 1

    def _leave_windows(self, item: Item) -> None:
        for window, blocks in zip(self.groups, item.blocks, strict=True):
            if window is not None:
                outside = max(0, item.computed - window + 1) // self.limits.block_size
                for i in reversed(range(outside)):
                    if blocks[i] is not None:
                        self.pool.give_back(blocks[i])
                        blocks[i] = None

    def _allocate(self, item: Item, tokens: int) -> None:
        """Take blocks for `computed + tokens` tokens and register those that this step fills."""
        total = item.computed + tokens
        item.states += [self.pool.new() for _ in range(self.limits.state_blocks - len(item.states))]
        for blocks in item.blocks:
            while len(blocks) < math.ceil(total / self.limits.block_size):
                blocks.append(self.pool.new())
        self._register(item, min(total, item.known))

    def _register(self, item: Item, tokens: int) -> None:
        if self.limits.enable_prefix_caching:
            upto = min(tokens // self.limits.block_size, len(item.labels))
            for i in range(item.registered, upto):
                for group, blocks in enumerate(item.blocks):
                    if blocks[i] is not None:
                        self.pool.register(blocks[i], (item.labels[i], group))
            item.registered = max(item.registered, upto)

    def _free(self, item: Item) -> None:
        for blocks in item.blocks:
            for block in reversed(blocks):
                if block is not None:
                    self.pool.give_back(block)
        for block in item.states:
            self.pool.give_back(block)
        item.blocks, item.states = [], []
        item.registered = 0

    def _cached(self, item: Item) -> list[list[Block | None]]:
        """The cached blocks of each group; None outside its window. All groups must agree on how many there are."""
        if not self.limits.enable_prefix_caching:
            return [[] for _ in self.groups]
        most = min(len(item.labels), (item.known - 1) // self.limits.block_size)
        while True:
            hits = [self._cached_in(item, group, window, most) for group, window in enumerate(self.groups)]
            if min(map(len, hits)) == most:
                return hits
            most = min(map(len, hits))

    def _cached_in(self, item: Item, group: int, window: int | None, most: int) -> list[Block | None]:
        cached = [next(iter(self.pool.by_label.get((label, group), ())), None) for label in item.labels[:most]]
        if window is None:
            return cached[: cached.index(None)] if None in cached else cached
        needed = max(1, math.ceil((window - 1) / self.limits.block_size))
        for end in range(most, 0, -1):
            start = max(0, end - needed)
            if None not in cached[start:end]:
                return [None] * start + cached[start:end]
        return []

    def used(self) -> int:
        return self.limits.kv_blocks - len(self.pool.free)

    def kv_use(self) -> float:
        return self.used() / self.limits.kv_blocks

    # Scheduling

    def compose(self, now: float) -> Step | None:
        if self.limits.scheduling_policy == "static":
            return self._compose_static(now)
        if self.limits.prefill_first and (given := self._prompts_alone(now)):
            return self._step(given)
        budget, given, victims = self._schedule_running()
        self.preempted += len(victims)
        self.just_preempted = bool(victims)
        while not victims and self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            tokens = self._admit_head(budget, given, now)
            if not tokens:
                break
            budget -= tokens
        return self._step(given) if given else None

    def _prompts_alone(self, now: float) -> dict[Item, int]:
        budget, given = self.limits.max_num_batched_tokens, {}
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            tokens = self._admit_head(budget, given, now)
            if not tokens:
                break
            budget -= tokens
        return given

    def _schedule_running(self) -> tuple[int, dict[Item, int], list[Item]]:
        budget, given, victims = self.limits.max_num_batched_tokens, {}, []
        for item in list(self.running):
            if not budget:
                break
            if item in victims or item.complete:
                continue
            tokens = min(item.known + item.pending - item.computed, self.limits.prefill_cap, budget)
            self._leave_windows(item)
            while self._lacking(item, item.computed + tokens) > len(self.pool.free):
                victim = self._victim()
                self.running.remove(victim)
                budget += given.pop(victim, 0)
                victims.append(victim)
                self._preempt(victim)
                if victim is item:
                    return budget, given, victims
            self._allocate(item, tokens)
            given[item] = tokens
            budget -= tokens
        return budget, given, victims

    def _rank(self, item: Item) -> tuple[int, float, int]:
        return item.priority, item.arrived, item.index

    def _victim(self) -> Item:
        return max(self.running, key=self._rank) if self.limits.scheduling_policy == "priority" else self.running[-1]

    def _preempt(self, item: Item) -> None:
        self._free(item)
        self.log["preemptions"][item.index] += 1
        if not item.complete:
            item.computed = 0
            self.waiting.insert(0, item)

    def _admit_head(self, budget: int, given: dict[Item, int], now: float) -> int:
        by_priority = self.limits.scheduling_policy == "priority"
        item = min(self.waiting, key=self._rank) if by_priority else self.waiting[0]
        hits = self._cached(item)
        item.computed = len(hits[0]) * self.limits.block_size
        item.blocks = hits
        found = [block for blocks in hits for block in blocks if block is not None]
        tokens = min(item.known - item.computed, self.limits.prefill_cap)
        fits = tokens <= budget or self.limits.enable_chunked_prefill
        tokens = min(tokens, budget)
        idle_hits = sum(block.users == 0 for block in found)
        spare = self.limits.watermark_blocks if self.running else 0
        lacking = self._lacking(item, item.computed + tokens)
        if self.limits.reserve_full_prompt:
            fits = fits and self._lacking(item, item.known, admission=True) + idle_hits + spare <= len(self.pool.free)
        if not fits or lacking + idle_hits + spare > len(self.pool.free):
            item.computed, item.blocks = 0, []
            return 0
        for block in found:
            self.pool.touch(block)
        item.registered = len(hits[0])
        item.prefilling = True
        self._allocate(item, tokens)
        self.waiting.remove(item)
        self.running.append(item)
        given[item] = tokens
        if math.isnan(self.log["scheduled"][item.index]):
            self.log["scheduled"][item.index] = now
            self.log["cached"][item.index] = item.computed
        return tokens

    def _compose_static(self, now: float) -> Step | None:
        if all(item.complete for item in self.running):
            for item in self.running:
                self._free(item)
            self.running = []
            while self.waiting and len(self.running) < self.limits.max_num_seqs:
                item = self.waiting[0]
                blocks = math.ceil((item.prompt + item.output - 1) / self.limits.block_size)
                if blocks > len(self.pool.free):
                    break
                item.blocks = [[self.pool.new() for _ in range(blocks)]]
                self.running.append(self.waiting.pop(0))
        budget, given = self.limits.max_num_batched_tokens, {}
        for item in self.running:
            tokens = 1 if item.complete else min(item.known - item.computed, budget)
            if tokens and budget:
                given[item] = tokens
                budget -= tokens
                if not item.computed:
                    self.log["scheduled"][item.index] = now
        return self._step(given) if given else None

    # Time

    def _step(self, given: dict[Item, int]) -> Step:
        """Count the step's work, and let it begin: tokens count as computed as soon as they are scheduled."""
        time, context, half_pairs, in_windows, sampled = self.time, 0, 0, 0, 0
        row = dict.fromkeys(("prefill_tokens", "sampled"), 0)
        parts, contexts = [], []
        for item, n in given.items():
            padding = item.complete
            samples = padding or item.computed + n == item.known + item.pending
            if item.prefilling:
                pairs = n * (2 * item.computed + n)
                half_pairs += pairs
                in_windows += sum(w.per_pair * min(pairs, 2 * n * w.size) / 2 for w in time.windows)
                row["prefill_tokens"] += n
            else:
                context += item.computed
                contexts.append(item.computed)
                in_windows += sum(w.per_context * min(item.computed, w.size) for w in time.windows)
            sampled += samples
            row["sampled"] += samples and not padding
            if not padding:
                item.computed += n
                item.pending += samples
                item.prefilling = not samples
                parts.append((item, samples))
        row |= {"sequences": len(given), "waiting": len(self.waiting), "preempted": self.preempted, "kv_blocks": self.used()}
        self.preempted = 0
        seconds = time.tokens[sum(given.values())] + time.sampled[sampled] + time.per_sequence * len(given)
        seconds += time.constant + time.per_context * context + time.per_pair * half_pairs / 2 + in_windows
        seconds += sum(w.beyond for w in time.windows if any(each >= w.size for each in contexts))
        if row["prefill_tokens"] and len(time.prompt):
            seconds += time.prompt[sum(given.values())]
        return Step(parts, float(seconds), row, sum(given.values()))


ALONE = DataParallel(ranks=1)


class Group:
    """The ranks of one server. In lock step `asked` counts their common steps since all were idle."""

    def __init__(self, number: int, servers: list[Server]) -> None:
        self.number, self.servers = number, servers
        self.asked = 0
        self.awake = False
        self.first = self.turn = 0
        self.limits = servers[0].limits
        self.reports = Reports(servers)

    @property
    def outstanding(self) -> int:
        return sum(s.outstanding for s in self.servers)

    @property
    def waiting(self) -> list[Item]:
        return [item for s in self.servers for item in s.waiting]

    def kv_use(self) -> float:
        return sum(s.kv_use() for s in self.servers) / len(self.servers)


class Reports:
    """What each of some servers or groups last told of itself: [waiting, running, KV use]."""

    def __init__(self, of: list) -> None:
        self.of, self.known, self.reporting = of, [], False

    def take(self) -> None:
        self.known = [[len(s.waiting), s.outstanding - len(s.waiting), s.kv_use()] for s in self.of]


class Oracle:
    """Serves requests; afterwards `log` holds the request columns, `steps` a row a step, `gaps` every inter-token latency."""

    def __init__(self, requests: Requests, replicas, router, source, seed: int, data_parallel=ALONE) -> None:
        n = len(requests)
        self.requests, self.router, self.source = requests, router, source
        times = ("arrival", "scheduled", "first_token", "finish", "left")
        self.log = {name: [math.nan] * n for name in times}
        self.log |= {"replica": [-1] * n, "status": [CANCELLED] * n, "preemptions": [0] * n, "cached": [0] * n}
        self.servers = [Server(i, step_time, limits, self.log) for i, (step_time, limits) in enumerate(replicas)]
        self.steps: list[dict[str, float]] = []
        self.gaps: list[float] = []
        self.events: list[tuple] = []
        self.count = self.turn = 0
        self.rng = np.random.default_rng(seed)
        self.seen: dict[int, Server] = {}
        self.now = 0.0
        self.under_way = 0
        self.parallel = data_parallel
        n = data_parallel.ranks
        self.groups = [Group(i, self.servers[i : i + n]) for i in range(0, len(self.servers), n)]
        self.endpoints = self.servers if n == 1 or data_parallel.balance == "router" else self.groups
        self.reports = Reports(self.endpoints)
        self.went_to: dict[int, Group] = {}
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
        item = Item(i, int(r.prompt_tokens[i]), int(r.output_tokens[i]), self.now, priority, self.labels(i))
        self.log["arrival"][i] = self.now
        server = self.choose(item)
        if self.never_fits(item, server):
            self.departed(i, REFUSED)
            return
        self.log["replica"][i] = server.number
        server.outstanding += 1
        server.waiting.append(item)
        if self.source.timeout_s is not None:
            self.at(self.now + self.source.timeout_s, (3, 0), lambda: self.time_out(item, server))
        mine = next(group for group in self.groups if server in group.servers)
        if self.parallel.lock_step is not None:
            if not mine.awake:
                mine.awake = True
                self.at(self.now, (1, mine.number), lambda: self.common_boundary(mine))
        elif not server.awake:
            server.awake = True
            self.at(self.now, (1, server.number), lambda: self.boundary(server))

    def labels(self, i: int) -> list[int]:
        hashes = self.requests.hashes
        return [] if hashes is None else hashes.ids[hashes.offsets[i] : hashes.offsets[i + 1]].tolist()

    def never_fits(self, item: Item, server: Server) -> bool:
        limits, longest = server.limits, item.prompt + item.output - 1
        blocks = math.ceil(longest / limits.block_size)
        most = sum(blocks if w is None else min(blocks, server.window_cap(w)) for w in server.groups)
        too_long = limits.max_model_len is not None and longest + 1 > limits.max_model_len
        whole = not limits.enable_chunked_prefill and min(longest, limits.prefill_cap) > limits.max_num_batched_tokens
        return most + limits.state_blocks > limits.kv_blocks or too_long or whole

    def choose(self, item: Item) -> Server:
        chosen = self.endpoints[0] if len(self.endpoints) == 1 else self.route(item)
        return self.rank_of(chosen) if isinstance(chosen, Group) else chosen

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
        reports.reporting = any(s.outstanding for s in reports.of)
        if reports.reporting:
            self.at(self.now + every, (2, 0), lambda: self.report(reports, every))

    def rank_of(self, group: Group) -> Server:
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
            for item, samples in server.current.parts:
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

    def common_boundary(self, group: Group) -> None:
        """The ranks of a server end a step together, and begin the next."""
        rules, servers = self.parallel.lock_step, group.servers
        for server in servers:
            for item in server.aborted:
                self.abort(item, server)
            server.aborted = []
            for item, samples in server.current.parts if server.current is not None else []:
                if samples:
                    self.token(item, server)
        for server in servers:
            server.current, server.upcoming = server.upcoming, None
        while not any(server.current for server in servers):
            for server in servers:
                server.just_preempted = True
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
                server.upcoming = server.compose(self.now)
        group.asked += 1
        self.at(self.now + seconds, (1, group.number), lambda: self.common_boundary(group))

    def go_on_idle(self, group: Group) -> None:
        """Nobody has work: dummy batches until the ranks ask each other, then sleep."""
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
