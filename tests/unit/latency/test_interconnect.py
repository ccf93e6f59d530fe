"""Which way traffic between cards takes, from what the cards are."""

import pytest
from support.latency_cases import case

from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import interconnect, kernels
from simulator.errors import NotModelled
from simulator.latency.interconnect import reached, through_host
from simulator.latency.step import StepWork
from simulator.units import GB


def test_cards_without_peer_access_go_through_the_hosts_memory() -> None:
    card = gpu("rtx 3090")
    assert through_host(card, 4, None)
    assert reached(card, 4, 16 * GB) == interconnect("host-memory").all_reduce[4]
    assert not through_host(gpu("rtx a6000"), 4, None)


def test_a_link_as_fast_as_an_nvlink_bridge_is_one_between_two_cards() -> None:
    card = gpu("rtx 3090")
    assert reached(card, 2, 56 * GB) == interconnect("nvlink-bridge").all_reduce[2]
    assert through_host(card, 4, 56 * GB), "bridges join two cards"
    assert through_host(card, 2, 32 * GB)


def test_the_one_shot_kernel_needs_peer_access_and_beyond_two_ranks_a_mesh() -> None:
    assert reached(gpu("l40s"), 2, None).custom_us is not None
    assert reached(gpu("l40s"), 4, None).custom_us is None
    assert reached(gpu("rtx 4090"), 2, None).custom_us is None
    assert reached(gpu("h100"), 8, None).custom_us is not None


def test_a_number_of_ranks_that_nothing_is_known_of_is_refused() -> None:
    with pytest.raises(NotModelled, match="no all-reduce over 3 GPUs is modelled; known: 2, 4, 8"):
        reached(gpu("h100"), 3, None)


def test_nccl_waits_for_other_ranks_as_long_as_the_one_shot_kernel() -> None:
    """Llama-3.1-70B, 2,048 tokens on eight H100: NCCL's own constant, a share of the link, and what ranks wait for each other."""
    c = case("llama-3.1-70b", "h100", form="fp8", tensor_parallel_size=8)
    known, overheads = kernels(c.gpu).all_reduce[8], c.rank().overheads
    seconds = c.parts()["all-reduce"].tokens[2048] / (2 * len(c.model.layers))
    message = 2048 * c.model.hidden * 2 * 2 * 7 / 8
    waits = (overheads.all_reduce - 1) * (known.custom_us or 0.0)
    assert seconds == pytest.approx((known.nccl_us + waits) * 1e-6 + message / (known.nccl_link * c.gpu.link_bytes_per_s))


def test_data_parallel_experts_exchange_by_nccl_alone() -> None:
    """One all-gather and one reduce-scatter: two latencies, the traffic of an all-reduce, half of what that reaches over PCIe."""
    c = case("qwen3-30b-a3b", "l40s", data_parallel_size=2, enable_expert_parallel=True)
    tokens, layers = 512, len(c.model.layers)
    seconds = c.parts()["all-reduce"].tokens[tokens]
    known = kernels(c.gpu).all_reduce[2]
    message = 2 * tokens * c.model.hidden * 2
    waits = (c.rank().overheads.all_reduce - 1) * (known.custom_us or 0.0)
    latency = 2 * (known.nccl_us + waits) * 1e-6
    assert seconds == pytest.approx(layers * (latency + message / (0.5 * known.nccl_link * c.gpu.link_bytes_per_s)))


def test_four_geforce_cards_wait_longer_for_each_other_than_professional_ones_of_the_same_slot() -> None:
    step = StepWork(contexts=(500,) * 4)
    geforce, professional = (case("llama-3.1-8b", name, tensor_parallel_size=4) for name in ("rtx 4090", "rtx a6000"))
    assert geforce.parts()["all-reduce"].seconds(step) > 2 * professional.parts()["all-reduce"].seconds(step)
