"""Files that nobody should have written: every kind of input, with values, shapes and bytes changed at random.

`drawn(rng, folder)` writes the files of one case and says which command reads them; `judged` runs the command in this process and
says what is wrong with how it ended. A case is right where it ends with an answer, or with one line that says what is wrong.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from support.fuzz_fleets import draw_fleet
from support.fuzz_lines import draw_line
from support.fuzz_measured import draw_table, draw_text, draw_tokenizer, draw_tool
from support.spoiling import CELLS, VALUES, as_csv, as_json, as_yaml, changed, spoilt

SECONDS, MEBIBYTES, ROOM_BYTES, LONGEST_LINE = 10.0, 1500, 4 * 2**30, 700
# What measured files say of themselves, where their scenario goes, and verdicts, are told beside the answer.
_NOTING, MOST_NOTED = ("compare", "ask", "size"), 3000

SCENARIO: dict[str, Any] = {
    "name": "case",
    "model": "llama-3.1-8b",
    "engine": {"version": "vllm-0.19.0", "max_model_len": 4096},
    "workload": {
        "arrivals": {"kind": "poisson", "rate": "4/s"},
        "prompt": {"kind": "lognormal", "mean": 300, "p95": 700, "max": 2000},
        "output": {"kind": "uniform", "min": 5, "max": 40},
        "requests": 30,
    },
    "slo": {"ttft_s": 1.0, "tpot_s": 0.1},
    "deployments": [{"name": "one", "gpu": "rtx-4090"}, {"name": "two", "gpu": "h100-sxm", "replicas": 2}],
    "seed": 1,
}
FEW: dict[str, Any] = {
    **SCENARIO,
    "workload": {"arrivals": "4/s", "prompt": 50, "output": 5, "requests": 4},
    "deployments": [{"name": "one", "gpu": "rtx-4090"}],
}
ARRIVALS: list[Any] = [
    "4/s",
    {"kind": "gamma", "rate": 4, "cv": 2.0},
    {"kind": "gamma", "rate": 4, "burstiness": 0.5},
    {"kind": "weibull", "rate": 4, "cv": 1.5},
    {"kind": "constant", "rate": "240/min"},
    {"kind": "users", "users": 20, "each": "12/min"},
    {"kind": "stages", "stages": [{"rate": 2, "duration": "5s"}, {"rate": 4, "duration": "5s"}]},
    {"kind": "stages", "rates": [1, 2, 3], "every": "3s", "exact": True},
    {"kind": "ramp", "start": 1, "end": 8, "over": "10s"},
    {"kind": "diurnal", "peak": 6, "trough": 1, "period": "60s"},
    {"kind": "bursts", "rate": 9, "on": "2s", "off": "3s"},
    {"kind": "recorded", "times_s": [0, 0.5, 1, 1.5, 4]},
    {"kind": "all_at_once"},
    {"kind": "closed_loop", "concurrency": 4, "think": "1s", "think_cv": 1.0},
]
LENGTHS: list[Any] = [
    64,
    {"kind": "uniform", "min": 5, "max": 40},
    {"kind": "lognormal", "mu": 4.0, "sigma": 0.5},
    {"kind": "lognormal", "median": 50, "p95": 200, "max": 400},
    {"kind": "gamma", "mean": 60, "cv": 0.7},
    {"kind": "normal", "mean": 60, "std": 9},
    {"kind": "zipf", "exponent": 1.1, "min": 5, "max": 50},
    {"kind": "quantiles", "points": {"p0": 3, "p50": 40, "p100": 90}},
    {"kind": "empirical", "values": [5, 10, 20], "weights": [1, 2, 1]},
]
PREFIXES: list[Any] = [
    {"kind": "shared_prefix", "num_groups": 2, "system_prompt_len": 64},
    {"kind": "shared_prefix", "num_groups": 2, "num_prompts_per_group": 3, "system_prompt_len": 64, "popularity": 1.0},
    {"kind": "documents", "documents": 8, "per_request": 2, "document_len": 64, "popularity": 1.0},
]
SESSIONS: list[Any] = [
    {"kind": "conversation", "turns": {"kind": "uniform", "min": 1, "max": 4}, "think": "2s", "followup": 20},
    {"kind": "agent", "steps": 3, "tool_pause": "1s", "tool_result": 30, "max_context": 1000},
]
MODELS: list[Any] = ["llama-3.1-8b", "gpt-oss-20b", "qwen3-8b"]
OWN_CARD = {
    "name": "mine",
    "memory_gib": 24,
    "architecture": "ada",
    "memory_gb_per_s": 1008,
    "tflops": {"fp16": 165, "bf16": 165},
    "link": "pcie",
    "link_gb_per_s": 32,
    "tdp_watts": 450,
}
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
SHARED = Path(__file__).parents[3] / "shared"

TRACES: dict[str, list[dict[str, Any]]] = {
    "azure.csv": [
        {"TIMESTAMP": f"2023-11-16 18:15:{at:02d}.6805900", "ContextTokens": 100 + at, "GeneratedTokens": 10 + at}
        for at in range(30)
    ],
    "columns.csv": [{"arrival_s": at * 0.3, "prompt_tokens": 90 + at, "output_tokens": 9, "class": "a"} for at in range(30)],
    "burstgpt.csv": [
        {"Timestamp": at * 3, "Model": "x", "Request tokens": 50 + at, "Response tokens": at % 7, "Total tokens": 70}
        for at in range(30)
    ],
    "mooncake.jsonl": [
        {"timestamp": at * 250, "input_length": 600 + at, "output_length": 20, "hash_ids": [0, at]} for at in range(30)
    ],
    "bailian.jsonl": [
        {
            "chat_id": at,
            "parent_chat_id": -1,
            "timestamp": at * 1.5,
            "input_length": 40,
            "output_length": 20,
            "type": "text",
            "turn": 1,
            "hash_ids": [1, 2, at + 3],
        }
        for at in range(30)
    ],
    "llmservingsim.jsonl": [{"input_toks": 80, "output_toks": 9, "arrival_time_ns": at * 10**9} for at in range(30)],
    "bench.json": [{"input_lens": 80 + at, "output_lens": 9, "start_times": 0.25 * at} for at in range(30)],
    "sharegpt.json": [{"conversations": [{"tokens": 30 + at}, {"tokens": 20}], "arrival_s": at} for at in range(30)],
    "columns.parquet": [{"arrival_s": at * 0.3, "prompt_tokens": 90 + at, "output_tokens": 9} for at in range(30)],
}
ROWS: dict[str, dict[str, Any]] = {
    "closed_loop_vllm.csv": {
        "source": "InferenceX", "measured": "2026-03-27", "engine": "vllm", "engine_version": "0.18.0", "model": "llama-3.1-8b",
        "gpu": "h100_sxm", "gemm_dtype": "fp8", "moe_dtype": "", "tensor_parallel_size": 1, "pipeline_parallel_size": 1,
        "attention_dp_size": 1, "moe_ep_size": 1, "input_len": 100, "output_len": 20, "length_range_ratio": 0.8,
        "concurrency": 2, "ttft_ms_mean": 22.5, "tpot_ms_mean": 10.1, "max_num_seqs": "", "gpu_memory_utilization": "",
    },
    "rates.csv": {
        "model": "llama-3.1-8b", "gpu": "h100", "input_len": 100, "output_len": 20, "request_rate": 4, "max_concurrency": 8,
        "num_prompts": 30, "ttft_ms_mean": 22.5, "ttft_ms_p99": 44.0, "tpot_ms_mean": 10.1, "output_tok_s": 80,
    },
    "closed_loop_h100_qwen3-8b_bf16.csv": {
        "input_len": 128, "output_len": 20, "concurrency": 1, "num_prompts": 5, "output_tok_s": 142.3, "itl_median_ms": 6.9,
        "tpot_p95_ms": 7.0, "ttft_p95_ms": 61.3, "ttft_p99_ms": 62.1, "e2e_p95_ms": 1442.0,
    },
    "open_loop.csv": {
        "id": 17, "model": "llama-3.1-8b", "gpu": "H100-SXM-80GB", "tp": 1, "max_num_seqs": 128, "max_num_batched_tokens": 2048,
        "num_gpu_blocks": 8253, "block_size": 16, "system_prompts": 2, "users_per_prompt": 3, "system_prompt_len": 64,
        "question_len": 40, "output_len": 20, "stages": "2.5rps:4s;6.0rps:3s", "requests": 28, "itl_mean": 21.2,
        "ttft_p90": 74.1, "e2e_p90": 583.0, "ttft_mean": 62.7, "e2e_mean": 527.0, "stage": "all",
    },
    "published.csv": {
        "model": "llama-3.1-8b", "quantization": "bf16", "quant_class": "bf16", "gpu_norm": "A100-80GB", "n_gpu": 1, "tp": 1,
        "isl": 64, "osl": 20, "len_note": "", "concurrency": 2, "output_tok_s": 240.1, "req_s": "", "ttft_ms": "", "tpot_ms": "",
        "e2e_s": 1.2, "engine_version": "0.7.3", "notes": "offline, gpu_memory_utilization=0.9, max_model_len=4096",
    },
    "startup.csv": {
        "engine": "vllm", "engine_version": "0.11.0", "model": "llama-3.1-8b", "quantization": "none", "dtype": "bfloat16",
        "kv_cache_dtype": "auto", "gpu": "NVIDIA L4 24GB", "gpu_count": 1, "tp": 1, "pp": 1, "dp": 1,
        "gpu_memory_utilization": 0.92, "max_model_len": 32000, "max_num_seqs": 128, "max_num_batched_tokens": 2048,
        "block_size": "", "enforce_eager": "false", "prefix_caching": "true", "total_gpu_mem_gib": 22.0,
        "weights_gib_per_gpu": 14.99, "kv_cache_gib_per_gpu": 4.75, "num_gpu_blocks": "", "kv_tokens": 38944,
        "max_concurrency": 1.22, "outcome": "ok", "notes": "DCP=1, MTP 1",
    },
    "training.csv": {
        "framework": "torchtune", "model": "llama-3.1-8b", "sim_model": "llama-3.1-8b", "method": "lora", "precision": "bf16",
        "optimizer": "adamw", "micro_batch": 2, "seq_len": 2048, "gradient_checkpointing": "full", "flash_attention": "true",
        "zero_stage_or_fsdp": "none", "zero_stage": 0, "tp": 1, "pp": 1, "dp": 1, "gradient_accumulation": 1, "lora_rank": 16,
        "lora_targets": "attention", "measured_kind": "allocated", "measured_peak_gib": 16.2, "expressible": "yes",
        "options_only_in_python": "fused_loss", "notes": "",
    },
    "replay.csv": {
        "request_id": 1, "arrival_s": 0.1, "input_len": 100, "output_len": 10, "first_token_s": 0.3, "last_token_s": 1.0,
    },
}  # fmt: skip
BENCH: dict[str, Any] = {
    "model_id": "llama-3.1-8b", "request_rate": "inf", "max_concurrency": 2, "duration": 9.5, "completed": 20,
    "total_input_tokens": 2000, "total_output_tokens": 400, "mean_ttft_ms": 30.5, "mean_tpot_ms": 9.5,
    "input_lens": [100] * 20, "output_lens": [20] * 20,
}  # fmt: skip
ENGINE_LOG: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "vllm_version": "0.19.0",
    "engine_kwargs": {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "max_num_seqs": 64},
    "kv_cache": {"num_gpu_blocks": 3000, "num_kv_tokens": 48000, "block_size": 16, "kv_cache_dtype": "auto"},
    "hardware": {"device_name": "NVIDIA GeForce RTX 4090"},
}
CALIBRATION: dict[str, Any] = {
    "source": "runs.csv",
    "fitted": "2026-11-30",
    "factors": [
        {
            "model": "llama-3.1-8b", "gpu": "rtx-4090", "quantization": "bf16", "tensor_parallel_size": 1, "prefill": 1.1,
            "prefill_percent": 2.0, "rows": 3,
            "decode": [{"sequences": 1, "factor": 1.1, "percent": 2.0}, {"sequences": 64, "factor": 0.9, "percent": 3.0}],
        }
    ],
}  # fmt: skip
INFERENCE_PERF: dict[str, Any] = {
    "load": {"type": "poisson", "stages": [{"rate": 2, "duration": 10}, {"rate": 4, "duration": 10}]},
    "data": {
        "type": "shared_prefix",
        "shared_prefix": {
            "num_groups": 2,
            "num_prompts_per_group": 3,
            "system_prompt_len": 100,
            "question_len": 20,
            "output_len": 30,
        },
    },
}
PERF_DATA = {
    "type": "random",
    "input_distribution": {"min": 10, "max": 90, "mean": 50, "std_dev": 9},
    "output_distribution": {"type": "uniform", "min": 10, "max": 90},
}
COMMAND = (
    "vllm bench serve --dataset-name random --random-input-len 100 --random-output-len 20 --random-range-ratio 0.2"
    " --num-prompts 30 --request-rate 4 --burstiness 0.5 --max-concurrency 8"
)
SERVE = "vllm serve llama-3.1-8b --max-model-len 4096 --gpu-memory-utilization 0.9 --max-num-seqs 64 --tensor-parallel-size 1"
PROFILE = {
    "dense.csv": [{"layer": name, "tokens": n, "time_us": 5 + 0.1 * n} for name in ("qkv", "layernorm", "embedding")
        for n in (1, 64, 4096)],
    "per_sequence.csv": [{"layer": name, "sequences": n, "time_us": 9 + n} for name in ("lm_head", "sampler") for n in (1, 256)],
    "attention.csv": [
        {"prefill_chunk": c, "kv_prefill": k, "n_decode": n, "kv_decode": d, "time_us": 3 + 0.1 * c + 0.01 * n * d}
        for c, k, n, d in ((0, 0, 1, 64), (0, 0, 8, 4096), (0, 0, 64, 512), (64, 0, 0, 0), (512, 64, 0, 0), (4096, 0, 0, 0))
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The words of a command that reads the files of a case."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong with how a command ended: its kind, told from where it arose, and the details."""

    kind: str
    details: str


Draw = Callable[[random.Random, Path], tuple[str, ...]]


def _scenario(rng: random.Random) -> dict[str, Any]:
    """A sound scenario out of all that one can hold."""
    tree = copy.deepcopy(SCENARIO)
    work = tree["workload"]
    work["arrivals"] = copy.deepcopy(rng.choice(ARRIVALS))
    work["prompt"], work["output"] = copy.deepcopy(rng.choice(LENGTHS)), copy.deepcopy(rng.choice(LENGTHS))
    tree["model"] = rng.choice(MODELS)
    loop = isinstance(work["arrivals"], dict) and work["arrivals"]["kind"] == "closed_loop"
    if rng.random() < 0.3:
        work["prefix"] = copy.deepcopy(rng.choice(PREFIXES))
    if rng.random() < 0.3 and not loop:
        work["sessions"] = copy.deepcopy(rng.choice(SESSIONS))
    if rng.random() < 0.2:
        tree["deployments"][0]["gpu"] = copy.deepcopy(OWN_CARD)
    if rng.random() < 0.2:
        tree["deployments"][1] |= {"tensor_parallel_size": 2, "max_num_seqs": 32, "block_size": 32, "kv_cache_dtype": "fp8"}
    if rng.random() < 0.2:
        tree["latency"] = rng.choice(
            ({"kind": "constant", "step_ms": 9}, {"kind": "linear", "step_ms": 5, "token_us": 20, "context_token_us": 0.1})
        )
    if rng.random() < 0.2:
        tree["deployments"][0] = {"name": "line", "gpu": "rtx-4090", "serve": SERVE}
    if rng.random() < 0.2:
        tree["prices"] = {"provider": "aws", "usd_per_gpu_hour": {"rtx-4090": 0.4}}
    if rng.random() < 0.2:
        tree["prices"] = {"owned": {"usd_per_gpu": 2000, "years": 3, "usd_per_kwh": 0.2, "pue": 1.3}}
    if rng.random() < 0.2:
        tree["frontend"] = {"fixed_ms": 5.0, "prompt_token_us": 4.0}
    return tree


def draw_scenario(rng: random.Random, folder: Path) -> tuple[str, ...]:
    path = folder / "case.yaml"
    path.write_bytes(spoilt(rng, as_yaml(changed(rng, _scenario(rng)))))
    verb = rng.choice(("run", "run", "check"))
    return (verb, str(path), *(("--no-report", "--no-limits", "--json") if verb == "run" else ()))


def draw_settings(rng: random.Random, folder: Path) -> tuple[str, ...]:
    path = folder / "case.yaml"
    path.write_bytes(as_yaml(_scenario(rng)))
    where = rng.choice(
        ("workload.requests", "workload.arrivals", "deployments.0.gpu", "deployments.one.gpu", "slo", "x", "", "seed", "name")
    )
    value = json.dumps(rng.choice(VALUES[:-1]), skipkeys=True) if rng.random() < 0.7 else str(rng.choice(CELLS))
    sweep = ("sweep", str(path), "--over", f"{where}={value[:300]}", "--workers", "1", "--out", str(folder / "o"))
    return rng.choice((("run", str(path), "--no-report", "--no-limits", "--json", "--set", f"{where}={value}"), sweep))


def draw_trace(rng: random.Random, folder: Path) -> tuple[str, ...]:
    name = rng.choice(list(TRACES))
    rows = copy.deepcopy(TRACES[name])
    path = folder / name
    if name.endswith(".csv"):
        path.write_bytes(spoilt(rng, as_csv(rng, rows)))
    elif name.endswith(".jsonl"):
        rows = changed(rng, rows)
        lines = rows if isinstance(rows, list) else [rows]
        path.write_bytes(spoilt(rng, "\n".join(map(as_json, lines)).encode()))
    elif name.endswith(".json"):
        tree: Any = rows
        if name.startswith("bench"):
            tree = {key: [row[key] for row in rows] for key in rows[0]}
        path.write_bytes(spoilt(rng, as_json(changed(rng, tree)).encode()))
    else:
        _parquet(rng, rows, path)
    if rng.random() < 0.1 and not name.endswith(".parquet"):
        packed = gzip.compress(path.read_bytes())
        path = path.with_name(name + ".gz")
        path.write_bytes(spoilt(rng, packed))
    if rng.random() < 0.5:
        return ("trace", str(path), *(("--skip-bad",) if rng.random() < 0.3 else ()), "--json")
    scenario = copy.deepcopy(SCENARIO)
    scenario["workload"] = {"trace": {"path": str(path), "scale": rng.choice((1, 2, "2x"))}}
    (folder / "case.yaml").write_bytes(as_yaml(scenario))
    return ("run", str(folder / "case.yaml"), "--no-report", "--no-limits", "--json")


def _parquet(rng: random.Random, rows: list[dict[str, Any]], path: Path) -> None:
    frame = pl.DataFrame(rows)
    name = rng.choice(frame.columns)
    column = pl.col(name)
    odd: list[Any] = [
        pl.lit(None), pl.lit("x"), pl.lit(math.nan), pl.lit(math.inf), pl.lit(-5), pl.lit(1e308), pl.lit(True), pl.lit(b"\xff"),
        pl.lit(2**62), pl.lit([1, 2]), pl.lit(1.5), pl.lit("2024-01-01").str.to_datetime(), pl.struct(pl.all()),
        pl.lit("x").cast(pl.Categorical), column.cast(pl.String, strict=False), column.cast(pl.Float32, strict=False),
        column.cast(pl.Decimal(20, 2), strict=False),
    ]  # fmt: skip
    frame = frame.with_columns(rng.choice(odd).alias(name)) if rng.random() < 0.8 else frame.drop(name)
    content = io.BytesIO()
    frame.write_parquet(content)
    path.write_bytes(spoilt(rng, content.getvalue()))


def draw_servegen(rng: random.Random, folder: Path) -> tuple[str, ...]:
    windows = "".join(f"{at},{1.5},{1.0},{law},1,1\n" for at, law in ((0, "Gamma"), (30, "Weibull"), (60, "")))
    law = {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": {"5": 0.5, "9": 0.5}}
    dataset = changed(rng, {"0": law, "30": copy.deepcopy(law)}) if rng.random() < 0.6 else {"0": law}
    if dataset == {"0": law}:
        cells = [line.split(",") for line in windows.splitlines()]
        row = rng.choice(cells)
        row[rng.randrange(len(row))] = str(rng.choice(CELLS))[:300]
        windows = "\n".join(map(",".join, cells)) + "\n"
    (folder / "chunk-0-trace.csv").write_bytes(spoilt(rng, windows.encode("utf-8", "surrogatepass")))
    (folder / "chunk-0-dataset.json").write_bytes(spoilt(rng, as_json(dataset).encode()))
    return ("trace", str(folder), "--json")


def draw_benchmark(rng: random.Random, folder: Path) -> tuple[str, ...]:
    if rng.random() < 0.5:
        words = COMMAND.split()
        at = rng.randrange(2, len(words))
        words[at] = rng.choice(
            (
                "",
                "--x",
                "nan",
                "-1",
                "1e400",
                "9" * 500,
                "'",
                "0",
                "inf",
                "1e-300",
                "burstgpt",
                "sharegpt",
                "sonnet",
                "1.5",
                "10" * 9,
            )
        )
        return ("trace", "--command", " ".join(words))
    tree = copy.deepcopy(INFERENCE_PERF)
    if rng.random() < 0.5:
        tree["data"] = copy.deepcopy(PERF_DATA)
    if rng.random() < 0.2:
        tree["load"] = {"type": "concurrent", "stages": [{"concurrency_level": 4, "num_requests": 30}]}
    (folder / "perf.yaml").write_bytes(spoilt(rng, as_yaml(changed(rng, tree))))
    return ("trace", str(folder / "perf.yaml"))


def draw_measurements(rng: random.Random, folder: Path) -> tuple[str, ...]:
    name = rng.choice(list(ROWS))
    rows = [copy.deepcopy(ROWS[name]) for _ in range(3)]
    for at, row in enumerate(rows):
        row |= {key: row[key] + at for key in ("arrival_s", "first_token_s", "last_token_s") if key in row}
    (folder / name).write_bytes(spoilt(rng, as_csv(rng, rows)))
    if name == "replay.csv":
        log = changed(rng, ENGINE_LOG) if rng.random() < 0.5 else ENGINE_LOG
        (folder / "engine.json").write_bytes(spoilt(rng, as_json(log).encode()))
        if rng.random() < 0.5:
            lines = changed(rng, [{"hash_ids": [0, 1, 2]}] * 3)
            (folder / "trace.jsonl").write_bytes(
                spoilt(rng, "\n".join(map(as_json, lines if isinstance(lines, list) else [lines])).encode())
            )
    if "_loop_" in name and rng.random() < 0.3:
        return ("calibrate", str(folder / name), "--out", str(folder / "c.yaml"))
    return ("validate", str(folder / name), "--json")


def draw_bench(rng: random.Random, folder: Path) -> tuple[str, ...]:
    path = folder / "bench.json"
    path.write_bytes(spoilt(rng, as_json(changed(rng, BENCH)).encode()))
    return ("calibrate", str(path), "--gpu", "h100-sxm", "--out", str(folder / "c.yaml"))


def draw_calibration(rng: random.Random, folder: Path) -> tuple[str, ...]:
    (folder / "c.yaml").write_bytes(spoilt(rng, as_yaml(changed(rng, CALIBRATION))))
    (folder / "case.yaml").write_bytes(as_yaml({**FEW, "calibration": "c.yaml"}))
    return ("run", str(folder / "case.yaml"), "--no-report", "--no-limits", "--json")


def draw_profile(rng: random.Random, folder: Path) -> tuple[str, ...]:
    wrong = rng.choice(list(PROFILE))
    for name, rows in PROFILE.items():
        (folder / name).write_bytes(spoilt(rng, as_csv(rng, rows)) if name == wrong else _plain_csv(rows))
    scenario = {**FEW, "latency": {"kind": "profiled", "path": str(folder)}}
    (folder / "case.yaml").write_bytes(as_yaml(scenario))
    return ("run", str(folder / "case.yaml"), "--no-report", "--no-limits", "--json")


def _plain_csv(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]).encode()


@cache
def _configs() -> tuple[dict[str, Any], ...]:
    found = sorted((SHARED / "configs").glob("*.json")) if (SHARED / "configs").is_dir() else []
    read = [json.loads(path.read_text("utf-8")) for path in found if "hf_quant" not in path.name]
    return (CONFIG, *(config for config in read if isinstance(config, dict) and "architectures" in config))


def draw_config(rng: random.Random, folder: Path) -> tuple[str, ...]:
    (folder / "config.json").write_bytes(spoilt(rng, as_json(changed(rng, rng.choice(_configs()))).encode()))
    if rng.random() < 0.1:
        (folder / "model.safetensors.index.json").write_text(as_json(changed(rng, {"metadata": {"total_size": 10**10}})))
    if rng.random() < 0.1:
        quantized = {
            "quantization": {
                "quant_algo": "NVFP4",
                "kv_cache_quant_algo": "FP8",
                "group_size": 16,
                "exclude_modules": ["lm_head"],
            }
        }
        (folder / "hf_quant_config.json").write_text(as_json(changed(rng, quantized)))
    return ("memory", str(folder / "config.json"), "--gpu", rng.choice(("h100-sxm", "l4")), "--json")


def draw_catalog(rng: random.Random, folder: Path) -> tuple[str, ...]:
    """A card and a line of one's own on the command line, and names that the catalog has not."""
    card = changed(rng, {key: value for key, value in OWN_CARD.items() if key != "tflops"}, times=1)
    fields = ",".join(f"{key}={str(value)[:200]}" for key, value in card.items()) if isinstance(card, dict) else "x"
    name = str(rng.choice([cell for cell in CELLS if "\0" not in str(cell)]))[:500].encode("utf-8", "replace").decode()
    line = SERVE.split()
    line[rng.randrange(2, len(line))] = str(rng.choice((*CELLS, '{"mode": 3}', "[1,2", '{"a":' * 900)))[:5000].replace("\0", "")
    return rng.choice(
        (
            ("memory", "llama-3.1-8b", "--gpu", fields.encode("utf-8", "replace").decode().replace("\0", ""), "--json"),
            ("memory", name, "--gpu", "l4"),
            ("memory", "llama-3.1-8b", "--gpu", name),
            ("catalog", "gpus", name),
            ("catalog", "models", name),
            ("memory", " ".join(line).encode("utf-8", "replace").decode(), "--gpu", "l4", "--json"),
        )
    )


@cache
def _sound_run() -> Path:
    """A run folder as `sim run` leaves it, made once a process."""
    import tempfile

    above = Path(tempfile.mkdtemp(prefix="sim-fuzz-"))
    (above / "case.yaml").write_bytes(as_yaml(SCENARIO))
    left = ended(("run", str(above / "case.yaml"), "--no-limits", "--out", str(above), "--quiet"))
    assert left.code == 0, left
    return above / "case"


def draw_run_folder(rng: random.Random, folder: Path) -> tuple[str, ...]:
    made = folder / "made"
    shutil.copytree(_sound_run(), made)
    if rng.random() < 0.6:
        summary = changed(rng, json.loads((made / "summary.json").read_text("utf-8")))
        (made / "summary.json").write_bytes(spoilt(rng, as_json(summary).encode()))
    elif rng.random() < 0.9:
        path = made / rng.choice(("requests.parquet", "steps.parquet"))
        _parquet(rng, pl.read_parquet(path).to_dicts(), path)
    else:
        (made / rng.choice(sorted(os.listdir(made)))).unlink()
    if rng.random() < 0.1:  # pages take a second
        return ("report", str(made), "--format", "html", "--out", str(folder / "out.html"))
    return rng.choice(
        (
            ("compare", str(made), str(made), "--json"),
            ("compare", str(_sound_run()), str(made)),
            ("report", str(made), "--format", "md", "--out", str(folder / "out.md")),
        )
    )


def draw_kept_points(rng: random.Random, folder: Path) -> tuple[str, ...]:
    out = folder / "o" / "case-sweep"
    out.mkdir(parents=True)
    head, row = {"format": 2, "version": "0.1.0"}, {"key": "a" * 24, "row": {"deployment": "one", "status": "done"}}
    lines = changed(rng, [head, row, row])
    (out / "points.jsonl").write_bytes(
        spoilt(rng, "\n".join(map(as_json, lines if isinstance(lines, list) else [lines])).encode())
    )
    (folder / "case.yaml").write_bytes(as_yaml(FEW))
    return ("sweep", str(folder / "case.yaml"), "--over", "seed=1,2", "--workers", "1", "--out", str(folder / "o"), "--quiet")


DRAWS: dict[str, Draw] = {
    "scenario": draw_scenario,
    "settings": draw_settings,
    "trace": draw_trace,
    "servegen": draw_servegen,
    "benchmark": draw_benchmark,
    "measurements": draw_measurements,
    "bench": draw_bench,
    "calibration": draw_calibration,
    "profile": draw_profile,
    "config": draw_config,
    "catalog": draw_catalog,
    "run folder": draw_run_folder,
    "kept points": draw_kept_points,
    "fleet": draw_fleet,
    "tool": lambda rng, folder: draw_tool(rng, folder, _sound_run),
    "text": lambda rng, folder: draw_text(rng, folder, _sound_run),
    "table": draw_table,
    "tokenizer": draw_tokenizer,
    "line": draw_line,
}


@dataclass(frozen=True)
class Left:
    """How a command ended."""

    code: int
    out: str
    err: str
    problem: BaseException | None = None


class TooLong(BaseException):
    """A command that did not end in time."""


def ended(words: tuple[str, ...]) -> Left:
    """Run `sim WORDS` in this process; warnings are errors, and an error of ours is kept."""
    import simulator.cli as command_line

    out, err, kept = io.StringIO(), io.StringIO(), []
    from simulator.planning.machines.pool import Processes

    former, argv, count = command_line.fault_message, sys.argv, Processes.count
    Processes.count = lambda self: 1  # type: ignore[method-assign]
    command_line.fault_message = lambda problem: kept.append(problem) or "a fault"  # type: ignore[assignment, func-returns-value]
    sys.argv = ["sim", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(), _limited():
            warnings.simplefilter("error")
            try:
                code = command_line._code()
            except (TooLong, KeyboardInterrupt):
                raise
            except BaseException as problem:  # such as a panic of a library in Rust
                kept, code = [problem], 70
    finally:
        command_line.fault_message, sys.argv, Processes.count = former, argv, count  # type: ignore[method-assign]
    return Left(
        code if isinstance(code, int) else 0 if code is None else 1, out.getvalue(), err.getvalue(), kept[0] if kept else None
    )


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TooLong("".join(traceback.format_stack(frame, limit=12)))

    former, limits = signal.signal(signal.SIGPROF, stop), resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM_BYTES, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, former)


def judged(words: tuple[str, ...]) -> Fault | None:
    """What is wrong with how a command ended, None where it ended as it should."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        left = ended(words)
    except TooLong as stopped:
        frames = re.findall(r'simulator/(\S+)", line (\d+), in (\w+)', str(stopped))
        return Fault(f"hangs in {frames[-1] if frames else '?'}", str(stopped))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if left.problem is not None:
        frames = [f for f in traceback.extract_tb(left.problem.__traceback__) if "simulator/" in f.filename]
        where = f"{frames[-1].filename.rsplit('simulator/', 1)[-1]} {frames[-1].name}" if frames else "?"
        details = "".join(traceback.format_exception(left.problem))
        return Fault(f"{type(left.problem).__name__} in {where}", details)
    if grown > MEBIBYTES:
        return Fault(f"takes {grown:.0f} MiB", left.err)
    if "not enough memory" in left.err:
        return Fault("out of memory", left.err)
    if left.code not in (0, 1, 2):
        return Fault(f"exit code {left.code}", left.err)
    mistakes = left.err.splitlines()
    if left.code == 2 and not (mistakes and all(m.startswith("error: ") and len(m) <= LONGEST_LINE for m in mistakes)):
        return Fault("not one line a mistake", left.err)
    if (left.code == 2 and "1 validation error" in left.err) or "pydantic" in left.err:
        return Fault("words of a library", left.err)
    if left.code != 2 and left.err and not (words[0] in _NOTING and len(left.err) < MOST_NOTED):
        return Fault("says something on stderr", left.err)
    if "--json" in words and left.code == 0 and (wrong := _not_strict(left.out)):
        return Fault("no strict JSON", wrong)
    return None


def _not_strict(text: str) -> str:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as problem:
        return f"{problem}: {text[:300]}"
    return ""


def case_of(name: str, rng: random.Random, folder: Path) -> Case:
    """One case of a kind of input, its files written to a folder."""
    return Case(name, DRAWS[name](rng, folder))


def main() -> None:
    """`python -m support.fuzzing SEED CASES [NAME...]`: run cases and print the kinds of what is wrong."""
    import tempfile
    from collections import Counter

    seed, cases, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(DRAWS)
    found: Counter[str] = Counter()
    first: dict[str, tuple[int, str, str]] = {}
    start = time.monotonic()
    for at in range(cases):
        name = names[at % len(names)]
        with tempfile.TemporaryDirectory() as made:
            rng = random.Random(f"{seed} {at}")
            case = case_of(name, rng, Path(made))
            Path(f"/tmp/fuzz-last-{seed}.txt").write_text(f"{at} {name} {case.words!r:.500}")
            begin = time.process_time()
            if fault := judged(case.words):
                kind = f"{name}: {fault.kind}"
                found[kind] += 1
                first.setdefault(kind, (at, repr(case.words)[:600], fault.details))
            elif time.process_time() - begin > 4:
                print(f"slow {time.process_time() - begin:.1f} s: case {at} {name}", flush=True)
    for kind, (at, words, details) in first.items():
        print(f"\n=== {found[kind]} x {kind} (case {at})\n{words}\n{details[-1500:]}")
    print(f"\nseed {seed}: {cases} cases, {len(found)} kinds, {sum(found.values())} faults, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
