"""vLLM's scheduler where prompts are computed in one step of several, so that those who decode are not held up in each.

Source: vLLM vllm/v1/core/sched/scheduler.py of 0.33.0, `prefill_schedule_interval`; for ranks in lock step
vllm/v1/engine/core.py of 0.24 to 0.33, `DPEngineCoreProc._should_throttle_prefills`.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.scheduler import Step
from simulator.engine.scheduler.vllm import VllmScheduler


class PrefillIntervalScheduler(VllmScheduler):
    """Holds prompts back while fewer than `interval` steps have passed since one was computed.

    Not so while somebody was left waiting in the last step that computed prompts (`backlog`), or nobody decodes. `executed`
    steps have been composed, the one that computed a prompt last was number `last`. Ranks in lock step compute prompts in the
    same steps: those whose number since the ranks awoke, `steps_of_all`, is a multiple of the interval.
    """

    __slots__ = ("backlog", "executed", "interval", "last", "prefilled", "steps_of_all")

    def __init__(self, config: SchedulerConfig, running: dict[int, Request], batch: DecodeBatch, pool: BlockPool) -> None:
        super().__init__(config, running, batch, pool)
        self.interval = config.prefill_schedule_interval
        self.executed, self.last = 0, -self.interval
        self.backlog = self.prefilled = False
        self.steps_of_all: int | None = None

    def schedule(self) -> Step:
        """Compose the next step."""
        of_all = self.steps_of_all
        soon = self.executed + 1 - self.last < self.interval if of_all is None else of_all % self.interval != 0
        self.held_back = soon and not self.backlog and len(self.running) > len(self.prefilling)
        self.prefilled = False
        before = self.admitted
        step = super().schedule()
        prefilled = self.prefilled or any(r.order < before or r.computed < r.known - 1 for r, _, _ in step.chunks)
        if not step.preempted and not self.held_back:
            self.backlog = bool(self.waiting)
        if step.chunks or self.batch.count > len(step.stalled):
            self.executed += 1
        if prefilled:
            self.last = self.executed
        return step

    def _preempt(self, step: Step, victim: Request, taken_back: int = 0) -> None:
        if taken_back and victim.status is Status.PREFILLING:
            self.prefilled = True
        super()._preempt(step, victim, taken_back)

    def horizon(self) -> int:
        """How many even steps follow on each other: one while somebody's prompt might be next."""
        return 1 if self.waiting or self.prefilling else super().horizon()

    def would_admit(self, leaving: int) -> bool:
        """One that comes may be let in in the next step, or be left waiting in it: that is to be seen."""
        return True

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""
        self.executed += steps - 1
        return super().advance(steps)
