"""Autoscalers: how many replicas there shall be, from what the ready ones report. One class a policy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from simulator.spec import Count, Natural, Positive, spec
from simulator.units import DAY
from simulator.workload.text_units import Duration, Pause

# No autoscaler looks more often than the metrics that it reads are taken.
Often = Annotated[Duration, Field(ge=0.1)]
Metric = Literal["waiting", "running", "outstanding", "kv_use"]


class ReplicaLoad(NamedTuple):
    """What one replica reports, as vLLM's /metrics have it: requests waiting and running, the share of KV blocks in use."""

    waiting: int
    running: int
    kv_use: float

    def value(self, metric: Metric) -> float:
        """One of them by name; `outstanding` is waiting and running together."""
        return self.waiting + self.running if metric == "outstanding" else float(getattr(self, metric))


Wanted = Callable[[float, Sequence[ReplicaLoad], int, int], int]
"""From the time in seconds, the loads of the ready replicas, how many there are with those that
start, and how many requests wait for a first one: how many there shall be."""


@spec
class _ByMetric:
    """What autoscalers that follow a metric have in common."""

    metric: Metric = "waiting"
    target: Positive
    max_replicas: Count
    interval_s: Often = 15.0
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    stabilization_s: Pause = 300.0
    most_added: Count = 4

    @property
    def most(self) -> int:
        """The most replicas it starts."""
        return self.max_replicas

    def steady(self, highest: Highest, now: float, recommended: int, present: int) -> int:
        """The recommendation, no lower than any of late, no higher than may be added at once."""
        least = highest.since(now, recommended)
        most = present + max(present, self.most_added)
        return min(max(present, recommended), least, most, self.max_replicas)


@spec
class HorizontalPodAutoscaler(_ByMetric):
    """Kubernetes' own: as many replicas as bring the mean of `metric` over them to `target`.

    It looks every `interval_s`, leaves a deviation up to `tolerance` alone, adds at most as many as
    there are or `most_added`, whichever is more, at a time, and takes away down to the highest
    number that it wanted in the last `stabilization_s`. A replica that starts counts with a metric
    of 0 where more are wanted, as one at `target` where fewer are.

    Source: Kubernetes documentation, Horizontal Pod Autoscaling: algorithm details, default
    behavior (scale up by 4 pods or 100 % every 15 s without stabilization, scale down after 300 s);
    kube-controller-manager --horizontal-pod-autoscaler-sync-period, -tolerance (read 2026-11-30).
    """

    kind: Literal["hpa"] = "hpa"
    min_replicas: Count = 1

    @model_validator(mode="after")
    def _in_order(self) -> Any:
        return _checked(self)

    def start(self, replicas: int) -> Wanted:
        """What says how many replicas there shall be."""
        highest = Highest(self.stabilization_s)

        def wanted(now: float, loads: Sequence[ReplicaLoad], present: int, held: int) -> int:
            return max(self.min_replicas, self.steady(highest, now, self._recommended(loads, present), present))

        return wanted

    def _recommended(self, loads: Sequence[ReplicaLoad], present: int) -> int:
        if not loads:
            return present
        total = sum(load.value(self.metric) for load in loads)
        ratio = total / len(loads) / self.target
        if abs(ratio - 1) <= self.tolerance:
            return present
        missing = present - len(loads)
        if not missing:
            return math.ceil(ratio * present)
        whole = total + (0 if ratio > 1 else missing * self.target)
        again = whole / present / self.target
        turned = (again > 1) != (ratio > 1)
        return present if turned or abs(again - 1) <= self.tolerance else math.ceil(again * present)


@spec
class Keda(_ByMetric):
    """KEDA with a Prometheus query of the sum over all replicas: as many as share it out at `target` each.

    With `min_replicas` 0 the last replica goes too where nothing was there for `cooldown_s`, and one
    is started once a request waits in front of the router. From one on it is Kubernetes' autoscaler
    with an external metric. One interval stands for KEDA's own, which asks every 30 s whether there
    is anything, and that of Kubernetes.

    Source: KEDA documentation, ScaledObject: pollingInterval (30 s), cooldownPeriod (300 s), scaling
    of 0 to 1 by the operator and of 1 to n by the HPA (read 2026-11-30).
    """

    kind: Literal["keda"] = "keda"
    min_replicas: Natural = 0
    cooldown_s: Pause = 300.0

    @model_validator(mode="after")
    def _in_order(self) -> Any:
        return _checked(self)

    def start(self, replicas: int) -> Wanted:
        """What says how many replicas there shall be."""
        highest = Highest(self.stabilization_s)
        busy_until = 0.0

        def wanted(now: float, loads: Sequence[ReplicaLoad], present: int, held: int) -> int:
            nonlocal busy_until
            total = sum(load.value(self.metric) for load in loads) + held
            if held or any(load.waiting or load.running for load in loads):
                busy_until = now
            if not self.min_replicas and now - busy_until > self.cooldown_s:
                return 0
            if not present:
                return max(1, self.min_replicas) if held else self.min_replicas
            ratio = total / present / self.target
            recommended = present if abs(ratio - 1) <= self.tolerance else max(1, math.ceil(total / self.target))
            return max(1, self.min_replicas, self.steady(highest, now, recommended, present))

        return wanted


@spec
class Hours:
    """From `from_s` after midnight on, so many replicas: `{from_s: 8h, replicas: 6}`."""

    from_s: Annotated[Pause, Field(lt=DAY)]
    replicas: Natural


@spec
class Schedule:
    """So many replicas by the time of day: each of `hours` holds until the next one, the last over midnight."""

    kind: Literal["schedule"] = "schedule"
    hours: Annotated[tuple[Hours, ...], Field(min_length=1)]
    interval_s: Often = 60.0

    @property
    def most(self) -> int:
        """The most replicas it starts."""
        return max(each.replicas for each in self.hours)

    def start(self, replicas: int) -> Wanted:
        """What says how many replicas there shall be."""
        return lambda now, loads, present, held: self.at(now)

    def at(self, now: float) -> int:
        """How many there are at that many seconds after the first midnight."""
        in_order = sorted(self.hours, key=lambda each: each.from_s)
        begun = [each for each in in_order if each.from_s <= now % DAY]
        return (begun or in_order)[-1].replicas


class Highest:
    """The highest of the numbers of the last so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seen: deque[tuple[float, int]] = deque()

    def since(self, now: float, number: int) -> int:
        """Take in a number; gives the highest that is not older."""
        self.seen.append((now, number))
        while self.seen[0][0] < now - self.seconds:
            self.seen.popleft()
        return max(each for _, each in self.seen)


def _checked(policy: Any) -> Any:
    if policy.min_replicas > policy.max_replicas:
        raise ValueError(f"min_replicas {policy.min_replicas} is above max_replicas {policy.max_replicas}")
    return policy


def most_replicas(replicas: int, autoscaler: Autoscaler | None) -> int:
    """The most replicas there are at a time, of so many at first; draining ones not counted."""
    return max(replicas, autoscaler.most if autoscaler else 0)


Autoscaler = Annotated[HorizontalPodAutoscaler | Keda | Schedule, Field(discriminator="kind")]
