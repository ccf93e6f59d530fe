"""One replica made into a textbook queue, and the interval that a law must lie in.

The engine knows tokens, and the seconds of a step; so a choice of step time is a choice of queue. Service is counted in steps of
a ten-thousandth of its mean: what the laws have no word for, a request that waits for the step under way, moves a mean by less
than a hundredth of the interval's width.

*False alarms.* A law is tried on RUNS independent runs. Its figures must all lie within Student's t interval about the mean over
the runs, each interval of a law with k figures at the level 1 - 1 % / k (Bonferroni): together they are one 99 % interval. So
with fresh seeds a right engine would fail a law with a chance of at most 1 %, and any of the twelve laws of this folder with
a chance of at most 12 %. The seeds are fixed: an engine that passes passes every time. Tried: of 405 laws with fresh seeds 6
failed, 1.5 %; over 500 runs each figure came within two standard errors of its law, themselves 0.05 to 0.8 % of it.

*Missed alarms.* An interval says as much as it is narrow: one wider than `within`, relative to the law, fails too, and is
made narrower with more requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.load import Load, OpenLoop
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RUNS = 20
FALSE_ALARM = 0.01
STEPS = 10_000
STEP_S = 1 / STEPS
WARM_UP = 0.1
SIGMA = 0.8

SCV = {"fixed": 0.0, "exponential": 1 - 1 / STEPS, "lognormal": math.expm1(SIGMA**2), "two kinds": 2.25}


def tokens(law: str, rng: np.random.Generator, n: int) -> Ints:
    """Lengths of mean STEPS: at STEP_S a token a service of one second. Of two kinds nine in ten take half of it, one 5.5."""
    if law == "fixed":
        return np.full(n, STEPS)
    if law == "exponential":
        return rng.geometric(1 / STEPS, n)
    if law == "lognormal":
        return np.maximum(np.rint(STEPS * rng.lognormal(-(SIGMA**2) / 2, SIGMA, n)), 1).astype(np.int64)
    return np.where(rng.random(n) < 0.9, STEPS // 2, 11 * STEPS // 2)


def replica(
    seqs: int, *, token_s: float = 0.0, sequence_s: float = 0.0, step_s: float = 0.0, policy: str = "fcfs"
) -> tuple[StepTime, SchedulerConfig]:
    """A replica that never lacks KV blocks; its step takes token_s a token, sequence_s a sequence and step_s."""
    most = max(STEPS, seqs)
    limits = SchedulerConfig(kv_blocks=10**9, max_num_seqs=seqs, max_num_batched_tokens=most, scheduling_policy=policy)
    return StepTime(token_s * np.arange(most + 1.0), np.zeros(seqs + 1), sequence_s, 0.0, 0.0, step_s), limits


def ask(
    rng: np.random.Generator, rate: float, n: int, *, prompts: Ints | None = None, outputs: Ints | None = None, **more: Any
) -> Requests:
    """`n` requests that come as a Poisson process of `rate` a second; of one token where nothing else is said."""
    one = np.ones(n, dtype=np.int64)
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    return Requests(arrivals, one if prompts is None else prompts, one if outputs is None else outputs, **more)


def run(requests: Requests, on: tuple[StepTime, SchedulerConfig], source: Load | None = None) -> RunRecord:
    """What becomes of the requests on one replica."""
    return serve(requests, [on], load=source or OpenLoop())


def settled(trace: RunRecord) -> dict[str, Floats]:
    """`wait_s`, `sojourn_s` and the lengths of the requests after warm-up: the first tenth is left out."""
    rows = {name: column[int(WARM_UP * len(trace)) :] for name, column in trace.requests.items()}
    wait, sojourn = rows["scheduled_s"] - rows["arrival_s"], rows["finish_s"] - rows["arrival_s"]
    return rows | {"wait_s": wait, "sojourn_s": sojourn}


def window(trace: RunRecord) -> tuple[float, float]:
    """From the end of warm-up to the last arrival, in seconds."""
    arrivals = trace.requests["arrival_s"]
    return float(arrivals[int(WARM_UP * len(trace))]), float(arrivals[-1])


def occupancy(trace: RunRecord) -> Floats:
    """The share of the window's time in which n sequences ran, n = 0, 1, ..., from the stretches."""
    since, until = window(trace)
    start, end = (np.clip(trace.stretches[name], since, until) for name in ("start_s", "end_s"))
    shares = np.bincount(trace.stretches["sequences"], end - start) / (until - since)
    shares[0] = 1 - shares[1:].sum()
    return shares


def runs(one: Callable[[np.random.Generator], Any]) -> Floats:
    """The figures of RUNS independent runs, shape (RUNS, figures)."""
    return np.array([one(np.random.default_rng(seed)) for seed in range(RUNS)], dtype=np.float64).reshape(RUNS, -1)


def interval(samples: Floats, level: float) -> tuple[float, float]:
    """Mean and half-width of the two-sided interval of independent samples for their mean."""
    half = student(1 - (1 - level) / 2, len(samples) - 1) * samples.std(ddof=1) / math.sqrt(len(samples))
    return float(samples.mean()), float(half)


@cache
def student(chance: float, freedom: int) -> float:
    """The quantile of Student's t. Its density in the angle atan(t / sqrt(freedom)) is a power of the cosine."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, 100_001)[1:-1]
    below = np.cumsum(np.cos(angle) ** (freedom - 1))
    return math.sqrt(freedom) * math.tan(np.interp(chance, below / below[-1], angle))


def misses(figures: Mapping[str, tuple[Floats, float]]) -> dict[str, str]:
    """The figures, name -> (samples, what the law says), that do not lie in their part of the joint 99 % interval."""
    level, found = 1 - FALSE_ALARM / len(figures), {}
    for name, (samples, law) in figures.items():
        mean, half = interval(samples, level)
        if abs(mean - law) > half:
            found[name] = f"{mean:.5g} +- {half:.2g}, the law says {law:.5g}"
    return found


def assert_law(figures: Mapping[str, tuple[Floats, float]], within: float) -> None:
    """All figures lie in their joint 99 % interval, and none of the intervals is wider than `within` of what the law says."""
    assert not misses(figures)
    level = 1 - FALSE_ALARM / len(figures)
    widths = {name: interval(samples, level)[1] / law for name, (samples, law) in figures.items()}
    assert max(widths.values()) <= within, f"too wide to say anything: {widths}"
