"""The scheduler of vLLM V1: who computes how many tokens in the next step. No clock and no phases.

Each request has tokens it knows and tokens it has computed; a step hands out a budget of tokens so that computed catches up with
known. A prompt is many tokens behind, a decoding request one, a preempted one starts again from none. This is what vLLM V1 does:

1.  *Running first*, in order of admission, each `min(known - computed, long_prefill_token_threshold, budget left)` tokens.
    A request that gets none because the budget ran out keeps its place and waits for the next step.
2.  *Blocks by chunk.* A request takes the blocks of the tokens it is to compute in this step. A decoding request with context c
    needs one when c is a multiple of the block size. The last output token is sampled, never computed.
3.  *Preemption.* When a block is lacking the last admitted request loses all its blocks and goes to the front of the queue,
    until the block is there or the request has preempted itself. It keeps its generated tokens and computes them again with
    its prompt, but for the blocks of its own that it finds again (5). With `priority` the victim has the largest (priority,
    arrival), wherever it runs; what it got is taken back.
4.  *Then waiting*, first come, first served or by (priority, arrival), unless this step preempted: while budget, sequences and
    blocks last, each its first chunk. The first that cannot be admitted blocks those behind it. With `reserve_full_prompt` all
    its known tokens must find room, though only the chunk's blocks are taken; `watermark_blocks` must stay free unless it is
    alone. Without chunked prefill a prompt that exceeds the budget left waits.
5.  *Prefix hits* count as computed, at most known - 1 tokens; blocks are shared and can be hit from the step that computes them.
6.  The step that computes a request's last known token samples the next one: the first when its prompt is done.

Where releases differ, `SchedulerConfig.rules` says what holds (rules.py): who misses the step or gets a turn after a
preemption by priority, when long_prefill_token_threshold is lifted, what the gate of 4 counts of a window, which free blocks
are used first.

Source: vLLM 0.12 to 0.33, vllm/v1/core/sched/scheduler.py `schedule` and `_preempt_request`, async_scheduler.py,
kv_cache_manager.py `allocate_slots` and `get_computed_blocks`, vllm/v1/engine/core.py `step_with_batch_queue`.

The walk over all running requests that vLLM does in every step is needed only where the budget runs out among them, where they
need what others give back, or to preempt by priority. Everywhere else decoding requests are a count (decoding.py), and only
prompts in work are looked at one by one.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.queues import PriorityQueue, Queue, priority_key
from simulator.engine.scheduler.scheduler import EVEN, IDLE, NOBODY, Step, complete_chunks

_WAITING, _PREFILLING, _DECODING, _STALLED = Status.WAITING, Status.PREFILLING, Status.DECODING, Status.STALLED
_PREEMPTED, _FINISHED, _WAITING_FOR_KV = Status.PREEMPTED, Status.FINISHED, Status.WAITING_FOR_KV


class VllmScheduler:
    """Serves first come, first served, or by priority.

    `prefilling` are those of the running that compute prompts, `stalled` those that decode but not in the composed step.
    `each`: tokens of a decoding sequence in a step. `held_back`: no prompt is computed in this step.
    `shared_out`: tokens of which each one present may have its share of a step.
    """

    __slots__ = (
        "admitted",
        "async_scheduling",
        "batch",
        "by_priority",
        "cap_varies",
        "chunked",
        "each",
        "goes_on",
        "held_back",
        "long_prefill_token_threshold",
        "max_num_seqs",
        "max_tokens",
        "pool",
        "prefilling",
        "rules",
        "running",
        "shared_out",
        "skips_one",
        "stalled",
        "waiting",
        "walks",
    )

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        self.running = running
        self.batch = batch
        self.pool = pool
        self.by_priority = config.scheduling_policy == "priority"
        self.walks = self.by_priority or pool.ordered
        self.waiting: Queue = PriorityQueue() if self.by_priority else deque()
        self.prefilling: list[Request] = []
        self.stalled: Sequence[Request] = NOBODY
        self.admitted = 0
        self.max_num_seqs = config.seats
        self.max_tokens = config.token_budget
        self.each = config.verified
        self.long_prefill_token_threshold = cap = config.prefill_cap
        self.rules = config.rules
        self.shared_out = config.max_num_batched_tokens if config.long_prefill_token_threshold_adaptive else 0
        self.cap_varies = cap < sys.maxsize and bool(self.rules.lone_prefill_uncut or self.shared_out)
        self.skips_one = config.rules.skips_one
        self.goes_on = config.rules.goes_on and self.by_priority
        self.chunked = config.enable_chunked_prefill
        self.async_scheduling = config.async_scheduling
        self.held_back = False

    def schedule(self) -> Step:
        """Compose the next step."""
        batch, pool = self.batch, self.pool
        budget = self.max_tokens - batch.count * self.each
        if self.prefilling or self.stalled or budget < 0 or batch.missed:
            step, budget = self._schedule_prompts()
        else:
            needed = batch.ring[batch.step % batch.block_size]
            step = EVEN if batch.count else IDLE
            if needed <= pool.free and not pool.notes:
                pool.free -= needed
            elif needed > pool.free or not pool.take(()):
                step = self._take(Step())
                batch.missed = NOBODY if self.stalled else step.stalled
        if self.waiting and budget > 0 and not step.preempted:
            step = self._admit(step, budget)
        if pool.ordered:
            pool.last_chunks = step.chunks
        return step

    def _cap(self) -> int:
        """The most tokens of one prompt that this step computes, where that depends on who is present."""
        cap = self.long_prefill_token_threshold
        present = len(self.running) + len(self.waiting)
        if present <= 1:
            return sys.maxsize if self.rules.lone_prefill_uncut else cap
        return max(cap, self.shared_out // present)

    def _schedule_prompts(self) -> tuple[Step, int]:
        """Compose the running part where prompts are in work; gives the step and the budget left."""
        step = Step()
        batch = self.batch
        behind = NOBODY
        if self.stalled:
            batch.missed = behind = self._unstall()
        budget = self.max_tokens - batch.count * self.each
        most = self._cap() if self.cap_varies else self.long_prefill_token_threshold
        computing = NOBODY if self.held_back else self.prefilling
        wanted = sum(min(r.known - r.computed, most) for r in computing)
        if wanted > budget and (budget <= 0 or not self._one_prompt_and_last()):
            budget = self._walk(step)
        else:
            for request in computing:
                lacking = request.prompt + request.generated - request.computed
                tokens = min(lacking, most, budget)
                budget -= tokens
                step.chunks.append((request, tokens, tokens == lacking))
            self._take(step)
        if behind:
            step.resumed = [request for request in behind if request.status is _DECODING]
        batch.missed = NOBODY if self.stalled else step.stalled
        return self._even_if_so(step), budget

    def _unstall(self) -> Sequence[Request]:
        """Let those decode again who were stalled; gives them."""
        behind, self.stalled = self.stalled, NOBODY
        for request in behind:
            if request.status is _STALLED:
                request.status = _DECODING
        return behind

    def _one_prompt_and_last(self) -> bool:
        return len(self.prefilling) == 1 and self.prefilling[0].order == next(reversed(self.running))

    def _even_if_so(self, step: Step) -> Step:
        """A step in which all decode and nothing happened is an even one."""
        if step.chunks or step.preempted or step.stalled or step.resumed:
            return step
        return EVEN if self.batch.count else IDLE

    def _take(self, step: Step) -> Step:
        """Take blocks for all running requests, preempting from the last on until there are enough; gives the step."""
        pool = self.pool
        while not pool.take(step.chunks):
            if self.walks:
                step.chunks.clear()
                self._walk(step)
                break
            _, victim = self.running.popitem()
            if step.chunks and step.chunks[-1][0] is victim:
                step.chunks.pop()
            self._preempt(step, victim)
        return self._even_if_so(step)

    def _walk(self, step: Step) -> int:
        """Compose the running part one request after another, as budget or blocks run out among them; gives the budget left."""
        budget = self.max_tokens
        running, pool = self.running, self.pool
        given: dict[Request, int] = {}
        most = self._cap() if self.cap_varies else self.long_prefill_token_threshold
        skip = 0
        pool.walk()
        for request in list(running.values()):
            if not budget:
                break
            if request.order not in running:
                continue
            if skip:
                skip -= 1
                continue
            if request.status is _FINISHED or (self.held_back and request.status is _PREFILLING):
                continue
            if request.status is not _DECODING:
                tokens = min(request.known - request.computed, most, budget)
            elif (tokens := self.each) > budget:
                budget = 0
                break
            needed = pool.lacking(request, tokens)
            while needed > pool.free and request.order in running:
                victim = self._pop_victim()
                taken_back = given.pop(victim, 0)
                budget += taken_back
                skip += self.skips_one and not taken_back and victim.order < request.order
                self._preempt(step, victim, taken_back)
            if request.order not in running:
                if self.goes_on:
                    continue
                break
            pool.grant(request, tokens, needed)
            given[request] = tokens
            budget -= tokens
        step.chunks += [(r, n, r.computed + n == r.known) for r, n in given.items() if r.status is _PREFILLING]
        self._stall(step, [r for r in running.values() if r.status is _DECODING and r not in given])
        pool.walked(running.values())
        if not step.chunks and len(step.stalled) == self.batch.count:
            self._nobody_computes()
        return budget

    def _nobody_computes(self) -> None:
        """Nothing is in this step, so there is none that anybody could miss."""
        self._unstall()

    def _stall(self, step: Step, stalled: list[Request]) -> None:
        step.stalled = self.stalled = stalled
        for request in stalled:
            request.status = _STALLED

    def _pop_victim(self) -> Request:
        """Take the request to be preempted from the running ones: the last admitted, or the one whose turn comes last."""
        if self.by_priority:
            return self.running.pop(max(self.running.values(), key=priority_key).order)
        return self.running.popitem()[1]

    def _preempt(self, step: Step, victim: Request, taken_back: int = 0) -> None:
        """Let one that was running wait at the front, without its blocks, those for `taken_back` tokens of this step too."""
        status = victim.status
        if status is _DECODING:
            self.batch.leave(victim)
        elif status is _PREFILLING:
            self.prefilling.remove(victim)
        victim.computed += taken_back
        self.pool.release(victim, self._known(victim, status, taken_back))
        self._put_back(step, victim)

    def _put_back(self, step: Step, victim: Request) -> None:
        step.preempted = [*step.preempted, victim]
        victim.preemptions += 1
        if victim.status is not _FINISHED:
            victim.status = _PREEMPTED
            victim.computed = 0
            self.waiting.appendleft(victim)

    def _known(self, request: Request, status: Status, taken_back: int = 0) -> int:
        """Of the tokens that one not finished has computed, those whose values are known: all but one that is in flight."""
        batch = self.batch
        if not self.async_scheduling or status is _PREFILLING or request in batch.missed:
            return request.computed
        return request.computed - bool(taken_back or batch.joined_at != batch.step or request not in batch.joined)

    def _admit(self, step: Step, budget: int) -> Step:
        """Start waiting requests while budget, sequences and blocks last; gives the step with them in it."""
        waiting, running, pool = self.waiting, self.running, self.pool
        most = self._cap() if self.cap_varies else self.long_prefill_token_threshold
        finds, held_back, chunked = pool.finds, self.held_back, self.chunked
        while waiting and budget > 0 and len(running) < self.max_num_seqs:
            request = waiting[0]
            status = request.status
            if status is _WAITING_FOR_KV:
                break
            hits, admit = 0, pool.admit_new
            if finds or status is _PREEMPTED:
                hits, admit = pool.look_up(request), pool.admit
                if hits < 0:
                    break
            lacking = request.prompt + request.generated - hits
            tokens = lacking if lacking < most else most
            if held_back and (lacking > 1 or self.rules.holds_hits):
                pool.head_waits()
                break
            if tokens > budget:
                if not chunked:
                    pool.head_waits()
                    break
                tokens = budget
            request.order = order = self.admitted
            if not admit(request, tokens, lacking, not running):
                request.order = -1
                break
            if step is EVEN or step is IDLE:
                step = Step()
            waiting.popleft()
            budget -= tokens
            running[order] = request
            self.admitted = order + 1
            if status is _WAITING:
                step.started.append(request)
            request.status = _PREFILLING
            request.computed = hits
            if tokens < lacking:
                self.prefilling.append(request)
            step.chunks.append((request, tokens, tokens == lacking))
        return step

    def horizon(self) -> int:
        """How many even steps follow on each other, the composed one the first, if nothing comes from outside."""
        steps, pool = self.batch.horizon(), self.pool
        if pool.notes or -(-steps // pool.block_size) * self.batch.count > pool.free:
            return pool.horizon(steps)
        return steps

    def would_admit(self, leaving: int) -> bool:
        """Whether one that comes now might be admitted at once, `leaving` of the running ones about to be retired."""
        return (
            (not self.waiting or self.by_priority)
            and self.batch.count * self.each < self.max_tokens
            and len(self.running) - leaving < self.max_num_seqs
        )

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        if steps > 1:
            self.pool.take_following(steps)
        return self.batch.advance(steps)

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""
        completed = complete_chunks(step)
        done = self.batch.advance(1, completed, step.stalled)
        if self.pool.notes:
            for request in completed:
                self.pool.begin_decoding(request)
        if self.prefilling:
            self.prefilling = [request for request in self.prefilling if request.status is _PREFILLING]
        return done

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.pool.used(steps)

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those go who have all their tokens; one preempted after its last token was computed is gone already."""
        running, pool = self.running, self.pool
        for request in finished:
            if running.pop(request.order, None) is not None:
                pool.release(request, request.computed, True)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        status = request.status
        if self.running.pop(request.order, None) is None:
            if status is not _FINISHED:
                self.waiting.remove(request)
            return
        if status is _DECODING or status is _STALLED:
            self.batch.leave(request)
        elif status is _PREFILLING:
            self.prefilling.remove(request)
        request.status = _FINISHED
        self.pool.release(request, self._known(request, status))
