"""Request: one request on its way through the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Request:
    """What the scheduler knows of a request.

    While it decodes, its context is not stored: it is the decoding step's number plus `offset` (see decoding.py), and
    `computed` and `generated` are those of the moment it began to decode.
    """

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int = 0
    ids: Sequence[int] = ()

    generated: int = 0
    computed: int = 0
    order: int = -1
    decoding: bool = False
    offset: int = 0
    last_step: int = 0
    leaving: bool = False
    left: bool = False
    started: bool = False
    preemptions: int = 0
    token_at: float | None = None
    held: list[Any] = field(default_factory=list)

    @property
    def known(self) -> int:
        """Tokens whose values are known: the prompt and what was generated. All must be in the KV cache to get the next."""
        return self.prompt + self.generated
