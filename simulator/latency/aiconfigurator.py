"""Silicon: matmuls and experts as NVIDIA measured them, from the optional package aiconfigurator-core (Apache-2.0).

Install it with `pip install inference-sizing-simulator[silicon]` (Linux on x86-64). Its tables are Parquet files of milliseconds:
matmuls by tokens, n and k; experts by tokens for one shape at a time. Between measured tokens, and between measured n and k, the
ratio of measured to roofline seconds is interpolated in logarithms; beyond them nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import RunningKernel
from simulator.errors import NotModelled
from simulator.files import without_panic
from simulator.latency import physics
from simulator.latency.physics import Array, Rates

_FOLDERS = {"a100-80gb-sxm": "a100_sxm"}
_FAMILIES = {"tensorrt-llm": "trtllm"}
_DTYPES: dict[RunningKernel, str] = {"bf16": "bfloat16", "mxfp4_wo": "w4a16_mxfp4", "mxfp4": "w4a8_mxfp4_mxfp8"}
# Measured without CUDA graphs: the CPU's launches of 70 to 300 us hide the kernels, which vLLM's graphs do not pay.
_WITHOUT_GRAPHS = {("vllm", "fp8_block")}
# How unevenly tokens choose experts in the tables that we take.
_DISTRIBUTION = "power_law_1.01"


@dataclass(frozen=True, slots=True)
class KernelCurve:
    """Measured seconds by tokens, both increasing in their own order."""

    tokens: Array
    seconds: Array

    def at(self, tokens: Array) -> Array:
        """Seconds, by straight lines in logarithms; 0 tokens take none. Raises NotModelled beyond what was measured."""
        if tokens.max() > self.tokens[-1]:
            raise NotModelled(f"measured up to {int(self.tokens[-1])} tokens a step, not {int(tokens.max())}")
        seconds = np.exp(np.interp(np.log(np.maximum(tokens, 1.0)), np.log(self.tokens), np.log(self.seconds)))
        return np.where(tokens > 0, seconds, 0.0)


@dataclass(frozen=True, slots=True)
class Tables:
    """Measured kernels of one GPU under one engine: curves by (dtype, n, k), and by (dtype, shape of experts)."""

    name: str
    matmuls: dict[tuple[str, int, int], KernelCurve]
    experts: dict[tuple[str, int, int, int, int, int, int], KernelCurve]

    def matmul(self, kernel: RunningKernel, tokens: Array, n: float, k: float, measured: Rates, wanted: Rates) -> Array:
        """Seconds of a matmul: `measured` rates are those of the table's protocol, `wanted` those of the engine as it runs."""
        dtype = _DTYPES.get(kernel, kernel)
        shapes = [(a, b) for d, a, b in self.matmuls if d == dtype]
        if not shapes:
            raise NotModelled(f"{self.name}: no {dtype} matmuls were measured, or not as they run")
        ratio = np.zeros_like(tokens)
        for a, share_n in _around(n, {a for a, _ in shapes}, f"{self.name}: {dtype} matmuls of n"):
            for b, share_k in _around(k, {b for _, b in shapes}, f"{self.name}: {dtype} matmuls of k"):
                if (curve := self.matmuls.get((dtype, a, b))) is None:
                    raise NotModelled(f"{self.name}: no {dtype} matmul of n {a} and k {b} was measured")
                expected = physics.gemm(np.maximum(tokens, 1.0), a, b, measured)
                ratio += share_n * share_k * np.log(curve.at(np.maximum(tokens, 1.0)) / expected)
        return np.exp(ratio) * physics.gemm(tokens, n, k, wanted)

    def grouped(self, kernel: RunningKernel, tokens: Array, shape: tuple[int, int, int, int], split: int, ranks: int) -> Array:
        """Seconds of the experts of one GPU; `shape` is hidden, width, experts a token and experts."""
        key = (_DTYPES.get(kernel, kernel), *shape, split, ranks)
        if (curve := self.experts.get(key)) is None:
            hidden, width, picked, experts = shape
            raise NotModelled(
                f"{self.name}: no {key[0]} experts were measured with hidden {hidden}, width {width}, "
                f"{picked} of {experts} experts, tensor parallel {split} and expert parallel {ranks}"
            )
        return curve.at(tokens)


def read_kernel_tables(gpu: Gpu, engine: Engine) -> Tables:
    """The newest tables of a GPU and engine. Raises NotModelled where the package or the combination is not there."""
    package = find_spec("aiconfigurator_core")
    if package is None or not package.submodule_search_locations:
        raise NotModelled(
            "measured kernels need the package aiconfigurator-core: pip install inference-sizing-simulator[silicon]"
        )
    data = Path(package.submodule_search_locations[0]) / "systems" / "data"
    return _read(data, _FOLDERS.get(gpu.name, gpu.name.replace("-", "_")), _FAMILIES.get(engine.family, engine.family))


@cache
def _read(data: Path, folder: str, family: str) -> Tables:
    matmuls = _newest(data / folder / "gemm" / family, "gemm_perf.parquet")
    experts = _newest(data / folder / "moe" / family, "moe_perf.parquet")
    if matmuls is None:
        raise NotModelled(f"aiconfigurator-core has no measured kernels of {folder} under {family}")
    shape = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    curves = _curves(matmuls, ("gemm_dtype", "n", "k"), "m")
    return Tables(
        name=f"aiconfigurator-core, {matmuls.parent.parent.parent.parent.name}, {family} {matmuls.parent.name}",
        matmuls={key: curve for key, curve in curves.items() if (family, key[0]) not in _WITHOUT_GRAPHS},
        experts={} if experts is None else _curves(experts, ("moe_dtype", *shape), "num_tokens", _DISTRIBUTION),
    )


def _newest(folder: Path, name: str) -> Path | None:
    return max(
        folder.glob(f"*/{name}"),
        key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()],
        default=None,
    )


def _curves(path: Path, by: tuple[str, ...], count: str, distribution: str | None = None) -> dict[Any, KernelCurve]:
    """Curves of the fastest kernel at each point."""
    import polars as pl

    table = without_panic(lambda: pl.read_parquet(path))
    if distribution is not None:
        table = table.filter(pl.col("distribution") == distribution)
    best = table.filter(pl.col("latency") > 0).group_by(*by, count).agg(pl.col("latency").min()).sort(*by, count)
    found: dict[Any, KernelCurve] = {}
    for key, rows in best.group_by(*by, maintain_order=True):
        found[tuple(key)] = KernelCurve(rows[count].to_numpy().astype(float), rows["latency"].to_numpy() * 1e-3)
    return found


def _around(value: float, measured: set[int], what: str) -> list[tuple[int, float]]:
    """The measured sizes below and above a size, and their shares. Raises NotModelled beyond the smallest and the largest."""
    sizes = np.array(sorted(measured))
    if not sizes[0] <= value <= sizes[-1]:
        raise NotModelled(f"{what} {value:g} are beyond what was measured, {sizes[0]} to {sizes[-1]}")
    upper = int(np.searchsorted(sizes, value))
    if sizes[upper] == value:
        return [(int(sizes[upper]), 1.0)]
    below, above = int(sizes[upper - 1]), int(sizes[upper])
    share = float(np.log(value / below) / np.log(above / below))
    return [(below, 1 - share), (above, share)]
