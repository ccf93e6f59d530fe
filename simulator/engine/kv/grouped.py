"""The KV blocks of an instance where layers have sliding windows and prompts share blocks as well.

What leaves a window is a certain block, which others may still hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.blocks import Chunk
from simulator.engine.kv.grouped_cache import GroupedCache, OwnBlocksNeeded
from simulator.engine.kv.windowed import WindowedPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.windows import WindowSums

_NOBODY_LATE: dict[int, Request] = {}


class GroupedPool(WindowedPool):
    """Blocks of layer groups that are found again. It follows the batch.

    `falls` are the requests that decode, by the steps, modulo `every` (tokens after which blocks of all sizes end), in which a
    block may leave one of their windows; `fresh` are those that do not decode steadily yet or are stalled, whose windows may be
    elsewhere. Of requests from whose windows nothing will fall that is looked for, `unnamed` has how many blocks do so in those
    steps: they are counted, not looked at. `watching`: the first waiting request may be found to lack less before the next
    finish.

    `in_doubt`: among so many free blocks there may be one without a name that a preempted request would find. Who takes more
    takes that too, if free blocks are used in the order in which they were given back; else OwnBlocksNeeded is raised.

    `one_by_one`: blocks may leave a window before they have a name, and are then used again first; so the order counts in every
    step. That takes windows of fewer tokens than a block of another group has.
    """

    __slots__ = ("cache", "counted", "distances", "every", "falls", "in_doubt", "one_by_one", "unnamed", "watching")

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch, sums: Mapping[tuple[int, int], WindowSums]) -> None:
        super().__init__(config, batch, sums)
        self.finds = True
        self.watching = False
        self.in_doubt = 0
        self.cache = GroupedCache(config)
        self.every = every = batch.block_size
        windows = [group.window for group in config.kv_groups if group.window is not None]
        self.one_by_one = (
            config.rules.useless_unnamed and every > config.block_size and min(windows, default=every + 3) < every + 3
        )
        self.distances: dict[int, int] = {}
        for of_window, groups in self.sliding:
            for distance in range(of_window.size - 1, of_window.size - 1 + every, of_window.block_size):
                self.distances[distance % every] = self.distances.get(distance % every, 0) + groups
        self.falls: list[dict[int, Request]] = [{} for _ in range(every)]
        self.unnamed: list[dict[int, int]] = [{} for _ in range(every)]
        self.counted = [0] * every

    # Following the batch

    def join(self, request: Request, step: int) -> None:
        """A request decodes from now on: expect what will leave its windows."""
        for distance in self.distances:
            self.falls[(distance - request.offset) % self.every][request.order] = request

    def leave(self, request: Request, step: int) -> None:
        """It decodes no longer."""
        for distance in self.distances:
            at = (distance - request.offset) % self.every
            blocks = self.unnamed[at].pop(request.order, 0)
            if blocks:
                self.counted[at] -= blocks
                self._note_fallen(request, step)
            else:
                self.falls[at].pop(request.order, None)

    def advance(self, step: int, steps: int) -> None:
        """All compute `steps` tokens: what leaves the windows is given back when blocks are taken."""

    def steps_left(self, step: int) -> int | None:
        """Nothing changes by itself."""
        return None

    def _note_fallen(self, request: Request, step: int) -> None:
        """Note what left the windows of a request while it was only counted."""
        context = step + request.offset
        for group, window in self.cache.sliding:
            low = (context - self.lag - window) // self.cache.sizes[group]
            request.kv.lows[group] = max(request.kv.lows[group], low)

    def _only_count(self, request: Request) -> None:
        for distance, blocks in self.distances.items():
            at = (distance - request.offset) % self.every
            del self.falls[at][request.order]
            self.unnamed[at][request.order] = blocks
            self.counted[at] += blocks

    # Composing a step

    def take(self, chunks: Sequence[Chunk]) -> bool:
        """Take blocks in every group and give back those outside the windows, in running order; False where more are needed."""
        self.wanted = 0
        needed = self._needed(chunks)
        if needed > self.free or self.one_by_one:
            return False
        step = self.batch.step
        if self.fresh or chunks:
            late = {request.order: request for request in self.fresh if request.status is Status.DECODING}
            late.update((request.order, request) for request, _, _ in chunks)
            self.fresh = [request for request in late.values() if self._unsteady(request)]
            self._let_fall(step, late)
        else:
            self._let_fall(step)
        self._take_free(needed)
        for request, tokens, _ in chunks:
            self.cache.register(request, request.computed + tokens, step)
        self._watch_contested()
        return True

    def _take_free(self, blocks: int) -> None:
        self.free -= blocks
        self.cache.taken += blocks

    def _unsteady(self, request: Request) -> bool:
        """Whether one that decodes is not where its context says."""
        return bool(self.lag) and request.status is Status.DECODING and self._place(request) != self._context(request)

    def _free_counted(self, blocks: int) -> None:
        if blocks:
            self.cache.queue.append_blocks(blocks)
            self.free += blocks

    def _watch_contested(self) -> None:
        self.watching = False
        if self.cache.contested:
            self.cache.register_contested(self.batch.step)

    def _let_fall(self, step: int, late: dict[int, Request] = _NOBODY_LATE) -> None:
        """Give back what leaves the windows in a step, in running order, of those too that are more behind."""
        at = step % self.every
        unnamed = self.unnamed[at]
        falls = self.falls[at] | late if late else self.falls[at]
        if not falls:
            self._free_counted(self.counted[at])
            return
        counted = 0
        for order in sorted([*falls, *unnamed]):
            request = falls.get(order)
            if request is None:
                counted += unnamed[order]
                continue
            self._free_counted(counted)
            counted = 0
            decoding = request.status is Status.DECODING
            place = self._place(request) if order in late else step + request.offset
            self.free += self.cache.leave_windows(request, place - self.lag, step, self._known(request, step))
            if decoding and place == step + request.offset and self.cache.unnamed_from_now_on(request):
                self._only_count(request)
        self._free_counted(counted)

    def _known(self, request: Request, step: int) -> int:
        """Of the tokens that a request has computed before a step, those whose values are known."""
        if request.status is not Status.DECODING:
            return request.computed
        context = step + request.offset
        in_flight = self.cache.async_scheduling and (step > self.batch.step or self.batch.computed_last(request))
        return context - bool(in_flight)

    def walk(self) -> None:
        """The running requests are about to be looked at one by one."""
        running = self.batch.running
        for at, unnamed in enumerate(self.unnamed):
            for order in unnamed:
                self._note_fallen(running[order], self.batch.step)
                self.falls[at][order] = running[order]
            unnamed.clear()
        self.counted = [0] * self.every

    def lacking(self, request: Request, tokens: int) -> int:
        """Blocks that a running request lacks to compute `tokens` more, once it has given back what it needs no longer."""
        step = self.batch.step
        self.free += self.cache.leave_windows(request, self._place(request) - self.lag, step, self._known(request, step))
        return self._lacked(request, tokens)

    def grant(self, request: Request, tokens: int, blocks: int) -> None:
        """Give a running request the blocks it lacks to compute `tokens` more."""
        self._take_free(blocks)
        if blocks > self.in_doubt and not any(self.cache.first_again):
            self.in_doubt = 0
        if request.status is Status.PREFILLING:
            self.cache.register(request, request.computed + tokens, self.batch.step)

    def walked(self, running: Iterable[Request]) -> None:
        """All running requests have been given what they get in this step, one by one."""
        if self.in_doubt:
            raise OwnBlocksNeeded
        self.fresh = [r for r in running if r.status is Status.STALLED or self._unsteady(r)]
        self._watch_contested()

    # Who waits, begins and ends

    def look_up(self, request: Request) -> int:
        """Tokens at the front of a waiting request that need not be computed."""
        return self.cache.look_up(request, self.batch.step) * self.block_size

    def admit(self, request: Request, tokens: int, lacking: int, alone: bool) -> bool:
        """Give the waiting request that was looked up last the blocks of its first `tokens`; False if too few are free."""
        found = request.prompt + request.generated - lacking
        needed = self._blocks(found + tokens) - self._blocks(found)
        must_fit = max(needed, self._whole(found, lacking)) if self.reserve else needed
        must_fit += self.cache.idle
        if not alone:
            must_fit += self.watermark
        if must_fit > self.free:
            self.wanted = must_fit
            self.head_waits()
            return False
        self.free -= needed + self.cache.idle
        self.cache.admit(request, needed, found + tokens, self.batch.step)
        return True

    def head_waits(self) -> None:
        """The request that was looked up last waits."""
        self.watching = self.cache.may_grow

    def begin_decoding(self, request: Request) -> None:
        """A request has joined the batch, and will fill blocks that can be found."""
        super().begin_decoding(request)
        self.cache.grow(request, self.batch.step)

    def release(self, request: Request, known: int, finished: bool = False) -> None:
        """Take all blocks from a request; it finds those again that nobody takes, unless it is `finished`."""
        if not finished and self.cache.might_miss(request, known):
            self.in_doubt = max(self.in_doubt, self.free)
        self.free += self.cache.release(request, request.computed, known, finished=finished)

    # Many steps at once

    def _falling_ones(self, step: int) -> Iterator[tuple[Request, int]]:
        """Whose windows a block may leave in a step, in running order, each with its context in that step."""
        falls = self.falls[step % self.every]
        for order in sorted(falls):
            request = falls[order]
            yield request, step + request.offset - self.lag

    def _freed_following(self, steps: int) -> Iterator[int]:
        if not self.cache.shared:
            yield from super()._freed_following(steps)
            return
        gone: dict[tuple[BlockRun, int], int] = {}
        freed = self.cache.freed_on_leaving
        for step in range(self.batch.step + 1, self.batch.step + steps):
            unnamed = self.counted[step % self.every]
            yield unnamed + sum(freed(request, context, gone) for request, context in self._falling_ones(step))

    def take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps, and give back those that leave the windows."""
        batch, size = self.batch, self.every
        needed = self._taken_following(steps)
        self._take_free(needed)
        if not any(self.falls):
            rounds, rest = divmod(steps - 1, size)
            first = (batch.step + 1) % size
            twice = self.counted + self.counted
            self._free_counted(rounds * sum(self.counted) + sum(twice[first : first + rest]))
            return
        falls, counted, unnamed = self.falls, self.counted, 0
        for step in range(batch.step + 1, batch.step + steps):
            at = step % size
            if falls[at]:
                self._free_counted(unnamed)
                self._let_fall(step)
                unnamed = 0
            else:
                unnamed += counted[at]
        self._free_counted(unnamed)

    def horizon(self, steps: int) -> int:
        """As long as what the first waiting request was found to have is not forgotten either."""
        if self.watching or self.cache.contested or self.fresh or self.one_by_one:
            return 1
        steps = super().horizon(steps)
        if steps == 1 or not (self.wanted and self.cache.idle):
            return steps
        before = self.cache.used_before_found(self._taken_following(steps))
        return bisect_right(range(1, steps + 1), before, key=self._taken_following)
