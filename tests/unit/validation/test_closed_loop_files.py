"""Closed loops of one server, whose file's name tells model, GPU and format."""

from pathlib import Path

import pytest

from simulator.engine.load import OpenLoop
from simulator.errors import MeasurementError
from simulator.validation.measurements import MeasurementTable
from simulator.validation.protocols import Bench
from simulator.validation.readers.closed_loop import client_of, closed_loop_server, compare_one, load_of


def loop(dtype: str, ttft_ms: float) -> MeasurementTable:
    row = {
        "input_len": "8192",
        "output_len": "2",
        "concurrency": "32",
        "num_prompts": "32",
        "output_tok_s": "100",
        "ttft_p99_ms": str(ttft_ms),
    }
    return MeasurementTable(Path(f"loop_h100_qwen3-8b_{dtype}.csv"), tuple(row), (row, row))


def stated(dtype: str, ttft_ms: float) -> bool:
    return compare_one(loop(dtype, ttft_ms)).comparisons[-1].stated


def test_prompts_are_cached_only_where_the_type_that_computes_cannot_be_so_fast():
    cached = 3000.0  # 32 prompts of 8,192: 5.1 s at BF16's peak on this card, 2.6 s at FP8's
    assert not stated("bf16", cached)
    assert stated("fp8", cached)


def test_a_rate_with_max_concurrency_holds_requests_at_the_client():
    row = {"input_len": "128", "output_len": "16", "request_rate": "4", "max_concurrency": "8"}
    requests, load = load_of(row)
    assert load == OpenLoop(max_concurrency=8)
    assert requests.arrival_s[-1] > 0
    assert load_of({**row, "max_concurrency": "", "request_rate": "inf"})[1] == OpenLoop()


ROW = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "h100_sxm",
    "engine_version": "0.9.0",
    "input_len": "16",
    "output_len": "8",
    "request_rate": "inf",
    "num_prompts": "64",
}


def test_a_row_is_served_by_the_api_server_that_a_run_has():
    server, _ = closed_loop_server(ROW)
    requests, load = load_of(ROW)
    trace = Bench().run(server, requests, load)
    assert trace.requests["entered_s"].max() > 64 * 0.0026, "64 requests at once take their turns of 2.6 ms"


def test_a_row_may_say_that_its_client_chats():
    assert client_of({**ROW, "endpoint": "chat"}).endpoint == "chat"
    with pytest.raises(MeasurementError, match="column endpoint: 'responses' is not one of completions, chat"):
        client_of({**ROW, "endpoint": "responses"})
