"""TensorRT-LLM's `trtllm-bench throughput --report_json` and `latency --report_json`.

Source: NVIDIA/TensorRT-LLM tensorrt_llm/bench/dataclasses/reporting.py (1.0, read 2026-11).
"""

from __future__ import annotations

from typing import Any

from simulator.validation.measured_run import PERCENTILES, MeasuredRun, at, mean_lengths, needed, number_at, positive, users_of

_WAY = "trtllm-bench throughput --report_json FILE --streaming writes it"


def is_trtllm(data: Any) -> bool:
    """Whether it is a report of trtllm-bench."""
    return isinstance(data, dict) and isinstance(at(data, "performance"), dict) and isinstance(at(data, "request_info"), dict)


def read_trtllm(source: str, data: dict[str, Any]) -> MeasuredRun:
    """The run of a report; TTFT and TPOT only where it was streaming."""
    asked, did, streamed = data["request_info"], data["performance"], at(data, "streaming_metrics") or {}
    count = needed(source, "request_info.num_requests", number_at(asked, "num_requests"), _WAY)
    prompt = needed(source, "request_info.avg_input_length", number_at(asked, "avg_input_length"), _WAY)
    output = needed(source, "request_info.avg_output_length", number_at(asked, "avg_output_length"), _WAY)
    values: dict[str, float | None] = {
        "e2e_ms": number_at(did, "avg_request_latency_ms"),
        "ttft_ms": number_at(streamed, "avg_ttft_ms"),
        "tpot_ms": number_at(streamed, "avg_tpot_ms"),
        "output_tok_s": number_at(did, "system_output_throughput_tok_s"),
        "total_tok_s": number_at(did, "system_total_throughput_tok_s"),
        "request_rate": number_at(did, "request_throughput_req_s"),
    }
    places = {"e2e_ms": (did, "request_latency_percentiles_ms"), "ttft_ms": (streamed, "ttft_percentiles"),
              "tpot_ms": (streamed, "tpot_percentiles")}  # fmt: skip
    for ours, (node, name) in places.items():
        values |= {f"{ours}_p{p}": number_at(node, name, f"p{p}") for p in PERCENTILES}
    users, tensor = number_at(asked, "concurrency"), number_at(data, "world_info", "tp_size")
    lengths = mean_lengths(count, prompt, output)
    return MeasuredRun(
        source=source,
        row=1,
        tool="trtllm-bench",
        values=positive(values),
        prompt=lengths[0],
        output=lengths[1],
        model=str(at(data, "engine", "model") or ""),
        concurrency=users_of(users),
        tensor_parallel=int(tensor) if tensor else None,
    )
