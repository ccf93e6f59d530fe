"""Queue limits: vLLM's API server answers 503 while too many requests, or too many tokens of prompts, are with its server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heappop, heappush

from simulator.engine.clock import Clock
from simulator.engine.record import Recorder
from simulator.engine.request import Request
from simulator.spec import Natural, spec


@spec
class QueueLimits:
    """What a server takes in, over all its ranks; None is no limit.

    A request is turned away that would be one more than `max_num_queued_reqs` that have not had
    their last token, or that comes while the prompts of those without a first token have
    `max_num_queued_tokens` tokens or more. A prompt counts whole until its first token is out,
    whatever of it is computed or was found in the cache. Whoever is turned away does not try again.

    Source: vLLM 0.29 to 0.33, vllm/v1/engine/async_llm.py `check_admission`, output_processor.py.
    """

    max_num_queued_reqs: Natural | None = None
    max_num_queued_tokens: Natural | None = None

    @property
    def limit(self) -> bool:
        """Whether there is any limit."""
        return self.max_num_queued_reqs is not None or self.max_num_queued_tokens is not None

    def shared(self, ranks: int) -> QueueLimits:
        """The share of one of so many ranks, rounded up."""
        return QueueLimits(
            max_num_queued_reqs=_share(self.max_num_queued_reqs, ranks),
            max_num_queued_tokens=_share(self.max_num_queued_tokens, ranks),
        )


NO_LIMITS = QueueLimits()


def _share(limit: int | None, ranks: int) -> int | None:
    return None if limit is None else -(-limit // ranks)


class Door:
    """Where a server lets requests in: it counts the tokens of prompts whose first token is not out yet, `tokens`.

    `answered` holds first tokens in order of time: when each comes, the turn of the instance whose
    step ends then, the length of the prompt and the request. With async scheduling they are told
    ahead of time.
    """

    __slots__ = ("answered", "clock", "limits", "recorder", "tokens")

    def __init__(self, limits: QueueLimits, recorder: Recorder, clock: Clock) -> None:
        self.limits, self.recorder, self.clock = limits, recorder, clock
        self.tokens = 0
        self.answered: list[tuple[float, int, int, int]] = []

    def why_closed(self, unfinished: int) -> str:
        """Why the server turns away who comes now, beside so many that have not finished; empty if it does not."""
        most, tokens = self.limits.max_num_queued_reqs, self.limits.max_num_queued_tokens
        if most is not None and unfinished + 1 > most:
            return f"the server answers 503 beyond max_num_queued_reqs={most} unfinished requests"
        if tokens is not None:
            self._count_answered()
            if self.tokens >= tokens:
                return f"the server answers 503 from max_num_queued_tokens={tokens} of prompts without a first token on"
        return ""

    def enter(self, request: Request) -> None:
        """Let a request in."""
        self.tokens += request.prompt

    def first_tokens(self, completed: Sequence[Request], when: float, turn: int) -> None:
        """A step that ends at `when` samples a token for each of these: for some of them the first."""
        failed = self.recorder.failed
        for request in completed:
            if request.generated == 1 and not failed[request.index]:
                heappush(self.answered, (when, turn, request.prompt, request.index))

    def give_up(self, request: Request) -> None:
        """A request is let go whose client has given up."""
        if math.isnan(self.recorder.first_token[request.index]):
            self.tokens -= request.prompt

    def _count_answered(self) -> None:
        clock, answered, first_token = self.clock, self.answered, self.recorder.first_token
        while answered:
            when, turn, prompt, index = answered[0]
            if when > clock.now or (when == clock.now and not clock.passed(turn)):
                return
            heappop(answered)
            if first_token[index] == when:
                self.tokens -= prompt
