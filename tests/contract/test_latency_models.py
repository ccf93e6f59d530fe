"""What every latency model keeps."""

from pathlib import Path

import numpy as np
import pytest
from support.latency_cases import CASES, Case, case, write_silicon

from simulator.latency.models import ConstantStep, LatencySpec, Linear, MeasuredLayers, Roofline, Silicon
from simulator.latency.step import StepTime, StepWork
from simulator.spec import variants

STEPS = [
    StepWork((1,)),
    StepWork((500,) * 64),
    StepWork((), ((0, 2048, True),)),
    StepWork((2000, 3), ((0, 700, False), (512, 300, True))),
]
FOLDER = {
    "dense": "layer,tokens,time_us\nqkv_proj,1,10\nqkv_proj,2048,2000\n",
    "per_sequence": "layer,sequences,time_us\nlm_head,1,100\nlm_head,64,163\n",
    "attention": "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n"
    + "".join(f"0,0,{n},{kv},{8 + n + 0.01 * n * kv}\n" for n in (1, 8, 64) for kv in (100, 4096))
    + "64,0,0,0,10\n1024,0,0,0,80\n1024,2048,0,0,280\n",
}


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LatencySpec]:
    for name, text in FOLDER.items():
        (tmp_path / f"{name}.csv").write_text(text)
    write_silicon(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    linear = Linear(step_ms=5.0, token_us=20.0, context_token_us=0.1)
    return [ConstantStep(step_ms=10.0), linear, Roofline(), Silicon(), MeasuredLayers(path=tmp_path)]


def bound(examples: list[LatencySpec]) -> list[StepTime]:
    return [case("llama-3.1-8b").bind(example) for example in examples]


def test_there_is_an_example_of_every_variant(examples: list[LatencySpec]) -> None:
    assert {type(example) for example in examples} == set(variants(LatencySpec))


def test_tables_reach_to_the_limits_of_the_engine(examples: list[LatencySpec]) -> None:
    for step_time in bound(examples):
        assert step_time.tokens.shape == (2049,)
        assert step_time.sampled.shape == (65,)


def test_seconds_are_finite_and_not_negative(examples: list[LatencySpec]) -> None:
    for step_time in bound(examples):
        assert np.isfinite(step_time.tokens).all()
        assert (step_time.tokens >= 0).all()
        assert np.isfinite(step_time.sampled).all()
        assert (step_time.sampled >= 0).all()
        for step in STEPS:
            assert 0 < step_time.seconds(step) < 60


def test_longer_contexts_do_not_make_a_step_faster(examples: list[LatencySpec]) -> None:
    for step_time in bound(examples):
        assert step_time.seconds(StepWork((4000,) * 8)) >= step_time.seconds(StepWork((40,) * 8))


def test_binding_twice_gives_the_same(examples: list[LatencySpec]) -> None:
    for first, second in zip(bound(examples), bound(examples), strict=True):
        assert np.array_equal(first.tokens, second.tokens)
        assert first.seconds(STEPS[3]) == second.seconds(STEPS[3])


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.name)
def test_a_roofline_holds_for_every_kind_of_model_and_parallelism(c: Case) -> None:
    step_time = c.bind()
    assert np.isfinite(step_time.tokens).all()
    assert (step_time.tokens >= 0).all()
    assert min(step_time.per_sequence, step_time.per_context, step_time.per_pair, step_time.constant) >= 0
    assert step_time.seconds(StepWork((100,) * 64)) > step_time.seconds(StepWork((100,)))
    assert step_time.seconds(StepWork((), ((0, 2000, True),))) > step_time.seconds(StepWork((), ((0, 20, True),)))
