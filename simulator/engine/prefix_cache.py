"""The prefix cache: which KV blocks hold what, so that a prompt that begins like an earlier one need not be computed again.

As vLLM does it: only full blocks are found, by labels that name their content and all before it. At least one token is always
computed, so a hit ends before the last known token. Blocks are shared while requests hold them; free ones keep their content
until they are used again, those freed first first. A block is registered when the step that fills it is composed, and can be
hit in that very step; with async scheduling a block that decoding fills is registered a step later, when its last token is
known. A content that is already there is registered again for another block: the earliest that still exists is the one that is
hit.

Source: vLLM vllm/v1/core/kv_cache_manager.py `get_computed_blocks`, `allocate_slots`; block_pool.py `cache_full_blocks`,
`get_new_blocks`, `touch`, `free_blocks`; sched/async_scheduler.py `_update_request_with_output`.

Two things make it quick and keep it exact. Blocks that were filled together are one extent, split where a later prompt departs
from it. And blocks that decoding fills are registered only when somebody could find them: when the request that fills them lets
go of its blocks, or another one comes along the same labels (`growing`). Only where two are about to fill the same content
(`contested`) must every step be looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from simulator.engine.extents import Extent, FreeQueue
from simulator.engine.request import Request


class PrefixCache:
    """What the KV blocks of one replica hold. How many are free is the scheduler's to know."""

    __slots__ = ("block_size", "contested", "copies", "found", "growing", "idle", "lag", "may_grow", "present", "queue")

    def __init__(self, blocks: int, block_size: int, *, lag: bool) -> None:
        self.block_size = block_size
        self.lag = int(lag)
        self.queue = FreeQueue(blocks)
        self.present: dict[int, Extent] = {}
        self.copies: dict[int, list[Extent]] = {}
        self.growing: dict[int, list[Request]] = {}
        self.contested: list[Request] = []
        self.found: list[tuple[Extent, int, int]] = []
        self.idle = 0
        self.may_grow = False

    def look_up(self, request: Request, step: int) -> int:
        """Blocks at the front of a waiting request that need not be computed.

        `idle` of them are free and would have to be taken; `may_grow` tells whether a running request is about to fill the next.
        """
        most = min((request.known - 1) // self.block_size, len(request.ids))
        hits = self._find(request.ids, most)
        self.may_grow = False
        while self.growing and hits < most and self._grow_along(request.ids, hits, step):
            hits = self._find(request.ids, most)
        return hits

    def _find(self, labels: Sequence[int], most: int) -> int:
        """Find the extents of the longest known prefix of at most `most` blocks, and how many blocks it has."""
        present, at = self.present, 0
        self.found = found = []
        self.idle = 0
        while at < most:
            extent = present.get(labels[at])
            if extent is None:
                break
            end = min(extent.end, most)
            if self.copies or labels[end - 1] != extent.labels[end - 1]:  # type: ignore[index]
                end = at + 1
                while end < min(extent.end, most) and present.get(labels[end]) is extent:
                    end += 1
            found.append((extent, at, end))
            if not extent.users:
                self.idle += end - at
            at = end
        return at

    def _grow_along(self, labels: Sequence[int], hits: int, step: int) -> bool:
        """Register what running requests have filled along these labels; True if that was anything."""
        grown = False
        if self.growing.keys().isdisjoint(labels[: hits + 1]):
            return grown
        for label in labels[: hits + 1]:
            for grower in tuple(self.growing.get(label, ())):
                grown = self._register_filled(grower, step) or grown
                self.may_grow = self.may_grow or list(grower.ids[: hits + 1]) == list(labels[: hits + 1])
        return grown

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and `blocks` more, for its first `tokens`."""
        held = []
        for extent, first, end in reversed(self.found):
            part = extent if first == extent.first else self._split(extent, first)
            if end < part.end:
                self._split(part, end)
            if not part.users:
                self.queue.remove(part)
            part.users += 1
            held.append((part, end))
        held.reverse()
        request.held = held
        request.growing = False
        request.registered = self.found[-1][2] if self.found else 0
        self.reuse(blocks)
        self.register(request, tokens, step)

    def register(self, request: Request, tokens: int, step: int) -> None:
        """Make the full blocks of the first `tokens` of a request in its prompt known."""
        start, end = request.registered, min(tokens // self.block_size, len(request.ids))
        if start >= end:
            return
        if self.growing:
            self._let_others_register(request.ids[start:end], request.order, step)
        self._enter(request, start, end)

    def _let_others_register(self, labels: Sequence[int], order: int, step: int) -> None:
        """Register first what others have filled of the blocks that a request of this order is about to register."""
        if self.growing.keys().isdisjoint(labels):
            return
        for label in labels:
            for grower in tuple(self.growing.get(label, ())):
                self._register_filled(grower, step, order)

    def _enter(self, request: Request, start: int, end: int) -> None:
        """Put the labels of a request's blocks into the index, as an extent of its own or the continuation of one."""
        labels, held = request.ids, request.held
        extent = held[-1][0] if held else None
        if extent is not None and extent.labels is labels and extent.users == 1 and extent.end == start:
            extent.end = end
            held[-1] = (extent, end)
        else:
            extent = Extent(labels, start, end, users=1)
            held.append((extent, end))
        request.registered = end
        new = labels[start:end]
        if new[0] not in self.present:
            self.present.update(dict.fromkeys(new, extent))
            return
        for label in new:
            if label in self.present:
                self.copies.setdefault(label, []).append(extent)
            else:
                self.present[label] = extent

    def grow(self, request: Request, step: int) -> None:
        """Note that a request that begins to decode will fill blocks that can be found."""
        if request.registered == len(request.ids):
            return
        if not self.growing.keys().isdisjoint(request.ids):
            self._meet_rivals(request, step)
        self._start_growing(request)

    def _meet_rivals(self, request: Request, step: int) -> None:
        """Find who will fill what this request is about to fill, and watch them all from now on."""
        rivals = [grower for label in request.ids for grower in self.growing.get(label, ()) if _rivals(grower, request)]
        for grower in rivals:
            self._register_filled(grower, step, order=-1)
        rivals = [grower for grower in rivals if grower.growing and _rivals(grower, request)]
        if rivals:
            self.contested += [request, *(grower for grower in rivals if grower not in self.contested)]

    def register_contested(self, step: int) -> None:
        """Register, in running order, what requests that are about to fill the same content fill in the next step."""
        for grower in sorted(self.contested, key=lambda request: request.order):
            self._register_filled(grower, step)

    def _start_growing(self, request: Request) -> None:
        if request.registered < len(request.ids):
            self.growing.setdefault(request.ids[request.registered], []).append(request)
            request.growing = True
        elif request in self.contested:
            self.contested.remove(request)

    def _register_filled(self, grower: Request, step: int, order: int = sys.maxsize) -> bool:
        """Register what a decoding request has filled by now, as seen by a running request of this order, or a waiting one."""
        tokens = step + grower.offset + (grower.order < order and not grower.stalled) - self.lag
        if min(tokens // self.block_size, len(grower.ids)) <= grower.registered:
            return False
        self._stop_growing(grower)
        self._enter(grower, grower.registered, min(tokens // self.block_size, len(grower.ids)))
        self._start_growing(grower)
        return True

    def _stop_growing(self, request: Request) -> None:
        label = request.ids[request.registered]
        others = self.growing[label]
        others.remove(request)
        if not others:
            del self.growing[label]
        request.growing = False

    def release(self, request: Request, blocks: int, tokens: int) -> int:
        """Take its `blocks` blocks from a request, those of its first `tokens` registered; gives how many are free now."""
        if request.growing:
            self._stop_growing(request)
            filled = min(tokens // self.block_size, len(request.ids))
            if filled > request.registered:
                self._enter(request, request.registered, filled)
            if request in self.contested:
                self.contested.remove(request)
        freed = blocks - request.registered
        self.queue.append_blocks(freed)
        for extent, end in reversed(request.held):
            for part in reversed(tuple(extent.parts(end))):
                part.users -= 1
                if not part.users:
                    self.queue.append(part)
                    freed += part.end - part.first
        request.held = []
        request.registered = 0
        return freed

    def reuse(self, blocks: int) -> None:
        """Forget what the next `blocks` free blocks hold: running requests take them."""
        while blocks:
            extent = self.queue.next
            end = max(extent.end - blocks, extent.first)
            blocks -= extent.end - end
            if extent.labels is not None:
                self._forget(extent, end)
            extent.end = end
            if end == extent.first:
                self.queue.remove(extent)

    def _forget(self, extent: Extent, start: int) -> None:
        """Take the labels of an extent's blocks from `start` on out of the index."""
        assert extent.labels is not None
        present, copies = self.present, self.copies
        for label in extent.labels[start : extent.end]:
            others = copies.get(label) if copies else None
            if not others:
                del present[label]
                continue
            if present[label] is extent:
                present[label] = others.pop(0)
            else:
                others.remove(extent)
            if not others:
                del copies[label]

    def _split(self, extent: Extent, at: int) -> Extent:
        """Cut an extent in two; gives the rear part, which is used again first if it is free."""
        assert extent.labels is not None
        rear = Extent(extent.labels, at, extent.end, extent.users, extent.rear)
        if not extent.users:
            self.queue.insert(rear, extent)
        for label in extent.labels[at : extent.end]:
            if self.present[label] is extent:
                self.present[label] = rear
            else:
                others = self.copies[label]
                others[others.index(extent)] = rear
        extent.rear, extent.end = rear, at
        return rear


def _rivals(one: Request, other: Request) -> bool:
    """Whether two requests will fill blocks of the same content."""
    both = max(one.registered, other.registered)
    return both < min(len(one.ids), len(other.ids)) and one.ids[both] == other.ids[both]
