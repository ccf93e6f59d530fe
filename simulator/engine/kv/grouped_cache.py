"""The prefix cache where layer groups have windows: block by block, as vLLM keeps it.

Every group has blocks of its own for the same tokens. A prefix is found if the groups without a window have all of its blocks
and those with one have the last of them, as many as the window needs; the longest that all agree on counts.

Source: vLLM vllm/v1/core/kv_cache_coordinator.py `HybridKVCacheCoordinator.find_longest_cache_hit`,
single_type_kv_cache_manager.py `SlidingWindowManager.find_longest_cache_hit` and `remove_skipped_blocks`, block_pool.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.engine.kv.prefix_tree import Branch, branch_at
from simulator.engine.request import Request

Key = tuple[Branch | None, int, int]


@dataclass(slots=True, eq=False)
class Block:
    """One KV block, found under `key` (branch, place, group) once it is full, in the hands of `users` requests."""

    key: Key | None = None
    users: int = 0


Found = list[list[Block | None]]


class GroupedCache:
    """The KV blocks of one replica; `windows` has an entry a group, None for one without."""

    __slots__ = ("async_scheduling", "block_size", "contested", "found", "idle", "may_grow", "present", "queue", "windows")

    def __init__(self, blocks: int, block_size: int, windows: Sequence[int | None], *, async_scheduling: bool) -> None:
        self.block_size = block_size
        self.windows = tuple(windows)
        self.async_scheduling = int(async_scheduling)
        self.queue: OrderedDict[Block, None] = OrderedDict.fromkeys(Block() for _ in range(blocks))
        self.present: dict[Key, list[Block]] = {}
        self.found: Found = []
        self.idle = 0
        self.contested = self.may_grow = False

    def look_up(self, request: Request, step: int) -> int:
        """Blocks at the front of a waiting request that need not be computed; `idle` block objects of them are free."""
        request.named = request.path[-1][1]
        hits = min((request.known - 1) // self.block_size, request.named)
        while True:
            agreed = hits
            self.found = []
            for group, window in enumerate(self.windows):
                found = self._prefix(request, group, hits) if window is None else self._window(request, group, hits, window)
                self.found.append(found)
                agreed = min(agreed, len(found))
            if agreed == hits:
                break
            hits = agreed
        self.idle = sum(block is not None and not block.users for found in self.found for block in found)
        return hits

    def _first(self, request: Request, group: int, at: int) -> Block | None:
        blocks = self.present.get((branch_at(request.path, at), at, group))
        return blocks[0] if blocks else None

    def _prefix(self, request: Request, group: int, most: int) -> list[Block | None]:
        """The longest prefix of at most `most` blocks that a group without a window has."""
        found: list[Block | None] = []
        for at in range(most):
            block = self._first(request, group, at)
            if block is None:
                break
            found.append(block)
        return found

    def _window(self, request: Request, group: int, most: int, window: int) -> list[Block | None]:
        """The longest prefix of at most `most` blocks whose last window a group has; None for the blocks outside."""
        needed, run = -(-(window - 1) // self.block_size), 0
        found: list[Block | None] = [None] * most
        for at in reversed(range(most)):
            found[at] = self._first(request, group, at)
            run = run + 1 if found[at] is not None else 0
            if run and run >= needed:
                return found[: at + run]
        return found[:run]

    def admit(self, request: Request, blocks: int, tokens: int, step: int) -> None:
        """Let a request hold what `look_up` found and take what its first `tokens` lack."""
        for found in self.found:
            for block in found:
                if block is not None:
                    if not block.users:
                        del self.queue[block]
                    block.users += 1
        request.rows = self.found
        request.registered = len(self.found[0])
        self.extend(request, tokens, tokens)

    def extend(self, request: Request, tokens: int, known: int) -> None:
        """Take blocks for a request's first `tokens`, and register the full ones of its first `known`."""
        length = -(-tokens // self.block_size)
        for row in request.rows:
            while len(row) < length:
                row.append(self._new())
        self._register(request, known)

    def _new(self) -> Block:
        block, _ = self.queue.popitem(last=False)
        if block.key is not None:
            others = self.present[block.key]
            others.remove(block)
            if not others:
                del self.present[block.key]
            block.key = None
        block.users = 1
        return block

    def _register(self, request: Request, known: int) -> None:
        end = min(known // self.block_size, request.named)
        if end <= request.registered:
            return
        for group, row in enumerate(request.rows):
            for at in range(request.registered, end):
                block = row[at]
                if block is not None:
                    block.key = (branch_at(request.path, at), at, group)
                    self.present.setdefault(block.key, []).append(block)
        request.registered = end

    def grow(self, request: Request, step: int) -> None:
        """Nothing to note: what decoding fills is registered in every step."""

    def leave_windows(self, request: Request, computed: int) -> int:
        """Give back the blocks outside the windows when the token at `computed` comes next; gives how many are free now."""
        freed = 0
        for row, window in zip(request.rows, self.windows, strict=True):
            outside = 0 if window is None else max(0, computed - window + 1) // self.block_size
            for at in reversed(range(outside)):
                block = row[at]
                if block is None:
                    break
                freed += self._free(block)
                row[at] = None
        return freed

    def release(self, request: Request, known: int) -> int:
        """Take all blocks from a request, the full ones of its first `known` tokens registered; gives how many are free now."""
        self._register(request, known)
        freed = sum(self._free(block) for row in request.rows for block in reversed(row) if block is not None)
        request.rows = []
        request.registered = 0
        return freed

    def _free(self, block: Block) -> int:
        block.users -= 1
        if block.users:
            return 0
        self.queue[block] = None
        return 1
