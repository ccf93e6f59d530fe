"""Scenarios that must agree: the same question asked in two ways, and a change that can only help."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from support.draws import TIMES
from support.planning_fixtures import small

from simulator import catalog
from simulator.latency.client import FrontEnd
from simulator.latency.models import Linear, Roofline
from simulator.planning.capacity.probes import full_server
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.report.comparison import comparison
from simulator.report.pages.run import run_page
from simulator.report.terminal import markdown
from simulator.results.files import write_run
from simulator.results.model import RunResult
from simulator.results.summary import to_summary
from simulator.scenario import Deployment, Scenario, load
from simulator.server import FleetPlan
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

CARDS = st.sampled_from(["l4", "l40s", "rtx-4090", "a100-80gb-sxm", "h100-sxm"])
MODELS = st.sampled_from(["llama-3.1-8b", "qwen3-8b", "gpt-oss-20b", "gemma-3-12b"])
LENGTHS = st.sampled_from([20, 300, {"kind": "uniform", "min": 5, "max": 700}])
drawn = settings(max_examples=max(4, TIMES), deadline=None)


@st.composite
def scenarios(draw: st.DrawFn, **changes: Any) -> Scenario:
    """One deployment under a light load."""
    arrivals = draw(st.sampled_from([{"kind": "poisson", "rate": 4}, {"kind": "constant", "rate": 7}]))
    asked = {"arrivals": arrivals, "prompt": draw(LENGTHS), "output": draw(LENGTHS), "requests": 120}
    engine = {"max_model_len": 4096, "max_num_seqs": draw(st.sampled_from([2, 16, 256]))}
    chosen: dict[str, Any] = {"latency": Linear(step_ms=8, token_us=draw(st.sampled_from([0.0, 20.0])))} | changes
    return Scenario(
        name="drawn",
        model=catalog.model(draw(MODELS)),
        engine=catalog.engine(draw(st.sampled_from(["vllm-0.11.0", "vllm-0.19.0"]))),
        workload=TypeAdapter(Workload).validate_python(asked),
        deployments=(Deployment(gpu=catalog.gpu(draw(CARDS)), name="one", **engine),),
        frontend=FrontEnd(queue=False),
        seed=draw(st.integers(0, 99)),
        **chosen,
    )


def started(scenario: Scenario, **changes: Any) -> FleetPlan | None:
    """The first deployment with engine arguments changed; None where it does not start."""
    fleet = plan_fleet(scenario, scenario.deployments[0].with_pool(**changes))
    return fleet if isinstance(fleet, FleetPlan) else None


@drawn
@given(scenarios(), st.integers(300, 3000), st.sampled_from([1.01, 1.5, 4.0]))
def test_more_kv_never_holds_fewer_and_never_carries_less(scenario: Scenario, blocks: int, more: float) -> None:
    few, many = (started(scenario, num_gpu_blocks_override=round(blocks * times)) for times in (1.0, more))
    if few is None or many is None:
        assert few is None
        return
    requests = sample(scenario.workload, scenario.seed)
    less, greater = full_server(few.server, requests), full_server(many.server, requests)
    assert greater.sequences >= less.sequences
    assert greater.requests_per_s >= less.requests_per_s * (1 - 1e-12)
    held = [fleet.serve(requests).stretches["sequences"].max() for fleet in (few, many)]
    assert held[1] >= held[0] or requests.hashes is not None


@drawn
@given(scenarios(latency=Roofline()), st.sampled_from([1.05, 2.0]), st.sampled_from([1.05, 2.0]))
def test_a_faster_card_never_carries_less(scenario: Scenario, memory: float, compute: float) -> None:
    """The same memory, read faster, and faster arithmetic: no step takes longer."""
    slow = started(scenario)
    if slow is None:
        return
    gpu = scenario.deployments[0].pool.gpu
    quicker = dataclasses.replace(
        gpu,
        memory_bytes_per_s=gpu.memory_bytes_per_s * memory,
        flops={kind: rate * compute for kind, rate in gpu.flops.items()},
    )
    fast = started(scenario, gpu=quicker)
    assert fast is not None
    before, after = slow.server.step_time, fast.server.step_time
    assert (after.tokens <= before.tokens * (1 + 1e-9)).all()
    requests = sample(scenario.workload, scenario.seed)
    rates = [full_server(fleet.server, requests).requests_per_s for fleet in (slow, fast)]
    assert rates[1] >= rates[0] * (1 - 1e-9)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return load(small(tmp_path_factory.mktemp("same"), ("requests: 400", "requests: 150")))


@pytest.fixture(scope="module")
def one(scenario: Scenario) -> RunResult:
    return review(scenario, machine=InProcess(), curve=False)


def test_the_order_of_deployments_changes_no_figure(scenario: Scenario, one: RunResult) -> None:
    turned = dataclasses.replace(scenario, deployments=scenario.deployments[::-1])
    other = review(turned, machine=InProcess(), curve=False)
    for d in one.deployments:
        assert _figures(one, d.name) == _figures(other, d.name)
    assert one.recommendation.sentence == other.recommendation.sentence


def _figures(run: RunResult, name: str) -> dict[str, Any]:
    (found,) = (d for d in to_summary(run)["deployments"] if d["name"] == name)
    return dict(found)


@drawn
@given(scenarios(), st.integers(2, 5), st.floats(1.0, 40.0))
def test_replicas_in_turn_at_their_share_are_one_replica_each(scenario: Scenario, replicas: int, rate: float) -> None:
    """Equal requests at even distances, in turn: each replica sees what one sees alone."""
    lengths = {"prompt": 200, "output": 30}
    alone, together = (
        TypeAdapter(Workload).validate_python(
            {"arrivals": {"kind": "constant", "rate": rate * times}, "requests": 60 * times, **lengths}
        )
        for times in (1, replicas)
    )
    one, many = started(scenario), started(scenario, replicas=replicas)
    if one is None or many is None:
        return
    first = one.serve(sample(alone, 1)).requests
    all_ = many.serve(sample(together, 1)).requests
    for name in ("first_token_s", "finish_s"):
        took, each = (rows[name] - rows["arrival_s"] for rows in (first, all_))
        np.testing.assert_allclose(np.sort(each), np.sort(np.repeat(took, replicas)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("one", "other"), [("4/s", "240/min"), ("0.5/s", "1800/h")])
def test_a_rate_is_the_same_in_any_unit(tmp_path: Path, one: str, other: str) -> None:
    first, second = (
        load(small(tmp_path, ("rate: 20/s", f"rate: {rate}"), ("requests: 400", "requests: 100"), name=f"{index}.yaml"))
        for index, rate in enumerate((one, other))
    )
    runs = [to_summary(review(each, machine=InProcess(), curve=False))["deployments"] for each in (first, second)]
    assert runs[0] == runs[1]


@drawn
@given(scenarios(), st.integers(1, 12))
def test_a_closed_loop_and_an_open_one_at_its_rate_hold_as_many(scenario: Scenario, users: int) -> None:
    """Little's law: users of a closed loop without thinking are its rate times its response."""
    fleet = started(scenario)
    if fleet is None:
        return
    lengths = {"prompt": 200, "output": 40}
    loop = TypeAdapter(Workload).validate_python(
        {"arrivals": {"kind": "closed_loop", "concurrency": users}, "requests": 40 * users, **lengths}
    )
    run = review(dataclasses.replace(scenario, workload=loop), machine=InProcess(), curve=False).deployments[0]
    assert run.metrics is not None
    rate, response = run.metrics["requests_per_s"], run.metrics["e2e_mean_s"]
    assert rate is not None and response is not None
    assert rate * response == pytest.approx(users, rel=0.06)


def test_page_markdown_and_summary_say_the_same_figures(one: RunResult) -> None:
    run = one
    page, text, summary = html.unescape(run_page(run)), markdown(run), to_summary(run)
    shown = re.sub(r"<[^>]+>", " ", page)
    said = 0
    for row in comparison(run):
        for d, stored in zip(run.deployments, summary["deployments"], strict=True):
            cell = row.say(d)
            if row.value(d) is None or not cell:
                continue
            assert cell in shown, (row.label, cell)
            assert cell in text.replace("\\", ""), (row.label, cell)
            assert stored["name"] == d.name
            said += 1
    assert said > 20
    for d, stored in zip(run.deployments, summary["deployments"], strict=True):
        assert (stored["metrics"] or {}) == pytest.approx(dict(d.metrics or {}), rel=1e-7)


def test_two_runs_leave_the_same_bytes_but_for_the_date(tmp_path: Path, scenario: Scenario, one: RunResult) -> None:
    folders = []
    for name, run in (("a", one), ("b", review(scenario, machine=InProcess(), curve=False))):
        pages = {"index.html": run_page(dataclasses.replace(run, created_at="")), "summary.md": markdown(run)}
        folders.append(write_run(run, tmp_path / name, pages))
    first, second = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    dates = [json.loads(files["summary.json"])["created_at"] for files in (first, second)]
    for files, date in zip((first, second), dates, strict=True):
        for name in ("summary.json", "summary.md"):
            files[name] = files[name].replace(date.encode(), b"").replace(date[:10].encode(), b"")
    assert first == second
