"""Durations: a StepTime in the engine's own numbers, seconds as floats or whole ticks as integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simulator.engine.scheduler.config import SchedulerConfig
from simulator.errors import SimulatorError
from simulator.latency.step import StepTime

Ticks = Callable[[Any], Any]


def in_seconds(value: Any) -> Any:
    """Times as they are."""
    return np.asarray(value, dtype=np.float64).tolist()


def in_ticks(tick_s: float) -> Ticks:
    """Times as the nearest whole number of ticks of `tick_s` seconds."""
    return lambda value: np.rint(np.asarray(value, dtype=np.float64) / tick_s).astype(np.int64).tolist()


class Durations:
    """How long a step takes.

    `decode[n]` is what n decoding sequences take beyond their context. A prompt chunk of c tokens after p counts c * (2 p + c)
    half pairs.
    """

    __slots__ = (
        "constant",
        "decode",
        "per_context",
        "per_half_pair",
        "per_sequence",
        "sampled",
        "tokens",
        "windows",
    )

    def __init__(self, step_time: StepTime, limits: SchedulerConfig, ticks: Ticks) -> None:
        _check(step_time, limits)
        self.tokens: list[float] = ticks(step_time.tokens[: limits.max_num_batched_tokens + 1])
        self.sampled: list[float] = ticks(step_time.sampled[: limits.max_num_seqs + 1])
        self.per_sequence: float = ticks(step_time.per_sequence)
        self.per_context: float = ticks(step_time.per_context)
        self.per_half_pair: float = ticks(step_time.per_pair / 2)
        self.constant: float = ticks(step_time.constant)
        self.windows: list[tuple[int, float, float]] = [
            (w.size, ticks(w.per_context), ticks(w.per_pair / 2)) for w in step_time.windows
        ]
        self.decode = [self.tokens[n] + self.sampled[n] + n * self.per_sequence + self.constant for n in range(len(self.sampled))]


def _check(step_time: StepTime, limits: SchedulerConfig) -> None:
    """Raise SimulatorError unless every step that the limits allow has a finite time, 0 or more."""
    tables = (("tokens", step_time.tokens, limits.max_num_batched_tokens), ("sampled", step_time.sampled, limits.max_num_seqs))
    for name, table, most in tables:
        if len(table) <= most:
            raise SimulatorError(f"step time: {name} has {len(table)} entries; {most + 1} are needed for 0 to {most}")
    scalars = (step_time.per_sequence, step_time.per_context, step_time.per_pair, step_time.constant)
    windows = [(w.per_context, w.per_pair) for w in step_time.windows]
    for values in (step_time.tokens, step_time.sampled, scalars, windows):
        if not (np.isfinite(values).all() and (np.asarray(values) >= 0).all()):
            raise SimulatorError("step time: every term must be finite and 0 or more")
