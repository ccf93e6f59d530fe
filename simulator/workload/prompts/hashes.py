"""Block hashes of drawn requests: which leading blocks of a prompt other requests have too."""

from __future__ import annotations

import numpy as np

from simulator.workload.prompts.prefixes import Stems
from simulator.workload.requests import BlockHashes, Ints


def stream_hashes(stems: Stems, session: Ints, ends: Ints, block_tokens: int) -> BlockHashes:
    """Hashes of requests that grow one stream of tokens a session, which begins with the session's stem.

    Request i lists the full blocks in the first `ends[i]` tokens of the stream of `session[i]`: those inside the stem have
    the ids of the stem's nodes, those after it ids of the session's own. Sessions are numbered from 0; rows of `stems` are
    sessions.
    """
    listed = ends // block_tokens
    stem_blocks = stems.tokens // block_tokens
    node_base, stem_ids = _node_bases(stems, block_tokens)
    own = np.zeros(len(stem_blocks), dtype=np.int64)
    np.maximum.at(own, session, listed - stem_blocks[session])
    own_base = stem_ids + np.concatenate([[0], np.cumsum(own)[:-1]])

    offsets = np.concatenate([[0], np.cumsum(listed)])
    row = np.repeat(np.arange(len(listed)), listed)
    block = np.arange(offsets[-1]) - offsets[row]
    of = session[row]
    ids = own_base[of] + block - stem_blocks[of]
    first = np.zeros(len(stem_blocks), dtype=np.int64)
    for segment in range(stems.ends.shape[1]):
        last = stems.ends[:, segment] // block_tokens
        inside = (block >= first[of]) & (block < last[of])
        where = of[inside]
        ids[inside] = node_base[stems.nodes[where, segment]] + block[inside] - first[where]
        first = last
    return BlockHashes(block_tokens=block_tokens, offsets=offsets, ids=ids)


def _node_bases(stems: Stems, block_tokens: int) -> tuple[Ints, int]:
    """The first id of every node, and how many ids the nodes take together."""
    ends = stems.ends // block_tokens
    blocks = np.diff(ends, axis=1, prepend=0)
    per_node = np.zeros(int(stems.nodes.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(per_node, stems.nodes, blocks)
    return np.concatenate([[0], np.cumsum(per_node)])[:-1], int(per_node.sum())
