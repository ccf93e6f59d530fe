"""The scheduler of TensorRT-LLM under GUARANTEED_NO_EVICT: who is let in can run to its end, so nobody is ever preempted.

1.  *Capacity.* A waiting request is let in, first come, first served, where a place is free and blocks for its whole prompt
    and answer fit beside those of all who run. The first that does not fit blocks those behind it.
2.  *Decodes first*: each that decodes gets a token of max_num_tokens.
3.  *Prompts* share what is left, in their order. One that does not fit whole is cut to whole blocks (context chunking, first
    come, first served); without chunking it waits, and those behind it.
4.  *Overlap.* A step is composed while the one before it runs; those who get their last token in that are not in the next.

MAX_UTILIZATION lets in whoever has blocks for its next step, and pauses the one that started last where they run out: that
is what vllm.py does.

Source: NVIDIA/TensorRT-LLM tensorrt_llm/_torch/pyexecutor/scheduler.py (`_schedule_guaranteed_no_evict`, `schedule`,
`_chunk_fcfs`) of 1.2; resource_manager.py `get_needed_resource_to_completion`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simulator.engine.kv.blocks import BlockPool, Chunk
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import EVEN, IDLE, Step, complete_chunks

_PREFILLING, _DECODING, _FINISHED = Status.PREFILLING, Status.DECODING, Status.FINISHED


class NoEvictScheduler:
    """Serves first come, first served. `reserved`: blocks that all who run need to their ends."""

    __slots__ = (
        "admitted",
        "async_scheduling",
        "batch",
        "chunked",
        "cut_short",
        "max_num_seqs",
        "max_tokens",
        "pool",
        "prefilling",
        "reserved",
        "running",
        "waiting",
    )

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        self.running = running
        self.batch = batch
        self.pool = pool
        self.waiting: deque[Request] = deque()
        self.prefilling: list[Request] = []
        self.async_scheduling = config.async_scheduling
        self.max_num_seqs = config.seats
        self.max_tokens = config.token_budget
        self.chunked = config.enable_chunked_prefill
        self.admitted = self.reserved = 0
        self.cut_short = False

    def schedule(self) -> Step:
        """Compose the next step."""
        budget = self.max_tokens - self.batch.count
        chunks: list[Chunk] = []
        for request in self.prefilling:
            budget -= self._chunk(request, request.computed, budget, chunks)
        self.pool.take(chunks)
        started = self._let_in(budget, chunks) if self.waiting else []
        if not chunks:
            return EVEN if self.batch.count else IDLE
        step = Step()
        step.chunks, step.started = chunks, started
        self.prefilling = [r for r in self.prefilling if r.status is _PREFILLING]
        return step

    def _chunk(self, request: Request, computed: int, budget: int, chunks: list[Chunk]) -> int:
        """Add what of a prompt fits in the budget; gives its tokens."""
        lacking = request.known - computed
        tokens = lacking
        if lacking > budget:
            tokens = max(budget, 0) // self.pool.block_size * self.pool.block_size if self.chunked else 0
        if tokens:
            chunks.append((request, tokens, tokens == lacking))
        return tokens

    def _let_in(self, budget: int, chunks: list[Chunk]) -> list[Request]:
        """Start waiting requests that fit to their ends, where the step has room for some of their prompts."""
        started: list[Request] = []
        passed_over: list[Request] = []
        reserved, pool = self.reserved, self.pool
        self.cut_short = False
        while self.waiting and budget > 0 and len(self.running) + len(passed_over) < self.max_num_seqs:
            request = self.waiting[0]
            reserved += self._whole(request)
            if reserved > pool.total:
                break
            hits = pool.look_up(request)
            tokens = self._chunk(request, hits, budget, chunks)
            self.waiting.popleft()
            if not tokens:
                passed_over.append(request)
                self.cut_short = True
                if not self.chunked:
                    break
                continue
            budget -= tokens
            request.order = self.admitted
            self.admitted += 1
            pool.admit(request, tokens, request.known - hits, True)
            self.running[request.order] = request
            self.reserved += self._whole(request)
            request.status, request.computed = _PREFILLING, hits
            started.append(request)
            if tokens < request.known - hits:
                self.prefilling.append(request)
        self.waiting.extendleft(reversed(passed_over))
        return started

    def _whole(self, request: Request) -> int:
        """Blocks for a prompt and its whole answer."""
        return -(-(request.prompt + request.output) // self.pool.block_size)

    def horizon(self) -> int:
        """How many even steps follow on each other, the composed one the first, if nothing comes from outside."""
        steps = self.batch.horizon()
        if self.pool.notes:
            return 1 if self.waiting and self.cut_short else self.pool.horizon(steps)
        return steps

    def would_admit(self, leaving: int) -> bool:
        """Whether one that comes now might be admitted at once, `leaving` of the running ones about to be retired."""
        room = self.batch.count < self.max_tokens and self.reserved < self.pool.total
        return room and (not self.waiting or self.cut_short) and len(self.running) - leaving < self.max_num_seqs

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.pool.used(steps)

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        if steps > 1:
            self.pool.take_following(steps)
        return self.batch.advance(steps)

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""
        completed = complete_chunks(step)
        done = self.batch.advance(1, completed)
        if self.pool.notes:
            for request in completed:
                self.pool.begin_decoding(request)
        self.prefilling = [request for request in self.prefilling if request.status is _PREFILLING]
        return done

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those go who have all their tokens."""
        for request in finished:
            self._let_go(request, request.computed, finished=True)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        if request.order not in self.running:
            if request.status is not _FINISHED:
                self.waiting.remove(request)
            return
        in_flight = 0
        if request.status is _DECODING:
            self.batch.leave(request)
            in_flight = int(self.async_scheduling and self.batch.computed_last(request))
        elif request.status is _PREFILLING:
            self.prefilling.remove(request)
        request.status = _FINISHED
        self._let_go(request, request.computed - in_flight, finished=False)

    def _let_go(self, request: Request, known: int, *, finished: bool) -> None:
        del self.running[request.order]
        self.reserved -= self._whole(request)
        self.pool.release(request, known, finished)
