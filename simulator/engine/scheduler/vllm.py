"""The scheduler: who computes how many tokens in the next step. No clock and no phases.

Each request has tokens it knows and tokens it has computed; a step hands out a budget of tokens so that computed catches up with
known. A prompt is many tokens behind, a decoding request one, a preempted one starts again from none. This is what vLLM V1 does:

1.  *Running first*, in order of admission, each `min(known - computed, long_prefill_token_threshold, budget left)` tokens.
    A request that gets none because the budget ran out keeps its place and waits for the next step.
2.  *Blocks by chunk.* A request takes the blocks of the tokens it is to compute in this step. A decoding request with context c
    needs one when c is a multiple of the block size. The last output token is sampled, never computed.
3.  *Preemption.* When a block is lacking the last admitted request loses all its blocks and goes to the front of the queue,
    until the block is there or the request has preempted itself. It keeps its generated tokens and computes them again with
    its prompt. With `priority` the victim has the largest (priority, arrival), wherever it runs; what it got is taken back.
4.  *Then waiting*, first come, first served or by (priority, arrival), unless this step preempted: while budget, sequences and
    blocks last, each its first chunk. The first that cannot be admitted blocks those behind it. With `reserve_full_prompt` all
    its known tokens must find room, though only the chunk's blocks are taken; `watermark_blocks` must stay free unless it is
    alone. Without chunked prefill a prompt that exceeds the budget left waits.
5.  *Prefix hits* count as computed, at most known - 1 tokens; blocks are shared and can be hit from the step that computes them.
6.  The step that computes a request's last known token samples the next one: the first when its prompt is done.

Source: vLLM v0.14 to main of 2026, vllm/v1/core/sched/scheduler.py `schedule` and `_preempt_request`, async_scheduler.py,
kv_cache_manager.py `allocate_slots` and `get_computed_blocks`, vllm/v1/engine/core.py `step_with_batch_queue`.

The walk over all running requests that vLLM does in every step is needed only where the budget runs out among them, or to
preempt by priority. Everywhere else decoding requests are a count (decoding.py), and only prompts in work are looked at one by
one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simulator.engine.kv.prefix_cache import PrefixCache
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import ORDER_BITS, ORDER_MASK, Decoding
from simulator.engine.scheduler.queues import PriorityQueue, priority_key
from simulator.engine.scheduler.windows import WindowSums

Chunk = tuple[Request, int, bool]
NOBODY: Sequence[Request] = ()


class Scheduler(Decoding):
    """Serves first come, first served, or by priority.

    After `schedule` the step is composed: `chunks` are the prompt tokens to compute, as (request, tokens, whether they are its
    last); all who decode compute one each, save those `stalled` for want of budget; `resumed` ones were stalled in the
    step before; `victims` were preempted. After `carry_out`, `completed` requests have all their known tokens computed and
    sampled one more. Whoever has noted the victims, the resumed and the completed empties those lists. With `by_priority` the
    waiting are served by priority, and one that comes may be admitted ahead of them.

    `free` counts the KV blocks that nobody holds. A request holds those of the tokens it has computed or is computing in this
    step, the last one perhaps partly filled, and its `states`. What blocks hold matters only to the `cache`.
    """

    __slots__ = (
        "admitted",
        "by_priority",
        "cache",
        "chunked",
        "chunks",
        "completed",
        "free",
        "hybrid",
        "long_prefill_token_threshold",
        "max_num_seqs",
        "max_tokens",
        "padded_context",
        "padding",
        "prefilling",
        "reserve",
        "resumed",
        "running",
        "stalled",
        "states",
        "sums",
        "total",
        "victims",
        "waiting",
        "watching",
        "watermark",
    )

    def __init__(self, limits: SchedulerConfig, cache: PrefixCache | None = None) -> None:
        super().__init__(limits.block_size)
        self.total = self.free = limits.kv_blocks
        self.cache = cache
        self.hybrid = False
        self.sums: dict[int, WindowSums] = {}
        self.by_priority = limits.scheduling_policy == "priority"
        self.waiting: deque[Request] | PriorityQueue = PriorityQueue() if self.by_priority else deque()
        self.running: dict[int, Request] = {}
        self.prefilling: list[Request] = []
        self.chunks: list[Chunk] = []
        self.stalled: list[Request] = []
        self.resumed: list[Request] = []
        self.victims: list[Request] = []
        self.completed: list[Request] = []
        self.admitted = 0
        self.padding = self.padded_context = 0
        self.watching = False
        self.max_num_seqs = limits.max_num_seqs
        self.max_tokens = limits.max_num_batched_tokens
        self.long_prefill_token_threshold = limits.prefill_cap
        self.chunked = limits.enable_chunked_prefill
        self.reserve = limits.reserve_full_prompt
        self.watermark = limits.watermark_blocks
        self.states = limits.state_blocks

    def schedule(self) -> bool:
        """Compose the next step. True if it is an even one: all decode, as they did before and will again."""
        if self.prefilling or self.stalled:
            budget = self._schedule_prompts()
        else:
            budget = self.max_tokens - self.count
            needed = self.ring[self.step % self.block_size]
            if needed > self.free or self.hybrid:
                self._take(needed)
            elif needed:
                self.free -= needed
                if self.cache is not None:
                    self.cache.taken += needed
        if self.cache is not None:
            self.watching = bool(self.cache.contested)
            if self.watching:
                self.cache.register_contested(self.step)
        if self.waiting and budget > 0 and not self.victims:
            self._admit(budget)
        return self.count > 0 and not (self.chunks or self.victims or self.stalled or self.resumed)

    def _schedule_prompts(self) -> int:
        """Compose the running part where prompts are in work; gives the budget left."""
        behind = self.unstall()
        budget = self.max_tokens - self.count
        wanted = sum(min(r.known - r.computed, self.long_prefill_token_threshold) for r in self.prefilling)
        if wanted > budget and not self._one_prompt_and_last():
            budget = self._walk()
        else:
            needed = self.ring[self.step % self.block_size]
            for request in self.prefilling:
                lacking = request.known - request.computed
                tokens = min(lacking, self.long_prefill_token_threshold, budget)
                budget -= tokens
                needed += self._needed_by_prompt(request, tokens)
                self.chunks.append((request, tokens, tokens == lacking))
            self._take(needed)
        self.resumed = [r for r in behind if r.decoding and r not in self.stalled]
        return budget

    def unstall(self) -> list[Request]:
        """Forget who was stalled; gives them."""
        behind, self.stalled = self.stalled, []
        for request in behind:
            request.stalled = False
        return behind

    def _one_prompt_and_last(self) -> bool:
        return len(self.prefilling) == 1 and self.prefilling[0].order == next(reversed(self.running))

    def _needed_by_prompt(self, request: Request, tokens: int) -> int:
        """Blocks that a request lacks to compute `tokens` more of its prompt."""
        size = self.block_size
        return -(-(request.computed + tokens) // size) + -request.computed // size

    def _take(self, needed: int) -> None:
        """Take blocks for all running requests, preempting from the last on until there are enough."""
        if needed > self.free and self.by_priority:
            self.chunks = []
            self._walk()
            return
        while needed > self.free:
            victim = self._pop_victim()
            if victim.decoding:
                needed -= self.needed_by(victim)
            elif self.chunks and self.chunks[-1][0] is victim:
                _, tokens, _ = self.chunks.pop()
                needed -= self._needed_by_prompt(victim, tokens)
            self._preempt(victim)
        self._take_free(needed)
        if self.cache is not None:
            for request, tokens, _ in self.chunks:
                self.cache.register(request, request.computed + tokens, self.step)

    def _take_free(self, needed: int) -> None:
        self.free -= needed
        if self.cache is not None:
            self.cache.taken += needed

    def _give_back(self, request: Request, *, finished: bool = False) -> None:
        """Free the blocks of the tokens that a request has computed."""
        blocks = self.states - -request.computed // self.block_size
        if self.cache is not None:
            known = request.computed if finished else request.computed - self.cache.async_scheduling
            blocks = self.cache.release(request, blocks, known)
        self.free += blocks

    def _walk(self) -> int:
        """Compose the running part one request after another, as budget or blocks run out among them; gives the budget left."""
        budget = self.max_tokens
        given: dict[Request, int] = {}
        for request in list(self.running.values()):
            if not budget:
                break
            if request.leaving or request.order not in self.running:
                continue
            tokens = 1 if request.decoding else min(request.known - request.computed, self.long_prefill_token_threshold, budget)
            needed = self._needed_on_walk(request, tokens)
            while needed > self.free and request.order in self.running:
                victim = self._pop_victim()
                taken_back = given.pop(victim, 0)
                budget += taken_back
                self._preempt(victim, taken_back)
            if request.order not in self.running:
                break
            self._grant(request, tokens, needed)
            given[request] = tokens
            budget -= tokens
        self.chunks = [(r, n, r.computed + n == r.known) for r, n in given.items() if not r.decoding]
        self.stalled = [r for r in self.running.values() if r.decoding and r not in given]
        for request in self.stalled:
            request.stalled = True
        return budget

    def _grant(self, request: Request, tokens: int, needed: int) -> None:
        """Let a running request take what it needs to compute `tokens` more."""
        self._take_free(needed)
        if not request.decoding and self.cache is not None:
            self.cache.register(request, request.computed + tokens, self.step)

    def _needed_on_walk(self, request: Request, tokens: int) -> int:
        """Blocks that a running request lacks to compute `tokens` more."""
        return self.needed_by(request) if request.decoding else self._needed_by_prompt(request, tokens)

    def _pop_victim(self) -> Request:
        """Take the request to be preempted from the running ones: the last admitted, or the one that ranks last."""
        if self.by_priority:
            return self.running.pop(max(self.running.values(), key=priority_key).order)
        return self.running.popitem()[1]

    def _preempt(self, victim: Request, taken_back: int = 0) -> None:
        """Let one that was running wait at the front, without its blocks, those for `taken_back` tokens of this step too."""
        if victim.decoding:
            self.leave(victim)
        elif not victim.leaving:
            self.prefilling.remove(victim)
        victim.computed += taken_back
        self._give_back(victim)
        self.victims.append(victim)
        victim.preemptions += 1
        if not victim.leaving:
            victim.computed = 0
            self.waiting.appendleft(victim)

    def _admit(self, budget: int) -> None:
        """Start waiting requests while budget, sequences and blocks last."""
        waiting, running, size, cache = self.waiting, self.running, self.block_size, self.cache
        while waiting and budget > 0 and len(running) < self.max_num_seqs:
            request = waiting[0]
            lacking = request.prompt + request.generated
            hits = idle = 0
            if cache is not None:
                hits, idle = cache.look_up(request, self.step), cache.idle
                lacking -= hits * size
            tokens = min(lacking, self.long_prefill_token_threshold)
            if tokens > budget:
                if not self.chunked:
                    self._watch_growth()
                    break
                tokens = budget
            needed = -(-tokens // size)
            must_fit = -(-lacking // size) if self.reserve else needed
            if self.hybrid:
                needed, must_fit = self._needed_to_start(request, tokens, lacking, hits)
            besides = idle + self.states
            must_fit += besides
            if running:
                must_fit += self.watermark
            if must_fit > self.free:
                self._head_waits(must_fit)
                break
            self.free -= needed + besides
            waiting.popleft()
            budget -= tokens
            request.order = order = self.admitted
            self.admitted = order + 1
            running[order] = request
            if cache is not None:
                request.computed = hits * size
                cache.admit(request, needed, hits * size + tokens, self.step)
            if tokens < lacking:
                self.prefilling.append(request)
            self.chunks.append((request, tokens, tokens == lacking))

    def _head_waits(self, blocks: int) -> None:
        """The first waiting request waits for this many free blocks."""
        self._watch_growth()

    def _watch_growth(self) -> None:
        """See whether the first waiting request might be found to lack less before the next finish."""
        if self.cache is not None and self.cache.may_grow:
            self.watching = True

    def horizon(self) -> int:
        """How many even steps follow on each other if nothing comes from outside."""
        if self.watching:
            return 1
        due = self.due
        request = self.running.get(due[0] & ORDER_MASK)
        last = due[0] >> ORDER_BITS
        if request is None or request.last_step != last:
            last = self.next_finish(self.running)
        steps = last - self.step
        if steps == 1:
            return 1
        free, size = self.free, self.block_size
        if -(-steps // size) * self.count <= free:
            return steps
        return self.steps_within(free + self.ring[self.step % size], steps)

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have sampled their last token, in running order."""
        if steps > 1:
            self._take_following(steps)
        if self.hybrid:
            self._move_windows(steps)
        self.step = step = self.step + steps
        self.context += steps * self.count
        return self.finished(self.running) if self.due[0] >> ORDER_BITS <= step else NOBODY

    def carry_out(self) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have sampled their last token, in running order."""
        if self.hybrid:
            self._move_windows(1)
        self.step = step = self.step + 1
        self.context += self.count
        for request, tokens, last in self.chunks:
            request.computed += tokens
            if last:
                request.generated += 1
                self.join(request)
                self.completed.append(request)
                if self.cache is not None:
                    self.cache.grow(request, step)
        self.chunks = []
        if self.prefilling:
            self.prefilling = [r for r in self.prefilling if not r.decoding]
        if self.stalled:
            for request in self.stalled:
                self.postpone(request)
        return self.finished(self.running) if self.due and self.due[0] >> ORDER_BITS <= step else NOBODY

    def _take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps."""
        needed = self.blocks_following(steps)
        self.free -= needed
        if self.cache is not None:
            self.cache.taken += needed

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.total - self.free + self.blocks_following(steps)

    def _needed_to_start(self, request: Request, tokens: int, lacking: int, hits: int) -> tuple[int, int]:
        raise NotImplementedError

    def _move_windows(self, steps: int) -> None:
        raise NotImplementedError

    def release(self, finished: Sequence[Request]) -> None:
        """Let finished requests go; one that was preempted after its last token was computed is gone already."""
        running = self.running
        for request in finished:
            if request.order in running:
                del running[request.order]
                self._give_back(request, finished=True)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        if self.running.pop(request.order, None) is None:
            if not request.leaving:
                self.waiting.remove(request)
            return
        if request.decoding:
            self.leave(request)
        elif request in self.prefilling:
            self.prefilling.remove(request)
        self._give_back(request)
