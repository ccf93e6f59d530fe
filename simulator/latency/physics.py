"""Seconds of matmuls, experts, attention and collectives: plain functions of shapes and of effective rates.

Symbols: tokens may be an array; n x k is a weight as this GPU holds it, after any split. Rates are effective: the datasheet's
times the fraction that measured kernels reach (`catalog/data/kernels.yaml`).

Sources: roofline of Williams et al., CACM 52(4), 2009; ring all-reduce volume of Patarasuk and Yuan, JPDC 69(2), 2009; weight
absorption in MLA of DeepSeek-V2, arXiv:2405.04434.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast one kernel runs on one GPU: bytes/s and FLOP/s it reaches, bytes of a weight and of an activation.

    `sharpness` is the p of `overlap`. Every call pays `fixed_s`; `depth_s` is the latency of each element along k, which more
    tokens do not add to; `pass_s` is paid for each activation element quantized or routed.
    """

    bytes_per_s: float
    flops_per_s: float
    weight_bytes: float
    activation_bytes: float = 2.0
    sharpness: float = 2.0
    fixed_s: float = 0.0
    depth_s: float = 0.0
    pass_s: float = 0.0


def overlap(sharpness: float, *seconds: Array | float) -> Array:
    """The p-norm of times that overlap: between their sum (sharpness 1) and the largest (infinity)."""
    return np.asarray(sum(np.asarray(s, dtype=np.float64) ** sharpness for s in seconds) ** (1 / sharpness))


def gemm(tokens: Array, n: float, k: float, rates: Rates) -> Array:
    """Seconds of (tokens x k) @ (k x n): weights and activations moved, 2 * tokens * n * k operations, and the walk along k."""
    moved = n * k * rates.weight_bytes + tokens * (k * rates.activation_bytes + n * 2.0)
    compute = 2 * tokens * n * k / rates.flops_per_s
    body = overlap(rates.sharpness, moved / rates.bytes_per_s, compute, rates.depth_s * k)
    return np.where(tokens > 0, rates.fixed_s + body + rates.pass_s * tokens * k, 0.0)


def padded(tokens: Array, largest: int) -> Array:
    """Tokens as a CUDA graph runs them: up to the next size that vLLM captures, and as they are beyond the largest.

    Sizes are 1, 2, 4, then every 8 to 256 and every 16 beyond (vllm/config/compilation.py, cudagraph_capture_sizes; vLLM V0 and
    V1 alike, read November 2026).

    >>> padded(np.array([0.0, 3.0, 9.0, 257.0, 600.0]), 512).tolist()
    [0.0, 4.0, 16.0, 272.0, 600.0]
    """
    small = np.where(tokens <= 2, tokens, np.where(tokens <= 4, 4.0, 8 * np.ceil(tokens / 8)))
    sizes = np.where(tokens <= 256, small, 16 * np.ceil(tokens / 16))
    return np.where(tokens <= largest, np.minimum(sizes, np.maximum(largest, tokens)), tokens)


def stairs(tokens: Array, measured: Mapping[int, float]) -> Array:
    """Measured over smooth seconds at each number of tokens, by straight lines in logarithms; 1 where nothing is known."""
    if not measured:
        return np.ones_like(tokens)
    at = np.array(sorted(measured), dtype=np.float64)
    ratios = np.log([measured[int(each)] for each in at])
    return np.asarray(np.exp(np.interp(np.log(np.maximum(tokens, 1.0)), np.log(at), ratios)))


def touched_experts(tokens: Array, experts: float, per_token: float, skew: float = 0.0) -> Array:
    """Expected number of experts that at least one token visits.

    Each token picks `per_token` distinct ones, the i-th most popular with weight i^-skew: an expert is picked with
    probability p = 1 - (1 - w)^m, where m is set so that the p sum to `per_token`. skew 0 is an even choice. Exact up to 64
    tokens, interpolated between knots 5 % apart beyond.

    >>> touched_experts(np.array([0.0, 1.0, 2.0]), 8, 2).round(6).tolist()
    [0.0, 2.0, 3.5]
    """
    unseen = np.log1p(-np.minimum(_chance(round(experts), per_token, skew), 1 - 1e-12))
    most = float(np.max(tokens))
    knots = np.unique(np.concatenate([np.arange(min(most, 64) + 1), np.geomspace(1, max(most, 2), 200)]))
    return np.asarray(np.interp(tokens, knots, -np.expm1(knots[:, None] * unseen[None, :]).sum(axis=1)) + 0.0)


def busiest_rank(touched: Array, routed: Array, experts: float, per_token: float, ranks: int, skew: float) -> tuple[Array, Array]:
    """Experts touched and token visits on the rank with the most work, when each of `ranks` holds experts / ranks whole ones.

    Ranks wait for the slowest at every layer. The largest of `ranks` values lies some standard deviations above their mean
    (Blom's approximation); experts are placed without regard to how popular they are.
    """
    if ranks == 1:
        return touched, routed
    above, held = NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25)), experts / ranks
    spread = np.sqrt(np.maximum(touched / ranks * (experts - touched) / max(experts - 1, 1), 0.0))
    most = np.minimum(np.minimum(touched / ranks + above * spread, touched), held)
    chance = _chance(round(experts), per_token, skew)
    uneven = float(chance.var()) / held * (experts / per_token) ** 2
    by_chance = ranks / np.maximum(routed, 1e-12) * (1 - per_token / experts)
    return most, np.minimum(routed / ranks * (1 + above * np.sqrt(uneven + by_chance)), routed)


def _chance(experts: int, per_token: float, skew: float) -> Array:
    """Probability that one token picks each expert; they sum to `per_token`."""
    if skew == 0 or per_token >= experts:
        return np.full(experts, min(1.0, per_token / experts))
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -skew
    weights /= weights.sum()
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        picked = 1 - (1 - weights) ** middle
        low, high = (middle, high) if picked.sum() < per_token else (low, middle)
    return np.asarray(1 - (1 - weights) ** high)


def expert_matmul(tokens: Array, touched: Array, routed: Array, weights: float, hidden: float, rates: Rates) -> Array:
    """Seconds of a grouped matmul: `touched` experts of `weights` weights each are read, `routed` token visits computed."""
    memory = touched * weights * rates.weight_bytes / rates.bytes_per_s
    body = overlap(rates.sharpness, memory, 2 * routed * weights / rates.flops_per_s)
    return np.where(tokens > 0, rates.fixed_s + body + rates.pass_s * routed * hidden, 0.0)


def all_reduce(message_bytes: Array, ranks: int, latency_s: float, bytes_per_s: float) -> Array:
    """Seconds of a ring all-reduce: 2 (r - 1) / r of the message passes each link."""
    return np.where(message_bytes > 0, latency_s + message_bytes * 2 * (ranks - 1) / ranks / bytes_per_s, 0.0)
