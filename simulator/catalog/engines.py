"""Serving engines by version: their defaults, and what they do with memory and requests."""

from __future__ import annotations

from typing import Literal

from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.spec import Count, Fraction, Natural, NonNegative, spec

KvCacheDtype = Literal["auto", "bf16", "fp16", "fp8", "fp8_e4m3", "fp8_e5m2", "nvfp4", "int8"]


@spec
class EngineArgs:
    """Engine arguments under vLLM's names. None means the engine's own default for the GPU and version.

    `kv_cache_memory_bytes` and `num_gpu_blocks_override` replace the computed KV cache, as in vLLM.
    `scheduler_reserve_full_isl`: admit a request only when blocks for its whole prompt are free.
    """

    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    data_parallel_size: Count = 1
    decode_context_parallel_size: Count = 1
    enable_expert_parallel: bool = False
    gpu_memory_utilization: Fraction | None = None
    max_model_len: Count | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    block_size: Count | None = None
    kv_cache_dtype: KvCacheDtype = "auto"
    kv_cache_memory_bytes: Count | None = None
    num_gpu_blocks_override: Count | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    long_prefill_token_threshold: Natural = 0
    max_num_partial_prefills: Count = 1
    scheduling_policy: Literal["fcfs", "priority", "static"] = "fcfs"
    async_scheduling: bool | None = None
    scheduler_reserve_full_isl: bool | None = None


@spec
class Engine:
    """One engine version. Fields state facts; `resolve` fills the arguments a user left open."""

    name: str
    family: Literal["vllm", "sglang", "tensorrt-llm"]
    version: str
    generation: Literal["v0", "v1"]
    source: str

    def resolve(self, args: EngineArgs, gpu: Gpu, model: Model) -> EngineArgs:
        """The arguments as the engine would run with them: every None replaced by its default."""
        raise NotImplementedError


def engine(name: str | Engine = "vllm") -> Engine:
    """An engine by name and version (`vllm-0.19.0`, `vllm 0.19`, `0.19.0`); `vllm` alone is the newest we know."""
    raise NotImplementedError
