"""Hash ids of a trace: the size of their blocks, and the same prefixes in blocks of the engine's size."""

from __future__ import annotations

import numpy as np

from simulator.errors import MeasurementError
from simulator.workload.requests import BlockHashes, Ints

_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
_PIECE = 1_000_000


def block_size_of(listed: Ints, prompt_tokens: Ints, path: str) -> int:
    """Tokens in a block, told from how many ids prompts of some length list (full blocks, or the last partly filled one too).

    Raises MeasurementError when no usual size agrees with 99 % of the requests.
    """
    some = listed > 0
    ids, tokens = listed[some], prompt_tokens[some]
    for size in _SIZES:
        agree = (ids == tokens // size) | (ids == -(-tokens // size))
        if len(ids) == 0 or agree.mean() >= 0.99:
            return size
    at = int(np.argmax(ids))
    raise MeasurementError(
        f"{path}: {ids[at]} hash ids for a prompt of {tokens[at]} tokens fit no block size between {_SIZES[0]} and {_SIZES[-1]}; "
        "say block_size: N"
    )


def renumbered(ids: Ints) -> Ints:
    """The same ids as numbers from 0, where they are not small numbers already."""
    if len(ids) == 0 or (ids.min() >= 0 and ids.max() < 4 * len(ids) + 1024):
        return ids
    inverse: Ints = np.unique(ids, return_inverse=True)[1].astype(np.int64)
    return inverse


def chained(offsets: Ints, ids: Ints) -> Ints:
    """Ids that stand for their block and all before it: as they are where that holds already, made so where it does not.

    `ids` are numbers from 0, none much larger than their count (see `dense`).
    """
    return ids if _is_chained(offsets, ids) else _chain(offsets, ids)


def _is_chained(offsets: Ints, ids: Ints) -> bool:
    """Whether every id follows the same id, or starts a prompt, wherever it stands."""
    last_seen = np.empty(int(ids.max(initial=-1)) + 1, dtype=np.int64)
    starts = offsets[:-1][np.diff(offsets) > 0]
    pieces = [(low, min(low + _PIECE, len(ids))) for low in range(0, len(ids), _PIECE)]

    def before(low: int, high: int) -> Ints:
        previous = np.empty(high - low, dtype=np.int64)
        previous[0], previous[1:] = ids[low - 1], ids[low : high - 1]
        previous[starts[np.searchsorted(starts, low) : np.searchsorted(starts, high)] - low] = -1
        return previous

    for low, high in pieces:
        last_seen[ids[low:high]] = before(low, high)
    return all(np.array_equal(last_seen[ids[low:high]], before(low, high)) for low, high in pieces)


def _chain(offsets: Ints, ids: Ints) -> Ints:
    nodes: dict[tuple[int, int], int] = {}
    starts = set(offsets[:-1].tolist())
    result, node = np.empty_like(ids), -1
    for i, block in enumerate(ids.tolist()):
        node = nodes.setdefault((-1 if i in starts else node, block), len(nodes))
        result[i] = node
    return result


def in_blocks(hashes: BlockHashes, prompt_tokens: Ints, block_tokens: int, path: str) -> BlockHashes:
    """The same prefixes in blocks of `block_tokens`, only full ones of the prompt.

    A larger block becomes several, the last one as many as the prompt fills; several smaller ones become one, named by the
    last of them. Raises MeasurementError when neither size is a multiple of the other.
    """
    size = hashes.block_tokens
    listed, full = np.diff(hashes.offsets), prompt_tokens // block_tokens
    if size % block_tokens == 0:
        parts, whole = size // block_tokens, 1
    elif block_tokens % size == 0:
        parts, whole = 1, block_tokens // size
    else:
        raise MeasurementError(f"{path}: hash ids of {size}-token blocks cannot be told in the engine's blocks of {block_tokens}")
    counts = np.minimum(listed * parts // whole, full)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    block = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    named_by = np.repeat(hashes.offsets[:-1], counts) + block // parts * whole + whole - 1
    return BlockHashes(block_tokens, offsets, hashes.ids[named_by] * parts + block % parts)


def gathered(hashes: BlockHashes, rows: Ints) -> BlockHashes:
    """The hashes of some requests, in the order of `rows`."""
    counts = np.diff(hashes.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - hashes.offsets[rows], counts)
    return BlockHashes(hashes.block_tokens, offsets, hashes.ids[at])
