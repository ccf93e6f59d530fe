"""The scheduler of SGLang: prompts first, in steps of their own; meanwhile nobody decodes.

1.  *Prompts.* While requests wait and the batch is not `full`, a step computes prompts: the rest of the one that was cut, then
    those of the queue in its order, up to chunked_prefill_size tokens. The last of them may be cut.
2.  *Reserve.* A request is let in where its prompt and its whole answer (at most 4096 tokens of it) fit beside a share of
    what the running ones have still to answer. The share falls with each decode step.
3.  *Full.* Where one does not fit, or max_running_requests are there, the batch is full until one of it leaves.
4.  *Decodes* otherwise. Where a block is lacking, those with the shortest answer so far are retracted: they lose what they
    computed and wait again at the end of the queue. The share then jumps to what has been answered of all that was asked for.
5.  *Looking.* New requests are seen after a step of prompts, when nobody decodes, and else once in `recv_interval` decodes.
6.  *Radix tree.* Prompts are entered in it when they have been computed, answers when they are complete.
7.  *Overlap.* A step is composed while the one before it runs. So one who finishes in that decodes once more for nothing, and
    the batch is known not to be full a step later still.

Two things are simpler than there. A retracted request keeps the token that the step in flight samples for it, and the
token decoded for nothing takes no block. An answer is taken to be as long as was asked for: max_new_tokens is the output.

Source: SGLang 0.5.6 and 0.5.9, python/sglang/srt/managers/scheduler.py (get_next_batch_to_run, get_new_batch_prefill,
update_running_batch), schedule_policy.py (PrefillAdder, SchedulePolicy), schedule_batch.py (retract_decode, check_decode_mem).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

from simulator.engine.kv.radix import RadixTree
from simulator.engine.kv.radix_pool import RadixPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import AGAIN, EVEN, IDLE, NOBODY, Step
from simulator.engine.scheduler.sglang_rules import (
    IN_BATCH_PREFIX,
    LPM_MOST_WAITING,
    MOST_NEW_TOKENS,
    RETRACT_STEPS,
    SglangRules,
)

_WAITING, _PREFILLING, _DECODING = Status.WAITING, Status.PREFILLING, Status.DECODING
_PREEMPTED, _FINISHED = Status.PREEMPTED, Status.FINISHED


class Reserve:
    """The share of what running requests have still to answer that is kept free for them: `ratio`, exactly."""

    __slots__ = ("decays", "ratio", "rules")

    def __init__(self, rules: SglangRules) -> None:
        self.rules = rules
        self.ratio = rules.first_ratio
        self.decays = 0

    def decay(self, steps: int) -> None:
        """So many decode steps went well."""
        self.decays += steps

    def jump(self, answered: int, asked: int, requests: int) -> None:
        """Requests were retracted; those left have `answered` of the tokens they `asked` for."""
        self.ratio = min(Fraction(answered + RETRACT_STEPS * requests, asked + 1), Fraction(1))
        self.decays = 0

    @property
    def share(self) -> Fraction:
        """The share as it is now."""
        if self.decays:
            fallen = self.ratio - self.decays * self.rules.ratio_step
            self.ratio, self.decays = max(fallen, self.rules.least_ratio), 0
        return self.ratio


class SglangScheduler:
    """Serves in steps of prompts and steps of decodes.

    `prefilling` has the one whose prompt was cut, if any. `full`: nobody is let in. `joiners`: those whose prompts the last step
    of prompts completed; `prefilled`: it is the step before, `after_prompts`: it was, when this one was composed. `shrunk`: not
    all of it go on. `unlanded`: the same as joiners for each step whose results are not known yet. `fading` have their last
    token from such a step, and so decode once more; `stale` ones have finished, but no decode step has taken note of it.
    `paused`: those that decode missed the step before. `seen`: how many of those who wait the scheduler knows of, the first
    ones; `unlooked`: decode steps since it looked for others.
    """

    __slots__ = (
        "admitted",
        "after_prompts",
        "async_scheduling",
        "batch",
        "fading",
        "full",
        "joiners",
        "max_num_seqs",
        "paused",
        "pool",
        "prefilled",
        "prefilling",
        "reserve",
        "rules",
        "running",
        "seen",
        "shrunk",
        "stale",
        "unlanded",
        "unlooked",
        "waiting",
    )

    def __init__(
        self, config: SchedulerConfig, rules: SglangRules, running: dict[int, Request], batch: DecodeBatch, pool: RadixPool
    ) -> None:
        self.rules = rules
        self.running = running
        self.batch = batch
        self.pool = pool
        self.async_scheduling = config.async_scheduling
        self.max_num_seqs = config.seats
        self.waiting: deque[Request] = deque()
        self.prefilling: list[Request] = []
        self.reserve = Reserve(rules)
        self.joiners: Sequence[Request] = NOBODY
        self.unlanded: deque[Sequence[Request]] = deque()
        self.fading: list[Request] = []
        self.stale = self.admitted = self.seen = self.unlooked = 0
        self.full = self.paused = self.prefilled = self.after_prompts = self.shrunk = False

    # Composing a step

    def schedule(self) -> Step:
        """Compose the next step."""
        while len(self.unlanded) > self.async_scheduling:
            self._land(NOBODY)
        for request in self.prefilling:
            self.pool.keep(request, request.computed)
        self.after_prompts = self.prefilled
        if self.prefilled or self.unlooked >= self.rules.recv_interval or not self._members:
            self.seen, self.unlooked = len(self.waiting), 0
        if self.prefilled:
            self._merge()
        step = self._compose_prompts() if self.prefilling or (self.seen and not self.full) else None
        return step or self._compose_decodes()

    @property
    def _members(self) -> int:
        """Requests of the batch that decodes, with those that it does not know to have finished."""
        return self.batch.count + len(self.fading) + self.stale

    def _merge(self) -> None:
        """Let those of the last step of prompts decode from now on."""
        joined = sum(r.status is _DECODING or r in self.fading for r in self.joiners)
        if self.shrunk or self.prefilling or (joined and self._members == joined):
            self.full = False
        self.shrunk = self.prefilled = False

    def _compose_prompts(self) -> Step | None:
        """A step of prompts; None where none is let in."""
        places = self.max_num_seqs - self._members
        if places <= 0 and not self.prefilling:
            self.full = True
            return None
        if self.rules.schedule_policy == "lpm" and self.seen <= LPM_MOST_WAITING and self.pool.finds:
            self.waiting = deque([*self._by_prefix(), *islice(self.waiting, self.seen, None)])
        adder = PromptAdder(self)
        for request in self.prefilling:
            adder.go_on(request)
        let_in = 0
        for request in islice(self.waiting, self.seen):
            self.full = self.full or len(adder.chunks) >= places
            if self.full or not adder.add(request):
                break
            let_in += 1
            if adder.closed():
                break
        chunks = adder.chunks
        if not chunks:
            return None
        step = Step()
        self.seen -= let_in
        for _ in range(let_in):
            self._start(self.waiting.popleft(), step)
        step.chunks = [(request, tokens, request.computed + tokens == request.known) for request, tokens in chunks]
        self._take_prompts(chunks)
        self.prefilling = [request for request, _, last in step.chunks if not last]
        step.pausing = self.batch.count > 0
        self.paused = self.paused or step.pausing
        return step

    def _start(self, request: Request, step: Step) -> None:
        request.order = self.admitted
        self.admitted += 1
        self.running[request.order] = request
        if request.status is _WAITING:
            step.started.append(request)
        request.status = _PREFILLING

    def _take_prompts(self, chunks: Sequence[tuple[Request, int]]) -> None:
        size = self.pool.block_size
        needed = sum(-(-(r.computed + n) // size) + -r.computed // size for r, n in chunks)
        self.pool.take_prompts(needed, sum(n for _, n in chunks), len(chunks))

    def _by_prefix(self) -> list[Request]:
        """Those known to wait, the longest known prefix first.

        Where several share a prefix that none has computed, all but the first go last, so that they find it.
        """
        pool, seen = self.pool, RadixTree()
        keys: dict[Request, float] = {}
        waiting = list(islice(self.waiting, self.seen))
        for request in waiting:
            known = pool.prefix(request)
            keys[request] = -known
            if known <= IN_BATCH_PREFIX:
                blocks = request.known // pool.block_size
                if seen.match(request.path, blocks).end * pool.block_size >= IN_BATCH_PREFIX:
                    keys[request] = 1
                else:
                    seen.insert(request.path, blocks)
        return sorted(waiting, key=keys.__getitem__)

    def _compose_decodes(self) -> Step:
        """A step of decodes, those retracted that it has no room for."""
        before = self._members
        self.stale = 0
        if not self._members:
            self.full = self.full and not before
            return AGAIN if before and self.waiting else IDLE
        preempted = self._take_step() if self.batch.count else []
        if not preempted:
            self.reserve.decay(1)
        if self._members < before:
            self.full = False
        fading = self.fading
        if not (preempted or fading or self.paused):
            return EVEN if self.batch.count else IDLE
        self.paused = False
        step = Step()
        step.preempted = preempted
        step.padding, step.padded_context = len(fading), sum(request.computed for request in fading)
        return step

    def _take_step(self) -> list[Request]:
        """Take the blocks of a decode step; gives those retracted for it."""
        pool = self.pool
        needed = self._needed
        pool.make_room(needed)
        retracted = self._retract() if needed > pool.unused else []
        pool.take_step(self._needed)
        return retracted

    @property
    def _needed(self) -> int:
        batch = self.batch
        return batch.ring[batch.step % batch.block_size]

    def _retract(self) -> list[Request]:
        """Retract those with the shortest answer, of these the longest prompt, until the others have room; gives them."""
        pool, batch = self.pool, self.batch
        answered = self.answered()
        order = sorted(answered, key=lambda request: (answered[request], -request.prompt), reverse=True)
        retracted: list[Request] = []
        while len(order) > 1 and (not retracted or self._lacks_room()):
            victim = order.pop()
            retracted.append(victim)
            batch.leave(victim)
            del self.running[victim.order]
            pool.release(victim, 0)
            pool.make_room(-(-RETRACT_STEPS * len(order) // pool.block_size))
            victim.status, victim.computed = _PREEMPTED, 0
            victim.preemptions += 1
            self.waiting.insert(self.seen, victim)
            self.seen += 1
        self.reserve.jump(sum(answered[r] for r in order), sum(r.output for r in order), len(order))
        return retracted

    def _lacks_room(self) -> bool:
        self.pool.make_room(self._needed)
        return self._needed > self.pool.unused

    def answered(self) -> dict[Request, int]:
        """For each request that decodes, in running order, its tokens that are known: not that of a step in flight."""
        step, ahead = self.batch.step, int(self.async_scheduling)
        decoding = [request for request in self.running.values() if request.status is _DECODING]
        if ahead and self.after_prompts:
            return {r: r.output - r.last_step + step - (r in self.joiners) for r in decoding}
        return {r: r.output - r.last_step + step - ahead for r in decoding}

    # What the instance asks

    def horizon(self) -> int:
        """How many even steps follow on each other, the composed one the first, if nothing comes from outside."""
        if self.seen and not self.full:
            return 1
        most = self.batch.horizon()
        if len(self.waiting) > self.seen:
            most = min(most, self.rules.recv_interval - self.unlooked)
        return self.pool.horizon(most)

    def would_admit(self, leaving: int) -> bool:
        """Whether one that comes now might be admitted at once, `leaving` of the running ones about to be retired."""
        return not self.full

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.pool.used(steps)

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        if steps > 1:
            while self.unlanded:  # which was known when the second of these steps was composed
                self._land(NOBODY)
            self.pool.take_following(steps)
            self.reserve.decay(steps - 1)
        return self._decoded(self.batch.advance(steps), steps)

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""
        if not step.chunks:
            return self._decoded(self.batch.advance(1), 1)
        completed = []
        for request, tokens, last in step.chunks:
            request.computed += tokens
            if last:
                request.kv.filled = request.computed
                request.generated += 1
                completed.append(request)
        step.completed = self.joiners = completed
        done = self.batch.advance(0, completed)
        self.prefilled = True
        if self.async_scheduling:
            self.fading += done
        elif done:
            self.shrunk = True
        self.unlanded.append(completed)
        return done

    def _decoded(self, done: Sequence[Request], steps: int) -> Sequence[Request]:
        self.unlooked = (self.unlooked + steps - 1) % self.rules.recv_interval + 1
        self.fading += done
        self.unlanded.append(NOBODY)
        return done

    # Who leaves

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those go who have all their tokens."""
        self._land(finished)
        for request in finished:
            del self.running[request.order]
            if request in self.fading:
                self.fading.remove(request)
                self.stale += 1

    def _land(self, finished: Sequence[Request]) -> None:
        """The results of the oldest step are known now: enter in the tree what can be found."""
        completed = self.unlanded.popleft() if self.unlanded else NOBODY
        for request in completed:
            if request.kv is not None:
                if request in finished:
                    self._release(request)
                else:
                    self.pool.keep(request, request.kv.filled)
        for request in finished:
            if request.kv is not None:
                self._release(request)

    def _release(self, request: Request) -> None:
        self.pool.release(request, request.computed if self.rules.caches_answers else request.kv.filled)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        if self.running.pop(request.order, None) is None:
            if request.status is not _FINISHED:
                self.seen -= request in islice(self.waiting, self.seen)
                self.waiting.remove(request)
            return
        if request.status is _DECODING:
            self.batch.leave(request)
        elif request.status is _PREFILLING:
            self.prefilling = [other for other in self.prefilling if other is not request]
        if request in self.fading:
            self.fading.remove(request)
        request.status = _FINISHED
        self.full = False
        self.pool.release(request, 0)


class PromptAdder:
    """Adds prompts to a step while they have room: `chunks` of them, as (request, tokens).

    Tokens are counted in parts of `unit`, so that the share of the reserve is exact.
    """

    __slots__ = ("asked", "chunk", "chunks", "inputs", "pool", "reserved", "scheduler", "size", "unit")

    def __init__(self, scheduler: SglangScheduler) -> None:
        rules, self.pool = scheduler.rules, scheduler.pool
        self.scheduler = scheduler
        self.size = self.pool.block_size
        share = scheduler.reserve.share
        self.unit = share.denominator
        left = sum(min(r.output - known, MOST_NEW_TOKENS) for r, known in scheduler.answered().items())
        self.reserved = share.numerator * (left + len(scheduler.fading))
        self.asked = 0
        self.inputs: float = rules.max_prefill_tokens
        self.chunk: float = math.inf if rules.chunked_prefill_size is None else rules.chunked_prefill_size
        self.chunks: list[tuple[Request, int]] = []

    @property
    def _room(self) -> int:
        """Tokens that are neither used nor reserved, in parts of `unit`."""
        return self.unit * self.pool.free * self.size - self.reserved

    def go_on(self, request: Request) -> None:
        """Add the next chunk of a prompt that was cut."""
        lacking = request.known - request.computed
        tokens = int(min(lacking, self.chunk, self._room // self.unit))
        self._add(request, tokens, 0 if tokens < lacking else min(request.output, MOST_NEW_TOKENS))

    def add(self, request: Request) -> bool:
        """Add a waiting request's prompt, or what of it has room in the step; False if it is not let in."""
        pool, size = self.pool, self.size
        node = pool.look_up(request)
        hits = node.end * size
        lacking = request.known - hits
        total = lacking + min(request.output - request.generated, MOST_NEW_TOKENS)
        whole = -(-lacking // size) * size
        if total * self.unit >= self._room:
            self.scheduler.full = True
            return False
        if whole >= self.inputs and self.chunks:
            return False
        if (total + pool.locked(node) * size) * self.unit >= self._room:
            self.scheduler.full = True
            return False
        cut = whole > self.chunk
        tokens = int(self.chunk) // size * size if cut else lacking
        if not tokens:
            return False
        pool.hold(request, node)
        request.computed = hits
        self._add(request, tokens, 0 if cut else min(request.output, MOST_NEW_TOKENS))
        return True

    def _add(self, request: Request, tokens: int, answer: int) -> None:
        taken = -(-tokens // self.size) * self.size
        self.chunks.append((request, tokens))
        self.reserved += self.unit * (taken + answer)
        self.asked += taken
        self.inputs -= taken
        self.chunk -= taken

    def closed(self) -> bool:
        """Whether nothing more can be added; the batch is full where that is for want of blocks."""
        if self._room <= 0 or self.pool.free * self.size <= self.asked:
            self.scheduler.full = True
            return True
        return self.inputs <= 0 or self.chunk <= 0
