"""The simple models, and layer profiles of one's own."""

from pathlib import Path

import numpy as np
import pytest
from support.latency_cases import case
from support.shared import SHARED, needs_shared

from simulator.errors import MeasurementError, NotModelled
from simulator.latency.layer_profiles import Curve, read_profile
from simulator.latency.models import ConstantStep, Linear, MeasuredLayers
from simulator.latency.step import StepWork

LLAMA = case("llama-3.1-8b")
STEP = StepWork((100, 300), ((0, 50, True),))
DENSE = (
    "layer,tokens,time_us\nqkv_proj,1,10\nqkv_proj,1024,1033\nlayernorm,1,2\nlayernorm,1024,2\nembedding,1,5\nembedding,1024,5\n"
)
SAMPLED = "layer,sequences,time_us\nlm_head,1,100\nlm_head,64,163\n"


def attention() -> str:
    """Exactly 8 us a call, 0.5 us a sequence, 0.01 us a context token, 0.02 us a prompt token, 0.0001 us a pair."""
    rows = ["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"]
    rows += [f"0,0,{n},{kv},{8 + 0.5 * n + 0.01 * n * kv}" for n in (1, 8, 64) for kv in (100, 4096)]
    rows += [f"{c},{kv},0,0,{8 + 0.02 * c + 1e-4 * c * (kv + c / 2)}" for c in (64, 1024) for kv in (0, 2048)]
    return "\n".join(rows) + "\n"


def profile(folder: Path, **changed: str) -> Path:
    for name, text in {"dense": DENSE, "per_sequence": SAMPLED, "attention": attention(), **changed}.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_a_constant_step_takes_the_same_whatever_is_in_it() -> None:
    step_time = LLAMA.bind(ConstantStep(step_ms=7.5))
    assert step_time.seconds(STEP) == step_time.seconds(StepWork((1,))) == pytest.approx(0.0075)


def test_a_linear_step_adds_what_each_token_sequence_and_context_token_takes() -> None:
    step_time = LLAMA.bind(Linear(step_ms=5.0, token_us=10.0, sequence_us=100.0, context_token_us=0.5))
    assert step_time.seconds(STEP) == pytest.approx(0.005 + 52 * 10e-6 + 3 * 100e-6 + 400 * 0.5e-6)


def test_a_profile_is_summed_over_layers_as_often_as_each_runs(tmp_path: Path) -> None:
    found = read_profile(profile(tmp_path))
    assert found.layer.at(np.array([1.0]))[0] == pytest.approx(14e-6), "10 for the projection and twice 2 for its norms"
    assert found.once.at(np.array([1.0]))[0] == pytest.approx(5e-6)
    assert found.layer.at(np.array([512.5]))[0] == pytest.approx(14e-6 + 511.5e-6)


def test_attention_of_a_profile_is_told_apart_into_its_terms(tmp_path: Path) -> None:
    found = read_profile(profile(tmp_path)).attention
    assert found.call == pytest.approx(8e-6)
    assert found.per_sequence == pytest.approx(0.5e-6)
    assert found.per_context == pytest.approx(0.01e-6)
    assert found.per_token == pytest.approx(0.02e-6)
    assert found.per_pair == pytest.approx(1e-10)
    assert found.typical_error < 1e-6


def test_a_measured_step_is_the_profile_and_the_engines_own_work(tmp_path: Path) -> None:
    c = case("llama-3.1-8b", max_num_batched_tokens=1024)
    engine = c.parts()["engine"].seconds(STEP)
    layers = 32 * (14 + 51 * 1 + 8 + 52 * 0.02 + 3 * 0.5 + 400 * 0.01 + 50 * 25 * 1e-4) * 1e-6
    assert c.bind(MeasuredLayers(path=profile(tmp_path))).seconds(STEP) == pytest.approx(
        layers + 5e-6 + 102e-6 + engine, rel=1e-6
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_num_batched_tokens": 2048}, "measured to 1024 tokens and 64 sequences"),
        ({"max_num_batched_tokens": 1024, "max_num_seqs": 128}, "measured to 1024 tokens and 64 sequences"),
        ({"max_num_batched_tokens": 1024, "max_model_len": 16384}, "contexts of up to 4096 tokens"),
    ],
)
def test_beyond_what_was_measured_nothing_is_guessed(tmp_path: Path, given: dict[str, int], said: str) -> None:
    with pytest.raises(NotModelled, match=said):
        case("llama-3.1-8b", **given).bind(MeasuredLayers(path=profile(tmp_path)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dense": "layer,tokens\nq,1\n"}, r"dense.csv: columns missing: time_us"),
        ({"dense": "layer,tokens,time_us\nq,one,5\n"}, r"column tokens: 'one' is not a number"),
        ({"dense": "layer,tokens,time_us\nq,1,0\n"}, r"column time_us: '0' cannot be"),
        ({"per_sequence": "layer,sequences,time_us\n"}, "per_sequence.csv: no rows under its columns"),
        ({"attention": attention().split("64,0,0,0")[0]}, "rows of decodes alone"),
    ],
)
def test_a_bad_profile_is_refused_with_file_and_column(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(MeasurementError, match=said):
        read_profile(profile(tmp_path, **changed))


def test_a_folder_without_a_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"dense\.csv: no such file; a profile has dense\.csv"):
        read_profile(tmp_path)


def test_a_curve_is_not_read_beyond_its_end() -> None:
    curve = Curve(np.array([1.0, 8.0]), np.array([1e-5, 8e-5]))
    assert curve.at(np.array([0.0, 4.5]))[1] == pytest.approx(4.5e-5)
    with pytest.raises(MeasurementError, match="measured up to 8, asked for 9"):
        curve.at(np.array([9.0]))


@needs_shared
def test_a_measured_rtx_4090_and_our_roofline_agree() -> None:
    """Two independent readings of the same card, LLMServingSim's layer times and our coefficients: within 10 %."""
    c = case("llama-3.1-8b", "rtx 4090")
    measured = c.bind(MeasuredLayers(path=SHARED / "calibration" / "rtx4090_meta-llama_llama-3.1-8b_bf16_tp1"))
    for step in (StepWork((500,) * 8), StepWork((1500,) * 64), StepWork((), ((0, 2048, True),))):
        assert measured.seconds(step) == pytest.approx(c.bind().seconds(step), rel=0.10)
