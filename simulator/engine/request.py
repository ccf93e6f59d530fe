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
class Request:
    """What the engine knows of a request.

    `path` tells what its leading blocks hold (prefix_tree.py). `order` is its place among the running, -1 while it is not one.
    While it decodes, its context is not stored: it is the decoding step's number plus `offset` (see decoding.py), it has its
    last token after step `last_step`, and `computed` and `generated` are those of the moment it began to decode. `kv` is the
    block pool's own note of what it holds. `token_at`: when its last token came, if the next one is not due a step later.
    """

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int = 0
    path: Path = NOTHING

    status: Status = Status.WAITING
    generated: int = 0
    computed: int = 0
    order: int = -1
    preemptions: int = 0
    token_at: float | None = None
    kv: Any = None
    offset: int = field(init=False)
    last_step: int = field(init=False)

    @property
    def known(self) -> int:
        """Tokens whose values are known: the prompt and what was generated. All must be in the KV cache to get the next."""
        return self.prompt + self.generated
