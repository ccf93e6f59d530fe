"""Engine runs small enough to be worked by hand: a few requests, a step a second long unless told otherwise, whole ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime, Window
from simulator.workload.requests import BlockHashes, Requests


def limits(**changed: Any) -> SchedulerConfig:
    """Blocks of 4 tokens, and room for all that these tests ask unless they say otherwise."""
    return SchedulerConfig(**({"kv_blocks": 100, "block_size": 4, "max_num_seqs": 8, "max_num_batched_tokens": 32} | changed))


def step_time(*, token_s: float = 0.0, windows: tuple[Window, ...] = (), **terms: float) -> StepTime:
    """What a step takes: nothing but the terms given."""
    tokens, nothing = token_s * np.arange(1000.0), np.zeros(1000)
    named = dict.fromkeys(("per_sequence", "per_context", "per_pair", "constant"), 0.0) | terms
    return StepTime(tokens=tokens, sampled=nothing, windows=windows, **named)


ONE_SECOND = step_time(constant=1.0)


def asked(*rows: tuple[float, int, int], labels: Sequence[Sequence[int]] | None = None, **columns: Any) -> Requests:
    """Requests as (arrival, prompt tokens, output tokens); `labels` name the contents of their leading blocks of 4 tokens."""
    arrivals, prompts, outputs = (np.array(column) for column in zip(*rows, strict=True))
    hashes = None
    if labels is not None:
        offsets = np.cumsum([0, *map(len, labels)])
        hashes = BlockHashes(4, offsets, np.array([label for of_one in labels for label in of_one], dtype=np.int64))
    arrays = {name: np.array(column) for name, column in columns.items()}
    return Requests(arrivals.astype(float), prompts, outputs, hashes=hashes, **arrays)


def served(requests: Requests, limits: SchedulerConfig, times: StepTime = ONE_SECOND, **how: Any) -> RunRecord:
    """What one replica makes of them."""
    return serve(requests, [(times, limits)], tick_s=1.0, **how)


def times(trace: RunRecord, name: str) -> list[float]:
    """A column of times, one a request, in seconds."""
    return trace.requests[f"{name}_s"].tolist()


def per_step(trace: RunRecord, name: str) -> list[int]:
    """A count in every step of the run, the stretches written out."""
    return np.repeat(trace.stretches[name], trace.stretches["steps"]).tolist()


def peak_blocks(trace: RunRecord) -> int:
    """The most KV blocks in use at once; they never become fewer within a stretch."""
    return int(trace.stretches["kv_blocks"].max())
