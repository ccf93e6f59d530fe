"""Which way traffic between cards takes, from what the cards are."""

import pytest
from support.latency_cases import case

from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import exchange, interconnect, kernels
from simulator.catalog.links import LinkSpec
from simulator.errors import NotModelled
from simulator.latency.interconnect import Ranks, all_to_all, reached, through_host
from simulator.latency.step import StepWork
from simulator.units import GB


def test_cards_without_peer_access_go_through_the_hosts_memory() -> None:
    card = gpu("rtx 3090")
    assert through_host(card, 4, None)
    assert reached(Ranks(card, 4, link_bytes_per_s=16 * GB)) == interconnect("host-memory").all_reduce[4]
    assert not through_host(gpu("rtx a6000"), 4, None)


def test_a_link_as_fast_as_an_nvlink_bridge_is_one_between_two_cards() -> None:
    card = gpu("rtx 3090")
    assert reached(Ranks(card, 2, link_bytes_per_s=56 * GB)) == interconnect("nvlink-bridge").all_reduce[2]
    assert through_host(card, 4, 56 * GB), "bridges join two cards"
    assert through_host(card, 2, 32 * GB)


def test_the_one_shot_kernel_needs_peer_access_and_beyond_two_ranks_a_mesh() -> None:
    assert reached(Ranks(gpu("l40s"), 2)).custom_us is not None
    assert reached(Ranks(gpu("l40s"), 4)).custom_us is None
    assert reached(Ranks(gpu("rtx 4090"), 2)).custom_us is None
    assert reached(Ranks(gpu("h100"), 8)).custom_us is not None


def test_a_number_of_ranks_that_nothing_is_known_of_is_refused() -> None:
    with pytest.raises(NotModelled, match="no all-reduce over 3 GPUs is modelled; known: 2, 4, 8"):
        reached(Ranks(gpu("h100"), 3))


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


def test_ranks_lie_on_one_rack_or_on_even_servers() -> None:
    assert Ranks(gpu("gb200"), 72).servers == 1
    assert Ranks(gpu("gb300"), 144).servers == 2
    assert Ranks(gpu("h100"), 16).servers == 2
    assert Ranks(gpu("h100"), 2, apart=8).servers == 2, "data-parallel ranks of eight GPUs each"
    assert Ranks(gpu("h100"), 4, apart=4).of_a_server == 2
    with pytest.raises(NotModelled, match="12 ranks, 8 on a server of 8 h100-sxm, leave the last one part full"):
        reached(Ranks(gpu("h100"), 12))


def test_an_all_reduce_of_a_rack_takes_more_for_every_doubling_and_reaches_what_one_of_72_does() -> None:
    """72 GB200 by NCCL: 1 GiB in 3.0 ms, of which our line has no ramp (coreweave/nccl-tests#43)."""
    rack = gpu("gb200")
    sixteen, sixty_four = (reached(Ranks(rack, number)) for number in (16, 64))
    known = interconnect("nvlink-domain").all_reduce
    assert sixteen == known[16]
    assert sixty_four.nccl_us == pytest.approx(known[16].nccl_us + 2 * (known[16].nccl_us - known[8].nccl_us))
    all_of_it = reached(Ranks(rack, 72))
    seconds = all_of_it.nccl_us * 1e-6 + 2**30 * 2 * 71 / 72 / (all_of_it.nccl_link * rack.link_bytes_per_s)
    assert seconds == pytest.approx(3.0e-3, rel=0.1)


def test_between_servers_a_ring_has_all_their_ports_and_a_tree_their_hops() -> None:
    """Two servers of eight H20 with eight ports of 400 Gb/s reduce a few bytes in 46 us (NVIDIA/nccl#1244)."""
    card = gpu("h100")
    two, eight, slow = (
        reached(Ranks(card, number, network=LinkSpec(gb_per_s=each))) for number, each in ((16, 50), (64, 50), (16, 12.5))
    )
    assert two.nccl_us == pytest.approx(46, rel=0.05)
    assert eight.nccl_us - two.nccl_us == pytest.approx(2 * 40)
    assert two.nccl_link * card.link_bytes_per_s == pytest.approx(8 * 50 * GB * 0.9), "the ports, not NVLink"
    assert slow.nccl_link == pytest.approx(two.nccl_link / 4)
    assert two.custom_us is None
    fast = reached(Ranks(card, 16, network=LinkSpec(gb_per_s=1000)))
    assert fast.nccl_link == reached(Ranks(card, 8)).nccl_link, "NVLink, where the ports carry more"


def test_a_link_that_joins_no_servers_is_refused_as_a_network() -> None:
    with pytest.raises(NotModelled, match="no collectives between servers over pcie-5; known: rdma-400g"):
        reached(Ranks(gpu("h100"), 16, network=LinkSpec(kind="pcie-5")))


def test_an_all_to_all_goes_to_the_ranks_of_a_tokens_experts_as_measured() -> None:
    """DeepSeek-R1 in NVFP4 over GB200 by TensorRT-LLM's kernels (aiconfigurator-core 0.12.0)."""
    sent, back = 7168 * 0.5625, 7168 * 2.0
    measured = {8: (42.2 + 255.7 + 816.6, 4096), 32: (14.8 + 21.9 + 41.6, 128), 64: (22.3 + 86.4 + 250.8, 1024)}
    for number, (us, tokens) in measured.items():
        ((first, each),) = all_to_all(Ranks(gpu("gb200"), number), 8, sent, back)
        assert 1e6 * (first + tokens * each) == pytest.approx(us, rel=0.25), number


def test_between_servers_few_tokens_go_to_every_expert_and_many_to_every_server_once() -> None:
    """DeepEP over two and eight servers of H200, FP8 there and 16 bits back (aiconfigurator-core 0.12.0, wideep_deepep)."""
    measured = {16: {8: 60, 64: 160, 256: 520}, 32: {8: 74, 64: 235, 256: 764}, 64: {8: 78, 64: 254, 256: 881}}
    for number, by_tokens in measured.items():
        few, many = all_to_all(Ranks(gpu("h200"), number), 8, 7168 * 1.03, 7168 * 2.0)
        assert few[0] < many[0] and few[1] > many[1]
        for tokens, us in by_tokens.items():
            assert 1e6 * (few[0] + tokens * few[1]) == pytest.approx(us, rel=0.15), (number, tokens)
    assert exchange("few-tokens").link is None


def test_wide_expert_parallelism_sends_tokens_to_their_experts_where_eight_gather_them() -> None:
    def exchanged(ranks: int, release: str) -> float:
        c = case("deepseek-v3", "gb200", release=release, data_parallel_size=ranks, enable_expert_parallel=True)
        return float(c.parts()["all-reduce"].tokens[1024])

    gathered = exchanged(64, "vllm 0.19.0") / exchanged(32, "vllm 0.19.0")
    sent = exchanged(64, "sglang 0.5.9") / exchanged(32, "sglang 0.5.9")
    assert gathered > 1.8, "every rank gets the tokens of all"
    assert 1 < sent < 1.1, "a token has eight experts, however many ranks there are"


def test_a_stage_on_another_server_is_reached_through_the_network() -> None:
    step = StepWork(contexts=(500,) * 8)
    args = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}
    here, there = case("llama-3.1-70b", "gb200", **args), case("llama-3.1-70b", "h200", **args)
    assert there.parts()["pipeline"].seconds(step) > here.parts()["pipeline"].seconds(step)
    slow = there.bind(network=LinkSpec(gb_per_s=1.0)).seconds(step) - there.bind().seconds(step)
    message = 4 * 8192 * 2 / 8
    assert slow == pytest.approx(message / (1e9 * 0.9) - message / (50e9 * 0.9), rel=0.05)
