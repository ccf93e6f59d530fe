"""The KV blocks of an instance as a count: who holds how many is known from the tokens that are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch

Chunk = tuple[Request, int, bool]  # prompt tokens to compute: of whom, how many, whether they are its last

TOO_MANY = -1


class BlockPool:
    """`free` of `total` KV blocks, for a decode batch and prompts in work.

    A request holds the blocks of the tokens it has computed or is computing in the composed step, the last one perhaps partly
    filled, and the blocks of its states. This is the pool where all tokens take blocks alike and none is found again; others
    (windowed.py, cached.py) are asked the same.

    `finds`: tokens of a waiting request may be found computed. `notes`: what the batch takes and who joins it must be noted, it
    is not enough to count. `ordered`: a request may need what those before it give back in the same step, so that a step that
    lacks blocks must be composed request by request; `last_chunks` are those of the step composed last, where that counts.
    `ahead`: tokens beyond those to be computed that blocks are taken for. `most_a_step`: the most tokens of a decode.
    """

    __slots__ = (
        "ahead",
        "batch",
        "block_size",
        "finds",
        "free",
        "last_chunks",
        "most_a_step",
        "notes",
        "ordered",
        "reserve",
        "states",
        "total",
        "watermark",
    )
    gives_back: ClassVar[bool] = False
    """Whether blocks come free within a stretch of even steps."""

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch) -> None:
        self.finds = self.ordered = False
        self.notes = config.speculation is not None
        self.ahead, self.most_a_step = config.lookahead, config.verified
        self.batch = batch
        self.block_size = config.block_size
        self.total = self.free = config.kv_blocks
        self.reserve = config.reserve_full_prompt
        self.states = config.state_blocks
        self.watermark = config.watermark_blocks
        self.last_chunks: Sequence[Chunk] = ()

    def take(self, chunks: Sequence[Chunk]) -> bool:
        """Take the blocks of the next step, for the batch and these chunks; False, and none taken, where that is too many."""
        needed = self._needed(chunks)
        if needed > self.free:
            return False
        self.free -= needed
        return True

    def _needed(self, chunks: Sequence[Chunk]) -> int:
        batch = self.batch
        needed = batch.ring[batch.step % batch.block_size]
        for request, tokens, _ in chunks:
            needed += self._for_prompt(request, tokens)
        return needed

    def _for_prompt(self, request: Request, tokens: int) -> int:
        """Blocks that a request lacks to compute `tokens` more of its prompt."""
        size, taken_for = self.block_size, request.computed + self.ahead
        return -(-(taken_for + tokens) // size) + -taken_for // size

    def lacking(self, request: Request, tokens: int) -> int:
        """Blocks that a running request lacks to compute `tokens` more, once it has given back what it needs no longer."""
        if request.status is Status.DECODING:
            return self.batch.needed_by(request, self.block_size)
        return self._for_prompt(request, tokens)

    def walk(self) -> None:
        """The running requests are about to be looked at one by one."""

    def grant(self, request: Request, tokens: int, blocks: int) -> None:
        """Give a running request the blocks it lacks to compute `tokens` more."""
        self.free -= blocks

    def walked(self, running: Iterable[Request]) -> None:
        """All running requests have been given what they get in this step, one by one."""

    def look_up(self, request: Request) -> int:
        """Tokens at the front of a waiting request that need not be computed; TOO_MANY if it cannot be let in anyway."""
        return 0

    def admit(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give the waiting request that was looked up last the blocks of its first `tokens`; False if too few are free.

        `lacking` of its tokens are to be computed in all. Unless it is `alone`, some blocks must stay free.
        """
        return self.admit_new(request, tokens, lacking, alone)

    def admit_new(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """The same for one that can have found nothing, so that it was not looked up."""
        size, ahead, free = self.block_size, self.ahead, self.free
        needed = -(-(tokens + ahead) // size) + self.states
        must_fit = needed
        if self.reserve and lacking > tokens + ahead:
            must_fit = -(-lacking // size) + self.states
        if not alone:
            must_fit += self.watermark
        if must_fit > free:
            return False
        self.free = free - needed
        request.beyond = ahead
        return True

    def admit_to_load(self, request: Request, lacking: int, spare: int) -> bool:
        """Give the request that was looked up last the blocks of `lacking` tokens that come from elsewhere.

        False, and nothing is given, if not that many and `spare` blocks are free.
        """
        needed = -(-lacking // self.block_size)
        if needed + spare > self.free:
            return False
        self.free -= needed
        return True

    def loaded(self, request: Request) -> None:
        """The tokens of a request's prompt have come."""

    def head_waits(self) -> None:
        """The request that was looked up last waits, and not for blocks."""

    def begin_decoding(self, request: Request) -> None:
        """A request has joined the batch; called where the pool `notes` it."""

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request, which has computed so many tokens whose values are known; is it `finished`?"""
        self.free += self.states - -(request.computed + request.beyond) // self.block_size

    def horizon(self, steps: int) -> int:
        """How many of `steps` even steps, the composed one the first, have blocks enough."""
        batch = self.batch
        return batch.steps_within(self.free + batch.ring[batch.step % batch.block_size], steps)

    def take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps."""
        self.free -= self.batch.blocks_following(steps)

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.total - self.free + self.batch.blocks_following(steps)
