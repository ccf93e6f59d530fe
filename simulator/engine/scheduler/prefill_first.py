"""The scheduler of vLLM V0 without chunked prefill: prompts first, in steps of their own; meanwhile nobody decodes.

Waiting prompts that find a place, blocks and room in the budget are computed whole, as many as
fit in one step, before any running sequence gets its next token. Where none can be admitted a step
is one of decodes.

Source: vLLM v0.6.3 to v0.7.3, vllm/core/scheduler.py `_schedule_default` and `_schedule_prefills`.
"""

from __future__ import annotations

from simulator.engine.request import Status
from simulator.engine.scheduler.scheduler import Step
from simulator.engine.scheduler.vllm import VllmScheduler


class PrefillFirstScheduler(VllmScheduler):
    """As vLLM V1's, but a step that admits prompts has nothing else in it."""

    __slots__ = ()

    def schedule(self) -> Step:
        """Compose the next step."""
        if self.waiting and (step := self._admit(Step(), self.max_tokens)).chunks:
            self._unstall()
            self._stall(step, [request for request in self.running.values() if request.status is Status.DECODING])
            if self.pool.ordered:
                self.pool.last_chunks = step.chunks
            return step
        return super().schedule()
