"""The workload block: what it accepts, what it refuses, and how its rate is swept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML
from support.workloads import ARRIVALS, workload, write_lines

from simulator.workload.arrivals.steady import Poisson
from simulator.workload.benchmarks import workload_of_command
from simulator.workload.fit.yaml import workload_yaml
from simulator.workload.lengths.presets import PRESETS
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

TRACE = [
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2023-11-16 18:00:00.5,100,10",
    "2023-11-16 18:00:02.5,200,20",
    "2023-11-16 18:00:04.5,300,30",
]


@pytest.fixture
def trace(tmp_path):
    return str(write_lines(tmp_path / "trace.csv", TRACE))


@pytest.mark.parametrize(
    "written", [a for a in ARRIVALS if not isinstance(a, dict) or a["kind"] not in ("all_at_once", "closed_loop")]
)
def test_any_arrivals_can_be_set_to_a_rate(written):
    assert workload(arrivals=written).at_rate(7).mean_rate() == pytest.approx(7)


@pytest.mark.parametrize("written", [{"kind": "all_at_once"}, {"kind": "closed_loop", "concurrency": 3}])
def test_what_has_no_rate_becomes_poisson_at_one(written):
    spec = workload(arrivals=written)
    assert spec.mean_rate() is None
    assert spec.at_rate(7).arrivals == Poisson(rate=7.0)
    assert spec.at_rate(7).prompt == spec.prompt


def test_a_rate_keeps_the_requests_and_squeezes_their_times():
    slow, fast = workload(arrivals="2/s"), workload(arrivals="2/s").at_rate(8)
    assert np.allclose(sample(slow, 1).arrival_s, 4 * sample(fast, 1).arrival_s)


def test_a_trace_is_set_to_a_rate_by_squeezing_its_times(trace):
    spec = workload(trace=trace)
    assert spec.mean_rate() == pytest.approx(0.5)
    assert sample(spec.at_rate(2), 1).arrival_s.tolist() == pytest.approx([0, 0.5, 1])


def test_a_negative_rate_cannot_be_swept_to():
    with pytest.raises(ValidationError, match="greater than 0"):
        workload().at_rate(-1)
    with pytest.raises(ValidationError, match="greater than 0"):
        dataclasses.replace(workload(), arrivals={"kind": "poisson", "rate": -1})


def test_the_rate_is_of_requests_though_they_come_in_sessions():
    spec = workload(arrivals="4/s", sessions={"kind": "conversation", "turns": 8, "think": 1}, requests=20_000)
    drawn = sample(spec, 1)
    assert spec.mean_rate() == 4
    assert len(drawn) / drawn.arrival_s[-1] == pytest.approx(4, rel=0.1)


def test_a_dataset_gives_lengths_and_what_is_written_beside_it_wins():
    plain, short = workload(dataset="rag"), workload(dataset="rag", output=5)
    assert plain.mix()[0].output_law() == PRESETS["rag"].output
    assert plain.mix()[0].rank_correlation() == PRESETS["rag"].correlation
    assert set(sample(short, 1).output_tokens) == {5}
    assert short.mix()[0].rank_correlation() == 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_dataset_names_its_source_and_can_be_drawn(name):
    assert len(PRESETS[name].source) > 20
    drawn = sample(workload(dataset=name, requests=20_000), 1)
    law = PRESETS[name]
    shared = law.prefix.expected() if law.prefix else 0
    assert drawn.prompt_tokens.mean() == pytest.approx(shared + law.prompt.expected(), rel=0.05)
    assert drawn.output_tokens.mean() == pytest.approx(PRESETS[name].output.expected(), rel=0.15)


def test_datasets_have_the_meaning_that_benchmark_clients_give_them() -> None:
    random = sample(workload(dataset="random", requests=10), 1)
    assert (set(random.prompt_tokens), set(random.output_tokens)) == ({1024}, {128})
    shared = workload(dataset="generated-shared-prefix")
    assert shared.mix()[0].prefix.stock() == 64 * 16
    assert dataclasses.replace(shared) == shared
    assert set(sample(shared, 1).prompt_tokens) == {2048 + 128}
    other = workload(dataset="generated-shared-prefix", prefix={"kind": "shared_prefix", "system_prompt_len": 10})
    assert set(sample(other, 1).prompt_tokens) == {10 + 128}
    asked = workload_of_command("vllm bench serve --dataset-name spec_bench --num-prompts 20 --request-rate 2")
    assert (asked.dataset, set(sample(asked, 1).output_tokens)) == ("spec_bench", {256})


def test_a_relative_trace_is_looked_for_in_the_folder_of_the_scenario():
    spec = workload(trace="t.csv").located(Path("/scenarios"))
    assert spec.trace.path == "/scenarios/t.csv"
    assert workload(trace="/data/t.csv").located(Path("/scenarios")).trace.path == "/data/t.csv"
    recorded = workload(arrivals={"kind": "recorded", "trace": "t.csv"}).located(Path("/scenarios"))
    assert recorded.arrivals.trace.path == "/scenarios/t.csv"
    assert workload().located(Path("/scenarios")) == workload()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"arrivals": None}, "say when requests arrive"),
        ({"requests": None}, "say how long"),
        ({"arrivals": {"kind": "all_at_once"}, "requests": None, "duration": 5}, "number of requests"),
        ({"arrivals": {"kind": "closed_loop", "concurrency": 2}, "requests": None, "duration": 5}, "number of requests"),
        ({"prompt": None}, "prompt and output, a dataset, classes, or a trace"),
        ({"dataset": "sharegtp"}, "did you mean 'sharegpt'"),
        ({"classes": [{"name": "a", "prompt": 1, "output": 1}], "prompt": 3, "output": 3}, "inside the classes"),
        ({"classes": [{"name": "a", "prompt": 1, "output": 1}] * 2}, "same name"),
        ({"classes": [{"name": "a", "prompt": 1}]}, "class 'a' needs prompt and output"),
        ({"classes": [{"name": "a", "prompt": 1, "output": 1, "arrivals": "1/s"}]}, "to the workload or to every class"),
        (
            {
                "classes": [{"name": n, "prompt": 1, "output": 1, "arrivals": a} for n, a in (("a", "1/s"), ("b", None))],
                "arrivals": None,
            },
            "to the workload or to every class",
        ),
        (
            {"classes": [{"name": "a", "prompt": 1, "output": 1, "arrivals": {"kind": "all_at_once"}}], "arrivals": None},
            "have no rate",
        ),
        (
            {"classes": [{"name": "a", "prompt": 1, "output": 1, "arrivals": "1/s"}], "arrivals": None, "requests": None},
            "say how long",
        ),
        ({"trace": "t.csv", "prompt": 3}, "leave out prompt"),
        ({"trace": {"path": "t.csv", "start": 10, "end": 10}}, "not after start"),
        ({"trace": {"path": "t.csv", "scale": "fast"}}, "write 2x"),
        ({"requests": 0}, "greater than or equal to 1"),
        ({"correlation": 1.5}, "less than or equal to 1"),
        ({"prefix": {"kind": "documents", "documents": 2, "document_len": 9, "per_request": 3}}, "exceeds the 2 documents"),
        (
            {"arrivals": {"kind": "closed_loop", "concurrency": 2}, "sessions": {"kind": "conversation", "turns": 2, "think": 1}},
            "not modelled",
        ),
        ({"sessions": {"kind": "chat", "turns": 2}}, "conversation"),
        ({"requets": 5}, "Unexpected keyword"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(written, told):
    with pytest.raises(ValidationError, match=told):
        workload(**written)


@pytest.mark.parametrize("written", [a for a in ARRIVALS if isinstance(a, dict) and a["kind"] in ("stages", "ramp", "recorded")])
def test_arrivals_that_end_by_themselves_need_no_end(written):
    assert len(sample(workload(arrivals=written, requests=None), 1)) > 0


@pytest.mark.parametrize(
    "spec",
    [
        workload(),
        workload(dataset="sharegpt", arrivals=ARRIVALS[7], requests=None, duration="10min"),
        workload(prompt={"kind": "quantiles", "points": {"p0": 3, "p14.93": 5, "p50": 9, "p100": 12}}, correlation=-0.2),
        workload(
            classes=[{"name": "long, and odd: name", "share": 0.3, "dataset": "rag"}, {"name": "b", "prompt": 1, "output": 2}]
        ),
        workload(sessions={"kind": "agent", "steps": 3, "tool_pause": "250ms", "tool_result": 40}),
        workload(trace={"path": "a b.csv", "scale": "2x", "columns": {"prompt": "in"}}),
    ],
    ids=range(6),
)
def test_a_pasted_block_reads_back_as_the_same_workload(spec):
    pasted = YAML(typ="safe").load(workload_yaml(spec))["workload"]
    assert workload(**({"prompt": None, "output": None, "arrivals": None, "requests": None} | pasted)) == spec
    assert isinstance(spec, Workload)
    assert max(len(line) for line in workload_yaml(spec).splitlines()) <= 120


def test_sharegpt_is_as_long_as_vllms_benchmark_draws_it() -> None:
    """1,000 prompts of 229,711 tokens and answers of 203,068, as vllm-project/vllm#18566 prints them."""
    drawn = PRESETS["sharegpt"]
    assert drawn.prompt.expected() == pytest.approx(229.7, rel=0.03)
    assert drawn.output.expected() == pytest.approx(203.1, rel=0.03)
