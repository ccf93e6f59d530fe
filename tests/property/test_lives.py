"""Servers that start, drain and die: does the engine do what a naive fleet does, and is every request accounted for?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle.mortal import LOST, MortalOracle
from support.draws import TIMES
from support.engine_cases import Case, assert_equal, cached_cases, cases, hybrid_cases, parallel_cases

from simulator.engine.fleet.autoscaler import HorizontalPodAutoscaler, Keda
from simulator.engine.fleet.lives import Fault, LifeRules
from simulator.engine.fleet.router import LeastKvUse, LeastOutstanding, RoundRobin
from simulator.engine.record import CANCELLED, FINISHED, NEVER_SCHEDULED, REFUSED, TIMED_OUT, RunRecord
from simulator.engine.serve import serve
from simulator.latency.client import ApiServer


@dataclass
class Mortal:
    """A case whose servers are all like its first, and how they live."""

    case: Case
    life: LifeRules
    front_end: ApiServer | None = None

    def trace(self) -> RunRecord:
        case = self.case
        ranks = case.data_parallel.ranks
        replicas = [(time, case.config(limits)) for time, limits in case.replicas[:ranks]]
        how: dict[str, Any] = {"router": case.router, "load": case.source, "data_parallel": case.data_parallel}
        return serve(case.requests, replicas, life_rules=self.life, tick_s=1.0, front_end=self.front_end, **how)

    def oracle(self) -> MortalOracle:
        case = self.case
        how = case.seed, case.rules, case.arguments
        return MortalOracle(case.requests, case.replicas[0], case.router, case.source, self.life, *how).run()


@st.composite
def faults(draw: st.DrawFn, replicas: int) -> Fault:
    """One fault of some replicas, at whole seconds."""
    number = st.integers(0, replicas)
    return Fault(
        at_s=float(draw(st.integers(0, 60))),
        replicas=tuple(draw(st.lists(number, min_size=1, max_size=2, unique=True))),
        notice_s=draw(st.sampled_from([0.0, 0.0, 5.0, 40.0])),
        detected_after_s=draw(st.sampled_from([0.0, 0.0, 4.0])),
        restart_after_s=draw(st.sampled_from([None, 0.0, 7.0])),
    )


@st.composite
def lives(draw: st.DrawFn) -> LifeRules:
    """How servers live, without an autoscaler."""
    replicas = draw(st.integers(1, 3))
    return LifeRules(
        replicas=replicas,
        cold_start_s=draw(st.sampled_from([0.0, 3.0, 25.0])),
        faults=tuple(draw(st.lists(faults(replicas), max_size=4))),
        retries=draw(st.integers(0, 2)),
    )


FAMILIES = {"plain": cases(most_replicas=1), "cached": cached_cases(most_replicas=1), "hybrid": hybrid_cases()}


@st.composite
def mortals(draw: st.DrawFn, family: str) -> Mortal:
    """A case of a family on servers that come and go."""
    case = replace(draw(FAMILIES[family]), router=draw(st.sampled_from([RoundRobin(), LeastOutstanding(), LeastKvUse()])))
    return Mortal(case, draw(lives()))


def drawn(examples: int) -> settings:
    return settings(max_examples=TIMES * examples, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("family", FAMILIES)
def test_servers_that_come_and_go_serve_as_in_the_naive_fleet(family: str) -> None:
    @drawn(40)
    @given(mortals(family))
    def check(mortal: Mortal) -> None:
        trace, oracle = mortal.trace(), mortal.oracle()
        assert [(e.when, e.replica, e.what) for e in trace.events] == oracle.happened
        if (trace.requests["status"] == LOST).any() or any(e.what == "dies" for e in trace.events):
            assert_equal_requests(trace, oracle)
        else:
            assert_equal(trace, oracle)

    check()


def assert_equal_requests(trace: RunRecord, oracle: MortalOracle) -> None:
    for name in ("arrival", "first_token", "finish", "left"):
        np.testing.assert_array_equal(trace.requests[f"{name}_s"], np.array(oracle.log[name]), err_msg=name)
    np.testing.assert_array_equal(trace.requests["status"], np.array(oracle.log["status"]))
    steps, of_oracle = trace.stretches["steps"].sum(), len(oracle.steps)
    assert steps == of_oracle


@st.composite
def scripts(draw: st.DrawFn) -> Mortal:
    """Random faults under an autoscaler, ranks in lock step or a front end."""
    some = draw(st.sampled_from(["plain", "ranks", "front end"]))
    case = draw(parallel_cases(lock_step=draw(st.booleans())) if some == "ranks" else cases(most_replicas=1))
    if case.data_parallel.balance == "router":
        case = replace(case, data_parallel=replace(case.data_parallel, balance="weighted"))
    front_end = ApiServer(request_s=2.0, prompt_token_s=0.0, chunk_s=1.0) if some == "front end" else None
    policy = draw(
        st.sampled_from(
            [
                None,
                HorizontalPodAutoscaler(target=1.0, max_replicas=4, interval_s=5.0, stabilization_s=20.0),
                Keda(target=2.0, max_replicas=3, interval_s=4.0, cooldown_s=10.0, stabilization_s=8.0),
            ]
        )
    )
    return Mortal(case, replace(draw(lives()), autoscaler=policy, drain_s=6.0), front_end)


@drawn(60)
@given(scripts())
def test_every_request_is_accounted_for_once_through_every_fault(mortal: Mortal) -> None:
    trace = mortal.trace()
    r, status = trace.requests, trace.requests["status"]
    assert np.isin(status, (FINISHED, REFUSED, TIMED_OUT, CANCELLED, NEVER_SCHEDULED, LOST)).all()
    done = status == FINISHED
    assert (np.isfinite(r["finish_s"]) == done).all()
    assert np.isfinite(r["left_s"][done | (status == LOST)]).all()
    assert (r["left_s"][done] >= r["arrival_s"][done]).all()
    unanswered = np.isin(status, (REFUSED, CANCELLED, NEVER_SCHEDULED, LOST))
    assert set(trace.refusals) == set(np.flatnonzero(unanswered).tolist())
    if mortal.case.data_parallel.lock_step is None:
        nobody_works_after_death(trace)


def nobody_works_after_death(trace: RunRecord) -> None:
    """The steps of a replica lie between its being ready and its end."""
    s = trace.stretches
    for replica in range(len(trace.block_size)):
        mine = [e for e in trace.events if e.replica == replica]
        begins = [e.when for e in mine if e.what == "ready"]
        ends = [e.when for e in mine if e.what in ("dies", "gone")]
        for start, end in zip(s["start_s"][s["replica"] == replica], s["end_s"][s["replica"] == replica], strict=True):
            began = max(each for each in begins if each <= start)
            assert all(not began < each < end for each in ends)
