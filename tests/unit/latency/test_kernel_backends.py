"""Kernels by release and backend: experts, router precision, stairs of FP8 and CUDA graphs."""

from dataclasses import replace

import numpy as np
import pytest
from support.latency_cases import case

from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import kernels
from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.breakdown import parts


def test_a_graph_runs_the_next_size_that_was_captured() -> None:
    asked = np.array([0, 1, 2, 3, 5, 9, 250, 257, 500, 513], dtype=float)
    assert physics.padded(asked, 512).tolist() == [0, 1, 2, 4, 8, 16, 256, 272, 512, 513]
    assert physics.padded(asked, 0).tolist() == asked.tolist(), "no graphs"


def test_stairs_are_the_measured_ratios_and_one_where_nothing_is_known() -> None:
    assert physics.stairs(np.array([16.0, 17.0, 100.0]), {16: 0.9, 17: 1.2}).tolist() == pytest.approx([0.9, 1.2, 1.2])
    assert physics.stairs(np.array([5.0]), {}).tolist() == [1.0]


def test_fp8_on_hopper_steps_up_where_its_tiles_change() -> None:
    gemm = case("llama-3.1-70b", "h100", "fp8", max_num_seqs=512).parts()["gemm"].tokens
    plain = case("llama-3.1-70b", "h100", max_num_seqs=512, tensor_parallel_size=4).parts()["gemm"].tokens
    for last in (64, 128, 256):
        assert gemm[last + 16] / gemm[last] > 1.1
        assert plain[last + 16] / plain[last] < 1.1
    assert gemm[70] == gemm[72], "padded to one graph"


def test_block_fp8_experts_on_b200_were_triton_before_0_24() -> None:
    old, new = (case("minimax-m2", "b200", release=f"vllm {v}", tensor_parallel_size=4) for v in ("0.19.0", "0.24.0"))
    assert old.parts()["experts"].tokens[128] > 1.3 * new.parts()["experts"].tokens[128]
    forced = case("minimax-m2", "b200", release="vllm 0.24.0", tensor_parallel_size=4, moe_backend="triton")
    assert forced.parts()["experts"].tokens[128] == old.parts()["experts"].tokens[128]


def test_a_backend_without_figures_is_refused_by_name() -> None:
    with pytest.raises(
        NotModelled, match="moe_backend deep_gemm with fp8_block experts is not modelled on b200-sxm; known there: auto, triton"
    ):
        case("minimax-m2", "b200", tensor_parallel_size=4, moe_backend="deep_gemm").bind()


def test_tf32_makes_a_wide_router_cheap() -> None:
    exact = case("minimax-m2", "h200", tensor_parallel_size=4)
    fast = case("minimax-m2", "h200", tensor_parallel_size=4, float32_matmul_precision="high")
    assert fast.parts()["gemm"].tokens[2048] < exact.parts()["gemm"].tokens[2048]


def test_small_kernels_quantize_inputs_on_blackwell_alone() -> None:
    there, elsewhere = (case("minimax-m2", card, tensor_parallel_size=4).rank() for card in ("b200", "h200"))
    assert there.quantizing_kernels("experts", 0) == 2
    assert elsewhere.quantizing_kernels("experts", 0) == 0


def test_kernels_of_another_engine_are_never_called_measured() -> None:
    for form in ("int8", "int8_wo", "int4_wo"):
        assert kernels(gpu("a100")).gemm[form].taken_from


def test_defaults_of_the_new_arguments_are_the_engines_own() -> None:
    c = case("minimax-m2", "b200", tensor_parallel_size=4)
    assert (c.args.moe_backend, c.args.float32_matmul_precision) == ("auto", "highest")
    assert replace(c.args, moe_backend="triton").moe_backend == "triton"
    assert engine("vllm 0.24.0").at_least("0.24.0")


def test_an_indexer_reaches_no_more_than_the_cards_softmax_attention() -> None:
    """MI300X reads its cache at 0.4 of the memory's rate and computes prompts at 0.31: the look at every token does as well."""
    amd, nvidia = (case("deepseek-v3.2", card, tensor_parallel_size=8, max_model_len=8192).rank() for card in ("mi300x", "h200"))
    assert amd.attention.decode_bandwidth < 0.66 <= nvidia.attention.decode_bandwidth
    slow, fast = (parts(r)["attention"].per_pair * r.sixteen_flops for r in (amd, nvidia))
    assert slow == pytest.approx(fast * 0.5 / amd.attention.prefill_compute, rel=0.02)


def test_fp8_matmuls_start_sooner_where_the_compiler_fuses_quantization() -> None:
    old, new = (case("llama-3.1-70b", "h100", "fp8", f"vllm {v}", tensor_parallel_size=4) for v in ("0.11.0", "0.12.0"))
    saved = old.parts()["gemm"].tokens[8] - new.parts()["gemm"].tokens[8]
    reached = kernels(gpu("h100")).gemm["fp8"]
    assert saved == pytest.approx(80 * 4 * (reached.fixed_us - reached.fused_us) * 1e-6, rel=0.05), "80 layers of four matmuls"
