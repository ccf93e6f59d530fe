"""Outcomes: each refusal, and that nothing within the plan's error of one is a plain yes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.memory_fixtures import resolved

from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import catalog_model
from simulator.memory.kv_layout import KvLayout, LayerCache
from simulator.memory.outcome import GpuStage, Outcome, Start
from simulator.memory.overhead import Overhead, context_bytes
from simulator.memory.weights import Weights
from simulator.units import GIB

CARD = replace(gpu("rtx-4090"), memory_bytes=24 * GIB)
# One block of 16 tokens is 1 MiB: a sequence of 16,384 tokens needs one GiB.
ATTENTION = KvLayout((LayerCache("full", 2**20, 16),), 2**20, 16, 2048)
RECURRENT = KvLayout((LayerCache("full", 2**20, 16), LayerCache("state", 2**20, 16, states=1)), 2**20, 16, 2048)
NEXT_TO_NOTHING = 1e-6


def start(
    available_gib: float, *, weights_gib: float = 10.0, uncertainty_gib: float = 0.0, compiling_gib: float = 0.0,
    layout: KvLayout = ATTENTION, version: str = "0.27.1", fixed: bool = False, **args: object,
) -> Start:  # fmt: skip
    """A start with so much KV cache and such errors."""
    amount = weights_gib * GIB
    weights = Weights(amount, {"bf16": amount}, {"mlp": amount})
    errors = {"uncertainty": uncertainty_gib * GIB, "compiling": compiling_gib * GIB}
    overhead = Overhead(activation=1 * GIB, non_torch=0.0, cuda_graph=0.0, **errors)
    wanted = {"gpu_memory_utilization": 0.9, "max_model_len": 16384, "max_num_seqs": 8, "enforce_eager": True, **args}
    stage = GpuStage(weights, overhead, layout, available_gib * GIB)
    return Start(stage, catalog_model("qwen3.8-27b"), CARD, resolved(**wanted), engine(version), available_gib * GIB, fixed)


# What refuses, by the bytes that decide: at 0 GiB of slack the engine just starts.
CASES: dict[Outcome, object] = {
    "max_model_len_exceeds_kv": lambda slack, **errors: start(1.0 + slack, **errors),
    "max_num_seqs_exceeds_state_blocks": lambda slack, **errors: start(
        2.0 + slack, layout=RECURRENT, enforce_eager=False, max_num_seqs=2048, max_cudagraph_capture_size=8, **errors
    ),
    "weights_do_not_fit": lambda slack, **errors: start(
        9.0, weights_gib=23.0 - context_bytes(CARD) / GIB - slack, fixed=True, **errors
    ),
    "graph_profiling_does_not_fit": lambda slack, **errors: start(
        9.0, weights_gib=22.0 - context_bytes(CARD) / GIB - slack, enforce_eager=False, max_num_seqs=2048,
        max_cudagraph_capture_size=2048, fixed=True, **errors
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_a_refusal_begins_where_its_need_does(kind: Outcome) -> None:
    case = CASES[kind]
    assert case(NEXT_TO_NOTHING).outcome()[0] == "starts"
    assert case(-0.01).outcome()[0] == kind


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("error", ["uncertainty_gib", "compiling_gib"])
def test_a_need_within_the_band_is_never_a_plain_yes(kind: Outcome, error: str) -> None:
    for slack in (NEXT_TO_NOTHING, 0.2, 0.49):
        outcome, reason = CASES[kind](slack, **{error: 0.5}).outcome()
        assert outcome == "may_not_start"
        assert reason.startswith("may not start: ")
    assert CASES[kind](0.51, **{error: 0.5}).outcome() == ("starts", "")


def test_the_answer_in_between_gives_the_need_and_the_band() -> None:
    outcome, reason = start(1.2, uncertainty_gib=0.5).outcome()
    assert (outcome, reason) == ("may_not_start", "may not start: needs 1.00 GiB of KV cache, has 0.70 to 1.70")


def test_a_refusal_within_the_band_says_that_it_may_start() -> None:
    outcome, reason = start(0.8, uncertainty_gib=0.5).outcome()
    assert outcome == "max_model_len_exceeds_kv"
    assert reason.endswith("With 1.30 GiB, within the plan's own error, it starts.")


def test_the_worst_case_of_compiling_is_no_reason_for_hope() -> None:
    assert "within the plan's own error" not in start(0.8, compiling_gib=0.5).outcome()[1]


def test_a_kv_cache_set_by_hand_has_no_band() -> None:
    assert start(1.0, uncertainty_gib=0.5, fixed=True, kv_cache_memory_bytes=1 * GIB).outcome()[0] == "starts"


@pytest.mark.parametrize("kind", CASES)
def test_what_just_fits_to_the_byte_starts(kind: Outcome) -> None:
    assert CASES[kind](0.0).outcome() == ("starts", "")


def test_a_share_that_is_free_to_the_byte_is_enough() -> None:
    """Of 24 GiB half is wanted, and half is held: by a display, and by the CUDA context."""
    held = 12.0 - context_bytes(CARD) / GIB
    few = {"weights_gib": 1.0, "gpu_memory_utilization": 0.5}
    assert start(9.0, memory_used_gib=held, **few).outcome() == ("starts", "")
    assert start(9.0, memory_used_gib=held + 1e-6, **few).outcome()[0] == "too_little_free_memory"
