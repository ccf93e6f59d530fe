"""Sums over the decoding sequences of what lies inside a sliding window."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol

from simulator.engine.request import Request


class InWindow(Protocol):
    """What the time of a step needs of a window: the sum inside it, and how many contexts are shorter."""

    size: int
    inside: float
    below: int


class WindowSums:
    """How much of each context is inside a window of `size` tokens, summed; and when blocks fall out of it.

    `inside` is the sum of min(context, size), and `below` counts the sequences whose context is less: by so much it grows in
    a step. A sequence whose context is c has the blocks of its first max(0, c - size + 1) tokens outside: one more block in
    the steps in which that is a multiple of the block size, which `ring` counts by step, modulo the block size.
    Source: vLLM vllm/v1/core/single_type_kv_cache_manager.py `SlidingWindowManager.get_num_skipped_tokens`.
    """

    __slots__ = ("below", "block_size", "due", "inside", "reach", "ring", "size")

    def __init__(self, size: int, block_size: int) -> None:
        self.size = size
        self.block_size = block_size
        self.inside: float = 0
        self.below = 0
        self.ring = [0] * block_size
        self.reach: dict[int, int] = {}
        self.due: list[int] = []

    def outside(self, context: int) -> int:
        """Whole blocks outside the window when the token at `context` is computed."""
        return max(0, context - self.size + 1) // self.block_size

    def join(self, request: Request, step: int) -> None:
        """Count a sequence that decodes from step `step` on."""
        self._count(step, request.offset, 1)

    def leave(self, request: Request, step: int) -> None:
        """Count it no longer."""
        self._count(step, request.offset, -1)

    def _count(self, step: int, offset: int, count: int) -> None:
        context = step + offset
        self.inside += count * min(context, self.size)
        if context >= self.size:
            self.ring[(self.size - 1 - offset) % self.block_size] += count
            return
        self.below += count
        full = self.size - offset
        if full not in self.reach:
            heappush(self.due, full)
        self.reach[full] = self.reach.get(full, 0) + count

    def advance(self, step: int, steps: int) -> None:
        """Let every sequence compute `steps` tokens from step `step` on; no context may pass `size` on the way."""
        self.inside += self.below * steps
        while self.due and self.due[0] <= step + steps:
            full = heappop(self.due)
            count = self.reach.pop(full)
            self.below -= count
            self.ring[(full - 1) % self.block_size] += count

    def steps_left(self, step: int) -> int | None:
        """Steps until the next context reaches `size`; None if all have."""
        while self.due and not self.reach[self.due[0]]:
            del self.reach[heappop(self.due)]
        return self.due[0] - step if self.due else None

    def falling(self, step: int) -> int:
        """Blocks that fall out of the window in this step."""
        return self.ring[step % self.block_size]
