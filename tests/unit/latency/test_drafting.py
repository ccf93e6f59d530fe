"""What drafting and verifying add to a step."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.catalog import engine, gpu, model
from simulator.catalog.engine_args import EngineArgs
from simulator.errors import NotModelled
from simulator.latency.models import ConstantStep, MeasuredLayers, Roofline
from simulator.latency.step import StepTime, StepWork
from simulator.latency.target import Target
from simulator.memory.plan import plan_memory

DRAFTS = {"spec_method": "eagle3", "spec_tokens": 3}


def target(name: str = "llama-3.3-70b", card: str = "h100-sxm", **args: object) -> Target:
    given = EngineArgs(**{"tensor_parallel_size": 4, "max_model_len": 8192, **args})
    plan = plan_memory(model(name), None, gpu(card), given, engine("vllm-0.33.0"))
    return Target(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine)


def test_a_step_is_the_model_over_all_drafted_tokens_and_the_drafter() -> None:
    plain, drafting = (Roofline().bind(target(**given)) for given in ({}, DRAFTS))
    parts = Roofline().parts(target(**DRAFTS))
    assert drafting.verified == 4
    assert set(parts) - set(Roofline().parts(target())) == {"drafter"}
    one = StepWork(contexts=(1000,))
    alone, verified = plain.seconds(one), drafting.seconds(one)
    assert 1.0 < verified / alone < 1.3, "the weights of 80 layers are read once, those of one layer and a head thrice"
    many = StepWork(contexts=(1000,) * 256)
    assert drafting.seconds(many) / plain.seconds(many) > 1.5, "a full batch computes four times as much"


def test_the_work_of_a_step_adds_up_by_hand() -> None:
    time = StepTime(
        tokens=np.arange(21.0),
        sampled=10 * np.arange(17.0),
        per_sequence=100.0,
        per_context=0.5,
        per_pair=0.0,
        constant=1000.0,
        drafted=np.array([0.0, 3.0, 5.0, 6.0, 7.0]),
        verified=4,
    )
    step = StepWork(contexts=(10, 20), chunks=((0, 7, True), (0, 3, False)))
    expected = (8 + 10) + 10 * (8 + 1) + 4 * 100 + 0.5 * 30 + 1000 + 6.0
    assert time.seconds(step) == expected


def test_a_pass_more_costs_the_drafter_once_more() -> None:
    two, three, four = (Roofline().bind(target(**{**DRAFTS, "spec_tokens": n})).drafted[8] for n in (2, 3, 4))
    assert three - two == pytest.approx(four - three)
    assert three > two


def test_n_grams_cost_the_model_nothing() -> None:
    found = Roofline().parts(target(spec_method="ngram", spec_tokens=3))["drafter"]
    assert not found.tokens.any() and not found.sampled.any()
    assert found.drafted[100] == pytest.approx(100 * found.drafted[1])


def test_a_draft_model_runs_over_prompts_too() -> None:
    drafts = {"spec_model": "llama-3.2-1b", "spec_tokens": 3}
    found = Roofline().parts(target(**drafts))["drafter"]
    assert found.tokens[4096] > 4 * found.tokens[64]


def test_each_recurrent_state_is_kept_for_every_drafted_token() -> None:
    given = {"spec_method": "mtp", "spec_tokens": 3}
    one, other = (Roofline().parts(target("qwen3.5-27b", **args))["attention"] for args in ({}, given))
    assert other.per_sequence / one.per_sequence > 1.5


def test_medusa_heads_see_the_last_tokens_once() -> None:
    few, more = (Roofline().bind(target(spec_method="medusa", spec_tokens=n)).drafted[4] for n in (2, 4))
    assert 1.5 < more / few < 2.5


def test_latencies_of_ones_own_know_nothing_of_drafts(tmp_path: object) -> None:
    assert ConstantStep(step_ms=5).bind(target(**DRAFTS)).verified == 4
    with pytest.raises(NotModelled, match="layer times of one's own"):
        MeasuredLayers(path=tmp_path).bind(target(**DRAFTS))


def test_pipeline_stages_are_refused() -> None:
    found = target(**DRAFTS)
    staged = replace(found, args=replace(found.args, pipeline_parallel_size=2))
    with pytest.raises(NotModelled, match="pipeline stages"):
        Roofline().bind(staged)
