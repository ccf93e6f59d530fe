"""What a scenario may not mean: figures that can be simulated and hardly be meant, each asked about in a sentence."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.errors import SimulatorError
from simulator.scenario.specs import Deployment, Scenario
from simulator.text import number, plural, share
from simulator.units import HOUR
from simulator.workload.arrivals.steady import Users
from simulator.workload.arrivals.varying import Diurnal
from simulator.workload.lengths.discrete import Fixed
from simulator.workload.requests import Requests
from simulator.workload.workload import Workload

# Seconds beyond which a limit was more likely meant as milliseconds.
_LONG_S = {"ttft_s": 120.0, "tpot_s": 5.0, "e2e_s": 14_400.0}
# Requests a second of one person beyond which an hour or a minute was left out.
_BUSY_PER_S = 0.5


def doubts(scenario: Scenario, requests: Requests) -> tuple[str, ...]:
    """The doubts about a scenario with the requests drawn of it, in words; empty where there are none."""
    workload = scenario.workload
    return (
        *_limits(scenario),
        *_people(workload),
        *_waves(workload),
        *_too_long(scenario, requests),
        *_part_of_a_day(workload, requests),
    )


def _limits(scenario: Scenario) -> Iterator[str]:
    for name, slo in scenario.slos.items():
        whose = f"{name}: " if name else ""
        for field, limit in slo.limits().items():
            if limit > _LONG_S[field]:
                meant = f"as milliseconds it would be {number(limit / 1000)}"
                yield f"{whose}slo.{field} {number(limit, 6)} is {number(limit / 60)} minutes; {meant}"


def _people(workload: Workload) -> Iterator[str]:
    arrivals = (workload.arrivals, *(each.arrivals for each in workload.classes))
    for each in arrivals:
        if isinstance(each, Users) and each.each > _BUSY_PER_S:
            asked = f"each of {each.users:,} people asks {number(each.each)} times a second"
            yield f"{asked}; was {number(each.each)}/h meant? A rate without a unit is per second"


def _waves(workload: Workload) -> Iterator[str]:
    """Users of a closed loop whose answers are all of one length march in step, as those of real answers do not."""
    loop = workload.closed_loop
    if loop is None or loop.concurrency == 1:
        return
    lengths = {each.output for each in workload.mix()}
    if len(lengths) == 1 and isinstance(only := next(iter(lengths)), Fixed):
        yield (
            f"every output has {only.tokens:,} tokens, so that the users of the closed loop go on in step, in waves; "
            "give output a law, such as {kind: lognormal, mean: ..., p95: ...}, unless a benchmark is meant"
        )


def _too_long(scenario: Scenario, requests: Requests) -> Iterator[str]:
    """Requests whose prompt and answer exceed max_model_len: an engine refuses them, or cuts the answer."""
    tokens = requests.prompt_tokens + requests.output_tokens
    lengths: dict[int, list[Deployment]] = {}
    for deployment in scenario.deployments:
        length = _max_model_len(scenario, deployment)
        if length is not None and len(tokens) and tokens.max() > length:
            lengths.setdefault(length, []).append(deployment)
    for length, where in lengths.items():
        over = int((tokens > length).sum())
        named = ", ".join(d.name or d.pool.gpu.name for d in where)
        of = "" if len(where) == len(scenario.deployments) else f" of {named}"
        yield (
            f"{over:,} of {plural(len(tokens), 'request')} ({share(over / len(tokens))}) need more "
            f"tokens, prompt and answer, than max_model_len {length:,}{of} and get no answer; the "
            f"longest needs {tokens.max():,}: raise max_model_len, or give the lengths a max"
        )


def _max_model_len(scenario: Scenario, deployment: Deployment) -> int | None:
    """The longest request that a deployment takes, None where it does not resolve or the memory decides it."""
    args = deployment.pool.engine_args()
    if args.fit_max_model_len:
        return None
    try:
        return scenario.engine.resolve(args, deployment.pool.gpu, scenario.model_of(deployment)).max_model_len
    except SimulatorError:
        return None


def _part_of_a_day(workload: Workload, requests: Requests) -> Iterator[str]:
    """Requests that end before the busiest hour of a day has come."""
    last = float(requests.arrival_s.max()) if len(requests) else 0.0
    days = [each for each in (workload.arrivals, *(c.arrivals for c in workload.classes)) if isinstance(each, Diurnal)]
    for day in days:
        peak_s = day.period / 2 if day.peak_at is None else day.peak_at % day.period
        if day.peak > day.trough and last < peak_s:
            period = f"{number(day.period / HOUR)}h"
            yield (
                f"the requests end after {number(last / HOUR)} h, and the peak of "
                f"{number(day.peak)}/s comes after {number(peak_s / HOUR)} h of a period of "
                f"{number(day.period / HOUR)} h: it is not among them; a whole period has "
                f"{day.mean_rate() * day.period:,.0f} requests (duration: {period}), or give a "
                "shorter period"
            )
