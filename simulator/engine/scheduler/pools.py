"""The schedulers of a prefill pool, which keeps KV until it is read, and of a decode pool, which fetches it.

As vLLM does with its NixlConnector. A request that has its one token in a prefill instance leaves
the running, but its blocks stay until the decode instance has read them. A decode instance matches
its own prefix cache first and takes blocks for the rest of the prompt; until they are filled it goes
on with those behind. Requests whose KV is here come before all that wait; their last prompt token
is computed again, for the first token comes of it. One that is preempted computes its prompt here.

Source: vLLM 0.19 to 0.33, vllm/v1/core/sched/scheduler.py `schedule`, `_update_waiting_for_remote_kv`
and `_update_from_kv_xfer_finished`; vllm/distributed/kv_transfer/kv_connector/v1/nixl.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import EVEN, IDLE, Step
from simulator.engine.scheduler.vllm import VllmScheduler

Load = Callable[[Request, int], None]


class PrefillPoolScheduler(VllmScheduler):
    """Keeps the blocks of those who have their token; `drop` lets them go."""

    __slots__ = ("kept",)

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        super().__init__(config, running, batch, pool)
        self.kept: set[Request] = set()

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those leave the running who have their token; their blocks stay, if they were not preempted after it."""
        for request in finished:
            if self.running.pop(request.order, None) is not None:
                self.kept.add(request)

    def drop(self, request: Request) -> None:
        """Let a request go whose blocks have been read."""
        self.kept.remove(request)
        self.pool.release(request, request.computed, True)


class ArrivedFirst:
    """The queue of a decode instance: those whose KV has come, in the order in which it was asked for, before all others."""

    def __init__(self) -> None:
        self.others: deque[Request] = deque()
        self.loading: dict[Request, bool] = {}  # whether its KV has come
        self.here = 0

    def __len__(self) -> int:
        return self.here + len(self.others)

    def __iter__(self) -> Iterator[Request]:
        yield from (request for request, here in self.loading.items() if here)
        yield from self.others

    def __getitem__(self, index: int) -> Request:
        if not self.here:
            return self.others[index]
        return next(request for at, request in enumerate(self) if at == index)

    def append(self, request: Request) -> None:
        """Let a request wait."""
        self.others.append(request)

    def appendleft(self, request: Request) -> None:
        """Let one wait before those whose KV has not come."""
        self.others.appendleft(request)

    def popleft(self) -> Request:
        """Take the first."""
        return self.others.popleft()

    def remove(self, request: Request) -> None:
        """Take out one."""
        self.others.remove(request)

    def clear(self) -> None:
        """Take out all."""
        self.others.clear()
        self.loading.clear()
        self.here = 0

    def load(self) -> Request:
        """Let the first of those whose KV is elsewhere wait for it."""
        request = self.others.popleft()
        self.loading[request] = False
        return request

    def kv_arrived(self, request: Request) -> None:
        """The KV of a request is here."""
        self.loading[request] = True
        self.here += 1

    def first_here(self) -> Request:
        """The first whose KV is here."""
        return next(request for request, here in self.loading.items() if here)

    def take(self, request: Request) -> None:
        """Take one out whose KV is here."""
        del self.loading[request]
        self.here -= 1


class DecodePoolScheduler(VllmScheduler):
    """Fetches the KV of requests that were WAITING_FOR_KV when they came; `load` is told of whom, and how many blocks."""

    __slots__ = ("arrivals", "load")

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        super().__init__(config, running, batch, pool)
        self.waiting = self.arrivals = ArrivedFirst()
        self.load: Load = _nowhere

    def kv_arrived(self, request: Request) -> None:
        """The KV of a request is here."""
        self.arrivals.kv_arrived(request)

    def would_run(self, leaving: int) -> bool:
        """Whether one whose KV comes now might run at once, `leaving` of the running ones about to be retired."""
        return self.batch.count < self.max_tokens and len(self.running) - leaving < self.max_num_seqs

    def _admit(self, step: Step, budget: int) -> Step:
        """Start those whose KV is here, then fetch or start those who wait; gives the step with them in it."""
        arrivals = self.arrivals
        if arrivals.here:
            step, budget = self._start_arrived(step, budget)
        while not arrivals.here and arrivals.others and budget > 0 and len(self.running) < self.max_num_seqs:
            if arrivals.others[0].status is Status.WAITING_FOR_KV:
                if not self._fetch(step):
                    break
                continue
            before = len(step.chunks)
            step = super()._admit(step, budget)
            budget -= sum(tokens for _, tokens, _ in step.chunks[before:])
            if len(step.chunks) == before:
                break
        return step

    def _start_arrived(self, step: Step, budget: int) -> tuple[Step, int]:
        """Start those whose KV is here, each with its last prompt token; gives the step and the budget left."""
        arrivals, running, pool = self.arrivals, self.running, self.pool
        while arrivals.here and budget > 0 and len(running) < self.max_num_seqs:
            request = arrivals.first_here()
            request.order = self.admitted
            pool.loaded(request)
            if running and pool.watermark > pool.free:
                break
            arrivals.take(request)
            self.admitted += 1
            running[request.order] = request
            request.status = Status.PREFILLING
            request.computed = request.prompt - 1
            if step is EVEN or step is IDLE:
                step = Step()
            step.started.append(request)
            step.chunks.append((request, 1, True))
            budget -= 1
        return step, budget

    def _fetch(self, step: Step) -> bool:
        """Take blocks for what the first in the queue lacks here, and ask for their contents; False if too few are free."""
        pool, arrivals = self.pool, self.arrivals
        request = arrivals.others[0]
        request.order = self.admitted
        hits = pool.look_up(request) if pool.finds else 0
        spare = pool.watermark if self.running else 0
        if self.rules.loads_leave_prompts:
            spare += self._still_needed(step)
        if not pool.admit_to_load(request, request.prompt - hits, spare):
            return False
        arrivals.load()
        self.load(request, -(-(request.prompt - hits) // pool.block_size))
        return True

    def _still_needed(self, step: Step) -> int:
        """Blocks that prompts in work will take, once those of the composed step are theirs."""
        if not self.prefilling:
            return 0
        size = self.pool.block_size
        given = {request: tokens for request, tokens, _ in step.chunks}
        held = {request: request.computed + given.get(request, 0) for request in self.prefilling}
        return sum(-(-request.known // size) - -(-tokens // size) for request, tokens in held.items())


def _nowhere(request: Request, blocks: int) -> None:
    """Nobody to fetch KV from."""
    raise AssertionError("no link")
