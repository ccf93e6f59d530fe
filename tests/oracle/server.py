"""One replica: which requests are in a step, the blocks they hold, and how long the step takes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from math import gcd, lcm

from oracle.blocks import Block, Held, Layers, Pool
from oracle.rules import Arguments, Group, Rules
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime


@dataclass(eq=False)
class Decoding:
    """A request that decodes with drafted tokens: `left` tokens in `steps` steps, `made` of which were made."""

    context: int
    left: int
    steps: int
    made: int = 0

    def tokens(self, made: int) -> int:
        """Tokens that the first so many steps give."""
        return made * self.left // self.steps

    @property
    def mean_context(self) -> float:
        """What attention reads in a step, at an even pace: a whole number of 1,024th parts a step."""
        return self.context + self.made * round(1024 * self.left / self.steps) / 1024


@dataclass(eq=False)
class Item:
    """A request; `pending` of its tokens are being sampled by a step that has not ended.

    vLLM calls them num_output_placeholders. Where tokens are drafted `steps` is how many decode
    steps it takes in all, and the step in flight gives it `coming` tokens. `in_flight` tokens of it are in steps that have not
    ended; the first `registered[g]` blocks of layer group g were named or are outside its window.
    """

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int
    labels: list[object]
    received: int = 0
    pending: int = 0
    computed: int = 0
    in_flight: int = 0
    registered: list[int] = field(default_factory=list)
    blocks: list[Held] = field(default_factory=list)
    states: list[Block] = field(default_factory=list)
    prefilling: bool = True
    gone: bool = False
    done: bool = False
    last_token: float = 0
    steps: int = 0
    decoding: Decoding | None = None
    coming: int = 1

    @property
    def known(self) -> int:
        return self.prompt + self.received

    @property
    def complete(self) -> bool:
        return self.received + self.pending == self.output


@dataclass(eq=False)
class Step:
    """A composed step: who is in it, with how many tokens and whether one comes of it."""

    parts: list[tuple[Item, int, bool]]
    seconds: float
    row: dict[str, float]
    tokens: int


class Server:
    """Composes steps; `log` is the columns of the requests."""

    def __init__(
        self,
        number: int,
        step_time: StepTime,
        limits: SchedulerConfig,
        log: dict[str, list],
        rules: Rules,
        arguments: Arguments,
    ) -> None:
        self.number, self.time, self.limits, self.log = number, step_time, limits, log
        self.rules, self.arguments = rules, arguments
        self.pool = Pool([Block() for _ in range(limits.kv_blocks)])
        self.layers = self._layers()
        self.unit = self.layers[0].unit
        self.waiting: list[Item] = []
        self.running: list[Item] = []
        self.aborted: list[Item] = []
        self.current: Step | None = None
        self.upcoming: Step | None = None
        self.preempted = 0
        self.just_preempted = False
        self.awake = False
        self.outstanding = 0
        self.in_front: list[Item] = []
        self.present: list[Item] = []
        self.steps, self.last_prefill = 0, -arguments.prefill_schedule_interval
        self.prefilled = self.backlog = False
        self.steps_of_all: int | None = None

    def _layers(self) -> list[Layers]:
        limits, specs = self.limits, self.arguments.groups
        if specs is None:
            kinds = [g for g in limits.kv_groups for _ in range(g.groups)]
            specs = tuple(Group(window=g.window) for g in kinds)
        sizes = [spec.block_size or limits.block_size for spec in specs]
        unit, alignment = gcd(*sizes), lcm(*sizes)
        return [
            Layers(i, spec, size, unit, alignment, self._most(spec, size), self.pool, self.rules)
            for i, (spec, size) in enumerate(zip(specs, sizes, strict=True))
        ]

    def _most(self, spec: Group, size: int) -> float:
        """The blocks of a layer group that the gate for whole prompts reckons with."""
        if spec.window is None:
            return math.inf
        limits = self.limits
        twice = self.rules.cap_counts_steps and limits.async_scheduling
        in_flight = limits.max_num_batched_tokens * (2 if twice else 1)
        tokens = min(spec.window - 1 + in_flight, limits.max_model_len or math.inf)
        return math.ceil(tokens / size) + 1

    # Blocks

    def _slots(self, item: Item, tokens: int) -> int:
        """Tokens that blocks are taken for when so many are scheduled: those that may be rejected and the drafter's too."""
        if self.limits.speculation is None:
            return tokens
        rolling = item.in_flight and not item.prefilling and item.decoding.made
        maybe = self.limits.verified - item.coming if rolling else 0
        return tokens + maybe + self.limits.speculation.lookahead

    def _lacking(self, item: Item, tokens: int, hits: list[Held] | None = None, gate: bool = False) -> int:
        lacking = self.limits.state_blocks - len(item.states)
        for layers in self.layers:
            held = item.blocks[layers.number] if item.blocks else []
            found = hits[layers.number] if hits else []
            lacking += layers.lacking(held, found, tokens, item.computed, gate)
        return lacking

    def _leave_windows(self, item: Item) -> None:
        done = item.computed - (item.in_flight if self.rules.frees_when_done else 0)
        for layers in self.layers:
            layers.leave(item.blocks[layers.number], max(0, done))

    def _allocate(self, item: Item, tokens: int) -> None:
        """Take blocks for `computed + tokens` tokens and name those that this step fills."""
        total = item.computed + tokens
        item.states += [self.pool.new() for _ in range(self.limits.state_blocks - len(item.states))]
        for layers in self.layers:
            layers.extend(item.blocks[layers.number], self._slots(item, total))
        self._register(item, min(total, item.known))

    def _register(self, item: Item, tokens: int) -> None:
        if self.limits.enable_prefix_caching:
            for layers in self.layers:
                g = layers.number
                item.registered[g] = layers.name(item.blocks[g], item.labels, item.registered[g], tokens)

    def _free(self, item: Item) -> None:
        for layers in self.layers:
            if item.blocks:
                layers.give_back(item.blocks[layers.number])
        self.pool.give_back(item.states)
        item.blocks, item.states, item.registered = [], [], []

    def _free_finished(self, item: Item) -> None:
        self._free(item)

    def _cached(self, item: Item) -> tuple[list[Held], int]:
        """The cached blocks of each group and how many tokens they hold.

        None stands outside a window. All groups must agree on how many tokens there are.
        """
        if not self.limits.enable_prefix_caching:
            return [[] for _ in self.layers], 0
        most = item.known - 1
        while True:
            hits = []
            tokens = most
            for layers in self.layers:
                hits.append(layers.cached(item.labels, tokens))
                tokens = min(tokens, len(hits[-1]) * layers.size)
            if all(len(h) * g.size == tokens for h, g in zip(hits, self.layers, strict=True)):
                if tokens and self.limits.drops_last_block:
                    return [h[:-1] for h in hits], tokens - self.layers[0].size
                return hits, tokens
            most = tokens

    def used(self) -> int:
        return self.limits.kv_blocks - len(self.pool.free)

    def queued(self) -> int:
        return len(self.waiting)

    def kv_use(self) -> float:
        return self.used() / self.limits.kv_blocks

    # Scheduling

    def compose(self, now: float) -> Step | None:
        if self.limits.scheduling_policy == "static":
            return self._compose_static(now)
        if self.limits.prefill_first and (given := self._prompts_alone(now)):
            return self._step(given)
        self.prefilled = False
        cap = self._prefill_cap()
        held_back = self._holds_prefills_back()
        budget, given, victims = self._schedule_running(cap, held_back)
        self.preempted += len(victims)
        self.just_preempted = bool(victims)
        if not victims:
            self._admit(budget, given, cap, held_back, now)
        self.steps += bool(given)
        if self.prefilled:
            self.last_prefill = self.steps
        return self._step(given) if given else None

    def _prompts_alone(self, now: float) -> dict[Item, int]:
        given: dict[Item, int] = {}
        self._admit(self._budget(), given, self._prefill_cap(), False, now)
        return given

    def _budget(self) -> int:
        most = self.limits.max_num_batched_tokens
        return min(self.arguments.max_num_scheduled_tokens or most, most)

    def _prefill_cap(self) -> int:
        cap, present = self.limits.prefill_cap, len(self.running) + len(self.waiting)
        if present <= 1:
            return sys.maxsize if self.rules.lone_prefill_uncut else cap
        if self.arguments.long_prefill_token_threshold_adaptive:
            return max(cap, self.limits.max_num_batched_tokens // present)
        return cap

    def _holds_prefills_back(self) -> bool:
        """Whether prompts wait as too few steps have passed since one was computed."""
        interval = self.arguments.prefill_schedule_interval
        soon = self.steps + 1 - self.last_prefill < interval
        if self.steps_of_all is not None:
            soon = self.steps_of_all % interval != 0
        return soon and not self.backlog and not all(item.prefilling for item in self.running)

    def _schedule_running(self, cap: int, held_back: bool) -> tuple[int, dict[Item, int], list[Item]]:
        budget, i = self._budget(), 0
        given: dict[Item, int] = {}
        victims: list[Item] = []
        while i < len(self.running) and budget > 0:
            item = self.running[i]
            if item.complete or (held_back and item.prefilling):
                i += 1
                continue
            tokens = min(item.known + item.pending - item.computed, cap, budget)
            if self.limits.speculation is not None and not item.prefilling:
                tokens = self.limits.verified
                if tokens > budget:
                    budget = 0
                    break
            self._leave_windows(item)
            while self._lacking(item, self._slots(item, item.computed + tokens)) > len(self.pool.free):
                victim = self._victim()
                at = self.running.index(victim)
                if at < i and (victim in given or not self.rules.skips_one):
                    i -= 1
                del self.running[at]
                budget += given.pop(victim, 0)
                victims.append(victim)
                self._preempt(victim)
                if victim is item:
                    break
            if item in victims:
                if self.rules.goes_on and self.limits.scheduling_policy == "priority":
                    continue
                break
            self._allocate(item, tokens)
            self.prefilled |= item.prefilling
            given[item] = tokens
            budget -= tokens
            i += 1
        return budget, given, victims

    def _rank(self, item: Item) -> tuple[int, float, int]:
        return item.priority, item.arrived, item.index

    def _victim(self) -> Item:
        by_priority = self.limits.scheduling_policy == "priority"
        return max(self.running, key=self._rank) if by_priority else self.running[-1]

    def _preempt(self, item: Item) -> None:
        self._free(item)
        self.log["preemptions"][item.index] += 1
        if not item.complete:
            item.computed = 0
            item.prefilling, item.decoding = True, None
            self.waiting.insert(0, item)

    def _admit(self, budget: int, given: dict[Item, int], cap: int, held_back: bool, now: float) -> None:
        most = self.arguments.max_num_active_seqs or self.limits.max_num_seqs
        while self.waiting and budget > 0 and len(self.running) < most:
            tokens = self._admit_head(budget, given, cap, held_back, now)
            if not tokens:
                break
            budget -= tokens
        if not held_back:
            self.backlog = bool(self.waiting)

    def _spare(self) -> int:
        """Blocks that stay free when a request is admitted beside others."""
        share = self.arguments.watermark
        if not self.running:
            return 0
        if share is not None:
            return int(share * (self.limits.kv_blocks + 1))
        return self.limits.watermark_blocks

    def _admit_head(self, budget: int, given: dict[Item, int], cap: int, held_back: bool, now: float) -> int:
        by_priority = self.limits.scheduling_policy == "priority"
        item = min(self.waiting, key=self._rank) if by_priority else self.waiting[0]
        hits, item.computed = self._cached(item)
        tokens = min(item.known - item.computed, cap)
        fits = tokens <= budget or self.limits.enable_chunked_prefill
        if held_back and (item.computed < item.known - 1 or self.rules.holds_hits):
            fits = False
        tokens = min(tokens, budget)
        free = len(self.pool.free) - self._spare()
        if self.limits.reserve_full_prompt:
            fits = fits and self._lacking(item, item.known, hits, gate=True) <= free
        if not fits or self._lacking(item, self._slots(item, item.computed + tokens), hits) > free:
            item.computed = 0
            return 0
        item.blocks = [g.adopt(hits[g.number], item.computed) for g in self.layers]
        item.registered = [len(blocks) for blocks in item.blocks]
        item.prefilling = True
        self.prefilled |= item.computed < item.known - 1
        self._allocate(item, tokens)
        self.waiting.remove(item)
        self.running.append(item)
        given[item] = tokens
        self._started(item, item.computed, now)
        return tokens

    def _started(self, item: Item, computed: int, now: float) -> None:
        if math.isnan(self.log["scheduled"][item.index]):
            self.log["scheduled"][item.index] = now
            self.log["cached"][item.index] = computed

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
        """Count the step's work, and let it begin.

        Tokens count as computed as soon as they are scheduled.
        """
        time, context, half_pairs, in_windows, sampled, drafting = self.time, 0, 0, 0, 0, 0
        row = dict.fromkeys(("prefill_tokens", "sampled"), 0)
        parts, contexts = [], []
        for item, n in given.items():
            if item.decoding is not None:
                mean = item.decoding.mean_context
                context += mean
                contexts.append(mean)
                in_windows += sum(w.per_context * min(mean, w.size) for w in time.windows)
                sampled += n
                drafting += 1
                row["sampled"] += 1
                parts.append((item, n, self._verify(item, n)))
                continue
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
            drafting += samples
            row["sampled"] += samples and not padding
            if not padding:
                item.computed += n
                item.in_flight += n
                item.pending += samples
                item.prefilling = not samples
                parts.append((item, n, samples))
                if samples and self.limits.speculation is not None:
                    left = item.output - item.received - item.pending
                    steps = math.ceil(left * item.steps / max(item.output - 1, 1))
                    item.decoding = Decoding(item.computed, left, steps)
        row |= {"sequences": len(given), "waiting": self.queued()}
        row |= {"preempted": self.preempted, "kv_blocks": self.used()}
        self.preempted = 0
        seconds = time.tokens[sum(given.values())] + time.sampled[sampled]
        seconds += time.per_sequence * len(given)
        seconds += time.constant + time.per_context * context + time.per_pair * half_pairs / 2
        seconds += sum(w.beyond for w in time.windows if any(each >= w.size for each in contexts))
        if len(time.drafted):
            seconds += time.drafted[drafting]
        if len(time.prompt) and self._launches(given, row["prefill_tokens"]):
            seconds += time.prompt[sum(given.values())]
        return Step(parts, float(seconds + in_windows), row, sum(given.values()))

    def _launches(self, given: dict[Item, int], prompt_tokens: int) -> bool:
        """Whether a step runs as one that computes prompts."""
        return prompt_tokens > 0

    def _verify(self, item: Item, n: int) -> int:
        """Let `n` tokens of a decoding request be verified; how many come of it."""
        course = item.decoding
        item.coming = course.tokens(course.made + 1) - course.tokens(course.made)
        course.made += 1
        item.computed += item.coming
        item.in_flight += n
        item.pending += item.coming
        return item.coming
