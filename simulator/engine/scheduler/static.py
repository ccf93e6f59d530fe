"""Static batching: a batch is taken from the queue, and nobody joins it until the last of it has finished.

What servers did before continuous batching, here for contrast and for textbook checks. A batch takes requests in order of arrival
up to `max_num_seqs`, with KV blocks for their whole length. Prompts are computed first, `max_num_batched_tokens` a step. Each
request gets its last token when it is ready, but keeps its place and its blocks as padding until the batch ends.

Source: Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022, section 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.queues import Queue
from simulator.engine.scheduler.scheduler import Step, complete_chunks


class StaticScheduler:
    """Serves one batch after another.

    `padding` requests of this one are done; `padded_context` is the sum of their contexts. Nobody waits for the `unwanted` any
    more.
    """

    __slots__ = (
        "batch",
        "max_num_seqs",
        "max_tokens",
        "padded_context",
        "padding",
        "pool",
        "prefilling",
        "running",
        "unwanted",
        "waiting",
    )

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        self.running = running
        self.batch = batch
        self.pool = pool
        self.waiting: Queue = deque()
        self.prefilling: list[Request] = []
        self.unwanted: set[Request] = set()
        self.max_num_seqs = config.seats
        self.max_tokens = config.token_budget
        self.padding = self.padded_context = 0

    def schedule(self) -> Step:
        """Compose the next step."""
        if self.padding == len(self.running):
            self._end_batch()
            self._begin_batch()
        step = Step()
        step.padding, step.padded_context = self.padding, self.padded_context
        budget = self.max_tokens - self.batch.count - self.padding
        for request in self.prefilling:
            if budget > 0:
                lacking = request.prompt - request.computed
                tokens = min(lacking, budget)
                budget -= tokens
                step.chunks.append((request, tokens, tokens == lacking))
                if not request.computed:
                    step.started.append(request)
        step.even = not step.chunks and self.batch.count > 0
        return step

    def _begin_batch(self) -> None:
        """Take requests from the queue while places and blocks for their whole length last."""
        while self.waiting and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            needed = self._whole(request)
            if needed > self.pool.free:
                break
            self.waiting.popleft()
            self.pool.free -= needed
            request.order = len(self.running)
            request.status = Status.PREFILLING
            self.running[request.order] = request
            self.prefilling.append(request)

    def _end_batch(self) -> None:
        """Let the whole batch go."""
        self.pool.free += sum(self._whole(request) for request in self.running.values())
        self.running.clear()
        self.unwanted.clear()
        self.padding = self.padded_context = 0

    def _whole(self, request: Request) -> int:
        """Blocks for all that a request will ever compute."""
        return -(-(request.prompt + request.output - 1) // self.pool.block_size)

    def horizon(self) -> int:
        """How many even steps follow on each other, the composed one the first."""
        return self.batch.horizon()

    def would_admit(self, leaving: int) -> bool:
        """Nobody joins a batch."""
        return False

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        return self._pad(self.batch.advance(steps))

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""
        completed = complete_chunks(step)
        done = self.batch.advance(1, completed)
        self.prefilling = [request for request in self.prefilling if request.status is Status.PREFILLING]
        return self._pad(done)

    def _pad(self, done: Sequence[Request]) -> Sequence[Request]:
        """Let those who have all their tokens go on as padding; gives them, without those nobody waits for."""
        self.padding += len(done)
        self.padded_context += sum(request.computed for request in done)
        return [request for request in done if request not in self.unwanted]

    def retire(self, finished: Sequence[Request]) -> None:
        """Keep the blocks until the batch ends."""

    def drop(self, request: Request) -> None:
        """Let a waiting request go; one in the batch cannot be taken out of it."""
        if request.status is Status.WAITING:
            self.waiting.remove(request)
        else:
            self.unwanted.add(request)

    def used(self, steps: int) -> int:
        """Blocks in use: those of the batch."""
        return self.pool.total - self.pool.free
