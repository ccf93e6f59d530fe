"""Seconds of matmuls, experts, attention and collectives: plain functions of shapes and of effective rates.

Symbols: tokens may be an array; n x k is a weight as this GPU holds it (after any split). Rates are effective: the
datasheet's times the fraction that measured kernels reach (`catalog/data/kernels.yaml`).

Sources: roofline of Williams et al., CACM 52(4), 2009; expected experts touched as balls in bins; ring all-reduce volume of
Patarasuk and Yuan, JPDC 69(2), 2009; weight absorption in MLA of DeepSeek-V2, arXiv:2405.04434.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Tokens = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast one kernel runs on one GPU: bytes/s and FLOP/s it reaches, and bytes of a weight and of an activation.

    `sharpness` is p in (memory^p + compute^p)^(1/p): 1 adds the two, infinity takes the larger. `fixed_s` is paid by every call.
    """

    bytes_per_s: float
    flops_per_s: float
    weight_bytes: float
    activation_bytes: float = 2.0
    sharpness: float = 2.0
    fixed_s: float = 0.0


def overlap(memory: Seconds, compute: Seconds, sharpness: float) -> Seconds:
    """The p-norm of two times: between their sum (p = 1) and the larger one (p large)."""
    largest = np.maximum(memory, compute)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(largest > 0, np.minimum(memory, compute) / largest, 0.0)
    return np.asarray(largest * (1 + ratio**sharpness) ** (1 / sharpness))


def gemm(tokens: Tokens, n: float, k: float, rates: Rates) -> Seconds:
    """Seconds of (tokens x k) @ (k x n): weights and activations moved against 2 * tokens * n * k operations."""
    moved = n * k * rates.weight_bytes + tokens * (k * rates.activation_bytes + n * 2.0)
    used = np.where(tokens > 0, 1.0, 0.0)
    return np.asarray(
        used * (rates.fixed_s + overlap(moved / rates.bytes_per_s, 2 * tokens * n * k / rates.flops_per_s, rates.sharpness))
    )


def touched_experts(tokens: Tokens, experts: float, per_token: float) -> Tokens:
    """Expected number of experts that at least one token visits, when each token picks `per_token` of them evenly.

    >>> float(touched_experts(np.array(1.0), 8, 2))
    2.0
    """
    return np.asarray(experts * (1 - (1 - per_token / experts) ** tokens))


def moe_bytes(tokens: Tokens, experts: float, per_token: float, expert_weights: float, hidden: float, rates: Rates) -> Tokens:
    """Bytes the experts of one GPU move: the weights of those touched, and each routed token in and out.

    `experts` and `per_token` are this GPU's share of them; `expert_weights` the weights of one expert as held here.
    """
    routed = tokens * per_token
    return np.asarray(touched_experts(tokens, experts, per_token) * expert_weights * rates.weight_bytes + routed * hidden * 4.0)


def moe(tokens: Tokens, experts: float, per_token: float, expert_weights: float, hidden: float, rates: Rates) -> Seconds:
    """Seconds of a grouped matmul over experts."""
    memory = moe_bytes(tokens, experts, per_token, expert_weights, hidden, rates) / rates.bytes_per_s
    compute = 2 * tokens * per_token * expert_weights / rates.flops_per_s
    used = np.where(tokens > 0, 1.0, 0.0)
    return np.asarray(used * (rates.fixed_s + overlap(memory, compute, rates.sharpness)))


def all_reduce(message_bytes: Tokens, ranks: int, latency_s: float, bytes_per_s: float) -> Seconds:
    """Seconds of a ring all-reduce: 2 (r - 1) / r of the message passes each link."""
    return np.asarray(np.where(message_bytes > 0, latency_s, 0.0) + message_bytes * 2 * (ranks - 1) / ranks / bytes_per_s)


def context_read(kv_bytes: float, bytes_per_s: float, flops: float = 0.0, flops_per_s: float = 1.0) -> float:
    """Seconds that decode attention of one layer takes per token of context."""
    return float(np.hypot(kv_bytes / bytes_per_s, flops / flops_per_s))


def pair_compute(flops: float, flops_per_s: float) -> float:
    """Seconds that prefill attention of one layer takes per (query, key) pair."""
    return flops / flops_per_s
