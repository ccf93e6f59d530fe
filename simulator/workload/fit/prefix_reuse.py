"""Prefix reuse: how much of the prompts a prefix cache would have found, by its size."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from simulator.workload.requests import BlockHashes, Ints, Requests

_MOST_IDS = 2_000_000
_SMALLEST_CACHE = 65_536


@dataclass(frozen=True, slots=True)
class Reuse:
    """Share of prompt tokens found in a prefix cache without end, and in one of so many tokens (least recently used blocks go
    first).

    Of the first `requests` only; `distinct_tokens` is what a cache without end would hold. Answers are not counted: a trace
    does not tell what they were.
    """

    block_tokens: int
    requests: int
    distinct_tokens: int
    endless: float
    by_cache_tokens: tuple[tuple[int, float], ...]


def prefix_reuse(requests: Requests) -> Reuse | None:
    """The reuse in requests with hashes, served one after another; None without hashes."""
    if requests.hashes is None:
        return None
    hashes = requests.hashes
    n = int(np.searchsorted(hashes.offsets, _MOST_IDS, side="right")) - 1
    n = max(1, min(n, len(requests)))
    prompt = requests.prompt_tokens[:n]
    total, size = int(prompt.sum()), hashes.block_tokens
    distinct = len(np.unique(hashes.ids[: hashes.offsets[n]])) * size
    caches, tokens = [], _SMALLEST_CACHE
    while tokens < distinct:
        caches.append((tokens, cached_tokens(hashes, prompt, tokens // size) / total))
        tokens *= 4
    return Reuse(size, n, distinct, cached_tokens(hashes, prompt, None) / total, tuple(caches))


def cached_tokens(hashes: BlockHashes, prompt_tokens: Ints, capacity: int | None) -> int:
    """Prompt tokens found in a cache of `capacity` blocks, without end when None.

    A prompt finds its blocks up to the first that is missing. All its blocks are then the latest used, its first one last, so
    that a prefix outlives what hangs on it.
    """
    cache: OrderedDict[int, None] = OrderedDict()
    ids, offsets, found = hashes.ids.tolist(), hashes.offsets.tolist(), 0
    for i, prompt in enumerate(prompt_tokens.tolist()):
        own = ids[offsets[i] : offsets[i + 1]]
        hits = next((depth for depth, block in enumerate(own) if block not in cache), len(own))
        found += min(hits * hashes.block_tokens, prompt)
        for block in reversed(own):
            cache[block] = None
            cache.move_to_end(block)
        while capacity is not None and len(cache) > capacity:
            cache.popitem(last=False)
    return found


def common_prefix_blocks(hashes: BlockHashes, share: float) -> int:
    """How many leading blocks at least this share of the requests begin with alike."""
    listed = np.diff(hashes.offsets)
    rows, depth = np.arange(len(listed)), 0
    while True:
        rows = rows[listed[rows] > depth]
        blocks = hashes.ids[hashes.offsets[rows] + depth]
        if len(blocks) == 0:
            return depth
        values, counts = np.unique(blocks, return_counts=True)
        if counts.max() < share * len(listed):
            return depth
        rows, depth = rows[blocks == values[np.argmax(counts)]], depth + 1
