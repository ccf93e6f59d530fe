"""The engine's speed: each case beside the oracle and bare SimPy timeouts, and what a request costs in long and short runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from statistics import mean, median

from benchmarks import goals
from benchmarks.cases import CHAT, LONG, REPLICAS, STARVED, TURNS, Case
from benchmarks.goals import Figure, Goal
from benchmarks.measure import bare_timeout_s, cpu_seconds, ratio
from simulator.engine.record import RunRecord
from simulator.errors import NotModelled
from simulator.workload.requests import Requests

SIZES = (10_000, 100_000, 1_000_000)
_LEAST = 50_000


@dataclass(slots=True)
class Speed:
    """What is measured of a case, round after round: CPU seconds per request, of the engine on many, of engine and oracle on the
    same `few`; and of one bare timeout."""

    case: Case
    requests: Requests
    few: Requests
    trace: RunRecord
    engine_s: list[float] = field(default_factory=list)
    timeout_s: list[float] = field(default_factory=list)
    engine_beside_oracle_s: list[float] = field(default_factory=list)
    oracle_s: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One more round."""
        case, requests, few = self.case, self.requests, self.few
        before = bare_timeout_s()
        self.engine_s.append(cpu_seconds(lambda: case.serve(requests), times=3) / len(requests))
        self.timeout_s.append((before + bare_timeout_s()) / 2)
        self.engine_beside_oracle_s.append(cpu_seconds(lambda: case.serve(few), times=3) / len(few))
        self.oracle_s.append(cpu_seconds(lambda: case.ask_oracle(few)) / len(few))

    @property
    def requests_per_s(self) -> float:
        """Requests simulated in a CPU second."""
        return 1 / median(self.engine_s)

    @property
    def times_oracle(self) -> float:
        """How many times the oracle's speed."""
        return ratio(self.oracle_s, self.engine_beside_oracle_s)

    @property
    def timeouts(self) -> float:
        """Cost of a request in bare timeouts."""
        return ratio(self.engine_s, self.timeout_s)


def prepared(case: Case, share: float, oracle_share: float) -> Speed | None:
    """A case with a share of its requests, served once to warm up; None if the engine does not model it."""
    requests, few = case.draw(round(share * case.requests)), case.draw(max(1, round(oracle_share * case.oracle_requests)))
    try:
        trace = case.serve(requests)
    except NotModelled:
        return None
    _refuse_another_story(case, case.serve(few), len(case.ask_oracle(few).steps))
    return Speed(case, requests, few, trace)


def _refuse_another_story(case: Case, trace: RunRecord, oracle_steps: int) -> None:
    """Raise AssertionError if the engine is fast because it simulates something else than the oracle does."""
    steps = int(trace.stretches["steps"].sum())
    if abs(steps - oracle_steps) > 0.01 * oracle_steps:
        raise AssertionError(f"{case.name}: the engine took {steps} steps, the oracle {oracle_steps}")


def growth(case: Case, rounds: int, sizes: tuple[int, ...]) -> list[Figure]:
    """CPU per request of runs of these sizes, all but the largest before and after it; and the largest against the smallest."""
    drawn = [case.draw(n) for n in sizes]
    times: list[list[float]] = [[] for _ in sizes]
    for _ in range(rounds):
        before = [_cost(case, requests) for requests in drawn]
        after = [_cost(case, requests) for requests in drawn[:-1]]
        for found, costs in zip(times, zip_longest(before, after, fillvalue=before[-1]), strict=True):
            found.append(mean(costs))
    figures = [Figure(f"CPU per request, run of {n:,}", "us", 1e6 * median(t)) for n, t in zip(sizes, times, strict=True)]
    whole = sizes == SIZES
    name = f"cost per request, {sizes[-1]:,} against {sizes[0]:,}"
    return [*figures, Figure(name, "x", ratio(times[-1], times[0]), goals.GROWTH if whole else None)]


def _cost(case: Case, requests: Requests) -> float:
    repeats = max(1, _LEAST // len(requests))
    return cpu_seconds(partial(case.serve, requests), repeats) / len(requests)


def comparisons(speeds: dict[str, Speed | None]) -> list[Figure]:
    """The figures that have a goal, out of what was measured of each case."""
    plain, many, turns = speeds[CHAT], speeds[REPLICAS], speeds[TURNS]
    factor = ratio(many.engine_s, plain.engine_s) if plain and many else None
    return [
        _beside_oracle("chat", plain, goals.ORACLE_CHAT),
        Figure("chat, CPU per request / one bare timeout", "x", plain.timeouts if plain else None, goals.TIMEOUTS_CHAT),
        _beside_oracle("long outputs", speeds[LONG], goals.ORACLE_LONG),
        _beside_oracle("KV-starved", speeds[STARVED], goals.ORACLE_STARVED),
        Figure("16 replicas against 1, CPU per request", "x", factor, goals.REPLICAS),
        _conversations(turns),
    ]


def _beside_oracle(name: str, found: Speed | None, goal: Goal) -> Figure:
    return Figure(f"{name}, against the oracle", "x", found.times_oracle if found else None, goal)


def _conversations(found: Speed | None) -> Figure:
    if found is None:
        return Figure(TURNS, "requests/s", None, goals.PREFIX_CACHED)
    note = f"{found.timeouts:.0f} bare timeouts a request"
    return Figure(TURNS, "requests/s", found.requests_per_s, goals.PREFIX_CACHED, note)
