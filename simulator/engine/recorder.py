"""The log of a simulation: requests and stretches as columns, and what can be read from them in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]

FINISHED, REFUSED, TIMED_OUT, CANCELLED = np.int8(0), np.int8(1), np.int8(2), np.int8(3)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Everything that happened.

    `requests`, one row a request in the order of `Requests`: replica (int32, -1 refused), status (int8: 0 finished, 1 refused,
    2 timed out, 3 cancelled), arrival_s, scheduled_s, first_token_s, finish_s, left_s (seconds, NaN where it never came; left:
    out of the system, finished or not), prompt_tokens, output_tokens, cached_tokens (prefix hits at first admission), preemptions.

    `stretches`, one row a run of equal steps of one replica, ordered by start: replica, start_s, end_s, steps, sequences
    (running), decoding (those that decode, one step after their token before), prefill_tokens (computed by prefill chunks, per
    step), sampled (tokens emitted per step), waiting, base_s, slope_s (step j of the stretch takes base_s + j * slope_s),
    kv_blocks (used in its last step), preempted (requests preempted at its start).

    `gaps_s`: the inter-token latencies that span more than one step, as a preemption makes them. `block_size`: one a replica.
    """

    requests: dict[str, Column]
    stretches: dict[str, Column]
    refusals: dict[int, str]
    gaps_s: Column = field(default_factory=lambda: np.zeros(0))
    block_size: tuple[int, ...] = (16,)

    def __len__(self) -> int:
        return len(self.requests["status"])


def inter_token_latencies(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Every inter-token latency of a run, in seconds, as values and how often each occurred; both shape (m,), not sorted.

    One entry a step with decoding sequences, and one a gap that a preemption made: exact, without a row per token.
    """
    rows = {name: column[trace.stretches["decoding"] > 0] for name, column in trace.stretches.items()}
    steps = rows["steps"].astype(np.int64)
    nth = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    values = np.repeat(rows["base_s"], steps) + nth * np.repeat(rows["slope_s"], steps)
    weights = np.repeat(rows["decoding"].astype(np.int64), steps)
    return np.concatenate([values, trace.gaps_s]), np.concatenate([weights, np.ones(len(trace.gaps_s), dtype=np.int64)])


def timeline(trace: Trace, points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Requests `running` and `waiting` and `kv_blocks` in use at each of `points` (seconds), over all replicas.

    Read from the closed form of each stretch; inside a stretch KV use grows by a block per sequence and block_size steps, so
    it is exact to one block a sequence.
    """
    running, kv_blocks = np.zeros(len(points)), np.zeros(len(points))
    for replica, block_size in enumerate(trace.block_size):
        mine = trace.stretches["replica"] == replica
        rows = {name: column[mine] for name, column in trace.stretches.items()}
        if not len(rows["start_s"]):
            continue
        at = np.searchsorted(rows["start_s"], points, side="right") - 1
        inside = (at >= 0) & (points < rows["end_s"][at])
        span = rows["end_s"][at] - rows["start_s"][at]
        left = rows["steps"][at] * (rows["end_s"][at] - points) / np.where(span > 0, span, 1.0)
        growth = rows["decoding"][at] * np.maximum(left - 1.0, 0.0) / block_size
        running += np.where(inside, rows["sequences"][at], 0)
        kv_blocks += np.where(inside, np.maximum(rows["kv_blocks"][at] - growth, 0.0), 0.0)
    inside_system = _counted(trace.requests["arrival_s"], points) - _counted(trace.requests["left_s"], points)
    return {"running": running, "waiting": np.maximum(inside_system - running, 0.0), "kv_blocks": kv_blocks}


def _counted(times: Column, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of `times` lie at or before each point; NaN never does."""
    return np.searchsorted(np.sort(times[~np.isnan(times)]), points, side="right").astype(np.float64)
