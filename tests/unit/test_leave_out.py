"""The refit that leaves a combination of model and GPU out."""

import numpy as np
import pytest
from support.latency_cases import case

from benchmarks.leave_out import PARTS, Figure, Refitted, multipliers
from simulator.latency.models import Roofline
from simulator.latency.step import StepWork

PROMPT = StepWork(chunks=((0, 1024, True),))


def figures(combination: str, error: float, part: str, count: int = 20) -> list[Figure]:
    shares = np.array([0.9 if name == part else 0.02 for name in PARTS])
    return [Figure((combination, "h100"), "tpot_ms", error, shares) for _ in range(count)]


def test_a_part_that_takes_too_long_in_all_rows_is_scaled_towards_what_they_ask() -> None:
    found = dict(zip(PARTS, multipliers(figures("a", 0.05, "gemm") + figures("b", 0.05, "gemm")), strict=True))
    assert found["gemm"] == pytest.approx(0.05 / 0.9, rel=0.1)
    assert abs(found["experts"]) < 0.005


def test_what_one_combination_alone_asks_for_is_not_in_a_fit_without_it() -> None:
    others = figures("b", 0.0, "experts")
    with_it, without_it = multipliers(figures("a", 0.1, "gemm") + others), multipliers(others)
    assert with_it[0] > 0.05
    assert np.abs(without_it).max() < 1e-9


def test_the_refitted_roofline_scales_the_parts_it_names_and_no_other() -> None:
    c = case("llama-3.1-8b")
    usual, refitted = c.bind(), c.bind(Refitted({"gemm": 1.5}))
    added = 0.5 * Roofline().parts(c.target)["gemm"].seconds(PROMPT)
    assert refitted.seconds(PROMPT) - usual.seconds(PROMPT) == pytest.approx(added)
