"""One hour of a long horizon, simulated by itself from a while before on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from simulator.engine.fleet.autoscaler import Hours, Schedule
from simulator.engine.record import FINISHED, RunRecord
from simulator.errors import NotModelled
from simulator.planning.capacity.deployment_run import promised
from simulator.planning.changing.policies import always_ready
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.kept import stretches_kept
from simulator.results.over_time import paid_between
from simulator.results.slo import good
from simulator.results.tables import latencies
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart
from simulator.units import DAY
from simulator.workload.requests import Requests
from simulator.workload.slices import between

_LEAD_S = 600.0


@dataclass(frozen=True, slots=True)
class HourRun:
    """An hour as it went: requests `asked` and those `good`, whether the SLO was `kept` (NaN where
    nobody asked), the tokens of its answers, replica-seconds that were paid for, of instances the
    seconds in steps with prompts and in others, and how many requests were left at its end.
    """

    asked: int
    good: int
    kept: float
    output_tokens: int
    paid_s: float
    prefill_s: float
    decode_s: float
    left: int


def run_hour(
    scenario: Scenario, deployment: Deployment, requests: Requests, start: float, end: float
) -> HourRun:
    """The hour from `start` to `end`, seconds, begun with the replicas of the clock by then."""
    begun = max(0.0, start - _LEAD_S)
    fleet = plan_fleet(scenario, _from(deployment, begun))
    if isinstance(fleet, DoesNotStart):
        raise NotModelled(f"{deployment.name} does not start: {fleet.reason}")
    part = between(requests, begun, end)
    if not len(part):
        replicas = _from(deployment, start).pool.replicas
        return HourRun(0, 0, float("nan"), 0, (end - start) * replicas, 0.0, 0.0, 0)
    record = always_ready(fleet.serve(part, seed=scenario.seed), fleet.replicas)
    return _measured(scenario, record, part, start - begun, end - begun)


def _from(deployment: Deployment, begun: float) -> Deployment:
    """The deployment at a time of the horizon, which its own clock calls zero."""
    policy = deployment.pool.autoscaler
    if not isinstance(policy, Schedule):
        return deployment
    early = begun % DAY
    hours = tuple(Hours(from_s=(h.from_s - early) % DAY, replicas=h.replicas) for h in policy.hours)
    shifted = dataclasses.replace(policy, hours=hours)
    return deployment.with_pool(replicas=max(1, policy.at(begun)), autoscaler=shifted)


def _measured(
    scenario: Scenario, record: RunRecord, part: Requests, start: float, end: float
) -> HourRun:
    r, s, promises = record.requests, record.stretches, promised(scenario, part)
    mine = r["arrival_s"] >= start
    overlap = np.clip(np.minimum(s["end_s"], end) - np.maximum(s["start_s"], start), 0.0, None)
    prompts = s["prefill_tokens"] > 0
    answered = good(promises, latencies(record)) & (r["status"] == FINISHED)
    left = np.isnan(r["left_s"]) | (r["left_s"] > end)
    return HourRun(
        asked=int(mine.sum()),
        good=int((answered & mine).sum()),
        kept=float(stretches_kept(record, promises, np.array([start, end]))[0]),
        output_tokens=int(r["output_tokens"][mine & (r["status"] == FINISHED)].sum()),
        paid_s=paid_between(record.events, start, end),
        prefill_s=float(overlap[prompts].sum()),
        decode_s=float(overlap[~prompts].sum()),
        left=int(left.sum()),
    )
