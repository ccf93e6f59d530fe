"""Request: one request on its way through the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from simulator.engine.kv.prefix_tree import NOTHING, Path


class Status(Enum):
    """Where a request is. What vLLM calls RUNNING is three here: it computes its prompt, decodes, or decodes but not now.

    WAITING_FOR_KV: its prompt was computed by another pool, and its KV blocks are there, on their way, or just here.

    FINISHED: it has all its tokens or was dropped; with async scheduling it holds its blocks for one step more.
    Source: vLLM vllm/v1/request.py `RequestStatus`.
    """

    WAITING = "waiting"
    WAITING_FOR_KV = "waiting for KV"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    STALLED = "stalled"
    PREEMPTED = "preempted"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Course:
    """How a request decodes where a step may give it several tokens: `left` more in `steps` steps, at an even pace.

    `context`: tokens in the KV cache before step `begins`, the first. It has been given tokens in
    every step from `since` on, and had blocks for `held` tokens before that. `pace`: tokens a step,
    in whole parts of 1,024, so that sums of it are exact.
    """

    begins: int
    context: int
    left: int
    steps: int
    since: int
    held: int
    pace: float

    def at(self, step: int) -> int:
        """Tokens in the KV cache before a step."""
        return self.context + ((step - self.begins) * self.left // self.steps if self.steps else 0)

    def mean(self, step: int) -> float:
        """The same at an even pace, a fraction of a token too."""
        return self.context + (step - self.begins) * self.pace


@dataclass(slots=True, eq=False)
class Request:
    """What the engine knows of a request.

    `path` tells what its leading blocks hold (prefix_tree.py). `order` is its place among the running, -1 while it is not one.
    While it decodes, its context is not stored: it is the decoding step's number plus `offset` (see decoding.py), it has its
    last token after step `last_step`, and `computed` and `generated` are those of the moment it began to decode. `kv` is the
    block pool's own note of what it holds. `token_at`: when its last token came, if the next one is not due a step later.
    `steps`: decode steps for all its tokens but the first, where tokens are drafted; `course` is then in place of `offset`.
    `beyond`: tokens more than it has computed that its blocks were taken for.
    """

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int = 0
    path: Path = NOTHING
    steps: int = 0

    status: Status = Status.WAITING
    generated: int = 0
    computed: int = 0
    order: int = -1
    preemptions: int = 0
    token_at: float | None = None
    kv: Any = None
    beyond: int = 0
    offset: int = field(init=False)
    last_step: int = field(init=False)
    course: Course = field(init=False)

    @property
    def known(self) -> int:
        """Tokens whose values are known: the prompt and what was generated. All must be in the KV cache to get the next."""
        return self.prompt + self.generated

    def context_at(self, step: int) -> int:
        """Tokens in the KV cache before a step, of one that decodes."""
        return self.course.at(step) if self.steps else step + self.offset
