"""The account of one GPU's bytes: parts that fill the card."""

from __future__ import annotations

from simulator.memory.account import PARTS, MemoryAccount
from simulator.units import GIB


def _account(*, deducted: bool, kv_gib: float = 20.0) -> MemoryAccount:
    return MemoryAccount(
        total_bytes=40 * GIB,
        reserved_bytes=36 * GIB,
        weights_bytes=15 * GIB,
        weights_by_format={"bf16": 15.0 * GIB},
        activation_bytes=0.5 * GIB,
        non_torch_bytes=0.5 * GIB,
        cuda_graph_bytes=1 * GIB,
        cuda_graph_deducted=deducted,
        kv_cache_bytes=kv_gib * GIB,
        kv_cache_low_bytes=(kv_gib - 1) * GIB,
        kv_cache_high_bytes=(kv_gib + 1) * GIB,
        kv_bytes_per_token=131072.0,
        num_gpu_blocks=10_240,
        kv_tokens=163_840,
        max_concurrency=20.0,
        outcome="starts",
    )


def test_the_parts_of_an_account_fill_the_card_once_each() -> None:
    for deducted in (True, False):
        parts = _account(deducted=deducted).parts()
        assert sorted(parts) == sorted(PARTS)
        assert sum(parts.values()) == 40 * GIB


def test_graphs_that_are_not_deducted_are_taken_behind_the_kv_cache_and_not_counted_before_it() -> None:
    deducted, beside = _account(deducted=True), _account(deducted=False)
    assert list(deducted.parts())[3:5] == ["cuda_graph", "kv_cache"]
    assert list(beside.parts())[3:5] == ["kv_cache", "cuda_graph"]
    assert deducted.used_bytes - beside.used_bytes == 1 * GIB


def test_an_account_without_room_has_no_negative_part() -> None:
    parts = _account(deducted=True, kv_gib=-4.0).parts()
    assert parts["kv_cache"] == 0.0
    assert min(parts.values()) == 0.0
