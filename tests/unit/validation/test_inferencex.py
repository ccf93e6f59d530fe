"""What a benchmark harness's dated scripts passed, whatever its rows are labeled."""

from dataclasses import replace
from datetime import date

import pytest

from simulator.errors import MeasurementError
from simulator.validation.readers.closed_loop import client_of, closed_loop_server
from simulator.validation.readers.inferencex import Run, script
from simulator.validation.readers.rows import engine_of

MINIMAX = Run("minimax-m2", "fp8", "b200-sxm", date(2026, 4, 22), 8192, 1024, 64, 4, experts=4)
ROW = {
    "source": "InferenceX",
    "measured": "2026-03-28",
    "engine": "vllm",
    "engine_version": "0.18.0",
    "model": "MiniMaxAI/MiniMax-M2.5",
    "gpu": "h100_sxm",
    "gemm_dtype": "fp8",
    "moe_dtype": "fp8",
    "tensor_parallel_size": "4",
    "attention_dp_size": "4",
    "moe_ep_size": "16",
    "input_len": "1024",
    "output_len": "1024",
    "concurrency": "4",
}


def test_a_label_of_data_parallelism_that_no_script_passes_is_one_server():
    server, stated = closed_loop_server(ROW)
    assert stated and server.replicas == 1
    assert (server.args.tensor_parallel_size, server.args.data_parallel_size) == (4, 1)
    assert server.args.enable_expert_parallel and server.args.max_num_seqs == 256


def test_attention_data_parallelism_is_ranks_of_one_gpu_not_their_product():
    args = script(replace(MINIMAX, form="nvfp4", ranks=4)).args
    assert args["tensor_parallel_size"] == 1 and args["data_parallel_size"] == 4


def test_blackwell_scripts_share_arguments_from_their_day_on():
    after, before = script(MINIMAX), script(replace(MINIMAX, day=date(2026, 4, 2)))
    assert after.args["kv_cache_dtype"] == "fp8" and after.args["max_num_batched_tokens"] == 16384
    assert after.args["stream_interval"] == 20 and "stream_interval" not in before.args
    assert "kv_cache_dtype" not in before.args and before.args["gpu_memory_utilization"] == 0.95


@pytest.mark.parametrize(("day", "experts"), [(date(2026, 3, 12), False), (date(2026, 3, 13), True)])
def test_expert_parallelism_follows_the_script_of_the_day_not_the_label(day: date, experts: bool):
    run = replace(MINIMAX, gpu="h200-sxm", experts=1, day=day)
    assert script(run).args["enable_expert_parallel"] is experts


def test_chunks_of_many_tokens_cost_the_api_server_less():
    def chunk_s(row: dict[str, str]) -> float:
        server, _ = closed_loop_server(row)
        found = client_of(row).api_server(server.engine, server.args)
        assert found is not None
        return found.chunk_s

    blackwell = {**ROW, "gpu": "b200_sxm", "measured": "2026-04-22"}
    assert chunk_s(blackwell) == pytest.approx(chunk_s(ROW) / 20)


def test_a_nightly_build_is_the_release_of_its_day():
    built = {**ROW, "engine_version": "nightly-0.99abc", "measured": "2026-04-20"}
    release, stated = engine_of(built, "0.11.0")
    assert release.version == "0.19.0" and not stated


def test_a_date_that_is_none_is_refused():
    with pytest.raises(MeasurementError, match="column measured: 'May'"):
        engine_of({**ROW, "engine_version": "nightly", "measured": "May"}, "0.11.0")


LLAMA = {
    **ROW,
    "measured": "2025-10-29",
    "engine_version": "",
    "model": "meta-llama/Llama-3.1-70B",
    "moe_dtype": "",
    "tensor_parallel_size": "8",
    "attention_dp_size": "1",
    "moe_ep_size": "1",
}


@pytest.mark.parametrize(
    ("day", "release"), [("2025-10-29", "0.10.2"), ("2025-11-04", "0.11.0"), ("2025-12-05", "0.11.2"), ("2026-02-01", "0.13.0")]
)
def test_a_row_without_a_release_had_the_workflows_image_of_its_day(day: str, release: str):
    server, stated = closed_loop_server({**LLAMA, "measured": day})
    assert (server.engine.version, stated) == (release, True)


def test_a_later_row_without_a_release_is_not_stated():
    assert not closed_loop_server({**LLAMA, "measured": "2026-04-20"})[1]


def test_scripts_of_one_model_compile_it_otherwise_on_each_card():
    hopper, blackwell = (closed_loop_server({**LLAMA, "gpu": f"{card}_sxm"})[0].args for card in ("h100", "b200"))
    assert (blackwell.cudagraph_mode, blackwell.max_num_seqs) == ("full_decode_only", 512)
    assert "+quant_fp8" in blackwell.custom_ops
    assert (hopper.cudagraph_mode, hopper.max_num_seqs, hopper.max_model_len) == (None, 4, 10_240)


def test_the_harness_of_2025_saw_no_steps_beside_the_engine():
    assert client_of(LLAMA).decode_steps == 0 < client_of(ROW).decode_steps


def test_a_cache_of_eight_bits_came_to_gpt_oss_with_its_script():
    run = Run("gpt-oss-120b", "mxfp4", "b200-sxm", date(2025, 11, 2), 1024, 1024, 16, 8)
    before, after = script(run).args, script(replace(run, day=date(2026, 2, 26))).args
    assert "kv_cache_dtype" not in before and after["kv_cache_dtype"] == "fp8"
    assert before["max_cudagraph_capture_size"] == after["max_cudagraph_capture_size"] == 2048
