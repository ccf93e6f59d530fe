"""Engine arguments: as they are written, and as an engine runs with them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.spec import Count, Fraction, Natural, NonNegative, Positive, spec

KvCacheDtype = Literal["auto", "bf16", "fp16", "fp8", "fp8_e4m3", "fp8_e5m2", "nvfp4", "int8"]
MoeBackend = Literal[
    "auto",
    "triton",
    "deep_gemm",
    "cutlass",
    "flashinfer_trtllm",
    "flashinfer_cutlass",
    "marlin",
    "aiter",
]
CudaGraphMode = Literal["none", "piecewise", "full", "full_decode_only", "full_and_piecewise"]
StateDtype = Literal["auto", "float32", "float16", "bfloat16"]
SpecMethod = Literal[
    "ngram", "ngram_gpu", "suffix", "mtp", "qwen3_next_mtp", "qwen3_5_mtp", "deepseek_mtp", "glm4_moe_mtp", "ernie_mtp",
    "nemotron_h_mtp", "mimo_mtp", "eagle", "eagle3", "draft_model", "medusa", "dflash", "dspark",
]  # fmt: skip
Modality = Literal["image", "video", "audio"]


@spec
class EngineArgs:
    """Engine arguments under vLLM's names. None means the engine's own default for the GPU and version.

    `kv_cache_memory_bytes` and `num_gpu_blocks_override` replace the computed KV cache, as in vLLM.
    `moe_backend`: the kernels of experts; `auto` is the release's default (--moe-backend; VLLM_USE_FLASHINFER_MOE_FP8=0 and
    VLLM_MOE_USE_DEEP_GEMM=0 force triton). `float32_matmul_precision` is VLLM_FLOAT32_MATMUL_PRECISION: `high` is TF32.
    `scheduler_reserve_full_isl`: admit a request only when blocks for its whole prompt are free.
    `cudagraph_mode`, `cudagraph_capture_sizes` and `custom_ops` are fields of vLLM's compilation config; of the last,
    `+quant_fp8` (or `all`) quantizes inputs in a kernel of its own, where the compiler would fuse it. `language_model_only`,
    and a `limit_mm_per_prompt` of 0 for every modality, leave the encoder out. `mamba_cache_mode`: whether prefix caching keeps a
    recurrent state for every block ("all") or of the last ones ("align"). `spec_method`, `spec_tokens` and `spec_model` are of
    the speculative config: how tokens are drafted, how many at once, and the drafter. `spec_acceptance_length`: tokens that a
    verification step gives in the mean, its own one counted; or `spec_acceptance_rates`: the chance of each drafted position that
    it and all before it are accepted (vLLM's synthetic_acceptance_length and _rates). Without either, what was measured of the
    model and method. `fit_max_model_len`, vLLM's
    `--max-model-len auto`, shortens the length to the longest that fits. `memory_used_gib` is none of the engine's: GiB of
    each GPU that a display, another process or the system holds when it starts.
    `data_parallel_external_lb`: the router sees every data-parallel rank as a server of its own. `api_server_count`: processes
    that take requests in and send tokens out; `stream_interval`: tokens in each chunk that they send.
    `max_loras` different LoRA adapters run at once, `max_cpu_loras` are kept in host memory, None for as many.
    `watermark`: the share of all KV blocks that stays free when a request is admitted beside others. `max_num_scheduled_tokens`
    and `max_num_active_seqs` are limits of a step below those that the engine is built for. `prefill_schedule_interval`: prompts
    are computed in one step of so many while others decode. `long_prefill_token_threshold_adaptive` raises the threshold to a
    fair share of the step. The API server answers 503 to a request that would be one more than `max_num_queued_reqs` without
    their last token, or comes while prompts of `max_num_queued_tokens` tokens or more wait for their first.
    Of SGLang alone: the policy `lpm` takes those with the longest known prefix first; `schedule_conservativeness` scales what is
    kept free for answers; `max_prefill_tokens` are those of a step that takes several prompts; `scheduler_recv_interval`:
    while requests decode new ones are looked for once in so many steps. Its other arguments stand here
    under vLLM's names: max_num_batched_tokens is chunked_prefill_size, max_num_seqs max_running_requests, block_size page_size.
    Of TensorRT-LLM alone: `capacity_scheduler_policy`, None for guaranteed_no_evict; max_num_batched_tokens is max_num_tokens
    and max_num_seqs max_batch_size there.
    """

    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    data_parallel_size: Count = 1
    data_parallel_external_lb: bool = False
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
    moe_backend: MoeBackend = "auto"
    float32_matmul_precision: Literal["highest", "high"] = "highest"
    max_num_scheduled_tokens: Count | None = None
    max_num_active_seqs: Count | None = None
    max_num_queued_reqs: Natural | None = None
    max_num_queued_tokens: Natural | None = None
    prefill_schedule_interval: Count = 1
    watermark: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, strict=True)] = 0.0
    scheduling_policy: Literal["fcfs", "priority", "static", "lpm"] = "fcfs"
    schedule_conservativeness: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False, strict=True)] = 1.0
    max_prefill_tokens: Count | None = None
    scheduler_recv_interval: Count = 1
    capacity_scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    async_scheduling: bool | None = None
    scheduler_reserve_full_isl: bool | None = None
    cudagraph_mode: CudaGraphMode | None = None
    cudagraph_capture_sizes: tuple[Count, ...] | None = None
    max_cudagraph_capture_size: Natural | None = None
    custom_ops: tuple[str, ...] = ()
    language_model_only: bool = False
    limit_mm_per_prompt: dict[Modality, Natural] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    skip_mm_profiling: bool = False
    mamba_cache_dtype: StateDtype = "auto"
    mamba_ssm_cache_dtype: StateDtype = "auto"
    mamba_cache_mode: Literal["none", "all", "align"] | None = None
    mm_encoder_tp_mode: Literal["weights", "data"] = "weights"
    disable_hybrid_kv_cache_manager: bool = False
    enable_sleep_mode: bool = False
    spec_method: SpecMethod | None = None
    spec_tokens: Natural = 0
    spec_model: str | None = None
    spec_acceptance_length: Positive | None = None
    spec_acceptance_rates: tuple[NonNegative, ...] | None = None
    enable_lora: bool = False
    max_loras: Count = 1
    max_lora_rank: Count = 16
    max_cpu_loras: Count | None = None
    fully_sharded_loras: bool = False
    api_server_count: Count | None = None
    stream_interval: Count = 1
    fit_max_model_len: bool = False
    memory_used_gib: NonNegative = 0.0

    @property
    def captures_graphs(self) -> bool:
        """Whether any CUDA graph is captured."""
        sizes = self.max_cudagraph_capture_size != 0 and self.cudagraph_capture_sizes != ()
        return not self.enforce_eager and self.cudagraph_mode != "none" and sizes

    @property
    def decode_length(self) -> int:
        """Tokens of a sequence in a decode step: its last one, and those drafted."""
        return 1 + (self.spec_tokens if self.spec_method or self.spec_model else 0)

    @property
    def full_graphs(self) -> bool:
        """Whether whole decode steps are captured, and not only the pieces between attention layers."""
        return self.captures_graphs and self.cudagraph_mode != "piecewise"

    @property
    def graphs_cover_prompts(self) -> bool:
        """Whether a step that computes prompts runs from a graph, where it is small enough for one."""
        return self.captures_graphs and self.cudagraph_mode != "full_decode_only"

    @property
    def quantizes_apart(self) -> bool:
        """Whether inputs of FP8 matmuls are quantized by kernels of their own: nothing is compiled, or it is asked for."""
        return self.enforce_eager or bool({"+quant_fp8", "all"} & set(self.custom_ops))


@spec
class ResolvedArgs(EngineArgs):
    """The arguments an engine runs with: what was written, and its own defaults where nothing was.

    `kv_cache_memory_bytes` and `num_gpu_blocks_override` stay None where the KV cache is what memory leaves for it; so does what
    is only there when asked for (captured sizes, limits on inputs, on the queue or below those of a step, a drafter).
    """

    gpu_memory_utilization: Fraction
    max_model_len: Count
    max_num_seqs: Count
    max_num_batched_tokens: Count
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
