"""The KV blocks of an instance where prompts share them: the count, beside the prefix cache that knows what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simulator.engine.kv.blocks import BlockPool, Chunk
from simulator.engine.kv.prefix_cache import PrefixCache
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch


class CachedPool(BlockPool):
    """Blocks that are found again. `watching`: the first waiting request may be found to lack less before the next finish."""

    __slots__ = ("cache", "watching")

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch) -> None:
        super().__init__(config, batch)
        self.finds = self.notes = True
        self.cache = PrefixCache(config)
        self.watching = False

    def take(self, chunks: Sequence[Chunk]) -> bool:
        """Take the blocks of the next step, for the batch and these chunks; False, and none taken, where that is too many."""
        needed = self._needed(chunks)
        if needed > self.free:
            return False
        cache = self.cache
        self.free -= needed
        cache.taken += needed
        for request, tokens, _ in chunks:
            cache.register(request, request.computed + tokens, self.batch.step)
        self._watch_contested()
        return True

    def grant(self, request: Request, tokens: int, blocks: int) -> None:
        """Give a running request the blocks it lacks to compute `tokens` more."""
        self.free -= blocks
        self.cache.taken += blocks
        if request.status is Status.PREFILLING:
            self.cache.register(request, request.computed + tokens, self.batch.step)

    def walked(self, running: Iterable[Request]) -> None:
        """All running requests have been given what they get in this step, one by one."""
        self._watch_contested()

    def _watch_contested(self) -> None:
        self.watching = False
        if self.cache.contested:
            self.cache.register_contested(self.batch.step)

    def look_up(self, request: Request) -> int:
        """Tokens at the front of a waiting request that need not be computed."""
        return self.cache.look_up(request, self.batch.step) * self.block_size

    def admit(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give the waiting request that was looked up last the blocks of its first `tokens`; False if too few are free."""
        cache, size = self.cache, self.block_size
        needed = -(-tokens // size)
        must_fit = cache.idle + (-(-lacking // size) if self.reserve else needed)
        if not alone:
            must_fit += self.watermark
        if must_fit > self.free:
            self.head_waits()
            return False
        self.free -= needed + cache.idle
        hits = request.prompt + request.generated - lacking
        cache.admit(request, needed, hits + tokens, self.batch.step)
        return True

    def admit_to_load(self, request: Request, lacking: int, spare: int) -> bool:
        """Give the request that was looked up last the blocks of `lacking` tokens that come from elsewhere.

        They can be found once they have come. False if not that many and `spare` blocks are free.
        """
        cache = self.cache
        needed = -(-lacking // self.block_size)
        if needed + cache.idle + spare > self.free:
            self.head_waits()
            return False
        self.free -= needed + cache.idle
        cache.admit(request, needed, request.prompt - lacking, self.batch.step)
        return True

    def loaded(self, request: Request) -> None:
        """The tokens of a request's prompt have come, so others may find them."""
        self.cache.register(request, request.prompt, self.batch.step)

    def head_waits(self) -> None:
        """The request that was looked up last waits."""
        self.watching = self.cache.may_grow

    def begin_decoding(self, request: Request) -> None:
        """A request has joined the batch, and will fill blocks that can be found."""
        self.cache.grow(request, self.batch.step)

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request; it finds those again that nobody takes, unless it is `finished`."""
        blocks = -(-request.computed // self.block_size)
        self.free += self.cache.release(request, blocks, known, finished=finished)

    def horizon(self, steps: int) -> int:
        """How many of `steps` even steps, the composed one the first, have blocks enough and nothing to look at."""
        if self.watching or self.cache.contested:
            return 1
        if -(-steps // self.block_size) * self.batch.count <= self.free:
            return steps
        return super().horizon(steps)

    def take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps."""
        needed = self.batch.blocks_following(steps)
        self.free -= needed
        self.cache.taken += needed
