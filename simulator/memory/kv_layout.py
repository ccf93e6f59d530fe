"""Blocks and pages: how layers share a pool of KV-cache blocks, and what a sequence takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer keeps on one GPU: a page of `page_bytes` for every block of `block_size` tokens.

    `reach`: tokens a sliding or chunked layer keeps. A state layer keeps `states` pages per sequence whatever its length, or
    with states = 0 one for every block. `shards`: ranks of a decode-context-parallel group, which split a full layer's tokens.
    """

    kind: Literal["full", "sliding", "chunked", "state"]
    page_bytes: int
    block_size: int
    reach: int = 0
    states: int = 0
    shards: int = 1

    def pages(self, context: int, in_flight: int) -> int:
        """Pages that a sequence of `context` tokens needs; up to `in_flight` tokens are scheduled before old ones are freed."""
        if self.kind == "state" and self.states:
            return self.states
        if self.kind in ("full", "state"):
            return ceil(ceil(context / self.shards) / self.block_size)
        kept = self.reach - 1 if self.kind == "sliding" else self.reach
        pages = ceil(min(kept + in_flight, context) / self.block_size)
        return pages + 1 if self.kind == "sliding" else pages


@dataclass(frozen=True, slots=True)
class KvLayout:
    """How the layers of one GPU share a pool of blocks: every group takes its blocks of a sequence from the same pool.

    `groups` holds one representative layer per group; `block_bytes` is what a block of the pool costs over all layers of a group.
    `block_size`: tokens in a block of the group with the smallest blocks. `in_flight`: see `LayerCache.pages`.
    """

    groups: tuple[LayerCache, ...]
    block_bytes: int
    block_size: int
    in_flight: int

    def blocks_for(self, context: int) -> int:
        """Blocks of the pool that one sequence of this many tokens needs."""
        return sum(group.pages(context, self.in_flight) for group in self.groups)

    def bytes_for(self, context: int) -> int:
        """Bytes of KV cache on this GPU that one sequence of this many tokens needs."""
        return self.blocks_for(context) * self.block_bytes

    def blocks_in(self, kv_cache_bytes: float) -> int:
        """Blocks that fit into this much memory."""
        return max(0, int(kv_cache_bytes // self.block_bytes)) if self.block_bytes else 0

    def longest_in(self, kv_cache_bytes: float, at_most: int) -> int:
        """The longest sequence that fits alone, 0 when not even one token does: vLLM's estimated maximum model length."""
        if self.bytes_for(1) > kv_cache_bytes:
            return 0
        low, high = 1, at_most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_for(middle) <= kv_cache_bytes else (low, middle - 1)
        return low

    @property
    def bytes_per_token(self) -> float:
        """What one more token of a long sequence takes of the pool; windows and states take nothing more."""
        growing = [group for group in self.groups if group.kind == "full" or (group.kind == "state" and not group.states)]
        return sum(self.block_bytes / (group.block_size * group.shards) for group in growing or self.groups)

    @property
    def shards(self) -> int:
        """Ranks that split the tokens of a sequence between them."""
        return max((group.shards for group in self.groups), default=1)
