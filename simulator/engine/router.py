"""Which replica a request goes to: one class a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from operator import attrgetter

import numpy as np

from simulator.engine.replica import Replica
from simulator.engine.request import Request
from simulator.spec import Natural, spec

Choose = Callable[[Request], Replica]
_outstanding = attrgetter("outstanding")


@spec
class RoundRobin:
    """Each replica in turn."""

    def bind(self, replicas: Sequence[Replica], rng: np.random.Generator) -> Choose:
        """What chooses the replica of a request."""
        turns = cycle(replicas)
        return lambda request: next(turns)


@spec
class LeastOutstanding:
    """The replica with the fewest requests waiting or running; the first of equals."""

    def bind(self, replicas: Sequence[Replica], rng: np.random.Generator) -> Choose:
        """What chooses the replica of a request."""
        return lambda request: min(replicas, key=_outstanding)


@spec
class LeastKvUse:
    """The replica with the smallest fraction of its KV blocks in use; the first of equals."""

    def bind(self, replicas: Sequence[Replica], rng: np.random.Generator) -> Choose:
        """What chooses the replica of a request."""
        return lambda request: min(replicas, key=Replica.kv_use)


@spec
class PowerOfTwoChoices:
    """The less loaded of two replicas drawn at random, by requests outstanding; the first drawn of equals."""

    def bind(self, replicas: Sequence[Replica], rng: np.random.Generator) -> Choose:
        """What chooses the replica of a request."""
        if len(replicas) == 1:
            return lambda request: replicas[0]
        count = len(replicas)

        def choose(request: Request) -> Replica:
            first, second = int(rng.integers(count)), int(rng.integers(count - 1))
            return min(replicas[first], replicas[second + (second >= first)], key=_outstanding)

        return choose


@spec
class PrefixAffinity:
    """The replica that last saw the longest part of the prompt, unless its load is too high: over `slack` more
    requests outstanding than the least loaded replica, which then gets it.
    """

    slack: Natural = 16

    def bind(self, replicas: Sequence[Replica], rng: np.random.Generator) -> Choose:
        """What chooses the replica of a request."""
        seen: dict[int, Replica] = {}

        def choose(request: Request) -> Replica:
            labels = request.ids[: request.prompt // replicas[0].scheduler.decoding.block_size]
            least = min(replicas, key=_outstanding)
            favorite = next((seen[label] for label in reversed(labels) if label in seen), least)
            chosen = favorite if favorite.outstanding <= least.outstanding + self.slack else least
            seen.update(dict.fromkeys(labels, chosen))
            return chosen

        return choose


Router = RoundRobin | LeastOutstanding | LeastKvUse | PowerOfTwoChoices | PrefixAffinity
