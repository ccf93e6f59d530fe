"""Deployments to bind step times for, and the scalar arithmetic that tables are checked against."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from simulator.catalog.engines import Engine, EngineArgs, engine
from simulator.catalog.gpus import Gpu, gpu
from simulator.catalog.models import Model, model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.latency.gpu_share import GpuShare, gpu_share
from simulator.latency.models import Roofline
from simulator.latency.physics import gemm
from simulator.latency.step import StepTime
from simulator.latency.target import Target


@dataclass(frozen=True, eq=False)
class Case:
    """One deployment with resolved engine arguments."""

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    args: EngineArgs
    engine: Engine

    @property
    def name(self) -> str:
        form = self.quantization.name if self.quantization else "bf16"
        a = self.args
        sizes = f"tp{a.tensor_parallel_size}-pp{a.pipeline_parallel_size}-dp{a.data_parallel_size}"
        return f"{self.model.name}-{form}-{self.gpu.name}-{sizes}-{self.engine.version}"

    def bind(self, latency: object | None = None, **more: object) -> StepTime:
        return (latency or Roofline()).bind(replace(self.target, **more))

    def parts(self) -> dict[str, StepTime]:
        return Roofline().parts(self.target)

    def rank(self) -> GpuShare:
        return gpu_share(self.target)

    @property
    def target(self) -> Target:
        return Target(self.model, self.quantization, self.gpu, self.args, self.engine)


def case(name: str, card: str = "h100", form: str | None = None, release: str = "vllm 0.19.0", **given: object) -> Case:
    """A deployment, with small tables unless said otherwise."""
    base, hardware, server = model(name), gpu(card), engine(release)
    chosen = quantization(form) if form else base.quantization
    args = EngineArgs(**{"max_num_batched_tokens": 2048, "max_num_seqs": 64, "max_model_len": 2048, **given})
    return Case(base, chosen, hardware, server.resolve(args, hardware, base), server)


CASES = [
    case("llama-3.1-8b"),
    case("llama-3.1-70b", form="fp8", tensor_parallel_size=4),
    case("llama-3.1-70b", form="w4a16", tensor_parallel_size=2),
    case("llama-3.1-8b", "a100-80gb", "fp8"),
    case("llama-3.1-8b", "rtx 4090", release="vllm 0.7.3"),
    case("qwen3-30b-a3b", "h200", tensor_parallel_size=2),
    case("gpt-oss-120b", "b200"),
    case("deepseek-v3", "h200", tensor_parallel_size=8),
    case("deepseek-v3", "h200", data_parallel_size=8, enable_expert_parallel=True),
    case("gemma-3-27b", "h100"),
    case("qwen3-next-80b-a3b", "h200", tensor_parallel_size=4),
    case("llama-3.1-70b", "h200", pipeline_parallel_size=2, tensor_parallel_size=2),
    case("llama-3.1-8b", "l4", enforce_eager=True),
    case("llama-3.1-8b", "mi300x"),
]


def write_silicon(folder: Path, *, matmul_ms: float = 1.0, tokens: tuple[int, ...] = (1, 64, 4096)) -> None:
    """A package like aiconfigurator-core in a folder, for H100 and vLLM: every 16-bit matmul takes the roofline's time, scaled.

    One shape of experts, those of Qwen3-30B-A3B on one GPU, takes 2 ms whatever the tokens.
    """
    r = case("llama-3.1-8b").rank()
    sizes = (64, 1024, 4096, 16384, 65536)
    rows = [
        {"gemm_dtype": "bfloat16", "m": m, "n": n, "k": k, "latency": matmul_ms * 1e3 * float(seconds[0])}
        for m in tokens
        for n in sizes
        for k in sizes
        if (seconds := gemm(np.array([float(m)]), n, k, r.gemm_rates(None))).any()
    ]
    experts = {"moe_dtype": "bfloat16", "hidden_size": 2048, "inter_size": 768, "topk": 8, "num_experts": 128, "moe_tp_size": 1}
    experts |= {"moe_ep_size": 1, "distribution": "power_law_1.01", "latency": 2.0}
    data = folder / "aiconfigurator_core" / "systems" / "data" / "h100_sxm"
    for kind, name, table in (
        ("gemm", "gemm_perf", pl.DataFrame(rows)),
        ("moe", "moe_perf", pl.DataFrame([{**experts, "num_tokens": m} for m in tokens])),
    ):
        place = data / kind / "vllm" / "0.24.0"
        place.mkdir(parents=True)
        table.write_parquet(place / f"{name}.parquet")
    (folder / "aiconfigurator_core" / "__init__.py").write_text("")
