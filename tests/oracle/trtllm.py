"""One replica of TensorRT-LLM under GUARANTEED_NO_EVICT, naive.

It follows `_schedule_guaranteed_no_evict`, `schedule` and `_chunk_fcfs` of the PyTorch executor's
scheduler.py, 1.2.
"""

from __future__ import annotations

import math

from oracle.server import Item, Server, Step


class NoEvictServer(Server):
    """Lets in who has blocks to its end; decodes come first, and prompts share what tokens are left."""

    def to_the_end(self, item: Item) -> int:
        return math.ceil((item.prompt + item.output) / self.limits.block_size)

    def fitting(self) -> list[Item]:
        """The waiting requests that the capacity scheduler lets in, if their prompts have room."""
        left = self.limits.kv_blocks - sum(self.to_the_end(item) for item in self.running)
        fits: list[Item] = []
        for item in self.waiting:
            left -= self.to_the_end(item)
            if left < 0 or len(self.running) + len(fits) >= self.limits.max_num_seqs:
                break
            fits.append(item)
        return fits

    def compose(self, now: float) -> Step | None:
        self.just_preempted = False
        given = {item: 1 for item in self.running if not item.prefilling and not item.complete}
        capacity = self._budget() - len(given)
        for item in given:
            self._allocate(item, 1)
        for item in [item for item in self.running if item.prefilling]:
            tokens = self.chunk(item.known - item.computed, capacity)
            if tokens:
                self._allocate(item, tokens)
                given[item] = tokens
                capacity -= tokens
        for item in self.fitting():
            if capacity <= 0:
                break
            hits, computed = self._cached(item)
            tokens = self.chunk(item.known - computed, capacity)
            if tokens:
                self.start(item, hits, computed, tokens, now)
                given[item] = tokens
                capacity -= tokens
            elif not self.limits.enable_chunked_prefill:
                break
        return self._step(given) if given else None

    def chunk(self, lacking: int, capacity: int) -> int:
        if lacking <= capacity:
            return lacking
        size = self.limits.block_size
        return max(capacity, 0) // size * size if self.limits.enable_chunked_prefill else 0

    def start(self, item: Item, hits: list, computed: int, tokens: int, now: float) -> None:
        item.computed, item.prefilling = computed, True
        item.blocks = [g.adopt(hits[g.number], computed) for g in self.layers]
        item.registered = [len(blocks) for blocks in item.blocks]
        self._allocate(item, tokens)
        self.waiting.remove(item)
        self.running.append(item)
        if math.isnan(self.log["scheduled"][item.index]):
            self.log["scheduled"][item.index] = now
            self.log["cached"][item.index] = computed
