"""Measuring on a machine that others use too: CPU time, in rounds of one of each, compared within a round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

import simpy

Action = Callable[[], object]
Times = dict[str, list[float]]
_TIMEOUTS = 150_000


def cpu_seconds(action: Action, times: int = 1) -> float:
    """CPU seconds of one call, the mean of so many."""
    gc.collect()
    start = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - start) / times


def in_rounds(actions: Mapping[str, Action], rounds: int) -> Times:
    """CPU seconds of each action in each round; every round goes through all of them."""
    times: Times = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(cpu_seconds(action))
    return times


def ratio(of: list[float], to: list[float]) -> float:
    """How many times as long: the median over the rounds."""
    return median(a / b for a, b in zip(of, to, strict=True))


def bare_timeout_s() -> float:
    """CPU seconds of one timeout of a SimPy process that does nothing else."""
    env = simpy.Environment()
    env.process(_wait(env))
    return cpu_seconds(env.run) / _TIMEOUTS


def _wait(env: simpy.Environment) -> simpy.events.ProcessGenerator:
    for _ in range(_TIMEOUTS):
        yield env.timeout(1.0)
