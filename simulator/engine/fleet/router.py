"""Which instance a request goes to: one class a policy. Each looks at the instances that are ready when it chooses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from operator import attrgetter
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from simulator.engine.fleet.pool import InstancePool
from simulator.engine.instance.instance import Instance
from simulator.engine.kv.prefix_tree import Branch, Path, pieces
from simulator.engine.request import Request
from simulator.spec import Natural, spec

Choose = Callable[[Request], Instance]
_outstanding = attrgetter("outstanding")


@spec
class RoundRobin:
    """Each instance in turn."""

    kind: Literal["round_robin"] = "round_robin"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        turns = count()
        return lambda request: pool.ready[next(turns) % len(pool.ready)]


@spec
class LeastOutstanding:
    """The instance with the fewest requests waiting or running; the first of equals."""

    kind: Literal["least_outstanding"] = "least_outstanding"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        return lambda request: min(pool.ready, key=_outstanding)


@spec
class LeastKvUse:
    """The instance with the smallest fraction of its KV blocks in use; the first of equals."""

    kind: Literal["least_kv_use"] = "least_kv_use"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        return lambda request: min(pool.ready, key=Instance.kv_use)


@spec
class PowerOfTwoChoices:
    """The less loaded of two instances drawn at random, by requests outstanding; the first drawn of equals."""

    kind: Literal["power_of_two_choices"] = "power_of_two_choices"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""

        def choose(request: Request) -> Instance:
            ready = pool.ready
            if len(ready) == 1:
                return ready[0]
            first, second = int(rng.integers(len(ready))), int(rng.integers(len(ready) - 1))
            return min(ready[first], ready[second + (second >= first)], key=_outstanding)

        return choose


@spec
class PrefixAffinity:
    """The instance that last saw the longest part of the prompt, if that is more than `threshold` of it; else the one with the
    fewest requests outstanding, and so whenever the busiest has over `slack` more than that and over `ratio` times as many.

    Defaults of `cache_aware` in vllm-router 0.1.15 and the SGLang gateway 0.3.1 (--cache-threshold, --balance-abs-threshold,
    --balance-rel-threshold); where the match is too short those take the instance that they know least of.
    """

    kind: Literal["prefix_affinity"] = "prefix_affinity"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    slack: Natural = 64
    ratio: Annotated[float, Field(ge=1)] = 1.5

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        seen: dict[Branch, list[tuple[int, Instance]]] = {}
        size = pool.block_size

        def choose(request: Request) -> Instance:
            blocks = request.prompt // size
            chosen = least = min(pool.ready, key=_outstanding)
            most = max(map(_outstanding, pool.ready))
            if most <= least.outstanding + self.slack or most <= self.ratio * least.outstanding:
                matched, favorite = _last_to_see(seen, request.path, blocks)
                if favorite in pool.ready and matched * size > self.threshold * request.prompt:
                    chosen = favorite
            for branch, _, end in pieces(request.path, 0, blocks):
                seen[branch] = [(end, chosen), *(further for further in seen.get(branch, ()) if further[0] > end)]
            return chosen

        return choose


def _last_to_see(seen: dict[Branch, list[tuple[int, Instance]]], path: Path, blocks: int) -> tuple[int, Instance | None]:
    """The longest known prefix of the first `blocks` of a path and who last saw it; `seen` has ends of prefixes, the shortest
    first."""
    for branch, _, end in reversed(tuple(pieces(path, 0, blocks))):
        if branch in seen:
            return next(((end, instance) for upto, instance in seen[branch] if upto >= end), seen[branch][-1])
    return 0, None


def _shorthand(value: object) -> object:
    """A bare name is the router of that kind."""
    return {"kind": value} if isinstance(value, str) else value


Router = Annotated[
    Annotated[RoundRobin | LeastOutstanding | LeastKvUse | PowerOfTwoChoices | PrefixAffinity, Field(discriminator="kind")],
    BeforeValidator(_shorthand),
]
