"""Static batching: a batch is taken from the queue, and nobody joins it until the last of it has finished.

What servers did before continuous batching, here for contrast and for textbook checks. A batch takes requests in order of arrival
up to `max_num_seqs`, with KV blocks for their whole length. Prompts are computed first, `max_num_batched_tokens` a step. Each
request gets its last token when it is ready, but keeps its place and its blocks as padding until the batch ends.

Source: Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022, section 3.
"""

from __future__ import annotations

from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.vllm import Scheduler


class StaticScheduler(Scheduler):
    """Serves one batch after another. `padding` requests of this one are done; `padded_context` is the sum of their contexts."""

    __slots__ = ()

    def __init__(self, limits: SchedulerConfig) -> None:
        super().__init__(limits)
        self.by_priority = False

    def schedule(self) -> bool:
        """Compose the next step. True if all decode in it."""
        if self.padding == len(self.running):
            self._end_batch()
            self._begin_batch()
        budget = self.max_tokens - self.count - self.padding
        for request in self.prefilling:
            if budget > 0:
                lacking = request.prompt - request.computed
                tokens = min(lacking, budget)
                budget -= tokens
                self.chunks.append((request, tokens, tokens == lacking))
        return not self.chunks and self.count > 0

    def _begin_batch(self) -> None:
        while self.waiting and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            needed = self._whole(request)
            if needed > self.free:
                break
            self.waiting.popleft()
            self.free -= needed
            request.order = self.admitted
            self.admitted += 1
            self.running[request.order] = request
            self.prefilling.append(request)

    def _end_batch(self) -> None:
        self.free += sum(self._whole(request) for request in self.running.values())
        self.running.clear()
        self.padding = self.padded_context = 0

    def _whole(self, request: Request) -> int:
        return -(-(request.prompt + request.output - 1) // self.block_size)

    def _take_following(self, steps: int) -> None:
        """Every block was taken at the start."""

    def used(self, steps: int) -> int:
        """Blocks in use: those of the batch."""
        return self.total - self.free

    def horizon(self) -> int:
        """How many steps in which all decode follow on each other."""
        return self.next_finish(self.running) - self.step

    def finished(self, running: dict[int, Request]) -> list[Request]:
        """The requests that have all their tokens now, and go on as padding; those nobody waits for are left out."""
        done = super().finished(running)
        self.padding += len(done)
        self.padded_context += sum(request.computed for request in done)
        return [request for request in done if not request.left]

    def release(self, finished: object) -> None:
        """Keep the blocks until the batch ends."""

    def drop(self, request: Request) -> None:
        """Let a waiting request go; one in the batch cannot be taken out of it."""
        if request.order not in self.running:
            self.waiting.remove(request)
