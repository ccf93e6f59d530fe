"""Engine arguments: as they are written, and as an engine runs with them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.spec import Count, Fraction, Natural, spec

KvCacheDtype = Literal["auto", "bf16", "fp16", "fp8", "fp8_e4m3", "fp8_e5m2", "nvfp4", "int8"]


@spec
class EngineArgs:
    """Engine arguments under vLLM's names. None means the engine's own default for the GPU and version.

    `kv_cache_memory_bytes` and `num_gpu_blocks_override` replace the computed KV cache, as in vLLM.
    `scheduler_reserve_full_isl`: admit a request only when blocks for its whole prompt are free. `watermark`: the share of all
    KV blocks that stays free when a request is admitted beside others.
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
    long_prefill_token_threshold_adaptive: bool = False
    max_num_partial_prefills: Count = 1
    max_num_scheduled_tokens: Count | None = None
    max_num_active_seqs: Count | None = None
    prefill_schedule_interval: Count = 1
    watermark: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.0
    scheduling_policy: Literal["fcfs", "priority", "static"] = "fcfs"
    async_scheduling: bool | None = None
    scheduler_reserve_full_isl: bool | None = None


@spec
class ResolvedArgs(EngineArgs):
    """The arguments an engine runs with: what was written, and its own defaults where nothing was.

    `kv_cache_memory_bytes` and `num_gpu_blocks_override` stay None where the KV cache is what memory leaves for it.
    """

    gpu_memory_utilization: Fraction
    max_model_len: Count
    max_num_seqs: Count
    max_num_batched_tokens: Count
    max_num_scheduled_tokens: Count
    max_num_active_seqs: Count
    block_size: Count
    enable_prefix_caching: bool
    enable_chunked_prefill: bool
    async_scheduling: bool
    scheduler_reserve_full_isl: bool

    @classmethod
    def of(cls, args: EngineArgs, **settled: Any) -> ResolvedArgs:
        """The arguments with those that are settled in place of their own."""
        written = {f.name: getattr(args, f.name) for f in dataclasses.fields(EngineArgs)}
        return cls(**{**written, **settled})
