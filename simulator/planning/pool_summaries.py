"""The two pools of a deployment and the link between them, each in numbers for the reader."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Literal

import numpy as np

from simulator.engine.record import RunRecord
from simulator.planning.capacity.deployment_run import DeploymentRun
from simulator.planning.fleet_plan import plan_pools
from simulator.planning.launch import serve_command
from simulator.planning.serve_command import pool_title, pool_wording
from simulator.results.model import DeploymentResult, LinkSummary, PoolSummary, plain_memory
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan, Server, kv_link
from simulator.workload.requests import Floats

_ROLES: tuple[Literal["prefill"], Literal["decode"]] = ("prefill", "decode")
_PARTS = 100
_CONNECTOR = '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'
_WAITS = {
    "prefill queue": ("arrival_s", "scheduled_s"),
    "prefill": ("scheduled_s", "prefilled_s"),
    "hand-over and transfer": ("prefilled_s", "decode_scheduled_s"),
    "first decode step": ("decode_scheduled_s", "first_token_s"),
}


def _as_vllm_does(scenario: Scenario) -> list[str]:
    """What is to be said where another engine's pools are scheduled by the rules of vLLM's."""
    engine = scenario.engine
    if engine.family == "vllm":
        return []
    return [
        f"the prefill and the decode pool are scheduled, and hand requests over, as vLLM does it: "
        f"that of {engine.name} is not modelled"
    ]


def with_pools(
    scenario: Scenario,
    deployment: Deployment,
    result: DeploymentResult,
    fleet: FleetPlan | None = None,
    run: DeploymentRun | None = None,
) -> DeploymentResult:
    """The result with its prefill and decode pool, and what the link carried, where it has such."""
    if deployment.link is None:
        return result
    planned = plan_pools(scenario, deployment)
    summaries = [
        _summary(scenario, deployment, which, server) for which, server in enumerate(planned)
    ]
    short = [
        (role, server)
        for role, server in zip(_ROLES, planned, strict=True)
        if isinstance(server, DoesNotStart)
    ]
    if short:
        role, server = short[0]
        remedies = tuple(f"{role}: {r.change}: {r.gives}" for r in server.plan.remedies)
        reason = f"the {role} pool: {server.reason}"
        return dataclasses.replace(result, pools=tuple(summaries), reason=reason, remedies=remedies)
    link = LinkSummary(deployment.link.sentence, 0)
    if fleet is not None and run is not None:
        summaries = [
            _fared(summary, fleet, which, run.trace) for which, summary in enumerate(summaries)
        ]
        link = _carried(link, fleet, run.trace)
    metrics = result.metrics
    if metrics is not None:
        use = {"kv_use_mean": summaries[1].kv_use_mean, "kv_use_peak": summaries[1].kv_use_peak}
        metrics = {**metrics, **use}
    notes = (
        *result.notes,
        f"KV between the pools: {deployment.link.sentence}",
        *_as_vllm_does(scenario),
    )
    commands = "\n".join(summary.serve_command for summary in summaries)
    return dataclasses.replace(
        result,
        replicas=1,
        pools=tuple(summaries),
        link=link,
        notes=notes,
        serve_command=commands,
        metrics=metrics,
    )


def _summary(
    scenario: Scenario, deployment: Deployment, which: int, server: Server | DoesNotStart
) -> PoolSummary:
    pool = deployment.pools[which]
    command = serve_command(scenario, pool, server.plan)
    if scenario.engine.family == "vllm":
        command += f" --kv-transfer-config {shlex.quote(_CONNECTOR)}"
    return PoolSummary(
        role=_ROLES[which],
        title=pool_title(pool),
        wording=pool_wording(pool),
        instances=pool.instances,
        memory=plain_memory(server.plan),
        serve_command=command,
    )


def _fared(summary: PoolSummary, fleet: FleetPlan, which: int, trace: RunRecord) -> PoolSummary:
    """The summary with how its instances were used, from the first arrival to the last finish."""
    first, pool, s = fleet.pools[0].instances, fleet.pools[which], trace.stretches
    mine = (s["replica"] < first) == (which == 0)
    length = (s["end_s"] - s["start_s"])[mine]
    seconds = _seconds(trace)
    if seconds <= 0 or not mine.any():
        return summary
    held = pool.server.limits.kv_blocks * pool.instances
    return dataclasses.replace(
        summary,
        busy_share=float(length.sum() / (seconds * pool.instances)),
        running_mean=float((s["sequences"][mine] * length).sum() / seconds),
        kv_use_mean=float((s["kv_blocks"][mine] * length).sum() / (seconds * held)),
        kv_use_peak=float(s["kv_blocks"][mine].max() / pool.server.limits.kv_blocks),
    )


def _carried(link: LinkSummary, fleet: FleetPlan, trace: RunRecord) -> LinkSummary:
    """The summary with what the link carried, and the parts of TTFT."""
    sent, seconds = trace.transfers, _seconds(trace)
    done = np.isfinite(sent["end_s"])
    if fleet.link is None or not done.any() or seconds <= 0:
        return link
    took = (sent["end_s"] - sent["begin_s"])[done]
    prefill, decode = fleet.pools
    ports = kv_link(prefill, decode, fleet.link)
    tighter = min(sum(ports.out), sum(ports.into))
    edges = np.linspace(0.0, seconds, _PARTS + 1) + float(np.nanmin(trace.requests["arrival_s"]))
    carried = _between(trace.link["at_s"], trace.link["bytes_per_s"], edges)
    shares = carried / (tighter * seconds / _PARTS)
    return dataclasses.replace(
        link,
        transfers=int(done.sum()),
        bytes_mean=float(sent["bytes"][done].mean()),
        transfer_p50_s=float(np.percentile(took, 50)),
        transfer_p99_s=float(np.percentile(took, 99)),
        use_mean=float(shares.mean()),
        use_peak=float(shares.max()),
        part_s=seconds / _PARTS,
        shares=tuple(round(float(share), 6) for share in shares),
        waits=_waits(trace),
    )


def _between(at: Floats, rate: Floats, edges: Floats) -> Floats:
    """Bytes that came between each two edges, of what a link carried from each time on."""
    moments = np.concatenate([[0.0], np.cumsum(np.diff(at) * rate[:-1])])
    last = np.maximum(np.searchsorted(at, edges, side="right") - 1, 0)
    upto = moments[last] + rate[last] * np.maximum(edges - at[last], 0.0)
    between: Floats = np.diff(upto)
    return between


def _waits(trace: RunRecord) -> dict[str, float]:
    """Mean seconds of each part of TTFT, of the requests that went through both pools."""
    r = trace.requests
    through = (r["prefill_replica"] >= 0) & np.isfinite(r["first_token_s"])
    if not through.any():
        return {}
    parts = {
        name: float((r[later] - r[earlier])[through].mean())
        for name, (earlier, later) in _WAITS.items()
    }
    client = {"client": float(r["frontend_s"][through].mean())} if "frontend_s" in r else {}
    return parts | client


def _seconds(trace: RunRecord) -> float:
    r = trace.requests
    if not np.isfinite(r["finish_s"]).any():
        return 0.0
    return float(np.nanmax(r["finish_s"]) - np.nanmin(r["arrival_s"]))
