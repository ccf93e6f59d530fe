"""Calibrations: what factors do to a step time, and files of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.latency_cases import case

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.errors import MeasurementError
from simulator.latency.calibration import (
    Calibration,
    DecodeFactor,
    Factors,
    apply,
    decode_factor,
    dump_calibration,
    load_calibration,
)
from simulator.latency.step import StepWork

LLAMA = case("llama-3.1-8b")
ONE = Factors(
    model="llama-3.1-8b", gpu="h100-sxm", quantization="bf16", decode=(DecodeFactor(sequences=8, factor=1.2, percent=5.0),)
)
TWO = replace(
    ONE, decode=(DecodeFactor(sequences=4, factor=1.1, percent=5.0), DecodeFactor(sequences=64, factor=1.4, percent=5.0))
)


def test_one_factor_scales_every_decode_step_and_leaves_what_prompts_add() -> None:
    before, after = LLAMA.bind(), apply(LLAMA.bind(), ONE)
    decodes, prompt = StepWork((700,) * 8), StepWork((), ((0, 512, True),))
    assert after.seconds(decodes) == pytest.approx(1.2 * before.seconds(decodes))
    assert after.tokens[1000] - after.tokens[500] == pytest.approx(before.tokens[1000] - before.tokens[500])
    assert before.seconds(prompt) < after.seconds(prompt) < 1.2 * before.seconds(prompt)


def test_between_two_concurrencies_the_factor_goes_with_the_logarithm() -> None:
    assert decode_factor(TWO, np.array([1.0, 4.0, 16.0, 64.0, 900.0])) == pytest.approx([1.1, 1.1, (1.1 * 1.4) ** 0.5, 1.4, 1.4])


def test_decodes_take_the_factor_of_their_number() -> None:
    before, after = LLAMA.bind(), apply(LLAMA.bind(), TWO)
    tokens = before.tokens + before.constant
    assert after.tokens[4] == pytest.approx(1.1 * tokens[4])
    assert after.tokens[64] == pytest.approx(1.4 * tokens[64])


def test_prompts_take_a_factor_of_their_own_beyond_the_decodes() -> None:
    before, after = LLAMA.bind(), apply(LLAMA.bind(), replace(TWO, prefill=0.8))
    added = after.tokens[2000] - after.tokens[1000]
    assert added == pytest.approx(0.8 * (before.tokens[2000] - before.tokens[1000]))
    assert after.per_pair == pytest.approx(0.8 * before.per_pair)


def test_windows_are_scaled_with_the_rest() -> None:
    gemma = case("gemma-3-27b").bind()
    assert apply(gemma, ONE).windows[0].per_context == pytest.approx(1.2 * gemma.windows[0].per_context)


def test_without_factors_a_step_time_stays_what_it_is() -> None:
    step_time = LLAMA.bind()
    assert apply(step_time, None) is step_time


def test_factors_are_found_for_the_configuration_they_were_fitted_on() -> None:
    calibration = Calibration(source="runs.csv", fitted="2026-11-24", factors=(ONE,))
    assert calibration.find(LLAMA.model, None, LLAMA.gpu, LLAMA.args, LLAMA.engine) == ONE
    assert calibration.find(LLAMA.model, None, LLAMA.gpu, replace(LLAMA.args, tensor_parallel_size=2), LLAMA.engine) is None
    packed = case("llama-3.1-8b", form="fp8")
    assert calibration.find(packed.model, packed.quantization, packed.gpu, packed.args, packed.engine) is None


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    calibration = Calibration(
        source="runs.csv", fitted="2026-11-24", factors=(ONE, replace(TWO, tensor_parallel_size=2, prefill=0.9))
    )
    file = tmp_path / "calibration.yaml"
    file.write_text(dump_calibration(calibration))
    assert load_calibration(file) == calibration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source: [", "not YAML"),
        ("source: a\nfitted: b\n", "factors: Field required"),
        ("- 1\n", "the file: "),
        (dump_calibration(Calibration(source="a", fitted="b", factors=(ONE,))).replace("1.2", "0"), "factors.0.decode.0.factor"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "calibration.yaml"
    file.write_text(text)
    with pytest.raises(MeasurementError, match=said) as refused:
        load_calibration(file)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no such file; `sim calibrate` writes a calibration"):
        load_calibration(tmp_path / "gone.yaml")


def test_factors_of_one_release_and_of_expert_parallelism_are_not_those_of_another() -> None:
    mixture, card, release = catalog.model("qwen3-30b-a3b"), catalog.gpu("h100"), catalog.engine("vllm-0.19.0")
    fitted = replace(ONE, model=mixture.name, engine="vllm-0.19")
    known = Calibration(source="runs.csv", fitted="2026-11-30", factors=(fitted,))

    def found(args: EngineArgs, version: str) -> Factors | None:
        return known.find(mixture, None, card, args, catalog.engine(version))

    assert found(EngineArgs(), "vllm-0.19.1") == known.find(mixture, None, card, EngineArgs(), release) == fitted
    assert found(EngineArgs(), "vllm-0.24.0") is found(EngineArgs(enable_expert_parallel=True), "vllm-0.19.0") is None


def test_between_two_points_calibrated_steps_follow_the_predicted_ones() -> None:
    """A server that takes 3 ms more for every step, whatever is in it, is one at every number between."""
    before = LLAMA.bind()
    whole = before.tokens + before.constant
    slower = [DecodeFactor(sequences=n, factor=float(1 + 3e-3 / whole[n]), percent=5.0) for n in (4, 64)]
    after = apply(before, replace(ONE, decode=tuple(slower)))
    assert after.tokens[4:65] - whole[4:65] == pytest.approx(3e-3)
