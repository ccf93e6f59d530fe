"""vLLM's start-up log and its /metrics text as rows of a start-up table: what it printed of weights and KV cache.

Source: vllm/v1/core/kv_cache_utils.py, vllm/v1/worker/gpu_model_runner.py and docs/design/metrics.md (0.8 to 0.30, read 2026-11).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from simulator.errors import MeasurementError
from simulator.files import DATA_BYTES, read_content
from simulator.numbers import integer
from simulator.validation.measurements import MeasurementTable

LOG_KINDS = (".log", ".txt", ".prom")
_PRINTED: dict[str, tuple[str, ...]] = {
    "engine_version": (r"vLLM API server version (\d\S*)", r"LLM engine \(v(\d[^)]*)\)"),
    "model": (r"LLM engine \([^)]*\) with config: model='([^']+)'", r"served_model_name='?([^\s',]+)"),
    "dtype": (r"dtype=torch\.(\w+)",),
    "max_model_len": (r"max_seq_len=(\d+)", r"Maximum concurrency for ([\d,]+) tokens"),
    "tensor_parallel_size": (r"tensor_parallel_size=(\d+)",),
    "pipeline_parallel_size": (r"pipeline_parallel_size=(\d+)",),
    "kv_cache_dtype": (r"kv_cache_dtype=(\w+)", r'cache_dtype="(\w+)"'),
    "enforce_eager": (r"enforce_eager=(True|False)",),
    "gpu_memory_utilization": (r"gpu_memory_utilization=\"?([\d.]+)",),
    "weights_gib_per_gpu": (r"[Mm]odel (?:loading|weights) (?:took|take) ([\d.]+) ?Gi?B",),
    "kv_cache_gib_per_gpu": (r"Available KV cache memory: ([\d.]+) GiB",),
    "kv_tokens": (r"GPU KV cache size: ([\d,]+) tokens",),
    "num_gpu_blocks": (r"# (?:GPU|cuda) blocks: (\d+)", r'num_gpu_blocks="(\d+)"'),
    "block_size": (r'block_size="(\d+)"',),
    "max_concurrency": (r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x",),
}


def read_startup_log(path: Path, stated: dict[str, str]) -> MeasurementTable:
    """A log as a table of one row. `stated` is what options say: gpu, and what else the log has not; it wins.

    Raises MeasurementError for a file without any of the lines, and naming the options for what it leaves open.
    """
    text = read_content(path, most=DATA_BYTES).decode(errors="replace")
    row = {name: found for name, patterns in _PRINTED.items() if (found := _first(text, patterns))}
    if not {"kv_tokens", "num_gpu_blocks", "kv_cache_gib_per_gpu", "weights_gib_per_gpu"} & row.keys():
        raise MeasurementError(
            f"{path.name}: neither a start-up log of vLLM (it prints 'GPU KV cache size: N tokens') nor its /metrics text"
        )
    if "kv_tokens" not in row and {"num_gpu_blocks", "block_size"} <= row.keys():
        row["kv_tokens"] = str(_product(path, row, "num_gpu_blocks", "block_size"))
    row = {"tensor_parallel_size": "1", **row, **stated}
    missing = [f"--{option}" for option in ("gpu", "model") if not row.get(option)]
    if missing:
        raise MeasurementError(f"{path.name} does not say what it is of: give {' and '.join(missing)}")
    if "gpu_count" not in row:
        row["gpu_count"] = str(_product(path, row, "tensor_parallel_size", "pipeline_parallel_size"))
    return MeasurementTable(path, tuple(row), (row,))


def _product(path: Path, row: dict[str, str], *names: str) -> int:
    """What some whole numbers of a row come to, those that it has not being 1. Raises MeasurementError."""
    return math.prod(integer(row.get(name, "1"), f"{path.name}: {name}", least=1) for name in names)


def _first(text: str, patterns: tuple[str, ...]) -> str:
    found = next(filter(None, (re.search(pattern, text) for pattern in patterns)), None)
    return found[1].replace(",", "") if found else ""
