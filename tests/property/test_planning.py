"""Planning, for any server, demand and grid."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from support.draws import TIMES

from simulator import catalog
from simulator.engine.fleet.router import LeastOutstanding, RoundRobin
from simulator.latency.models import Linear
from simulator.planning.axes import axis
from simulator.planning.capacity.closed_loop import levels_off
from simulator.planning.capacity.deployment_run import measured
from simulator.planning.capacity.replicas import fewest_conceivable, fit_replicas
from simulator.planning.capacity.search import MOST_SIMULATIONS, Flow, Standing, queueing_point, slo_capacity
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.model import Estimate
from simulator.scenario import Deployment, Scenario
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

RATES = st.floats(1e-3, 1e5)


@given(capacity=RATES, wrong=st.floats(0.01, 100), slower=st.floats(0.5, 1.0))
def test_the_queueing_point_is_found_for_any_capacity_and_guess(capacity: float, wrong: float, slower: float) -> None:
    """Within 5 % below and never above what keeps up, though a backlog may make the server slower."""
    asked = 0

    def flow(rate: float) -> Flow:
        nonlocal asked
        asked += 1
        completed = rate if rate <= capacity else capacity * slower
        return Flow(rate, completed, completed * 0.999, completed * 1.001)

    found = queueing_point(flow, capacity * wrong)
    assert asked <= MOST_SIMULATIONS
    assert 0.95 * capacity * min(1.0, slower + 0.05) <= found.value <= 1.001 * capacity
    assert found.low <= found.value <= (found.high or math.inf)


@given(at=RATES, queueing=RATES)
def test_the_slo_capacity_is_within_its_tolerance_of_the_threshold(at: float, queueing: float) -> None:
    def standing(rate: float) -> Standing:
        return Standing(rate, rate <= at, rate <= at, rate > at)

    found = slo_capacity(standing, Estimate(queueing, queueing * 0.98, queueing * 1.02))
    if at < queueing / 50:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(min(at, queueing), rel=0.06)
    assert found.value <= at
    assert found.low <= found.value


@given(
    knee=st.floats(1.5, 900),
    users=st.lists(st.integers(1, 1000), min_size=3, unique=True).map(sorted),
    share=st.floats(0.5, 1.0),
)
def test_where_a_curve_levels_off_is_between_its_first_and_last_point(knee: float, users: list[int], share: float) -> None:
    found = levels_off([(n, min(n, knee)) for n in users], share)
    assert users[0] * (1 - 1e-9) <= found <= users[-1] * (1 + 1e-9)


@given(start=st.integers(1, 50), step=st.integers(1, 9), count=st.integers(1, 40))
def test_a_range_has_its_start_its_end_and_even_steps(start: int, step: int, count: int) -> None:
    end = start + step * (count - 1)
    assert axis(f"a.b={start}:{end}:{step}").values == tuple(str(start + step * i) for i in range(count))


@given(st.lists(st.from_regex(r"[a-z0-9.]{1,6}", fullmatch=True), min_size=1, unique=True))
def test_a_list_of_values_comes_back_in_order(values: list[str]) -> None:
    assert axis("a.b=" + ",".join(values)).values == tuple(values)


@st.composite
def demands(draw: st.DrawFn) -> Scenario:
    """Small demands of a few replicas: prompts that share prefixes or none, of which few may be too long, in turns or single."""
    shared = {"kind": "shared_prefix", "num_groups": draw(st.integers(1, 40)), "system_prompt_len": draw(st.integers(0, 3000))}
    documents = {"kind": "documents", "documents": draw(st.integers(2, 500)), "document_len": draw(st.integers(100, 1500))}
    talks = {"kind": "conversation", "turns": draw(st.integers(2, 4)), "think": draw(st.sampled_from([0.5, 3.0]))}
    traffic = {
        "prompt": draw(st.integers(20, 400)),
        "output": draw(st.integers(5, 60)),
        "prefix": draw(st.sampled_from([None, shared, documents])),
        "sessions": draw(st.sampled_from([None, None, talks])),
    }
    too_long = {"name": "long", "prompt": 4090, "output": 20, "share": 0.005}
    workload = {
        "arrivals": {"kind": "poisson", "rate": draw(st.integers(20, 400))},
        "requests": 10_000 if traffic["sessions"] else 2_500,
        "classes": [{"name": "all", **traffic}, *draw(st.sampled_from([[], [too_long]]))],
    }
    gpu, engine = catalog.gpu("l40s"), {"max_model_len": 4096, "max_num_seqs": draw(st.sampled_from([16, 64]))}
    router = draw(st.sampled_from([RoundRobin(), LeastOutstanding()]))
    return Scenario(
        name="drawn",
        model=catalog.model("llama-3.1-8b"),
        engine=catalog.engine("vllm-0.19.0"),
        workload=TypeAdapter(Workload).validate_python(workload),
        latency=Linear(step_ms=10, token_us=draw(st.sampled_from([5.0, 40.0]))),
        deployments=(Deployment(gpu=gpu, name="one", router=router, **engine),),
        seed=draw(st.integers(0, 9)),
    )


@settings(max_examples=max(2, TIMES // 4), deadline=None)
@given(demands())
def test_a_size_is_what_trying_one_replica_after_another_finds(scenario: Scenario) -> None:
    """Each number judged as a run of it is; never one more than were seen to do, and none fewer."""
    deployment = scenario.deployments[0]
    requests = sample(scenario.workload, scenario.seed)

    def carries(replicas: int) -> bool:
        run = measured(scenario, plan_fleet(scenario, deployment.with_pool(replicas=replicas)), requests)
        return run.verdict in ("stable", "saturated")

    found = fit_replicas(scenario, deployment, most=16)
    assert found.replicas == next((replicas for replicas in range(1, 17) if carries(replicas)), None)
    least = fewest_conceivable(scenario, deployment)
    assert found.replicas is None or least is None or least <= found.replicas
