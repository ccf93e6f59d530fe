"""The ceiling in closed form: what a replica completes when it is always full, without simulating
it.

It ignores recomputation after preemptions and the token budget's granularity, so it is where a
search starts and what its answer is held against, not the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime
from simulator.workload.requests import Ints, Requests


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One replica, always full: requests/s, sequences at once, and its seconds that a prompt token
    and an output token take.

    A prompt token is one of all, found in the prefix cache or not. `kv_sequences`: how many the KV
    cache would hold.
    """

    requests_per_s: float
    sequences: float
    prompt_token_s: float
    output_token_s: float
    kv_sequences: float

    def work_s(self, requests: Requests) -> NDArray[np.float64]:
        """Seconds of the full server that each request takes, shape (n,)."""
        return (
            self.prompt_token_s * requests.prompt_tokens
            + self.output_token_s * requests.output_tokens
        )


def ceiling(
    step_time: StepTime,
    limits: SchedulerConfig,
    requests: Requests,
    kv_sequences: float | None = None,
    cached_tokens: Ints | None = None,
) -> Ceiling:
    """What one replica completes of such requests when one is always waiting.

    B sequences run: as many as its limits and the KV cache allow, which is `kv_sequences` where
    layers of several kinds share the cache, or requests share prefixes. A request that runs at a
    random moment is a long one, so the context is weighted with the output length. Each output
    token costs a B-th of a decode step, and a prompt what a full prefill step adds to a decode
    step, shared among the prompts in it: requests/s = 1 / (out * decode / B + prefill). The first
    `cached_tokens` of each prompt, shape (n,), are not computed.
    """
    context = running_context(requests)
    held = limits.block_size / 2 + context
    holds = limits.kv_blocks * limits.block_size / held if kv_sequences is None else kv_sequences
    batch = max(1.0, min(float(limits.seats), holds, limits.token_budget - 1))
    per_output = decode_step(step_time, batch, context) / batch
    per_prompt = _prefill(step_time, limits, requests, batch, cached_tokens) / float(
        requests.prompt_tokens.mean()
    )
    seconds = per_output * float(requests.output_tokens.mean()) + per_prompt * float(
        requests.prompt_tokens.mean()
    )
    return Ceiling(1 / seconds, batch, per_prompt, per_output, holds)


def running_context(requests: Requests) -> float:
    """Mean context, tokens, of the sequences that run at a random moment: prompt and half the
    output, weighted by output."""
    output = requests.output_tokens.astype(np.float64)
    return float((output * (requests.prompt_tokens + output / 2)).sum() / output.sum())


def decode_step(t: StepTime, batch: float, context: float) -> float:
    """Seconds of a step in which `batch` sequences of `context` tokens each compute one token."""
    seen = t.per_context * context + sum(w.per_context * min(context, w.size) for w in t.windows)
    return (
        _at(t.tokens, batch) + _at(t.sampled, batch) + t.constant + batch * (t.per_sequence + seen)
    )


def _prefill(
    t: StepTime,
    limits: SchedulerConfig,
    requests: Requests,
    batch: float,
    cached_tokens: Ints | None,
) -> float:
    """Seconds that one prompt of mean length adds to the steps it is computed in; what is cached is
    only attended to."""
    budget = max(1.0, limits.token_budget - batch)
    prompts = requests.prompt_tokens.astype(np.float64)
    cached = np.zeros(len(prompts)) if cached_tokens is None else cached_tokens
    computed = float((prompts - cached).mean())
    square = float((prompts**2 - cached**2.0).mean())
    extra = _at(t.tokens, batch + budget) - _at(t.tokens, batch)
    extra += _at(t.prompt, batch + budget) if len(t.prompt) else 0.0
    windows = sum(w.per_pair * min(square / 2, computed * w.size) for w in t.windows)
    chunks = math.ceil(computed / budget)
    return extra * computed / budget + chunks * t.per_sequence + t.per_pair * square / 2 + windows


def _at(table: NDArray[np.float64], index: float) -> float:
    """A table of seconds at an index between two entries; the last one beyond its end."""
    return float(np.interp(index, np.arange(len(table)), table))
