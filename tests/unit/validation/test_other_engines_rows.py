"""Rows and result files of SGLang and TensorRT-LLM, read as their harness meant them."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.validation.measured_run import MeasuredRun, mean_lengths
from simulator.validation.readers.bench_files import _with_lengths_noted
from simulator.validation.readers.closed_loop import _doubtful_rows, closed_loop_server

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


def test_a_run_has_what_its_script_passed_on_its_day() -> None:
    labels = {"tensor_parallel_size": "8", "attention_dp_size": "1", "moe_tp_size": "1", "moe_ep_size": "8"}
    args = closed_loop_server({**ROW, **labels})[0].args
    assert (args.scheduler_recv_interval, args.max_num_batched_tokens, args.gpu_memory_utilization) == (10, 16384, 0.85)
    assert (args.kv_cache_dtype, args.max_num_seqs, args.stream_interval) == ("fp8", 256, 10)
    many = closed_loop_server({**ROW, **labels, "concurrency": "64"})[0].args
    assert many.scheduler_recv_interval == 30
    other = {**ROW, **labels, "engine": "trtllm", "engine_version": "1.2.0rc6.post2", "measured": "2026-02-03"}
    args = closed_loop_server({**other, "concurrency": "64"})[0].args
    assert (args.kv_cache_dtype, args.gpu_memory_utilization, args.max_num_batched_tokens) == ("fp8", 0.8, 8192)
    assert (args.max_model_len, args.max_cudagraph_capture_size) == (8192, 64)
    early = closed_loop_server({**other, "measured": "2025-11-02", "concurrency": "64"})[0].args
    assert (early.max_num_batched_tokens, early.max_model_len, early.max_cudagraph_capture_size) == (1152, 2068, 512)
    hopper = closed_loop_server({**other, "gpu": "h200_sxm", "moe_dtype": "fp8", "measured": "2025-11-02"})[0]
    assert (hopper.args.gpu_memory_utilization, hopper.args.max_cudagraph_capture_size) == (0.75, 128)
    assert "block" in hopper.quantization.name or hopper.quantization.formats["experts"].kernel == "fp8_block"


def test_the_first_scripts_chose_their_parallelism_by_the_users() -> None:
    labels = {"tensor_parallel_size": "4", "attention_dp_size": "1", "moe_tp_size": "4", "moe_ep_size": "1"}
    row = {**ROW, **labels, "engine": "trtllm", "engine_version": "", "measured": "2025-11-02"}

    def ran(**given: str) -> tuple[int, int, bool]:
        args = closed_loop_server({**row, **given})[0].args
        return args.tensor_parallel_size, args.data_parallel_size, args.enable_expert_parallel

    assert ran(concurrency="32") == (4, 1, False)
    assert ran(concurrency="64") == (4, 1, True)
    assert ran(concurrency="256") == (1, 4, True)
    assert ran(concurrency="64", input_len="8192") == (1, 4, True)
    assert ran(concurrency="256", measured="2026-02-03") == (4, 1, False)


def test_a_lab_of_nvidia_stores_kv_in_8_bits_where_the_checkpoint_is_in_8() -> None:
    lab = {**ROW, "source": "AIConfigurator silicon sample", "engine": "trtllm", "engine_version": "1.0.0rc3"}
    lab |= {"model": "Qwen/Qwen3-32B", "gpu": "h100_sxm", "gemm_dtype": "fp8", "moe_dtype": "fp8", "tensor_parallel_size": "1"}
    assert closed_loop_server(lab)[0].args.kv_cache_dtype == "fp8"
    sixteen = {**lab, "gemm_dtype": "bfloat16", "moe_dtype": "bfloat16"}
    assert closed_loop_server(sixteen)[0].args.kv_cache_dtype == "auto"


def test_runs_with_drafted_tokens_are_told_by_their_day_and_twin() -> None:
    labels = {"tensor_parallel_size": "8", "attention_dp_size": "1", "moe_tp_size": "8", "moe_ep_size": "1"}
    plain = {**ROW, **labels, "gemm_dtype": "fp8", "moe_dtype": "fp8_block", "tpot_ms_mean": "8.76"}
    twin, alone = {**plain, "tpot_ms_mean": "6.70"}, {**plain, "concurrency": "128"}
    drafted = {**plain, "engine": "trtllm", "engine_version": "1.1.0rc2.post2", "measured": "2026-01-14"}
    rows = [plain, twin, alone, drafted, {**drafted, "measured": "2026-01-29"}, {**plain, "engine": "vllm"}]
    assert [id(row) in _doubtful_rows(rows) for row in rows] == [False, True, True, True, False, False]
    compiled = {**ROW, **labels, "measured": "2025-11-10", "engine_version": ""}
    assert "kernels to be compiled" in _doubtful_rows([compiled])[id(compiled)]


def test_a_run_of_sglangs_random_lengths_says_that_they_range_from_one() -> None:
    prompt, output = mean_lengths(10, 500, 500)
    run = MeasuredRun(str(Path("r.json")), 1, "sglang", {}, prompt, output)
    data = {"dataset_name": "random", "random_input_len": 1000, "random_range_ratio": 0.0}
    (note,) = _with_lengths_noted(run, data).notes
    assert "between 1 and 1000" in note and "--output-details" in note
    assert not _with_lengths_noted(run, {**data, "random_range_ratio": 1.0}).notes
