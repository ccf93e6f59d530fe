"""Relief: what binds, by trial. A limit is named where more of it lets a replica complete more, and
not before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from simulator.errors import SimulatorError
from simulator.planning.capacity.api_server import api_server_ceiling
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import Probes, burst_of, full_server
from simulator.planning.capacity.search import OVERLOAD
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.model import Binding, Resource
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan
from simulator.workload.requests import Requests

NOTICED = 0.03
"""The share of its rate that a replica must gain before a limit is said to bind."""
_MORE_SEQUENCES, _MORE_TOKENS, _MORE_KV, _MORE_SERVERS = 2, 8, 2, 2
_HOPEFUL = 1.01
_WORDS: dict[Resource, str] = {
    "KV memory": "twice the KV cache",
    "sequence limit": "twice max_num_seqs",
    "token budget": "eight times max_num_batched_tokens",
    "adapter slots": "twice max_loras",
    "API server": "twice the API servers",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A limit that was relieved, and the share of its rate that a replica gained."""

    resource: Resource
    gain: float

    @property
    def words(self) -> str:
        """`with twice the KV cache 14% more`."""
        more = f"{self.gain:.0%} more" if self.gain >= NOTICED else "no more"
        return f"with {_WORDS[self.resource]} {more}"


def binding(
    scenario: Scenario,
    deployment: Deployment,
    fleet: FleetPlan,
    requests: Requests,
    asked: Probes,
    found: Binding,
    seconds: dict[Resource, float],
) -> Binding:
    """What keeps a replica from completing more: the limit whose relief gained most, of those that
    may bind.

    Where none of them gained anything it is the part of a step that takes longest, by its
    `seconds`.
    """
    tried = sorted(
        trials(scenario, deployment, fleet, requests, asked, found.resource),
        key=lambda t: -t.gain,
    )
    said = "; ".join(trial.words for trial in tried)
    if tried and tried[0].gain >= NOTICED:
        best = tried[0]
        return Binding(best.resource, found.share, f"{best.resource} binds: {said}", best.gain)
    if found.resource not in _WORDS:
        return dataclasses.replace(
            found, sentence=f"{found.sentence}; {said}" if said else found.sentence
        )
    part = max(seconds, key=lambda name: seconds[name], default=None)
    if part is None:
        return dataclasses.replace(found, resource="nothing", sentence=f"no limit binds: {said}")
    share = seconds[part] / sum(seconds.values())
    sentence = f"{part} binds, {share:.0%} of the steps' seconds; {said}"
    return Binding(part, share, sentence)


def trials(
    scenario: Scenario,
    deployment: Deployment,
    fleet: FleetPlan,
    requests: Requests,
    asked: Probes,
    seen: Resource,
) -> Iterator[Trial]:
    """The limits that may bind, relieved one at a time: that which was `seen` to hold requests
    back, and those whose relief raises the ceiling in closed form.

    Each is simulated, full, with the requests of a burst that the deployment itself was asked. Its
    engine and its API server alone, for the less of the two is what both do. Conversations, which
    take long to fill a server, are judged by the ceiling.
    """
    one, base = fleet.with_instances(1), asked.traffic.full
    ceiling = min(base.requests_per_s, api_server_ceiling(one, requests))
    for resource, relieved in _relieved(scenario, deployment, one):
        full, taken_in = (
            full_server(relieved.server, requests),
            api_server_ceiling(relieved, requests),
        )
        higher = min(full.requests_per_s, taken_in)
        if resource != seen and higher < _HOPEFUL * ceiling:
            continue
        if requests.previous is not None:
            yield Trial(resource, full.requests_per_s / base.requests_per_s - 1)
            continue
        before = asked.burst(OVERLOAD * base.requests_per_s).completed_per_s
        after = before if resource == "API server" else _completed(asked, relieved, full)
        before = min(before, api_server_ceiling(one, requests))
        if before:
            yield Trial(resource, min(after, taken_in) / before - 1)


def _completed(asked: Probes, relieved: FleetPlan, full: Ceiling) -> float:
    """Requests/s that a relieved engine completes when more come than it takes."""
    engine = dataclasses.replace(relieved.letting_all_in(), client=None)
    offered = OVERLOAD * max(full.requests_per_s, asked.traffic.full.requests_per_s)
    return burst_of(asked.traffic, engine, full.sequences, offered).completed_per_s


def _relieved(
    scenario: Scenario, deployment: Deployment, one: FleetPlan
) -> Iterator[tuple[Resource, FleetPlan]]:
    """The deployment with more of each limit; what an engine refuses is left out."""
    limits, pool = one.server.limits, deployment.pool
    yield "KV memory", _with_kv_blocks(one, _MORE_KV * limits.kv_blocks)
    asked: tuple[tuple[Resource, dict[str, int]], ...] = (
        ("sequence limit", {"max_num_seqs": _MORE_SEQUENCES * limits.max_num_seqs}),
        ("token budget", {"max_num_batched_tokens": _MORE_TOKENS * limits.max_num_batched_tokens}),
    )
    if limits.adapter_slots is not None:
        twice = 2 * limits.adapter_slots.max_loras
        kept = max(twice, limits.adapter_slots.max_cpu_loras)
        asked = (*asked, ("adapter slots", {"max_loras": twice, "max_cpu_loras": kept}))
    if one.api_server is not None:
        ranks = one.plan.args.data_parallel_size
        asked = (
            *asked,
            (
                "API server",
                {"api_server_count": ceil(_MORE_SERVERS * one.api_server.processes * ranks)},
            ),
        )
    for resource, changes in asked:
        if pool.num_gpu_blocks_override is None:
            changes = {**changes, "num_gpu_blocks_override": one.server.plan.num_gpu_blocks}
        try:
            planned = plan_fleet(scenario, deployment.with_pool(replicas=1, **changes))
        except SimulatorError:
            continue
        if not isinstance(planned, DoesNotStart):
            yield resource, planned.with_instances(1)


def _with_kv_blocks(fleet: FleetPlan, blocks: int) -> FleetPlan:
    pool = fleet.pool
    limits = dataclasses.replace(pool.server.limits, kv_blocks=blocks)
    server = dataclasses.replace(pool.server, limits=limits)
    return dataclasses.replace(fleet, pools=(dataclasses.replace(pool, server=server),))
