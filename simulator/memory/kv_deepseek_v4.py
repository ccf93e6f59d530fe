"""KV cache of DeepSeek-V4: windows, compressed entries, indexer keys and compressor states share one pool of blocks.

Source: vllm/models/deepseek_v4 (attention.py, compressor.py), vllm/v1/attention/backends/mla/sparse_swa.py, and
`_get_kv_cache_groups_uniform_groups` in vllm/v1/core/kv_cache_utils.py, read at 0.22.1 and 0.27.1. It agrees with
vllm-project/vllm#44376: 6.66 GiB for one request of 30,000 tokens of DeepSeek-V4-Flash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from simulator.catalog.models import CompressedAttention
from simulator.errors import NotModelled
from simulator.memory.kv_layout import KvLayout, LayerCache

BLOCK_SIZE = 256
_WINDOW_BLOCK = 64
_STATE_BLOCKS = {
    4: 4,
    128: 8,
}  # tokens in a block of compressor states, by ratio; 4 keeps an overlapping window of twice its length


def compressed_layout(mixers: Sequence[CompressedAttention], *, eight_bit: bool, in_flight: int, packed: bool) -> KvLayout:
    """How the caches of these layers share a pool on one GPU; nothing is split by tensor parallelism.

    `packed`: a block is as large as the largest group needs (from 0.27), and not the tuple of all page sizes times its copies.
    Raises NotModelled for compression ratios other than 4 and 128.
    """
    if odd := next((m.ratio for m in mixers if m.ratio and m.ratio not in _STATE_BLOCKS), None):
        raise NotModelled(f"compressed attention with ratio {odd}: only 4 and 128 have kernels in vLLM")
    buckets = _buckets(mixers, eight_bit)
    repeats = [max(Counter(c.page_bytes for c in bucket).values()) for bucket in buckets]
    size = _group_size(repeats)
    groups = tuple(bucket[0] for bucket, count in zip(buckets, repeats, strict=True) for _ in range(ceil(count / size)))
    if packed:
        block = max(_group_bytes(bucket, ceil(count / size)) for bucket, count in zip(buckets, repeats, strict=True))
    else:
        block = size * sum({c.page_bytes for c in buckets[0]})
    return KvLayout(groups, block, BLOCK_SIZE, in_flight)


def _buckets(mixers: Sequence[CompressedAttention], eight_bit: bool) -> list[list[LayerCache]]:
    """Caches that are needed for the same tokens: compressed entries, windows, and the states of either compressor."""
    compressed, windows = [], []
    states: dict[int, list[LayerCache]] = {4: [], 128: []}
    for m in mixers:
        row = m.head_dim - m.rope_dim + 2 * m.rope_dim + 8 if eight_bit else 2 * m.head_dim
        windows.append(LayerCache("sliding", _aligned(_WINDOW_BLOCK * row, eight_bit), _WINDOW_BLOCK, reach=m.window))
        if not m.ratio:
            continue
        entries = BLOCK_SIZE // m.ratio
        compressed.append(LayerCache("full", _aligned(entries * row, eight_bit), BLOCK_SIZE))
        widths = [m.head_dim]
        if m.index_heads:
            index_row = m.index_dim + 4 * ceil(m.index_dim / 128)
            compressed.append(LayerCache("full", _aligned(entries * index_row, eight_bit), BLOCK_SIZE))
            widths.append(m.index_dim)
        overlap, block = (2 if m.ratio == 4 else 1), _STATE_BLOCKS[m.ratio]
        for width in widths:
            page = block * overlap * width * 2 * 4  # keys and scores, float32
            states[m.ratio].append(LayerCache("sliding", _aligned(page, eight_bit), block, reach=overlap * m.ratio))
    return [bucket for bucket in (compressed, windows, states[4], states[128]) if bucket]


def _aligned(size: int, eight_bit: bool) -> int:
    unit = 576 if eight_bit else 512
    return ceil(size / unit) * unit


def _group_size(repeats: Sequence[int]) -> int:
    """Layers of each page size in a group: what pads the fewest, the larger of equals, no fewer than the first bucket has."""
    return min(range(repeats[0], max(repeats) + 1), key=lambda size: (sum(-count % size for count in repeats), -size))


def _group_bytes(bucket: Sequence[LayerCache], groups: int) -> int:
    return sum(ceil(count / groups) * page for page, count in Counter(c.page_bytes for c in bucket).items())
