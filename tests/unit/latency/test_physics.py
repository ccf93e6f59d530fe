"""Matmuls, experts and collectives, worked by hand."""

import numpy as np
import pytest

from simulator.latency.physics import Rates, all_reduce, busiest_rank, expert_matmul, gemm, overlap, touched_experts

ONE = np.array([1.0])


def test_times_that_do_not_overlap_add_and_those_that_do_take_the_longest() -> None:
    assert overlap(1.0, 3.0, 4.0) == pytest.approx(7.0)
    assert overlap(2.0, 3.0, 4.0) == pytest.approx(5.0)
    assert overlap(200.0, 3.0, 4.0) == pytest.approx(4.0, rel=1e-3)


def test_a_matmul_moves_its_weights_activations_and_outputs() -> None:
    rates = Rates(bytes_per_s=1e12, flops_per_s=1e30, weight_bytes=1.0, activation_bytes=2.0)
    moved = 4096 * 1024 * 1.0 + 8 * (1024 * 2.0 + 4096 * 2.0)
    assert gemm(np.array([8.0]), 4096, 1024, rates)[0] == pytest.approx(moved / 1e12)


def test_a_large_matmul_takes_its_operations() -> None:
    rates = Rates(bytes_per_s=1e30, flops_per_s=1e15, weight_bytes=2.0)
    assert gemm(np.array([4096.0]), 8192, 8192, rates)[0] == pytest.approx(2 * 4096 * 8192 * 8192 / 1e15)


def test_what_a_kernel_adds_is_paid_once_a_call_along_k_and_by_activations() -> None:
    rates = Rates(bytes_per_s=1e30, flops_per_s=1e30, weight_bytes=2.0, sharpness=1.0, fixed_s=5e-6, depth_s=1e-9, pass_s=1e-12)
    assert gemm(np.array([10.0]), 64, 1000, rates)[0] == pytest.approx(5e-6 + 1000 * 1e-9 + 10 * 1000 * 1e-12)


def test_no_tokens_take_no_time() -> None:
    rates = Rates(bytes_per_s=1e12, flops_per_s=1e15, weight_bytes=2.0, fixed_s=1e-5)
    none = np.array([0.0])
    assert gemm(none, 64, 64, rates)[0] == 0
    assert expert_matmul(none, none, none, 1e6, 64, rates)[0] == 0
    assert all_reduce(none, 8, 1e-5, 1e9)[0] == 0


def test_an_even_choice_touches_as_many_experts_as_probability_says() -> None:
    tokens = np.array([0.0, 1.0, 2.0, 50.0])
    expected = 128 * (1 - (1 - 8 / 128) ** tokens)
    assert touched_experts(tokens, 128, 8) == pytest.approx(expected)


def test_a_skewed_choice_touches_fewer_and_never_fewer_than_one_token_needs() -> None:
    tokens = np.array([1.0, 16.0, 256.0])
    even, skewed = touched_experts(tokens, 128, 8), touched_experts(tokens, 128, 8, skew=1.0)
    assert skewed[0] == pytest.approx(8.0, rel=1e-6)
    assert (skewed[1:] < even[1:]).all()
    assert (skewed <= 128).all()


def test_knots_between_exact_counts_are_within_a_tenth_of_a_percent() -> None:
    tokens = np.arange(4096, dtype=np.float64)
    exact = 256 * (1 - (1 - 8 / 256) ** tokens)
    assert np.abs(touched_experts(tokens, 256, 8) - exact).max() < 0.001 * 256


def test_every_expert_is_touched_where_each_token_visits_all() -> None:
    assert touched_experts(np.array([1.0, 7.0]), 4, 4) == pytest.approx([4.0, 4.0])


def test_one_rank_has_all_the_work() -> None:
    touched, routed = busiest_rank(np.array([5.0]), np.array([16.0]), 8, 2, 1, 0.5)
    assert (touched[0], routed[0]) == (5.0, 16.0)


def test_the_busiest_rank_has_more_than_its_share_and_at_most_everything() -> None:
    touched, routed = busiest_rank(np.array([8.0, 64.0]), np.array([8.0, 4096.0]), 64, 8, 8, 0.6)
    assert (touched >= np.array([1.0, 8.0])).all()
    assert (touched <= 8).all(), "a rank holds 8 experts"
    assert (routed > np.array([1.0, 512.0])).all()
    assert (routed <= np.array([8.0, 4096.0])).all()


def test_the_busiest_of_two_ranks_is_where_drawing_experts_says() -> None:
    """16 experts on 2 ranks, 8 tokens of one expert each, 4,000 draws: within 4 standard errors and Blom's 5 %."""
    rng = np.random.default_rng(11)
    draws = rng.integers(0, 16, (4000, 8))
    ranks = [np.array([len({e for e in draw if e // 8 == rank}) for draw in draws]) for rank in (0, 1)]
    drawn = np.maximum(*ranks)
    touched, _ = busiest_rank(touched_experts(np.array([8.0]), 16, 1), np.array([8.0]), 16, 1, 2, 0.0)
    assert touched[0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(4000) + 0.05 * drawn.mean())


def test_a_ring_passes_nearly_twice_the_message() -> None:
    seconds = all_reduce(np.array([1e6]), 4, 1e-5, 1e9)[0]
    assert seconds == pytest.approx(1e-5 + 1e6 * 2 * 3 / 4 / 1e9)


def test_experts_read_only_what_is_touched() -> None:
    rates = Rates(bytes_per_s=1e12, flops_per_s=1e30, weight_bytes=0.5)
    assert expert_matmul(ONE, np.array([6.0]), np.array([8.0]), 1e6, 64, rates)[0] == pytest.approx(6 * 1e6 * 0.5 / 1e12)
