"""CUDA graphs: which batches are captured, and the estimate that engines deduct, against what logs printed."""

import pytest
from support.memory_fixtures import GDN, gqa, model_of, resolved

from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.memory.cuda_graphs import deducts_cuda_graphs, graph_bytes, graphs_by_kind, profiled_blocks
from simulator.units import GIB

L40S, H100, RTX3090, RTX4090 = gpu("l40s"), gpu("h100-sxm"), gpu("rtx-3090"), gpu("rtx-4090")
HYBRID = model_of(*([GDN] * 3 + [gqa()]) * 16, architecture="Qwen3_5ForConditionalGeneration")


@pytest.mark.parametrize(
    ("sequences", "captured", "kinds"),
    [(256, 51, (51, 35)), (128, 35, (35, 19)), (16, 7, (7, 5)), (8, 5, (5, 4)), (2, 3, (3, 2))],
)
def test_the_batches_captured_are_those_that_logs_count(sequences: int, captured: int, kinds: tuple[int, int]) -> None:
    """`Profiling CUDA graph memory: PIECEWISE=51 (largest=512), FULL=35 (largest=256)` and so on, public logs of 0.19 to 0.23."""
    args = resolved(max_num_seqs=sequences)
    assert len(engine("0.22.0").captured_batches(args)) == captured
    assert graphs_by_kind(args, engine("0.22.0")) == kinds


@pytest.mark.parametrize(
    ("name", "version", "card", "sequences", "printed"),
    [
        ("qwen3.8-27b", "0.26.0", L40S, 256, 1.11),
        ("qwen3.5-4b", "0.22.0", L40S, 256, 0.64),
        ("qwen2.5-7b", "0.22.0", L40S, 128, 0.37),
        ("qwen3-30b-a3b", "0.22.1", H100, 64, 0.14),
        ("qwen3.6-27b", "0.22.0", RTX3090, 2, 0.13),
        ("qwen3.5-9b", "0.27.1", RTX4090, 256, 0.54),
    ],
)
def test_the_estimate_is_near_what_logs_print(name: str, version: str, card: object, sequences: int, printed: float) -> None:
    found = model(name)
    estimate = graph_bytes(found, found.layers, resolved(max_num_seqs=sequences), engine(version), card) / GIB
    assert estimate == pytest.approx(printed, abs=0.13)


def test_sizes_and_mode_of_the_compilation_config_count() -> None:
    def of(**given: object) -> float:
        return graph_bytes(HYBRID, HYBRID.layers, resolved(**given), engine("0.26.0"), L40S)

    usual = of()
    assert of(max_cudagraph_capture_size=64) < usual / 3
    assert of(cudagraph_capture_sizes=(1, 2, 4)) < usual / 5
    assert of(cudagraph_mode="piecewise") < usual
    assert of(cudagraph_mode="full_decode_only") < of(cudagraph_mode="piecewise")
    assert of(cudagraph_mode="none") == of(max_cudagraph_capture_size=0) == of(enforce_eager=True) == 0


def test_nothing_is_deducted_where_nothing_is_captured() -> None:
    assert deducts_cuda_graphs(resolved(), engine("0.26.0"), L40S)
    assert not deducts_cuda_graphs(resolved(cudagraph_mode="none"), engine("0.26.0"), L40S)
    assert not deducts_cuda_graphs(resolved(), engine("0.25.0"), gpu("mi300x"))


def test_profiling_takes_blocks_where_the_release_profiles() -> None:
    args = resolved(max_num_seqs=256)
    assert profiled_blocks(HYBRID, args, engine("0.17.1"), L40S) == 0
    assert profiled_blocks(HYBRID, args, engine("0.25.0"), L40S) == 512
    assert profiled_blocks(HYBRID, args, engine("0.26.0"), L40S) == 256
    dense = model("qwen3-8b")  # on model runner V2, which profiles from 0.29 on
    assert [profiled_blocks(dense, args, engine(release), L40S) for release in ("0.27.1", "0.29.0")] == [0, 256]
    assert profiled_blocks(HYBRID, resolved(max_num_seqs=256, enforce_eager=True), engine("0.26.0"), L40S) == 0
