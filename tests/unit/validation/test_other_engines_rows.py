"""Rows and result files of SGLang and TensorRT-LLM, read as their harness meant them."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.validation.measured_run import MeasuredRun, mean_lengths
from simulator.validation.readers.bench_files import _with_lengths_noted
from simulator.validation.readers.closed_loop import closed_loop_server

ROW = {
    "source": "InferenceX", "measured": "2026-03-25", "engine": "sglang", "engine_version": "0.5.9",
    "model": "deepseek-ai/DeepSeek-R1", "gpu": "b200_sxm", "gemm_dtype": "nvfp4", "moe_dtype": "nvfp4",
    "pipeline_parallel_size": "1", "input_len": "1024", "output_len": "1024", "length_range_ratio": "0.8",
    "concurrency": "4", "ttft_ms_mean": "188.7", "tpot_ms_mean": "8.05",
}  # fmt: skip


@pytest.mark.parametrize(
    ("tensor", "ranks", "split", "experts", "read"),
    [
        (64, 1, 8, 8, (8, 1, True)),
        (16, 1, 4, 4, (4, 1, True)),
        (1, 64, 8, 8, (1, 8, True)),
        (1, 4, 2, 2, (1, 2, True)),
        (8, 1, 8, 1, (8, 1, False)),
        (8, 1, 1, 8, (8, 1, True)),
        (1, 8, 1, 8, (1, 8, True)),
    ],
)
def test_ranks_of_attention_and_of_experts_are_the_same_gpus(
    tensor: int, ranks: int, split: int, experts: int, read: tuple[int, int, bool]
) -> None:
    labels = {"tensor_parallel_size": tensor, "attention_dp_size": ranks, "moe_tp_size": split, "moe_ep_size": experts}
    args = closed_loop_server({**ROW, **{name: str(value) for name, value in labels.items()}})[0].args
    assert (args.tensor_parallel_size, args.data_parallel_size, args.enable_expert_parallel) == read
    assert args.enable_prefix_caching is False


def test_a_run_of_sglangs_random_lengths_says_that_they_range_from_one() -> None:
    prompt, output = mean_lengths(10, 500, 500)
    run = MeasuredRun(str(Path("r.json")), 1, "sglang", {}, prompt, output)
    data = {"dataset_name": "random", "random_input_len": 1000, "random_range_ratio": 0.0}
    (note,) = _with_lengths_noted(run, data).notes
    assert "between 1 and 1000" in note and "--output-details" in note
    assert not _with_lengths_noted(run, {**data, "random_range_ratio": 1.0}).notes
