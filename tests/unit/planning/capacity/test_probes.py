"""The traffic at other rates: what is kept of its pattern, and what a search for the queueing point is asked with."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.planning_fixtures import small
from support.workloads import workload, write_lines

from simulator.engine.record import RunRecord
from simulator.planning.capacity import probes
from simulator.planning.capacity.curve import capacity
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.capacity.probes import WHOLE, full_server, requests_at_rate, work_error
from simulator.planning.capacity.search import queueing_point
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.model import DeploymentResult
from simulator.scenario import load
from simulator.server import FleetPlan
from simulator.workload.requests import Requests
from simulator.workload.sample import sample


def _class(name: str, rate: float, *, every: str, prompt: int) -> dict:
    arrivals = {"kind": "stages", "rates": [rate, 3 * rate], "every": every}
    return {"name": name, "arrivals": arrivals, "prompt": prompt, "output": 10}


def _classes(every: str):
    mix = [_class("short", 2.0, every=every, prompt=10), _class("long", 1.0, every=every, prompt=1000)]
    return workload(arrivals=None, prompt=None, output=None, requests=None, classes=mix)


def _trace(folder: Path, rows: Iterable[str]) -> Path:
    return write_lines(folder / "trace.csv", ["arrived_at,num_prefill_tokens,num_decode_tokens", *rows])


def _first(path: Path) -> DeploymentResult:
    """What becomes of the first deployment of a scenario."""
    scenario = load(path)
    one = dataclasses.replace(scenario, deployments=scenario.deployments[:1])
    return review(one, machine=InProcess()).deployments[0]


def test_classes_with_patterns_of_their_own_keep_them() -> None:
    drawn = requests_at_rate(_classes("500s"), 12.0, 2_000, seed=1)
    assert len(drawn) == pytest.approx(12_000, rel=0.05)
    assert (drawn.arrival_s > 500).mean() == pytest.approx(0.75, abs=0.02)


def test_patterns_too_long_to_be_tried_whole_are_evened_class_by_class() -> None:
    drawn = requests_at_rate(_classes("1h"), 12.0, 2_000, seed=1)
    assert len(drawn) == 2_000
    assert len(drawn) / drawn.arrival_s[-1] == pytest.approx(12.0, rel=0.1)
    assert (drawn.prompt_tokens == 1000).mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(("most", "grows"), [(300, True), (299, False)])
def test_a_pattern_is_kept_up_to_as_many_requests_as_are_tried(monkeypatch: pytest.MonkeyPatch, most: int, grows: bool) -> None:
    monkeypatch.setattr(probes, "WHOLE", most)
    ramp = {"kind": "ramp", "start": 0, "end": 8, "over": 100}
    drawn = requests_at_rate(workload(arrivals=ramp, requests=300), 4.0, 200, seed=1)
    assert (len(drawn) == 300) is grows
    assert (np.median(drawn.arrival_s) > 0.6 * drawn.arrival_s[-1]) == grows


def test_a_trace_is_tried_whole(tmp_path: Path) -> None:
    path = _trace(tmp_path, (f"{i},9,9" for i in range(3_000)))
    replayed = workload(arrivals=None, prompt=None, output=None, requests=None, trace={"path": str(path)})
    assert len(requests_at_rate(replayed, 5.0, 2_000, seed=1)) == 3_000 < WHOLE


def test_a_day_whose_evenings_are_heavier_has_one_queueing_point(tmp_path: Path) -> None:
    """Light requests for the first half and heavy ones after: a share of them is as heavy as the whole, wherever it is taken."""
    rows = (f"{i / 10},{10 if i < 10_000 else 500},{5 if i < 10_000 else 40}" for i in range(20_000))
    _trace(tmp_path, rows)
    text = small(tmp_path).read_text("utf-8")
    start, end = text.index("workload:"), text.index("slo:")
    path = tmp_path / "halves.yaml"
    path.write_text(f"{text[:start]}workload: {{trace: {{path: trace.csv}}}}\n{text[end:]}", "utf-8")
    scenario = load(path)
    fleet = plan_fleet(scenario, scenario.deployments[0])
    full = full_server(fleet.server, sample(scenario.workload, scenario.seed))
    asked = probes.probes(fleet, scenario.workload, full, scenario.seed)
    rate = 1.3 * full.requests_per_s
    assert asked.mixed(rate).grows
    assert asked.mixed(rate).completed_per_s == pytest.approx(asked.burst(rate).completed_per_s, rel=0.02)
    calm = asked.calm(0.7 * full.requests_per_s)
    assert calm.keeps_up(0.02)
    assert np.isclose(calm.completed_per_s, calm.offered_per_s, rtol=0.01)


def test_conversations_have_a_queueing_point_whatever_rate_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their later turns wait for the earlier ones, so at any rate as many leave as come once the last conversation has begun."""
    monkeypatch.setattr(probes, "WHOLE", 10_000)
    talks = "sessions: {kind: conversation, turns: 4, think: 2}"
    scenario = load(small(tmp_path, ("arrivals:", f"{talks}\n  arrivals:")))
    fleet = plan_fleet(scenario, scenario.deployments[0])
    full = full_server(fleet.server, sample(scenario.workload, scenario.seed))
    flow = probes.probes(fleet, scenario.workload, full, scenario.seed).mixed
    assert [flow(times * full.requests_per_s).grows for times in (0.5, 2.0, 1000.0)] == [False, True, True]
    assert flow(0.5 * full.requests_per_s).keeps_up(0.05)
    found = queueing_point(flow, full.requests_per_s)
    assert 0.7 * full.requests_per_s < found.value < 3 * full.requests_per_s


def test_a_handful_of_requests_that_share_prefixes_has_no_queueing_point_and_the_result_says_why(tmp_path: Path) -> None:
    rows = [f'{{"timestamp": {1000 * i}, "input_length": 600, "output_length": 9, "hash_ids": [1, {i}]}}' for i in range(9)]
    write_lines(tmp_path / "few.jsonl", rows)
    text = small(tmp_path).read_text("utf-8")
    path = tmp_path / "few.yaml"
    path.write_text(
        f"{text[: text.index('workload:')]}workload: {{trace: {{path: few.jsonl}}}}\n{text[text.index('slo:') :]}", "utf-8"
    )
    found = _first(path)
    assert found.queueing_point is None
    assert found.verdict == "stable"
    assert "no queueing point and no curve: 9 requests that share prefixes are too few to overload it for long" in found.notes


def test_a_single_request_of_a_pattern_with_shared_prefixes_is_searched_as_more_of_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "WHOLE", 10_000)
    text = small(tmp_path, ("requests: 400", "requests: 1\n  prefix: {kind: shared_prefix, system_prompt_len: 64}")).read_text(
        "utf-8"
    )
    path = tmp_path / "one.yaml"
    path.write_text(text.replace("{kind: poisson, rate: 20/s}", "{kind: stages, rates: [10/s, 30/s], every: 60 s}"), "utf-8")
    assert _first(path).queueing_point is not None


def test_the_mean_work_of_drawn_requests_is_known_to_within_their_spread() -> None:
    """Half of the requests are three times the work of the others: half of the mean is their deviation."""
    full = Ceiling(1.0, 1.0, prompt_token_s=0.0, output_token_s=1.0, kv_sequences=1.0)
    asked = Requests(np.zeros(100), np.ones(100, np.int64), np.tile([1, 3], 50))
    assert work_error(full, asked, 10_000) == pytest.approx(1.96 * 0.5 / 100)


def test_turns_of_a_conversation_are_drawn_together() -> None:
    """Conversations of four equal turns: four times the variance of as many requests by themselves."""
    full = Ceiling(1.0, 1.0, prompt_token_s=0.0, output_token_s=1.0, kv_sequences=1.0)
    asked = Requests(
        np.zeros(400), np.ones(400, np.int64), np.tile(np.repeat([1, 3], 4), 50),
        previous=np.where(np.arange(400) % 4, np.arange(400) - 1, -1), think_s=np.zeros(400),
    )  # fmt: skip
    assert work_error(full, asked, 10_000) == pytest.approx(2 * 1.96 * 0.5 / 100)


def test_the_interval_of_a_queueing_point_is_no_narrower_than_the_draw_of_its_requests(tmp_path: Path) -> None:
    """One in ten is 54 times the work, so their number in the draw moves the point by 1.5 %, one standard deviation."""
    classes = "classes: [{name: a, share: 9, prompt: 50, output: 5}, {name: b, prompt: 3000, output: 200}]"
    changes = (("prompt: 100\n  output: 20", classes), ("token_us: 1}", "token_us: 50}"))
    scenario = load(small(tmp_path, *changes, ("requests: 400", "requests: 2000")))
    plan, requests = plan_fleet(scenario, scenario.deployments[0]), sample(scenario.workload, 7)
    point = capacity(scenario, plan, requests).queueing
    assert point.high is not None
    assert 1 - point.low / point.value > 1.96 * 0.014
    assert point.high / point.value - 1 > 1.96 * 0.014


@pytest.mark.parametrize("arrivals", ["poisson", "{kind: gamma, rate: 20, cv: 2}"])
def test_fewer_requests_at_another_rate_are_the_first_of_what_is_drawn_once(tmp_path: Path, arrivals: str) -> None:
    kind = arrivals if arrivals.startswith("{") else "{kind: poisson, rate: 20}"
    lengths = ("prompt: 100\n  output: 20", "prompt: {kind: lognormal, mean: 100, p95: 300}\n  output: 20")
    drawn = load(small(tmp_path, ("{kind: poisson, rate: 20/s}", kind), lengths)).workload
    found = requests_at_rate(drawn, 3.0, 700, seed=5)
    alone = sample(dataclasses.replace(drawn.at_rate(3.0), requests=700, duration=None), 5)
    assert np.allclose(found.arrival_s, alone.arrival_s, rtol=1e-12)
    assert np.array_equal(found.prompt_tokens, alone.prompt_tokens)


def _asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[probes.Probes, list[int]]:
    """The probes of a small deployment, and how many requests each simulation of them has."""
    monkeypatch.setattr(probes, "WHOLE", 40_000)
    scenario = load(small(folder, ("token_us: 1}", "token_us: 50}")))
    fleet = plan_fleet(scenario, scenario.deployments[0])
    assert isinstance(fleet, FleetPlan)
    full = full_server(fleet.server, sample(scenario.workload, scenario.seed))
    counts: list[int] = []
    serve = FleetPlan.serve

    def counted(self: FleetPlan, requests: Requests, **how: Any) -> RunRecord:
        counts.append(len(requests))
        return serve(self, requests, **how)

    monkeypatch.setattr(FleetPlan, "serve", counted)
    return probes.probes(fleet, scenario.workload, full, scenario.seed), counts


def test_a_calm_run_is_long_only_where_a_short_one_does_not_fill_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, counts = _asked(tmp_path, monkeypatch)
    rate = asked.traffic.full.requests_per_s
    assert asked.calm(1.2 * rate).grows
    assert len(counts) == 1
    assert asked.calm(0.8 * rate).keeps_up(0.02)
    assert len(counts) == 3
    assert counts[2] > 3 * counts[1]


def test_each_rate_is_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, counts = _asked(tmp_path, monkeypatch)
    first = asked.burst(300.0)
    assert asked.burst(300.0) is first
    assert len(counts) == 1


@pytest.mark.parametrize("requests", [1_000, 3_072])
def test_nearly_poisson_arrivals_come_as_fast_at_their_end(requests: int) -> None:
    """A last stratum of fewer requests is as much shorter."""
    times = probes._nearly_poisson(requests, 1)
    assert requests - 100 <= times[-1] <= requests
    late = times[times > times[-1] - 50]
    assert 25 <= len(late) <= 100
