"""Labels: what the leading KV blocks of a request hold; equal label, equal content and equal prefix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.errors import NotModelled
from simulator.workload.requests import BlockHashes

NOTHING: Sequence[int] = ()


class Labels:
    """Gives the labels of a request's leading blocks of the engine's size from hashes of blocks of another size."""

    def __init__(self, hashes: BlockHashes | None, block_size: int) -> None:
        self.hashes = hashes
        self.finer = self.coarser = 1
        if hashes is not None:
            self.finer, self.coarser = max(hashes.block_tokens // block_size, 1), max(block_size // hashes.block_tokens, 1)
            if hashes.block_tokens * self.coarser != block_size * self.finer:
                raise NotModelled(f"prefix hashes of {hashes.block_tokens}-token blocks, and KV blocks of {block_size} tokens")

    def of(self, index: int) -> Sequence[int]:
        """The labels of request `index`, as a list of its own."""
        hashes = self.hashes
        if hashes is None:
            return NOTHING
        ids = hashes.ids[hashes.offsets[index] : hashes.offsets[index + 1]]
        if self.finer > 1:
            ids = (ids[:, None] * self.finer + np.arange(self.finer)).ravel()
        labels: list[int] = ids[self.coarser - 1 :: self.coarser].tolist()
        return labels
