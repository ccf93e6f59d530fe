"""Kinds of hours: those with the same traffic and the same replicas, of which few are simulated."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from simulator.engine.fleet.autoscaler import Schedule
from simulator.errors import NotModelled
from simulator.results.slo import Floats
from simulator.scenario import Deployment
from simulator.units import DAY
from simulator.workload.requests import Requests

_ALIKE, _MIX = 1.1, 1.25

State = tuple[int, tuple[tuple[float, int], ...]]


@dataclass(frozen=True, slots=True)
class HourKind:
    """Hours that are alike, by number, and those of them that are `simulated`: the quietest and the
    busiest. `asked`: requests of all of them; `replicas`: by the clock, as `replicas_during`.
    """

    hours: tuple[int, ...]
    simulated: tuple[int, ...]
    asked: int
    replicas: State


def check_horizon(deployment: Deployment) -> None:
    """Raise NotModelled for fleets whose state follows from what happened before."""
    pool = deployment.pool
    if pool.faults or not (pool.autoscaler is None or isinstance(pool.autoscaler, Schedule)):
        raise NotModelled(
            f"{deployment.name}: hours by kind for an autoscaler that follows a metric, or faults: "
            "what an hour begins with follows from those before; `sim run` simulates all of them"
        )


def kinds_of_hours(requests: Requests, edges: Floats, deployment: Deployment) -> list[HourKind]:
    """The hours between the `edges` by kind.

    Alike are hours whose number of requests, and that of each class, is within a few percent, with
    the same replicas by the clock at their start and their end.
    """
    hour = np.searchsorted(edges, requests.arrival_s, side="right") - 1
    count = len(edges) - 1
    asked = np.bincount(hour, minlength=count)
    classes = [asked]
    if requests.label is not None:
        labels = range(int(requests.label.max()) + 1)
        classes = [np.bincount(hour[requests.label == k], minlength=count) for k in labels]
    groups = defaultdict[tuple[int, tuple[int, ...], State], list[int]](list)
    for i in range(count):
        mix = tuple(_level(int(column[i]), _MIX) for column in classes) if len(classes) > 1 else ()
        state = replicas_during(deployment, float(edges[i]), float(edges[i + 1]))
        groups[_level(int(asked[i]), _ALIKE), mix, state].append(i)
    kinds = []
    for (_, _, state), hours in groups.items():
        by_load = sorted(hours, key=lambda i: (asked[i], i))
        simulated = tuple(dict.fromkeys((by_load[0], by_load[-1])))
        kinds.append(HourKind(tuple(hours), simulated, int(asked[hours].sum()), state))
    return sorted(kinds, key=lambda kind: -kind.asked / len(kind.hours))


def _level(requests: int, ratio: float) -> int:
    return round(math.log(requests) / math.log(ratio)) if requests else -1


def replicas_during(deployment: Deployment, start: float, end: float) -> State:
    """Replicas by the clock at the start of a time; when they change in it, and to how many."""
    pool, policy = deployment.pool, deployment.pool.autoscaler
    if not isinstance(policy, Schedule):
        return pool.replicas, ()
    steps = [each.from_s + DAY * day for each in policy.hours for day in range(int(end // DAY) + 1)]
    within = sorted(when for when in steps if start < when < end)
    return policy.at(start), tuple((round(t - start, 3), policy.at(t)) for t in within)
