"""How sure the answer of a deployment is: its bands, put beside its terms, its latencies and its
curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from simulator.latency.error_bands import ErrorBand
from simulator.planning.bands import bands_of
from simulator.planning.capacity.deployment_run import DeploymentRun
from simulator.results.assurance import Assurance, Behavior, assurance, judged
from simulator.results.model import CurvePoint, DeploymentResult
from simulator.results.slo import PromisedLatency, SloCheck
from simulator.results.steady_state import load_regime
from simulator.scenario import Scenario
from simulator.server import Server

Bands = Mapping[str, ErrorBand]


def assured(
    scenario: Scenario,
    server: Server,
    result: DeploymentResult,
    run: DeploymentRun,
) -> DeploymentResult:
    """The result with where real figures lie and how sure its verdict is."""
    regime, demand = load_regime(run.trace, result.warmup_s), scenario.workload.mean_rate()
    sequences = run.metrics["running_mean"] or 1.0
    here = bands_of(scenario, server, regime, sequences)
    loaded = here if regime != "waiting" else bands_of(scenario, server, "loaded", sequences)
    limited, free = _behaviors(result, loaded)
    checks = _judged(result.slo, limited, demand, here) if result.steady else result.slo
    unlimited = _judged(_unlimited(result.promised), free, demand, here)
    return dataclasses.replace(
        result,
        error_bands=here,
        slo=checks,
        promised=_promised(result.promised, (*checks, *unlimited)),
        curve=tuple(_point(point, limited, free, loaded) for point in result.curve),
        assurance=_assurance(result, checks, limited, demand),
    )


def _behaviors(result: DeploymentResult, bands: Bands) -> tuple[Behavior | None, Behavior | None]:
    """How the terms of the SLO go with the rate, and how the latencies that it does not limit do;
    None without a curve."""
    if not result.curve:
        return None, None
    point = result.queueing_point.value if result.queueing_point else None
    ordered = sorted(result.curve, key=lambda p: p.rate_per_s)
    limited = tuple((p.rate_per_s, p.terms or None) for p in ordered)
    free = tuple((p.rate_per_s, _unlimited(p.promised) or None) for p in ordered)
    return Behavior(limited, point, bands), Behavior(free, point, bands)


def _assurance(
    result: DeploymentResult,
    checks: tuple[SloCheck, ...],
    behavior: Behavior | None,
    demand: float | None,
) -> Assurance | None:
    keeps_up = result.verdict != "overloaded"
    answers = result.verdict != "requests unanswered"
    return assurance(checks, behavior, demand, keeps_up=keeps_up, answers=answers)


def _point(
    point: CurvePoint, behavior: Behavior | None, free: Behavior | None, bands: Bands
) -> CurvePoint:
    rate, terms = point.rate_per_s, _judged(point.terms, behavior, point.rate_per_s, bands)
    others = _judged(_unlimited(point.promised), free, rate, bands)
    return dataclasses.replace(
        point, terms=terms, promised=_promised(point.promised, (*terms, *others))
    )


def _judged(
    checks: tuple[SloCheck, ...], behavior: Behavior | None, rate: float | None, bands: Bands
) -> tuple[SloCheck, ...]:
    return tuple(judged(check, behavior, term, rate, bands) for term, check in enumerate(checks))


def _unlimited(latencies: Sequence[PromisedLatency]) -> tuple[SloCheck, ...]:
    """The latencies that nobody limits as terms with a limit of a second, so that their bands come
    the same way."""
    return tuple(
        SloCheck(
            each.latency, each.percentile, each.label, 1.0, each.value, met=True, strain=each.value
        )
        for each in latencies
        if each.limit is None
    )


def _promised(
    latencies: Sequence[PromisedLatency], judged_: Sequence[SloCheck]
) -> tuple[PromisedLatency, ...]:
    """The latencies with the bands of the terms that limit them, or that stand for them."""
    terms = {(check.label, check.latency): check for check in judged_}
    return tuple(
        dataclasses.replace(each, low=terms[key].low, high=terms[key].high)
        if (key := (each.label, each.latency)) in terms
        else each
        for each in latencies
    )
