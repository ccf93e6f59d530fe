"""The numbers that SGLang's scheduler obeys."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from simulator.spec import Count, spec


@spec
class SglangRules:
    """What SGLang's scheduler does, by the names of its arguments.

    `chunked_prefill_size`: prompt tokens of a step, None without chunked prefill; `max_prefill_tokens`: of a step that takes
    more than one prompt. `schedule_policy`: first come, first served, or the longest known prefix first (lpm).
    `schedule_conservativeness` scales the share of their remaining answers that is kept free for running requests: it begins
    at 0.7, falls to 14 % of that in 600 decode steps, and jumps when requests are retracted.
    `recv_interval`: while requests decode the scheduler looks for new ones once in so many steps
    (scheduler_recv_interval). `caches_answers`: an answer can be
    found by later prompts, not only the prompt before it.

    Source: SGLang 0.5.6 and 0.5.9, python/sglang/srt/environ.py, managers/scheduler.py,
    managers/scheduler_recv_skipper.py and managers/schedule_policy.py.
    """

    chunked_prefill_size: Count | None = 8192
    max_prefill_tokens: Count = 16384
    schedule_policy: Literal["fcfs", "lpm"] = "fcfs"
    recv_interval: Count = 1
    schedule_conservativeness: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False, strict=True)] = 1.0
    caches_answers: bool = True

    @property
    def first_ratio(self) -> Fraction:
        """The share of remaining answers that is kept free at first."""
        return min(FIRST_RATIO * Fraction(str(self.schedule_conservativeness)), Fraction(1))

    @property
    def least_ratio(self) -> Fraction:
        """The share that it falls to."""
        return self.first_ratio * LEAST_OF_FIRST

    @property
    def ratio_step(self) -> Fraction:
        """By how much it falls in a decode step."""
        return (self.first_ratio - self.least_ratio) / RATIO_STEPS


FIRST_RATIO, LEAST_OF_FIRST, RATIO_STEPS = Fraction(7, 10), Fraction(14, 100), 600
MOST_NEW_TOKENS, RETRACT_STEPS = 4096, 20
LPM_MOST_WAITING, IN_BATCH_PREFIX = 128, 32
