"""A deployment under one load: simulated, judged and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.load import Load
from simulator.engine.record import RunRecord
from simulator.planning.capacity.search import Standing
from simulator.results import metrics
from simulator.results.answers import Unanswered, unanswered
from simulator.results.metrics import Measures, Sample
from simulator.results.model import CurvePoint, Verdict
from simulator.results.over_time import mean_ready
from simulator.results.slo import (
    Promise,
    PromisedLatency,
    SloCheck,
    check_slo,
    kept_terms,
    promised_latencies,
)
from simulator.results.steady_state import Steadiness, Steady, judge
from simulator.results.tables import with_labels
from simulator.scenario import Scenario
from simulator.server import FleetPlan
from simulator.statistics import BATCHES, half_width
from simulator.workload.requests import Requests


@dataclass(frozen=True, slots=True, eq=False)
class DeploymentRun:
    """A run of one deployment, with its verdict, numbers, and the terms of the SLO.

    `turned_away`: requests that queue limits kept out, so that its backlog cannot grow further.
    """

    trace: RunRecord
    steadiness: Steadiness
    sample: Sample
    metrics: Measures
    slo: tuple[SloCheck, ...]
    promised: tuple[PromisedLatency, ...]
    unanswered: Unanswered
    turned_away: int = 0

    @property
    def verdict(self) -> Verdict:
        """Overloaded, or with too many requests unanswered, or what the queue shows."""
        keeps_up = self.steadiness.verdict != "overloaded"
        return (
            "requests unanswered"
            if keeps_up and self.unanswered.too_many
            else self.steadiness.verdict
        )


def measured(
    scenario: Scenario, fleet: FleetPlan, requests: Requests, *, source: Load | None = None
) -> DeploymentRun:
    """Simulate the requests on a fleet; verdict, metrics and SLO as the scenario's client or engine
    measures them."""
    trace = with_labels(fleet.serve(requests, source=source, seed=scenario.seed), requests.label)
    promises, steadiness = promised(scenario, requests), judge(trace, open_loop=source is None)
    steady = steadiness.verdict != "overloaded"
    present = mean_ready(trace, fleet.replicas) / fleet.replicas if fleet.operation else 1
    sample = metrics.measured_window(
        trace,
        gpus=fleet.gpus * present,
        replicas=fleet.instances * present,
        kv_blocks=fleet.server.limits.kv_blocks,
        promises=promises,
        warmup_s=steadiness.warmup_s,
    )
    none, turned_away = unanswered(trace, promises), fleet.turned_away(trace)
    columns = metrics.window_latencies(sample) if steady else None
    kept = metrics.window_promises(sample)
    checks, latencies = check_slo(kept, columns, none.shares), promised_latencies(kept, columns)
    return DeploymentRun(
        trace,
        steadiness,
        sample,
        Measures(sample, steady),
        checks,
        latencies,
        none,
        turned_away,
    )


def promised(scenario: Scenario, requests: Requests) -> tuple[Promise, ...]:
    """The SLO of all requests, or of each class that has one."""
    slos, label = scenario.slos, requests.label
    if label is None or "" in slos:
        return (Promise(scenario.slo),) if scenario.slo else ()
    return tuple(
        Promise(slos[name], label == index, name)
        for index, name in enumerate(requests.labels)
        if name in slos
    )


def rejudged(m: DeploymentRun, verdict: Steady) -> DeploymentRun:
    """The run with a verdict from elsewhere; an overloaded one loses its steady metrics."""
    steady = verdict != "overloaded"
    if steady == (m.steadiness.verdict != "overloaded"):
        return dataclasses.replace(m, steadiness=dataclasses.replace(m.steadiness, verdict=verdict))
    latencies, promises = (
        metrics.window_latencies(m.sample) if steady else None,
        metrics.window_promises(m.sample),
    )
    return dataclasses.replace(
        m,
        steadiness=dataclasses.replace(m.steadiness, verdict=verdict),
        metrics=dataclasses.replace(m.metrics, steady=steady),
        slo=check_slo(promises, latencies),
        promised=promised_latencies(promises, latencies),
    )


def curve_point(rate_per_s: float, m: DeploymentRun) -> CurvePoint:
    """The measured run as a point of the latency-throughput curve."""
    steady = m.steadiness.verdict != "overloaded"
    return CurvePoint(
        rate_per_s=rate_per_s,
        verdict=m.verdict,
        slo_met=steady and all(check.met for check in m.slo) if m.slo else None,
        terms=m.slo if steady else (),
        promised=m.promised,
        **_point_values(m.metrics),
    )


def _point_values(values: Mapping[str, float | None]) -> dict[str, Any]:
    """The metrics that a point has; rates are zero where nothing finished."""
    always = {"requests_per_s", "output_tokens_per_s", "total_tokens_per_s"}
    names = {f.name for f in dataclasses.fields(CurvePoint)} & set(values)
    return {name: (values[name] or 0.0) if name in always else values[name] for name in names}


def standing(rate_per_s: float, m: DeploymentRun) -> Standing:
    """Whether the run meets the SLO, and whether a longer one surely would or surely would not."""
    if m.steadiness.verdict == "overloaded":
        return Standing(rate_per_s, met=False, surely_met=False, surely_missed=True)
    columns = metrics.window_latencies(m.sample)
    terms = [
        term
        for promise in metrics.window_promises(m.sample)
        for term in kept_terms(promise.slo, promise.columns(columns))
    ]
    margins = [_share_interval(column, need) for column, need in terms]
    return Standing(
        rate_per_s,
        met=all(check.met for check in m.slo),
        surely_met=all(low >= need for low, _, need in margins),
        surely_missed=any(high < need for _, high, need in margins),
    )


def _share_interval(kept: NDArray[np.bool_], need: float) -> tuple[float, float, float]:
    """The 95 % interval of a share from batches in order of arrival, and what it is held against.

    Batches see that late requests come in crowds. Where no request (or every one) missed, three
    misses could have gone unseen.
    """
    if len(kept) < BATCHES:
        return 0.0, 1.0, need
    share = float(kept.mean())
    if share in (0.0, 1.0):
        return max(0.0, share - 3 / len(kept)), min(1.0, share + 3 / len(kept)), need
    half = half_width(np.array([batch.mean() for batch in np.array_split(kept, BATCHES)]))
    return share - half, share + half, need
