"""Limits of a prefill and a decode pool together: where they turn, and which of them or the link
binds, by trial."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import WHOLE, full_server, requests_at_rate
from simulator.planning.capacity.relief import NOTICED
from simulator.planning.capacity.search import Flow, NoQueueingPoint, Turn, queueing_point
from simulator.results.model import Binding, Resource
from simulator.scenario import Scenario
from simulator.server import FleetPlan, LinkPlan, PoolPlan, kv_link
from simulator.statistics import BATCHES, half_width
from simulator.workload.requests import Requests

_FEWEST, _FILLINGS, _OVERLOAD, _WARM = 3_000, 4, 1.3, 0.4
_WORDS: dict[Resource, str] = {
    "prefill pool": "twice the prefill instances",
    "decode pool": "twice the decode instances",
    "link": "a link that takes no time",
}


def pools_ceiling(plan: FleetPlan, requests: Requests) -> float:
    """Requests/s that the slowest of both pools and the link completes, in closed form."""
    prefill, decode = plan.pools
    prompts = dataclasses.replace(requests, output_tokens=np.ones_like(requests.output_tokens))
    first = full_server(prefill.server, prompts).requests_per_s * prefill.instances
    output = float(requests.output_tokens.mean())
    then = decode.instances / (full_server(decode.server, requests).output_token_s * output)
    assert plan.link is not None
    return min(first, then, _link_ceiling(prefill, decode, plan.link, requests))


def _link_ceiling(prefill: PoolPlan, decode: PoolPlan, link: LinkPlan, requests: Requests) -> float:
    """Requests/s whose KV the ports of either side take."""
    ports = kv_link(prefill, decode, link)
    blocks = float(np.ceil(requests.prompt_tokens / decode.server.limits.block_size).mean())
    return min(sum(ports.out), sum(ports.into)) / (blocks * ports.block_bytes)


def pools_turn(scenario: Scenario, plan: FleetPlan, full: Ceiling, requests: Requests) -> Turn:
    """Where both pools turn from keeping up to a backlog that grows. May raise NoQueueingPoint.

    They are searched together, as the shares of a request in each differ. What the ports carry is
    known: a link that is too slow has so many transfers under way at once that those which come to
    an end in a run say too little, so they only tell how low the point may be.
    """
    if requests.previous is not None:
        raise NoQueueingPoint("conversations on a prefill and a decode pool are not searched")
    engines = dataclasses.replace(plan.letting_all_in(), client=None)
    at_once = dataclasses.replace(engines, link=LinkPlan(math.inf, 0.0))
    turn = queueing_point(_flows(scenario, at_once, full), pools_ceiling(at_once, requests))
    prefill, decode = plan.pools
    assert plan.link is not None
    most = _link_ceiling(prefill, decode, plan.link, requests)
    if most > _OVERLOAD * turn.value:
        return turn
    slowed = queueing_point(_flows(scenario, engines, full), pools_ceiling(plan, requests))
    within = turn.within(most)
    return dataclasses.replace(within, low=min(within.low, slowed.low))


def _flows(scenario: Scenario, plan: FleetPlan, full: Ceiling) -> Callable[[float], Flow]:
    many = round(_FILLINGS * full.sequences * plan.pool.instances)
    count = min(max(_FEWEST, many), WHOLE)

    def flow(rate: float) -> Flow:
        requests = requests_at_rate(scenario.workload, rate, count, scenario.seed)
        trace = plan.serve(requests, seed=scenario.seed).requests
        arrived, left = trace["arrival_s"], trace["finish_s"]
        end = float(np.nanmax(arrived))
        edges = np.linspace(_WARM * end, end, BATCHES + 1)
        seconds = edges[1] - edges[0]
        accepted = np.isfinite(left)
        came = np.histogram(arrived[accepted], edges)[0] / seconds
        done = np.histogram(left[accepted], edges)[0] / seconds
        mean, half = float(done.mean()), half_width(done)
        return Flow(float(came.mean()), mean, max(0.0, mean - half), mean + half)

    return flow


def pools_binding(
    scenario: Scenario, plan: FleetPlan, requests: Requests, turn_per_s: float
) -> Binding:
    """What keeps it from completing more: the pool or the link whose relief gained most."""
    full = full_server(plan.server, requests)
    engines = dataclasses.replace(plan.letting_all_in(), client=None)

    def completed(of: FleetPlan) -> float:
        offered = _OVERLOAD * max(turn_per_s, pools_ceiling(of, requests))
        return _flows(scenario, of, full)(offered).completed_per_s

    base = completed(engines)
    gains = {name: completed(relieved) / base - 1 for name, relieved in _relieved(engines)}
    best = max(gains, key=lambda name: gains[name])
    said = "; ".join(f"with {_WORDS[name]} {_gained(gain)}" for name, gain in gains.items())
    if gains[best] < NOTICED:
        return Binding("nothing", 0.0, f"no pool and no link binds alone: {said}")
    return Binding(best, 1.0, f"the {best} binds: {said}", gains[best])


def _gained(gain: float) -> str:
    return f"{gain:.0%} more" if gain >= NOTICED else "no more"


def _relieved(plan: FleetPlan) -> Iterator[tuple[Resource, FleetPlan]]:
    prefill, decode = plan.pools
    more = [dataclasses.replace(pool, instances=2 * pool.instances) for pool in plan.pools]
    yield "link", dataclasses.replace(plan, link=LinkPlan(math.inf, 0.0))
    yield "prefill pool", dataclasses.replace(plan, pools=(more[0], decode))
    yield "decode pool", dataclasses.replace(plan, pools=(prefill, more[1]))
