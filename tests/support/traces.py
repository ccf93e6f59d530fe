"""Traces made by hand, small enough to work out with a pencil."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.engine.record import FINISHED, REFUSED, RunRecord


def trace(
    requests: Sequence[dict[str, float]],
    stretches: Sequence[dict[str, float]] = (),
    block_size: tuple[int, ...] = (16,),
    gaps: Sequence[float] = (),
) -> RunRecord:
    """A trace of requests and stretches given by the columns that matter; the rest is 0, or NaN for a time."""
    times = ("arrival_s", "scheduled_s", "first_token_s", "finish_s", "left_s")
    counts = ("replica", "prompt_tokens", "output_tokens", "cached_tokens", "preemptions", "follows")
    columns = {name: np.array([r.get(name, np.nan) for r in requests], dtype=np.float64) for name in times}
    columns |= {name: np.array([r.get(name, 0) for r in requests], dtype=np.int64) for name in counts}
    columns["left_s"] = np.where(np.isnan(columns["left_s"]), columns["finish_s"], columns["left_s"])
    columns["status"] = np.array([r.get("status", FINISHED) for r in requests], dtype=np.int8)
    seconds, whole = ("start_s", "end_s", "base_s", "slope_s"), ("replica", "steps", "sequences", "decoding", "prefill_tokens")
    rows = {name: np.array([s.get(name, 0.0) for s in stretches], dtype=np.float64) for name in seconds}
    whole = (*whole, "sampled", "waiting", "kv_blocks", "preempted")
    rows |= {name: np.array([s.get(name, 0) for s in stretches], dtype=np.int64) for name in whole}
    refusals = {i: "too long" for i, r in enumerate(requests) if r.get("status") == REFUSED}
    return RunRecord(columns, rows, refusals, np.array(gaps, dtype=np.float64), block_size)


def served(arrival: float, first: float, finish: float, output: int = 11, prompt: int = 100, **more: float) -> dict[str, float]:
    """A request that was scheduled when it arrived."""
    times = {"arrival_s": arrival, "scheduled_s": arrival, "first_token_s": first, "finish_s": finish}
    return {**times, "output_tokens": output, "prompt_tokens": prompt, **more}


def single_server(arrivals: np.ndarray, services: np.ndarray) -> RunRecord:
    """A first-come first-served server of one request at a time."""
    finish, now = np.empty(len(arrivals)), 0.0
    for i, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        now = max(now, arrival) + service
        finish[i] = now
    begin = finish - services
    requests = [served(a, b, f) | {"scheduled_s": b} for a, b, f in zip(arrivals, begin, finish, strict=True)]
    return trace(requests)
