"""What a scheduler is: it composes a step out of those who wait and those who run, and carries it out. It has no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from simulator.engine.kv.blocks import Chunk
from simulator.engine.request import Request
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.queues import Queue

NOBODY: Sequence[Request] = ()


class Step:
    """One step, composed: the decode batch computes a token each, save those `stalled` for want of budget, and these `chunks`
    of prompts are computed.

    `started` are scheduled for the first time; `resumed` were stalled in the step before; `preempted` lost their blocks when it
    was composed; `completed` have all their known tokens computed once it is carried out, and sampled one more. `padding`
    sequences, with `padded_context` tokens together, are computed for nothing. `even`: all decode in it, as they did before and
    will again. `pausing`: nobody decodes in it, only prompts are computed.
    """

    __slots__ = (
        "chunks",
        "completed",
        "even",
        "padded_context",
        "padding",
        "pausing",
        "preempted",
        "resumed",
        "stalled",
        "started",
    )

    def __init__(self, even: bool = False) -> None:
        self.even = even
        self.pausing = False
        self.chunks: list[Chunk] = []
        self.started: list[Request] = []
        self.stalled = self.resumed = self.preempted = self.completed = NOBODY
        self.padding = self.padded_context = 0


EVEN, IDLE, AGAIN = Step(even=True), Step(), Step()
"""An even step, none, and none either, but it may be different when asked again."""


class Blocks(Protocol):
    """KV blocks: `total`, of which `free` hold nothing that a request uses.

    `gives_back`: whether some come free within a stretch of even steps.
    """

    total: int
    free: int
    gives_back: ClassVar[bool]


class Scheduler(Protocol):
    """Who computes how many tokens in the next step.

    `running` are by order of admission, `prefilling` those of them that compute prompts. A composed
    step is carried out before the next is composed.
    """

    running: dict[int, Request]
    prefilling: list[Request]
    batch: DecodeBatch

    @property
    def waiting(self) -> Queue:
        """Those who wait."""

    @property
    def pool(self) -> Blocks:
        """The KV blocks."""

    def schedule(self) -> Step:
        """Compose the next step."""

    def horizon(self) -> int:
        """How many even steps follow on each other, the composed one the first, if nothing comes from outside."""

    def would_admit(self, leaving: int) -> bool:
        """Whether one that comes now might be admitted at once, `leaving` of the running ones about to be retired."""

    def advance(self, steps: int) -> Sequence[Request]:
        """Carry out the composed even step `steps` times; gives those who have all their tokens now, in running order."""

    def carry_out(self, step: Step) -> Sequence[Request]:
        """Carry out the composed step, whatever is in it; gives those who have all their tokens now, in running order."""

    def retire(self, finished: Sequence[Request]) -> None:
        """Let those go who have all their tokens."""

    def drop(self, request: Request) -> None:
        """Let a request go that nobody waits for any more."""

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""


class Receiver(Scheduler, Protocol):
    """A scheduler of requests whose KV comes from elsewhere."""

    def would_run(self, leaving: int) -> bool:
        """Whether one whose KV comes now might run at once, `leaving` of the running ones about to be retired."""

    def kv_arrived(self, request: Request) -> None:
        """The KV of a request that waits for it is here."""


def complete_chunks(step: Step) -> list[Request]:
    """Count the chunks of a step as computed; gives those who sample a token of it, which are its `completed`."""
    completed = []
    for request, tokens, last in step.chunks:
        request.computed += tokens
        if last:
            request.generated += 1
            completed.append(request)
    step.completed = completed
    return completed
