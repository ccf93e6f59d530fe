"""What benchmark tools write: one small result of each, in the shape that the tool gives it. Figures are made up, and agree."""

from typing import Any

PROMPT, OUTPUT, TTFT_MS, TPOT_MS = 512.0, 128.0, 60.0, 9.0
E2E_MS = TTFT_MS + TPOT_MS * (OUTPUT - 1)


def _stats(value: float) -> dict[str, Any]:
    return {
        "mean": value,
        "median": value,
        "std_dev": 0.0,
        "percentiles": {"p50": value, "p90": value, "p95": value, "p99": value},
    }


def _guidellm(value: float) -> dict[str, Any]:
    return {"successful": _stats(value), "total": _stats(value)}


VLLM: dict[str, Any] = {
    "date": "20261101-120000", "endpoint_type": "openai", "model_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 80,
    "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 8, "duration": 12.0, "completed": 80, "failed": 0,
    "total_input_tokens": 80 * 512, "total_output_tokens": 80 * 128, "request_throughput": 6.6, "output_throughput": 850.0,
    "total_token_throughput": 4250.0, "mean_ttft_ms": TTFT_MS, "median_ttft_ms": 58.0, "p99_ttft_ms": 90.0,
    "mean_tpot_ms": TPOT_MS, "median_tpot_ms": 9.0, "p99_tpot_ms": 9.4, "mean_itl_ms": 9.0, "median_itl_ms": 8.9,
    "p99_itl_ms": 12.0,
}  # fmt: skip
VLLM_DETAILED = {
    **VLLM,
    "input_lens": [512] * 79 + [0],
    "output_lens": [128] * 79 + [0],
    "ttfts": [0.06] * 80,
    "itls": [[0.009]] * 80,
}
SGLANG: dict[str, Any] = {
    "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"), "max_concurrency": 8, "duration": 12.0,
    "completed": 80, "total_input_tokens": 80 * 512, "total_output_tokens": 80 * 128, "output_throughput": 850.0,
    "mean_e2e_latency_ms": E2E_MS, "median_e2e_latency_ms": E2E_MS, "p99_e2e_latency_ms": E2E_MS, "mean_ttft_ms": TTFT_MS,
    "median_ttft_ms": 58.0, "p99_ttft_ms": 90.0, "mean_tpot_ms": TPOT_MS, "median_tpot_ms": 9.0, "p99_tpot_ms": 9.4,
    "mean_itl_ms": 9.0, "concurrency": 7.9, "accept_length": None,
}  # fmt: skip
GUIDELLM: dict[str, Any] = {
    "metadata": {"version": 2, "guidellm_version": "0.7.0"},
    "benchmarks": [
        {
            "duration": 12.0,
            "config": {
                "strategy": {"type_": "concurrent", "streams": 8},
                "backend": {"model": "meta-llama/Llama-3.1-8B-Instruct"},
            },
            "metrics": {
                "request_totals": {"successful": 80, "incomplete": 0, "errored": 0, "total": 80},
                "prompt_token_count": _guidellm(PROMPT),
                "output_token_count": _guidellm(OUTPUT),
                "time_to_first_token_ms": _guidellm(TTFT_MS),
                "request_latency": _guidellm(E2E_MS / 1e3),
                "time_per_output_token_ms": _guidellm(E2E_MS / OUTPUT),
                "inter_token_latency_ms": _guidellm(TPOT_MS),
                "output_tokens_per_second": _guidellm(850.0),
                "requests_per_second": _guidellm(6.6),
            },
            "requests": {
                "successful": [
                    {
                        "prompt_tokens": 512,
                        "output_tokens": 128,
                        "request_latency": E2E_MS / 1e3,
                        "time_to_first_token_ms": TTFT_MS,
                    }
                ]
                * 80
            },
        }
    ],
}
AIPERF: dict[str, Any] = {
    "input_config": {"endpoint": {"model_names": ["meta-llama/Llama-3.1-8B-Instruct"]}, "loadgen": {"concurrency": 8}},
    "request_count": {"unit": "requests", "avg": 80.0},
    "request_latency": {"unit": "ms", "avg": E2E_MS, "p50": E2E_MS, "p99": E2E_MS},
    "time_to_first_token": {"unit": "ms", "avg": TTFT_MS, "p50": 58.0, "p99": 90.0},
    "inter_token_latency": {"unit": "ms", "avg": TPOT_MS, "p50": 9.0, "p99": 9.4},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 850.0},
    "request_throughput": {"unit": "requests/sec", "avg": 6.6},
    "input_sequence_length": {"unit": "tokens", "avg": PROMPT},
    "output_sequence_length": {"unit": "tokens", "avg": OUTPUT},
}
INFERENCE_PERF: dict[str, Any] = {
    "load_summary": {"count": 80, "concurrency": 8, "send_duration": 12.0},
    "successes": {
        "count": 80,
        "latency": {
            "request_latency": {"mean": E2E_MS / 1e3, "median": E2E_MS / 1e3, "p99": E2E_MS / 1e3},
            "time_to_first_token": {"mean": TTFT_MS / 1e3, "median": 0.058, "p99": 0.09},
            "time_per_output_token": {"mean": TPOT_MS / 1e3, "median": 0.009, "p99": 0.0094},
            "normalized_time_per_output_token": {"mean": E2E_MS / OUTPUT / 1e3},
        },
        "throughput": {"output_tokens_per_sec": 850.0, "requests_per_sec": 6.6, "total_tokens_per_sec": 4250.0},
        "prompt_len": {"mean": PROMPT},
        "output_len": {"mean": OUTPUT},
    },
    "failures": {"count": 0},
}
LLMD: dict[str, Any] = {
    "version": "0.2",
    "run": {"uid": "a"},
    "scenario": {
        "stack": [
            {
                "metadata": {"label": "vllm", "cfg_id": "x"},
                "standardized": {
                    "kind": "inference_engine",
                    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                    "accelerator": {"model": "H100", "count": 1, "parallelism": {"tp": 1}},
                },
                "native": {},
            }
        ],
        "load": {"standardized": {"tool": "vllm-benchmark", "concurrency": 8}},
    },
    "results": {
        "request_performance": {
            "aggregate": {
                "requests": {
                    "total": 80,
                    "failures": 0,
                    "input_length": {"units": "count", "mean": PROMPT},
                    "output_length": {"units": "count", "mean": OUTPUT},
                },
                "latency": {
                    "time_to_first_token": {"units": "ms", "mean": TTFT_MS, "p50": 58.0},
                    "time_per_output_token": {"units": "ms/token", "mean": TPOT_MS},
                    "request_latency": {"units": "s", "mean": E2E_MS / 1e3},
                },
                "throughput": {"output_token_rate": {"units": "tokens/s", "mean": 850.0}},
            }
        }
    },
}
TRTLLM: dict[str, Any] = {
    "engine": {"model": "meta-llama/Llama-3.1-8B-Instruct", "version": "1.0", "backend": "Pytorch"},
    "world_info": {"tp_size": 1, "pp_size": 1, "world_size": 1},
    "request_info": {"num_requests": 80, "avg_num_concurrent_requests": 7.9, "avg_input_length": 512.0,
                     "avg_output_length": 128.0, "concurrency": 8},
    "performance": {"avg_request_latency_ms": E2E_MS, "system_output_throughput_tok_s": 850.0, "request_throughput_req_s": 6.6,
                    "request_latency_percentiles_ms": {"p50": E2E_MS, "p99": E2E_MS}},
    "streaming_metrics": {"avg_ttft_ms": TTFT_MS, "avg_tpot_ms": TPOT_MS, "ttft_percentiles": {"p50": 58.0, "p99": 90.0}},
}  # fmt: skip
THROUGHPUT: dict[str, Any] = {
    "elapsed_time": 12.0, "num_requests": 80, "total_num_tokens": 51200, "requests_per_second": 6.67, "tokens_per_second": 4267.0,
}  # fmt: skip
LATENCY: dict[str, Any] = {"avg_latency": 1.2, "latencies": [1.2, 1.2], "percentiles": {"50": 1.2}}
