"""What a scenario may not mean: figures that can be simulated and hardly be meant, each asked about in a sentence."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.scenario.specs import Scenario
from simulator.text import number
from simulator.workload.arrivals.steady import Users
from simulator.workload.lengths.discrete import Fixed
from simulator.workload.workload import Workload

# Seconds beyond which a limit was more likely meant as milliseconds.
_LONG_S = {"ttft_s": 120.0, "tpot_s": 5.0, "e2e_s": 14_400.0}
# Requests a second of one person beyond which an hour or a minute was left out.
_BUSY_PER_S = 0.5


def doubts(scenario: Scenario) -> tuple[str, ...]:
    """The doubts about a scenario, in words; empty where there are none."""
    return (*_limits(scenario), *_people(scenario.workload), *_waves(scenario.workload))


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
