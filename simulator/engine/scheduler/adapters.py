"""Serving with LoRA adapters: at most so many different ones run at once, and who has another is passed over.

A request whose adapter would be one too many waits, and those behind it go on. Each adapter that
runs has a slot in GPU memory; one that has none is moved there from host memory, and one that is
not in host memory is read from disk first. The step that needs it waits for that. What was used
last stays longest.

Source: vLLM 0.10 to 0.33, vllm/v1/core/sched/scheduler.py `schedule` (max_loras), and
vllm/lora/worker_manager.py and model_manager.py (LRUCacheWorkerLoRAManager). That requests count
that are not in the step at hand is as 0.33 has it; before, an engine could end on them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import AdapterSlots, SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import Step
from simulator.engine.scheduler.vllm import VllmScheduler

BASE = 0
"""The adapter of a request that has none: the base model answers."""


class RunningAdapters:
    """The adapters of the running requests, and the copies of adapters in GPU and in host memory.

    `of`: the adapter of each request, by its index. `running`: how many requests of each run, and
    `computing` how many of those lack tokens still.
    `loads` and `swaps` count what was read from disk and what was moved into a slot.
    """

    __slots__ = ("computing", "in_host", "in_slots", "loads", "most", "most_in_host", "of", "running", "swaps")

    def __init__(self, of: Sequence[int], slots: AdapterSlots) -> None:
        self.of = of
        self.most, self.most_in_host = slots.max_loras, slots.max_cpu_loras
        self.running: dict[int, int] = {}
        self.computing: dict[int, int] = {}
        self.in_slots: OrderedDict[int, None] = OrderedDict()
        self.in_host: OrderedDict[int, None] = OrderedDict()
        self.loads = self.swaps = 0

    @property
    def full(self) -> bool:
        """Whether no other adapter may run."""
        return len(self.running) >= self.most

    def join(self, request: Request) -> None:
        """Count a request that runs from now on, and bring its adapter to where it runs."""
        adapter = self.of[request.index]
        if adapter == BASE:
            return
        for counts in (self.running, self.computing):
            counts[adapter] = counts.get(adapter, 0) + 1
        if adapter not in self.in_host:
            self.loads += 1
            self._put(adapter, self.in_host, self.most_in_host)
        if adapter not in self.in_slots:
            self.swaps += 1
            self._put(adapter, self.in_slots, self.most)

    def _put(self, adapter: int, among: OrderedDict[int, None], most: int) -> None:
        """Keep an adapter in place of the one that nobody has used for longest."""
        if len(among) >= most:
            del among[next(kept for kept in among if kept not in self.running)]
        among[adapter] = None

    def has_all(self, request: Request) -> None:
        """Count a request as one that computes no longer, as it has all its tokens."""
        _less(self.computing, self.of[request.index])

    def leave(self, request: Request) -> None:
        """Count a request no longer that ran."""
        adapter = self.of[request.index]
        if request.status is not Status.FINISHED:
            _less(self.computing, adapter)
        if _less(self.running, adapter):
            self.in_slots.move_to_end(adapter)
            self.in_host.move_to_end(adapter)


def _less(counts: dict[int, int], adapter: int) -> bool:
    """Count one less of an adapter; whether none is left."""
    if adapter == BASE:
        return False
    counts[adapter] -= 1
    if counts[adapter]:
        return False
    del counts[adapter]
    return True


class AdapterQueue:
    """Those who wait, a line an adapter; the first of all is the first that may run.

    It counts all who wait, and is true only where one of them may run.
    """

    __slots__ = ("adapters", "back", "count", "front", "lines")

    def __init__(self, adapters: RunningAdapters) -> None:
        self.adapters = adapters
        self.lines: dict[int, deque[tuple[int, Request]]] = {}
        self.front = self.back = self.count = 0

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0 and self._first() is not None

    def __iter__(self) -> Iterator[Request]:
        return (request for _, request in sorted(entry for line in self.lines.values() for entry in line))

    def __getitem__(self, index: int) -> Request:
        line = self._first()
        if index or line is None:
            raise IndexError("only the first of those who may run can be looked at")
        return line[0][1]

    def _first(self) -> deque[tuple[int, Request]] | None:
        """The line whose first request is the first that may run."""
        lines = self.lines
        if self.adapters.full:
            may_run = [lines[adapter] for adapter in (BASE, *self.adapters.running) if adapter in lines]
        else:
            may_run = [*lines.values()]
        return min(may_run, key=_turn, default=None)

    def _line(self, request: Request) -> deque[tuple[int, Request]]:
        return self.lines.setdefault(self.adapters.of[request.index], deque())

    def append(self, request: Request) -> None:
        """Let a request wait."""
        self.back += 1
        self.count += 1
        self._line(request).append((self.back, request))

    def appendleft(self, request: Request) -> None:
        """Let one wait at the front."""
        self.front -= 1
        self.count += 1
        self._line(request).appendleft((self.front, request))

    def popleft(self) -> Request:
        """Take the first that may run; it does so from now on."""
        line = self._first()
        if line is None:
            raise IndexError("nobody may run")
        request = self._take(line.popleft()[1])
        self.adapters.join(request)
        return request

    def remove(self, request: Request) -> None:
        """Take out one."""
        line = self._line(request)
        line.remove(next(entry for entry in line if entry[1] is request))
        self._take(request)

    def clear(self) -> None:
        """Take out all."""
        self.lines.clear()
        self.count = 0

    def _take(self, request: Request) -> Request:
        self.count -= 1
        adapter = self.adapters.of[request.index]
        if not self.lines[adapter]:
            del self.lines[adapter]
        return request


def _turn(line: deque[tuple[int, Request]]) -> int:
    return line[0][0]


class AdapterScheduler(VllmScheduler):
    """Serves first come, first served among those whose adapters may run."""

    __slots__ = ("adapters",)

    def __init__(
        self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool, adapters: RunningAdapters
    ) -> None:
        super().__init__(config, running, batch, pool)
        self.adapters = adapters
        self.waiting = AdapterQueue(adapters)

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        return self._note(super().advance(steps))

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""
        return self._note(super().carry_out(step))

    def _note(self, finished: Sequence[Request]) -> Sequence[Request]:
        for request in finished:
            self.adapters.has_all(request)
        return finished

    def _put_back(self, step: Step, victim: Request) -> None:
        self.adapters.leave(victim)
        super()._put_back(step, victim)

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those go who have all their tokens."""
        for request in finished:
            if request.order in self.running:
                self.adapters.leave(request)
        super().retire(finished)

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""
        if request.order in self.running:
            self.adapters.leave(request)
        super().drop(request)
