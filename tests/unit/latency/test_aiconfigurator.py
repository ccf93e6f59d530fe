"""Measured kernels of the optional package: taken where they are, refused where they are not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support.latency_cases import case, write_silicon

from simulator.errors import NotModelled
from simulator.latency.aiconfigurator import KernelCurve
from simulator.latency.models import Silicon
from simulator.latency.step import StepWork

STEP = StepWork((300,) * 8, ((0, 100, True),))


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **given: object) -> None:
    write_silicon(tmp_path, **given)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_tables_that_agree_with_the_roofline_give_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = (*range(1, 65), 128, 2048)
    installed(tmp_path, monkeypatch, tokens=tokens)
    c = case("llama-3.1-8b")
    for step in (StepWork((300,) * 8), StepWork((), ((0, 2048, True),))):
        assert c.bind(Silicon()).seconds(step) == pytest.approx(c.bind().seconds(step), rel=1e-6)


def test_slower_matmuls_make_the_step_as_much_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, matmul_ms=1.5, tokens=(*range(1, 129), 4096))
    c = case("llama-3.1-8b")
    added = 0.5 * c.parts()["gemm"].seconds(STEP)
    assert c.bind(Silicon()).seconds(STEP) - c.bind().seconds(STEP) == pytest.approx(added, rel=1e-3)


def test_experts_are_taken_where_their_shape_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    c = case("qwen3-30b-a3b")
    difference = c.bind(Silicon()).seconds(STEP) - c.bind().seconds(STEP)
    matmuls = 48 * 0.002 - c.parts()["experts"].seconds(STEP)
    assert difference == pytest.approx(matmuls, rel=0.1), "2 ms in each of 48 layers, and matmuls between few measured points"


@pytest.mark.parametrize(
    ("name", "card", "given", "said"),
    [
        ("llama-3.1-8b", "rtx 4090", {}, "no measured kernels of rtx_4090 under vllm"),
        ("llama-3.1-8b", "h100", {"form": "fp8"}, "no fp8 matmuls were measured"),
        ("llama-3.1-8b", "h100", {"max_num_batched_tokens": 8192}, "measured up to 4096 tokens a step, not 8192"),
        ("qwen3-30b-a3b", "h100", {"tensor_parallel_size": 2}, r"no bfloat16 experts were measured with hidden 2048, width 768"),
        ("llama-3.1-405b", "h100", {}, "matmuls of n 106496 are beyond what was measured, 64 to 65536"),
    ],
)
def test_what_was_not_measured_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, card: str, given: dict[str, object], said: str
) -> None:
    installed(tmp_path, monkeypatch)
    with pytest.raises(NotModelled, match=said):
        case(name, card, **given).bind(Silicon())


def test_without_the_package_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    monkeypatch.setattr("simulator.latency.aiconfigurator.find_spec", lambda name: None)
    with pytest.raises(NotModelled, match=r"pip install inference-sizing-simulator\[silicon\]"):
        case("llama-3.1-8b").bind(Silicon())


def test_a_curve_is_straight_in_logarithms() -> None:
    curve = KernelCurve(np.array([1.0, 100.0]), np.array([1e-5, 1e-3]))
    assert curve.at(np.array([0.0, 1.0, 10.0])) == pytest.approx([0.0, 1e-5, 1e-4])
