"""Slices: the requests of a part of the time, as a workload of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.errors import NotModelled
from simulator.workload.requests import BlockHashes, Ints, Requests


def between(requests: Requests, start_s: float, end_s: float) -> Requests:
    """The requests that come from `start_s` until before `end_s`, at times counted from `start_s`.

    Raises NotModelled for later turns of sessions, which have no time of their own.
    """
    if requests.previous is not None:
        raise NotModelled("a part of the time of sessions: their later turns have no time of their own")
    first, last = np.searchsorted(requests.arrival_s, [start_s, end_s]).tolist()
    kept = slice(first, last)
    return replace(
        requests,
        arrival_s=requests.arrival_s[kept] - start_s,
        prompt_tokens=requests.prompt_tokens[kept],
        output_tokens=requests.output_tokens[kept],
        priority=_part(requests.priority, kept),
        label=_part(requests.label, kept),
        think_s=None if requests.think_s is None else requests.think_s[kept],
        hashes=None if requests.hashes is None else _hashes(requests.hashes, first, last),
        decode_steps=_part(requests.decode_steps, kept),
    )


def _part(column: Ints | None, kept: slice) -> Ints | None:
    return None if column is None else column[kept]


def _hashes(hashes: BlockHashes, first: int, last: int) -> BlockHashes:
    offsets = hashes.offsets[first : last + 1]
    ids = hashes.ids[offsets[0] : offsets[-1]]
    return BlockHashes(hashes.block_tokens, offsets - offsets[0], ids)
