"""A scenario answered: what a reader of the report gets for each deployment."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.planning_fixtures import small

from simulator.engine.record import RunRecord
from simulator.latency.client import FrontEnd
from simulator.planning.capacity import curve, probes
from simulator.planning.capacity.deployment_run import measured
from simulator.planning.deployment import examine
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess, Processes
from simulator.planning.run import review
from simulator.results.model import SEARCH_INTERRUPTED, DeploymentResult, RunResult
from simulator.results.summary import from_summary, to_summary
from simulator.scenario import Scenario, load
from simulator.server import FleetPlan
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

HERE = InProcess()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    told: list[str] = []
    scenario = load(small(tmp_path_factory.mktemp("review")))
    result = review(scenario, command="sim run small.yaml", progress=told.append, machine=HERE)
    assert told == ["T4", "H100", "L40S"]  # nothing is searched of what does not start
    return result


@pytest.fixture
def l40s(run: RunResult) -> DeploymentResult:
    return run.deployment("L40S")


def test_every_deployment_has_its_verdict(run: RunResult) -> None:
    assert [d.verdict for d in run.deployments] == ["stable", "stable", "does not fit"]
    assert run.deployment("T4").remedies


def test_the_queueing_point_is_what_a_full_replica_completes(l40s: DeploymentResult) -> None:
    """64 sequences, each 20 decode steps and a prefill of 10 ms; a step carries some six prompts of 100 tokens as well."""
    assert l40s.queueing_point is not None
    assert l40s.queueing_point.value == pytest.approx(64 / (20 * 0.0107), rel=0.08)
    assert l40s.ceiling_per_s == pytest.approx(l40s.queueing_point.value, rel=0.08)


def test_a_slower_client_sees_first_tokens_later_and_the_engine_sees_them_sooner(tmp_path: Path) -> None:
    usual = load(small(tmp_path))
    usual = dataclasses.replace(usual, deployments=usual.deployments[:1])
    requests = sample(usual.workload, usual.seed)

    def ttft_p50(scenario: Scenario) -> float:
        found = measured(scenario, plan_fleet(scenario, scenario.deployments[0]), requests).metrics["ttft_p50_s"]
        assert found is not None
        return found

    prompt_s = 100 * 4.4e-6
    assert ttft_p50(dataclasses.replace(usual, measured_at="engine")) == pytest.approx(ttft_p50(usual) - 0.0055 - prompt_s)
    slow = dataclasses.replace(usual, frontend=FrontEnd(fixed_ms=40.0, queue=False))
    assert ttft_p50(slow) == pytest.approx(ttft_p50(usual) + 0.0345)


def test_the_slo_capacity_is_at_most_the_queueing_point(l40s: DeploymentResult) -> None:
    assert l40s.slo_capacity is not None
    assert l40s.queueing_point is not None
    assert 0.8 * l40s.queueing_point.value < l40s.slo_capacity.value <= l40s.queueing_point.value


def test_the_curve_goes_from_a_light_load_past_the_queueing_point_through_the_demand(l40s: DeploymentResult) -> None:
    rates = [point.rate_per_s for point in l40s.curve]
    assert rates == sorted(rates)
    assert l40s.queueing_point is not None
    assert rates[0] < 0.25 * l40s.queueing_point.value
    assert rates[-1] > l40s.queueing_point.value
    assert 20.0 in rates
    latencies = [point.e2e_p50_s for point in l40s.curve if point.e2e_p50_s is not None]
    assert latencies[-1] > latencies[0]


def test_every_deployment_sees_the_same_requests(run: RunResult) -> None:
    first, second = (run.deployment(name).trace for name in ("H100", "L40S"))
    assert first is not None
    assert second is not None
    for column in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert (first.requests[column] == second.requests[column]).all()


def test_the_busy_time_is_broken_down(l40s: DeploymentResult) -> None:
    assert sum(l40s.step_seconds.values()) > 0
    assert l40s.binding is not None


def test_the_oom_point_says_what_binds_first(l40s: DeploymentResult) -> None:
    assert l40s.oom_point is not None
    assert l40s.oom_point.longest_context_tokens > 4096, "the KV cache holds more than max_model_len allows"
    assert l40s.oom_point.next_limit.startswith("max_num_seqs at 64 sequences binds first, then KV memory at ")
    assert l40s.oom_point.preempts_at_per_s is None


def test_the_cheapest_that_keeps_the_slo_is_recommended(run: RunResult) -> None:
    assert run.recommendation.deployment == "L40S"
    assert run.recommendation.usd_per_hour == 1.0


def test_a_cost_comes_per_token_at_this_load_and_at_the_slo_capacity(l40s: DeploymentResult) -> None:
    assert l40s.cost is not None
    assert l40s.cost.usd_per_million_output_tokens == pytest.approx(1e6 / 3600 / 400, rel=0.1), "20 requests/s of 20 tokens"
    assert l40s.slo_capacity is not None
    at_slo = 1e6 / 3600 / (l40s.slo_capacity.value * 20)
    assert l40s.cost.usd_per_million_output_tokens_at_slo == pytest.approx(at_slo)


def test_a_run_survives_being_written_down(run: RunResult) -> None:
    again = from_summary(to_summary(run))
    assert again.recommendation.deployment == run.recommendation.deployment
    for before, after in zip(run.deployments, again.deployments, strict=True):
        assert (after.verdict, after.reason, after.notes) == (before.verdict, before.reason, before.notes)
        assert [p.rate_per_s for p in after.curve] == pytest.approx([p.rate_per_s for p in before.curve])


ONE = ("  - {name: H100, gpu: h100-sxm}\n", "")


def test_each_verdict_is_told_before_any_limit_is_searched(tmp_path: Path) -> None:
    told: list[str] = []
    scenario = load(small(tmp_path, ONE))
    result = review(
        scenario,
        progress=lambda name: told.append(f"{name} done"),
        verdicts=lambda d: told.append(f"{d.name} {d.verdict} {d.queueing_point}"),
        machine=HERE,
    )
    assert told == ["L40S stable None", "T4 does not fit None", "T4 done", "L40S done"]
    assert result.deployment("L40S").queueing_point is not None
    assert not result.interrupted


def test_an_interrupt_of_the_search_leaves_the_verdicts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(curve, "queueing_point", interrupted)
    result = review(load(small(tmp_path, ONE)), machine=HERE)
    l40s, t4 = result.deployments
    assert (l40s.verdict, l40s.queueing_point, l40s.curve) == ("stable", None, ())
    assert l40s.metrics is not None and l40s.assurance is not None
    assert SEARCH_INTERRUPTED in l40s.notes and SEARCH_INTERRUPTED not in t4.notes
    assert result.interrupted


def test_a_search_takes_no_more_requests_than_its_answer_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []
    serve = FleetPlan.serve

    def counted(plan: FleetPlan, requests: Requests, **more: Any) -> RunRecord:
        served.append(len(requests))
        return serve(plan, requests, **more)

    monkeypatch.setattr(FleetPlan, "serve", counted)
    found = review(load(small(tmp_path, ONE)), machine=HERE).deployment("L40S")
    assert found.queueing_point is not None
    assert sum(served) < 45_000


def test_processes_give_the_same_answer_bit_for_bit(tmp_path: Path, run: RunResult) -> None:
    other = review(load(small(tmp_path)), command="sim run small.yaml", machine=Processes(2))
    same = {"created_at": run.created_at}
    assert to_summary(dataclasses.replace(other, **same)) == to_summary(run)


def test_a_seed_of_ones_own_replaces_the_scenarios(tmp_path: Path, run: RunResult) -> None:
    other = review(load(small(tmp_path)), seed=8, curve=False, machine=HERE)
    assert other.seed == 8
    assert (other.deployment("H100").metrics or {})["ttft_p99_s"] != (run.deployment("H100").metrics or {})["ttft_p99_s"]


def test_an_overloaded_deployment_shows_no_steady_latency(tmp_path: Path) -> None:
    settings = [("workload.arrivals.rate", "500"), ("workload.requests", "3000")]
    found = review(load(small(tmp_path), settings), curve=False, machine=HERE).deployment("L40S")
    assert found.verdict == "overloaded"
    assert (found.metrics or {})["ttft_p99_s"] is None
    assert "backlog grows by" in found.reason
    assert found.slo_met is False


def test_a_closed_loop_says_where_its_throughput_levels_off(tmp_path: Path) -> None:
    """Beyond 64 users the others wait, for a replica runs 64 sequences."""
    path = small(tmp_path, ("{kind: poisson, rate: 20/s}", "{kind: closed_loop, concurrency: 8}"))
    found = review(load(path), machine=HERE).deployment("L40S")
    note = next(note for note in found.notes if note.startswith("throughput stops growing at about"))
    users = int(note.split()[5])
    assert 55 <= users <= 85


def test_traffic_too_long_to_be_tried_whole_says_what_other_rates_are_tried_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (curve, probes):
        monkeypatch.setattr(room, "WHOLE", 300)
    ramp = ("{kind: poisson, rate: 20/s}", "{kind: ramp, start: 10/s, end: 30/s, over: 20s}")
    found = review(load(small(tmp_path, ramp)), machine=HERE).deployment("L40S")
    assert any(note.startswith("curve and SLO capacity come from Poisson arrivals of the mean rate") for note in found.notes)


@pytest.mark.parametrize(("replicas", "noted"), [(1, True), (2, False)])
def test_more_tokens_than_one_api_server_may_stream_are_noted(tmp_path: Path, replicas: int, noted: bool) -> None:
    """Ten steps of 64 sequences in 0.1 s are some 6,000 tokens/s; of 128, 12,000."""
    many = [("workload.arrivals.rate", "500/s"), ("engine.max_num_seqs", "128"), ("deployments.L40S.replicas", f"{replicas}")]
    found = review(load(small(tmp_path), many), curve=False, machine=HERE).deployment("L40S")
    assert any("API server left out; a replica writes" in note for note in found.notes) is noted


def test_a_deployment_that_refuses_requests_says_how_many_why_and_what_would_let_them_in(tmp_path: Path) -> None:
    settings = [("workload.prompt", "{kind: uniform, min: 100, max: 6000}"), ("workload.requests", "200")]
    result = review(load(small(tmp_path), settings), curve=False, machine=HERE)
    found = result.deployment("L40S")
    assert found.metrics is not None
    refused = found.metrics["refused"]
    assert refused
    assert found.metrics["unanswered_share"] == refused / 200
    assert found.verdict == "requests unanswered"
    share = f"{100 * refused / 200:.3g}%"
    assert found.reason.startswith(f"{share} of the requests get no answer ({refused:.0f} of 200): {refused:.0f} refused, the ")
    assert "exceed max_model_len=4096; otherwise it keeps up" in found.reason
    assert found.slo_met is False
    assert f"{share} of the requests get no answer and p95 TTFT leaves out 5%" in [str(check) for check in found.slo]
    assert result.recommendation.deployment is None
    assert "Nothing here answers enough of the requests" in result.recommendation.sentence
    longest = int(found.remedies[0].split()[1].rstrip(":"))
    wider = review(load(small(tmp_path), [*settings, ("engine.max_model_len", str(longest))]), curve=False, machine=HERE)
    assert wider.deployment("L40S").verdict == "stable"


@pytest.mark.parametrize(("rate", "verdict"), [("200/s", "stable"), ("400/s", "overloaded")])
def test_the_queueing_point_decides_where_the_run_is_too_short(tmp_path: Path, rate: str, verdict: str) -> None:
    """60 requests are over before a backlog of steady traffic shows, or is seen not to be one; some 250/s are sustained."""
    short = load(small(tmp_path, ("rate: 20/s", f"rate: {rate}"), ("requests: 400", "requests: 60"), ("seed: 7", "seed: 17")))
    found = examine(short, short.deployments[1], sample(short.workload, short.seed))
    assert found.verdict == verdict
    assert found.slo_met is (verdict == "stable")
    assert "queueing point is 2" in found.reason


def test_a_class_is_held_to_its_own_slo(tmp_path: Path) -> None:
    classes = """classes:
    - {name: chat, share: 3, prompt: 100, output: 20, slo: {ttft_s: 0.001}}
    - {name: batch, share: 1, prompt: 200, output: 40}
"""
    mixed = load(small(tmp_path, ("prompt: 100\n  output: 20\n", classes)))
    found = examine(mixed, mixed.deployments[1], sample(mixed.workload, mixed.seed), curve=False)
    missed = {check.term for check in found.slo if not check.met}
    assert missed == {"chat: p99 TTFT"}
    assert {check.term for check in found.slo} == {"chat: p99 TTFT", "batch: p95 TTFT", "batch: p95 TPOT", "batch: goodput share"}
    assert found.metrics is not None
    assert found.metrics["goodput_share"] == pytest.approx(0.25, abs=0.05)
    assert "chat: p99 TTFT ≤ 0.001 s" in mixed.promises
