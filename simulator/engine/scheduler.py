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
4.  *Then waiting*, first come, first served or by (priority, arrival), unless this step preempted: while budget, sequences
    and blocks last, each its first chunk. The first that cannot be admitted blocks those behind it. With `reserve_full_prompt` all its
    known tokens must find room, though only the chunk's blocks are taken; `watermark_blocks` must stay free unless it is alone.
    Without chunked prefill a prompt that exceeds the budget left waits.
5.  *Prefix hits* count as computed, at most known - 1 tokens; blocks are shared and can be hit from the step that computes them.
6.  The step that computes a request's last known token samples the next one: the first when its prompt is done.

Source: vLLM v0.14 to main of 2026, vllm/v1/core/sched/scheduler.py `schedule` and `_preempt_request`, async_scheduler.py,
kv_cache_manager.py `allocate_slots` and `get_computed_blocks`, vllm/v1/engine/core.py `step_with_batch_queue`.

The walk over all running requests that vLLM does in every step is needed only where the budget runs out among them, or to
preempt by priority. Everywhere else decoding requests are a count (decoding.py), and only prompts in work are looked at one by one.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from simulator.engine.blocks import Blocks
from simulator.engine.decoding import Decoding
from simulator.engine.limits import Limits
from simulator.engine.request import Request


class Scheduler:
    """First come, first served.

    After `schedule` the step is composed: `chunks` are the prompt tokens to compute, by request; `decoding` requests compute one
    each, save those `stalled` for want of budget; `resumed` ones were stalled in the step before; `victims` were preempted,
    `started` admitted for the first time. After `advance`, `completed` requests have all their known tokens computed and
    sampled one more, and `finished` ones have sampled their last.
    """

    def __init__(self, limits: Limits, blocks: Blocks) -> None:
        self.blocks = blocks
        self.decoding = Decoding(limits.block_size)
        self.waiting: deque[Request] = deque()
        self.running: dict[int, Request] = {}
        self.prefilling: list[Request] = []
        self.chunks: list[tuple[Request, int]] = []
        self.stalled: list[Request] = []
        self.resumed: list[Request] = []
        self.victims: list[Request] = []
        self.started: list[Request] = []
        self.completed: list[Request] = []
        self.finished: list[Request] = []
        self.admitted = 0
        self.max_num_seqs = limits.max_num_seqs
        self.max_tokens = limits.max_num_batched_tokens
        self.cap = limits.prefill_cap
        self.chunked = limits.enable_chunked_prefill
        self.reserve = limits.reserve_full_prompt
        self.watermark = limits.watermark_blocks

    def enqueue(self, request: Request) -> None:
        """Let a request wait."""
        self.waiting.append(request)

    def schedule(self) -> None:
        """Compose the next step."""
        self.chunks, self.victims, self.started = [], [], []
        if self.prefilling or self.stalled:
            budget = self._schedule_prompts()
        else:
            self.resumed = []
            budget = self.max_tokens - self.decoding.count
            needed = self.decoding.needed()
            if needed:
                self._take(needed)
        if self.waiting and budget > 0 and not self.victims:
            self._admit(budget)

    def _schedule_prompts(self) -> int:
        """Compose the running part where prompts are in work; gives the budget left."""
        behind, self.stalled = self.stalled, []
        budget = self.max_tokens - self.decoding.count
        wanted = sum(min(r.known - r.computed, self.cap) for r in self.prefilling)
        if wanted > budget and not self._one_prompt_and_last():
            budget = self._walk()
        else:
            needed = self.decoding.needed()
            for request in self.prefilling:
                tokens = min(request.known - request.computed, self.cap, budget)
                budget -= tokens
                needed += self.blocks.needed(request, tokens)
                self.chunks.append((request, tokens))
            self._take(needed)
        self.resumed = [r for r in behind if r.decoding and r not in self.stalled]
        return budget

    def _one_prompt_and_last(self) -> bool:
        return len(self.prefilling) == 1 and self.prefilling[0].order == next(reversed(self.running))

    def _take(self, needed: int) -> None:
        """Take blocks for all running requests, preempting from the last on until there are enough."""
        while needed > self.blocks.free:
            victim = self._pop_victim()
            if victim.decoding:
                needed -= self.decoding.needed_by(victim)
            elif self.chunks and self.chunks[-1][0] is victim:
                needed -= self.blocks.needed(*self.chunks.pop())
            self._preempt(victim)
        self.blocks.take(needed)
        for request, tokens in self.chunks:
            self.blocks.prefilled(request, tokens)

    def _walk(self) -> int:
        """Compose the running part one request after another, as budget or blocks run out among them; gives the budget left."""
        budget = self.max_tokens
        given: dict[Request, int] = {}
        for request in list(self.running.values()):
            if not budget:
                break
            if request.leaving or request.order not in self.running:
                continue
            tokens = 1 if request.decoding else min(request.known - request.computed, self.cap, budget)
            needed = self.decoding.needed_by(request) if request.decoding else self.blocks.needed(request, tokens)
            while needed > self.blocks.free and request.order in self.running:
                victim = self._pop_victim()
                taken_back = given.pop(victim, 0)
                budget += taken_back
                self._preempt(victim, taken_back)
            if request.order not in self.running:
                break
            self.blocks.take(needed)
            if not request.decoding:
                self.blocks.prefilled(request, tokens)
            given[request] = tokens
            budget -= tokens
        self.chunks = [(r, n) for r, n in given.items() if not r.decoding]
        self.stalled = [r for r in self.running.values() if r.decoding and r not in given]
        return budget

    def _preempt(self, victim: Request, taken_back: int = 0) -> None:
        """Let a request that was running wait at the front, without its blocks, those for `taken_back` tokens of this step too."""
        if victim.decoding:
            self.decoding.leave(victim)
        elif not victim.leaving:
            self.prefilling.remove(victim)
        victim.computed += taken_back
        self.blocks.release(victim)
        self.victims.append(victim)
        victim.preemptions += 1
        if not victim.leaving:
            victim.computed = 0
            self._put_back(victim)

    def _admit(self, budget: int) -> None:
        """Start waiting requests while budget, sequences and blocks last."""
        while self.waiting and budget > 0 and len(self.running) < self.max_num_seqs:
            request = self._head()
            cached = self.blocks.cached_tokens(request)
            tokens = min(request.known - cached, self.cap)
            if tokens > budget:
                if not self.chunked:
                    break
                tokens = budget
            must_fit = request.known if self.reserve else cached + tokens
            if not self.blocks.admit(request, cached + tokens, must_fit, self.watermark if self.running else 0):
                break
            self._pop_head()
            budget -= tokens
            self.admitted += 1
            request.order = self.admitted
            self.running[request.order] = request
            self.prefilling.append(request)
            self.chunks.append((request, tokens))
            if not request.started:
                request.started = True
                self.started.append(request)

    def horizon(self) -> int:
        """How many steps like the composed one follow on each other if nothing comes from outside."""
        if self.chunks or self.stalled or self.resumed or self.victims:
            return 1
        steps = self.decoding.next_finish(self.running)
        return self.decoding.steps_within(self.blocks.free + self.decoding.needed(), steps)

    def would_admit(self) -> bool:
        """Whether a request that came now could be admitted before the next finish."""
        room = len(self.running) < self.max_num_seqs and self.decoding.count < self.max_tokens
        return room and not self.waiting

    def advance(self, steps: int) -> None:
        """Carry out the composed step `steps` times."""
        decoding = self.decoding
        if steps > 1:
            self.blocks.take(decoding.blocks(steps) - decoding.needed())
        decoding.advance(steps)
        self.completed = []
        for request in self.stalled:
            decoding.postpone(request)
        for request, tokens in self.chunks:
            request.computed += tokens
            if request.computed == request.prompt + request.generated:
                request.generated += 1
                decoding.join(request)
                self.completed.append(request)
        if self.completed:
            self.prefilling = [r for r in self.prefilling if not r.decoding]
        self.finished = decoding.finished(self.running)

    def release(self, request: Request) -> None:
        """Let a finished request go, unless it was preempted after its last token was computed."""
        if self.running.pop(request.order, None) is not None:
            self.blocks.release(request)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        if self.running.pop(request.order, None) is None:
            self._remove_waiting(request)
            return
        if request.decoding:
            self.decoding.leave(request)
        elif request in self.prefilling:
            self.prefilling.remove(request)
        self.blocks.release(request)

    def _head(self) -> Request:
        return self.waiting[0]

    def _pop_head(self) -> None:
        self.waiting.popleft()

    def _put_back(self, request: Request) -> None:
        self.waiting.appendleft(request)

    def _remove_waiting(self, request: Request) -> None:
        self.waiting.remove(request)

    def _pop_victim(self) -> Request:
        return self.running.popitem()[1]


class PriorityScheduler(Scheduler):
    """By (priority, arrival), smallest first; the largest is preempted."""

    def __init__(self, limits: Limits, blocks: Blocks) -> None:
        super().__init__(limits, blocks)
        self.queue: list[tuple[int, float, int, Request]] = []
        self.waiting = self.queue  # type: ignore[assignment]

    def enqueue(self, request: Request) -> None:
        """Let a request wait."""
        heappush(self.queue, (*_rank(request), request))

    def would_admit(self) -> bool:
        """Whether a request that came now could be admitted before the next finish: also ahead of those that wait."""
        return len(self.running) < self.max_num_seqs and self.decoding.count < self.max_tokens

    def _take(self, needed: int) -> None:
        if needed <= self.blocks.free:
            super()._take(needed)
        else:
            self._walk()

    def _head(self) -> Request:
        return self.queue[0][-1]

    def _pop_head(self) -> None:
        heappop(self.queue)

    def _put_back(self, request: Request) -> None:
        self.enqueue(request)

    def _remove_waiting(self, request: Request) -> None:
        self.queue.remove((*_rank(request), request))
        heapify(self.queue)

    def _pop_victim(self) -> Request:
        return self.running.pop(max(self.running.values(), key=_rank).order)


def _rank(request: Request) -> tuple[int, float, int]:
    return request.priority, request.arrived, request.index
