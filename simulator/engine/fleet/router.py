"""Which instance a request goes to: one class a policy. Each looks at the instances that are ready when it chooses.

Where a server has several data-parallel ranks a router chooses the server, and its front end the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count
from operator import attrgetter
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.reports import LoadReport, LoadReports
from simulator.engine.kv.prefix_tree import Branch, Path, pieces
from simulator.engine.request import Request
from simulator.spec import Count, Natural, NonNegative, spec

Choose = Callable[[Request], Any]
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
class Random:
    """Any instance, all alike: what a Kubernetes service does (kube-proxy in iptables mode) with a connection a request.

    Source: Kubernetes documentation, Virtual IPs and Service Proxies, proxy mode iptables.
    """

    kind: Literal["random"] = "random"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        return lambda request: _any_of(pool.ready, rng)


@spec
class SessionAffinity:
    """The instance that had the turn before; a first turn goes to any, as a hash of its session's name would send it.

    Source: vllm-project/production-stack, src/vllm_router/routers/routing_logic.py `SessionRouter`;
    Kubernetes service.spec.sessionAffinity.
    """

    kind: Literal["session_affinity"] = "session_affinity"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        previous = pool.previous
        chosen: dict[int, Any] = {}

        def choose(request: Request) -> Any:
            if previous is None:
                return _any_of(pool.ready, rng)
            before = chosen.get(previous.item(request.index))
            if before not in pool.ready:
                before = _any_of(pool.ready, rng)
            chosen[request.index] = before
            return before

        return choose


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
        return lambda request: _least_kv_use(pool.ready)


def _least_kv_use(endpoints: Sequence[Any]) -> Any:
    """The first of those with the smallest KV use; asked only of those that may be below the others."""
    chosen, least = endpoints[0], math.inf
    for endpoint in endpoints:
        if endpoint.kv_use_at_least() < least and (use := endpoint.kv_use()) < least:
            chosen, least = endpoint, use
    return chosen


@spec
class PowerOfTwoChoices:
    """The less loaded of two instances drawn at random, by requests outstanding; the first drawn of equals."""

    kind: Literal["power_of_two_choices"] = "power_of_two_choices"

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""

        def choose(request: Request) -> Any:
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
        seen: dict[Branch, list[tuple[int, Any]]] = {}
        size = pool.block_size

        def choose(request: Request) -> Any:
            blocks = request.prompt // size
            least: Any = min(pool.ready, key=_outstanding)
            chosen = least
            most = max(map(_outstanding, pool.ready))
            if most <= least.outstanding + self.slack or most <= self.ratio * least.outstanding:
                matched, favorite = _last_to_see(seen, request.path, blocks)
                if favorite in pool.ready and matched * size > self.threshold * request.prompt:
                    chosen = favorite
            for branch, _, end in pieces(request.path, 0, blocks):
                seen[branch] = [(end, chosen), *(further for further in seen.get(branch, ()) if further[0] > end)]
            return chosen

        return choose


def _last_to_see(seen: dict[Branch, list[tuple[int, Any]]], path: Path, blocks: int) -> tuple[int, Any]:
    """The longest known prefix of the first `blocks` of a path and who last saw it; `seen` has ends of prefixes, the shortest
    first."""
    for branch, _, end in reversed(tuple(pieces(path, 0, blocks))):
        if branch in seen:
            return next(((end, instance) for upto, instance in seen[branch] if upto >= end), seen[branch][-1])
    return 0, None


@spec
class LlmD:
    """The instance with the highest weighted sum of scores between 0 and 1, any of those that tie: llm-d's endpoint picker.

    `prefix`: the part of the prompt's blocks that it has been sent before, of its first
    `most_blocks` blocks; `kv_cache`: the part of its KV blocks that is free; `queue`: 1 for the
    shortest queue, 0 for the longest; `load_aware`: 0.5 less what its queue is of `threshold`.
    Load is as metrics told it last, every `report_s`. What an instance was sent counts as cached
    there for good: the picker's own index forgets as much as the instance can hold.

    The defaults are those of llm-d's guide for inference scheduling, named `llm-d`;
    `llm-d-load-aware` is the sample configuration of its scheduler with a load-aware scorer.

    Source: llm-d/llm-d-inference-scheduler, pkg/plugins/scorer/load_aware.go and deploy/config;
    kubernetes-sigs/gateway-api-inference-extension, pkg/epp/scheduling/framework/plugins: queue,
    kvcacheutilizationscorer, prefixcachescorer, maxscorepicker (read 2026-11-30).
    """

    kind: Literal["llm-d"] = "llm-d"
    queue: NonNegative = 2.0
    kv_cache: NonNegative = 2.0
    prefix: NonNegative = 3.0
    load_aware: NonNegative = 0.0
    threshold: Count = 128
    most_blocks: Count = 256
    report_s: NonNegative = 0.05

    def start(self, pool: InstancePool, rng: np.random.Generator) -> Choose:
        """What chooses the instance of a request."""
        reports = LoadReports(pool.clock, pool.ticks(self.report_s))
        sent: dict[Branch, dict[Any, int]] = {}

        def choose(request: Request) -> Any:
            ready = pool.ready
            scores = self._load_scores(reports.of(ready))
            blocks = min(request.prompt // pool.block_size, self.most_blocks)
            if self.prefix and blocks:
                for i, endpoint in enumerate(ready):
                    scores[i] += self.prefix * blocks_sent_before(sent, request.path, blocks, endpoint) / blocks
            best = max(scores)
            chosen = _any_of([each for each, score in zip(ready, scores, strict=True) if score == best], rng)
            if self.prefix:
                note_sent(sent, request.path, blocks, chosen)
            return chosen

        return choose

    def _load_scores(self, reports: list[LoadReport]) -> list[float]:
        longest, shortest = max(r.waiting for r in reports), min(r.waiting for r in reports)
        spread = longest - shortest
        scores = []
        for report in reports:
            queue = (longest - report.waiting) / spread if spread else 1.0
            load = 0.5 * (1.0 - min(report.waiting, self.threshold) / self.threshold)
            scores.append(self.queue * queue + self.kv_cache * (1.0 - report.kv_use) + self.load_aware * load)
        return scores


def note_sent(sent: dict[Branch, dict[Any, int]], path: Path, blocks: int, endpoint: Any) -> None:
    """Note that an endpoint is sent the first `blocks` blocks of a path."""
    for branch, _, end in pieces(path, 0, blocks):
        ends = sent.setdefault(branch, {})
        ends[endpoint] = max(ends.get(endpoint, 0), end)


def blocks_sent_before(sent: dict[Branch, dict[Any, int]], path: Path, blocks: int, endpoint: Any) -> int:
    """How many of the first `blocks` blocks of a path an endpoint was sent before."""
    for branch, _, end in reversed(tuple(pieces(path, 0, blocks))):
        if (upto := sent.get(branch, {}).get(endpoint)) is not None:
            return min(upto, end)
    return 0


def _any_of(endpoints: Sequence[Any], rng: np.random.Generator) -> Any:
    return endpoints[0] if len(endpoints) == 1 else endpoints[int(rng.integers(len(endpoints)))]


_PRESETS: dict[str, dict[str, object]] = {
    "llm-d-load-aware": {"kind": "llm-d", "queue": 0.0, "kv_cache": 0.0, "prefix": 2.0, "load_aware": 1.0}
}


def _shorthand(value: object) -> object:
    """A bare name is the router of that kind, or one with the settings of that name."""
    return _PRESETS.get(value, {"kind": value}) if isinstance(value, str) else value


_Routers = RoundRobin | Random | LeastOutstanding | LeastKvUse | PowerOfTwoChoices | SessionAffinity | PrefixAffinity | LlmD
Router = Annotated[Annotated[_Routers, Field(discriminator="kind")], BeforeValidator(_shorthand)]
