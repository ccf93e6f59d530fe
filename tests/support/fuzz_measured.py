"""Measured files that nobody should have: results of every benchmark tool, a server's /metrics, logs, tables, tokenizers."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import bench_results
from support.spoiling import CELLS, as_csv, as_json, as_yaml, changed, spoilt

TOOLS: dict[str, Any] = {
    name: getattr(bench_results, name)
    for name in (
        "VLLM",
        "VLLM_DETAILED",
        "SGLANG",
        "GUIDELLM",
        "AIPERF",
        "INFERENCE_PERF",
        "LLMD",
        "TRTLLM",
        "THROUGHPUT",
        "LATENCY",
    )
}
SERVER = ("--gpu", "h100-sxm", "--model", "llama-3.1-8b", "--prompt-tokens", "512", "--output-tokens", "128")
METRICS = """\
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_sum{engine="0",model_name="llama-3.1-8b"} 3.2
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="llama-3.1-8b"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.06",model_name="llama-3.1-8b"} 40.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="llama-3.1-8b"} 60.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="llama-3.1-8b"} 60.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="llama-3.1-8b"} 90.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="2.0",model_name="llama-3.1-8b"} 60.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="llama-3.1-8b"} 60.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="llama-3.1-8b"} 60.0
vllm:prompt_tokens_total{engine="0",model_name="llama-3.1-8b"} 6000.0
vllm:generation_tokens_total{engine="0",model_name="llama-3.1-8b"} 900.0
vllm:num_requests_running{engine="0",model_name="llama-3.1-8b"} 2.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",gpu_memory_utilization="0.9",num_gpu_blocks="9000"} 1.0
"""
LOG = """\
INFO vLLM API server version 0.19.0
INFO Initializing a V1 LLM engine (v0.19.0) with config: model='llama-3.1-8b', dtype=torch.bfloat16, max_seq_len=4096, \
tensor_parallel_size=1, pipeline_parallel_size=1, kv_cache_dtype=auto, enforce_eager=False
INFO Model loading took 14.99 GiB and 3.1 seconds
INFO Available KV cache memory: 50.11 GiB
INFO GPU KV cache size: 410,000 tokens
INFO Maximum concurrency for 4,096 tokens per request: 100.10x
"""
POOLS_ROW: dict[str, Any] = {
    "source": "x", "engine": "sglang", "engine_version": "0.5.8", "model": "llama-3.1-8b", "gpu": "h100-sxm", "precision": "bf16",
    "gemm_dtype": "bf16", "moe_dtype": "", "input_len": 100, "output_len": 20, "concurrency": 4, "prefill_num_workers": 1,
    "prefill_tp_size": 1, "prefill_pp_size": 1, "prefill_attention_dp_size": 1, "prefill_moe_tp_size": 1,
    "prefill_moe_ep_size": 1, "prefill_batch_size": 1, "decode_num_workers": 1, "decode_tp_size": 1, "decode_pp_size": 1,
    "decode_attention_dp_size": 1, "decode_moe_tp_size": 1, "decode_moe_ep_size": 1, "decode_batch_size": 8,
    "ttft_ms_mean": 90.0, "tpot_ms_mean": 9.0, "measured": "2026-02-05",
}  # fmt: skip
OWN_ROW: dict[str, Any] = {
    "model": "llama-3.1-8b", "gpu": "h100-sxm", "input_len": 100, "output_len": 20, "request_rate": 4, "duration_s": 10,
    "random_range_ratio": 0.3, "link": "nvlink", "link_gb_per_s": 300, "replicas": 1, "temperature": 0.7, "top_k": 20,
    "top_p": 0.9, "dataset": "", "engine_version": "0.19.0", "max_model_len": 4096, "kv_cache_dtype": "fp8",
    "ttft_ms_mean": 40.0, "ttft_ms_p90": 50.0, "e2e_ms_p99": 900.0, "itl_ms_mean": 9.0, "total_tok_s": 400.0, "req_s": 4.0,
    "measured": "2026-11-01", "api_server_count": 2, "scheduling_policy": "fcfs", "speculative_config": "",
}  # fmt: skip
TOKENIZER: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "word": 1, "another": 2}, "unk_token": "[UNK]"},
}  # fmt: skip
TALKS: list[Any] = [
    {
        "id": str(at),
        "conversations": [{"from": "human", "value": "word another word"}, {"from": "gpt", "value": "word " * (at + 2)}],
    }
    for at in range(20)
]


def draw_tool(rng: random.Random, folder: Path, beside: Callable[[], Path]) -> tuple[str, ...]:
    """The result of a benchmark tool, validated, or beside a finished run (`beside`), or calibrated from."""
    path = folder / rng.choice(("bench.json", "bench.json", "bench.jsonl"))
    tree = changed(rng, TOOLS[rng.choice(list(TOOLS))])
    path.write_bytes(spoilt(rng, as_json(tree).encode()))
    verb = rng.random()
    if verb < 0.4:
        return ("compare", str(beside()), str(path), "--json")
    if verb < 0.7:
        return ("validate", str(path), *SERVER, "--json")
    words = ("calibrate", str(path), *SERVER, "--out", str(folder / "c.yaml"))
    return words if rng.random() < 0.6 else (*words, "--arg", _argument(rng))


def _argument(rng: random.Random) -> str:
    name = rng.choice(("max_num_seqs", "kv_cache_dtype", "x", "", "block_size", "cudagraph_capture_sizes", "watermark"))
    value = str(rng.choice([*CELLS, "[", "{a: [", "*x", "!!python/object:os.system x", "[" * 300, "fp8"]))[:400]
    return f"{name}{rng.choice(('=', '=', '=', '', '=='))}{value}".encode("utf-8", "replace").decode()


def draw_text(rng: random.Random, folder: Path, beside: Callable[[], Path]) -> tuple[str, ...]:
    """A server's /metrics or start-up log with numbers, labels and lines changed."""
    metrics = rng.random() < 0.6
    path = folder / ("metrics.prom" if metrics else "server.log")
    lines = (METRICS if metrics else LOG).splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        lines[at] = _other_line(rng, lines[at], lines)
    path.write_bytes(spoilt(rng, ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")))
    if metrics and rng.random() < 0.6:
        return ("compare", str(beside()), str(path), "--json")
    return ("validate", str(path), "--gpu", "h100-sxm", "--model", "llama-3.1-8b", "--json")


def _other_line(rng: random.Random, line: str, lines: list[str]) -> str:
    import re

    numbers = list(re.finditer(r"\d[\d.,]*", line))
    if numbers and rng.random() < 0.8:
        found = rng.choice(numbers)
        value = str(rng.choice(CELLS))[:5000] if rng.random() < 0.7 else "9" * rng.choice((3, 30, 400, 5000))
        return line[: found.start()] + value.replace("\n", " ") + line[found.end() :]
    return rng.choice(("", line * 2, rng.choice(lines), line[: len(line) // 2], "vllm:x{} 1", line.replace('"', "")))


def draw_table(rng: random.Random, folder: Path) -> tuple[str, ...]:
    """A table of pools, or one with every column that a CSV of one's own may have."""
    row = rng.choice((POOLS_ROW, OWN_ROW, OWN_ROW))
    path = folder / ("disaggregated.csv" if row is POOLS_ROW else "own.csv")
    path.write_bytes(spoilt(rng, as_csv(rng, [copy.deepcopy(row) for _ in range(3)])))
    if rng.random() < 0.2:
        (folder / "c.yaml").write_bytes(as_yaml({"source": "x", "fitted": "2026-11-30", "factors": []}))
        return ("validate", str(path), "--calibration", str(folder / "c.yaml"), "--json")
    return ("validate", str(path), "--json")


def draw_tokenizer(rng: random.Random, folder: Path) -> tuple[str, ...]:
    """Conversations as text with a tokenizer.json, either changed."""
    talks, tokenizer = copy.deepcopy(TALKS), copy.deepcopy(TOKENIZER)
    if rng.random() < 0.5:
        talks = changed(rng, talks)
    else:
        tokenizer = changed(rng, tokenizer)
    (folder / "talks.json").write_bytes(spoilt(rng, as_json(talks).encode()))
    (folder / "tokenizer.json").write_bytes(spoilt(rng, as_json(tokenizer).encode()))
    return ("trace", str(folder / "talks.json"), "--tokenizer", str(folder / "tokenizer.json"), "--json")
