"""Prefix hits in closed form: what a cache finds of requests that share prefixes, and how many run
beside each other in it.

The working set of a window of B requests is the distinct content in it. A cache whose last B
requests fill it finds what was used less than B requests ago: least recently used content goes
first, so this is what the engine finds but for the noise.

Load: Denning, The working set model for program behavior, CACM 11(5), 1968; Che, Tung and Wang,
Hierarchical web caching systems, IEEE JSAC 20(7), 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.workload.requests import Floats, Ints, Requests

_MOST_IDS = 1_000_000
_NEVER = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class PrefixHits:
    """Prompt tokens of each request that the cache has, shape (n,), and how many of the requests it
    holds at once."""

    tokens: Ints
    sequences: float


def prefix_hits(
    requests: Requests,
    kv_tokens: float,
    block_size: int,
    rate_per_s: float,
    *,
    endless: bool = False,
) -> PrefixHits:
    """What a cache of `kv_tokens` tokens finds of requests with hashes that come in this order,
    `rate_per_s` of them a second.

    The rate says how many others come while the user of a conversation thinks. With `endless` it
    forgets nothing and what is found takes no place in it: no cache of any size, and no router in
    front of several, finds more or holds more at once.
    """
    gaps, owner = _gaps(requests, rate_per_s)
    weights = requests.output_tokens / requests.output_tokens.mean()
    size = requests.hashes.block_tokens if requests.hashes else block_size
    some = int(owner[-1]) + 1 if len(owner) else len(requests)
    context = float((weights * (requests.prompt_tokens + requests.output_tokens / 2)).mean())
    if endless:
        found = _tokens(requests, owner[np.isfinite(gaps)], some, size, block_size)
        own = max(1.0, context - float((weights * found).mean()))
        return PrefixHits(found, kv_tokens / own)
    listed = size * weights[owner]
    own = max(1.0, context - float(listed.sum()) / some)
    window = _window(gaps, listed / some, own, kv_tokens)
    return PrefixHits(_tokens(requests, owner[gaps < window], some, size, block_size), window)


def _gaps(requests: Requests, rate_per_s: float) -> tuple[Floats, Ints]:
    """For each block of the prompts, how many requests ago it was last used, infinite where it
    never was; and whose it is.

    Only of the first requests, up to _MOST_IDS blocks.
    """
    assert requests.hashes is not None
    hashes = requests.hashes
    some = max(1, int(np.searchsorted(hashes.offsets, _MOST_IDS, side="right")) - 1)
    offsets = hashes.offsets[: some + 1]
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    ids, place = hashes.ids[: offsets[-1]], _places(requests, rate_per_s)[owner]
    order = np.lexsort((place, ids))
    again = np.append(False, ids[order][1:] == ids[order][:-1])
    gaps = np.empty(len(ids))
    gaps[order] = np.where(again, np.diff(place[order], prepend=0.0), _NEVER)
    in_prompt = (
        np.arange(len(ids)) - offsets[owner] < requests.prompt_tokens[owner] // hashes.block_tokens
    )
    return gaps[in_prompt], owner[in_prompt]


def _places(requests: Requests, rate_per_s: float) -> Floats:
    """Where each request stands in the order of arrival; later turns so far behind as others come
    while their user thinks."""
    places = np.arange(len(requests), dtype=np.float64)
    if requests.previous is None or requests.think_s is None:
        return places
    later = requests.previous >= 0
    thought = np.cumsum(np.where(later, requests.think_s, 0.0))
    first = np.maximum.accumulate(np.where(later, 0, np.arange(len(requests))))
    behind: Floats = rate_per_s * (thought - thought[first]) + (places - first) / len(requests)
    return first + behind


def _window(gaps: Floats, listed: Floats, own: float, kv_tokens: float) -> float:
    """How many requests in a row have `kv_tokens` tokens of distinct content: B with B * own +
    sum(listed * min(gap, B)) of that size."""
    order = np.argsort(gaps)
    gaps, listed = gaps[order], listed[order]
    below = np.append(0.0, np.cumsum(np.where(np.isfinite(gaps), gaps * listed, 0.0)))
    above = np.append(np.cumsum(listed[::-1])[::-1], 0.0)

    def content(window: float) -> float:
        known = int(np.searchsorted(gaps, window))
        return float(window * own + below[known] + window * above[known])

    low, high = 0.0, kv_tokens / own
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if content(middle) < kv_tokens else (low, middle)
    return high


def _tokens(requests: Requests, found: Ints, some: int, size: int, block_size: int) -> Ints:
    """Tokens found of each request from whose blocks were; all but the last of a prompt at most, in
    whole blocks of the engine.

    Of requests beyond the first `some` the same share.
    """
    prompts = requests.prompt_tokens
    tokens = np.bincount(found, minlength=len(requests)) * size
    if some < len(requests):
        tokens[some:] = tokens[:some].sum() / prompts[:some].sum() * prompts[some:]
    most: Ints = (prompts - 1) // block_size * block_size
    return np.minimum(tokens, most)
