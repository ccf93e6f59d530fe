"""KV cache: what each layer keeps of a sequence, in pages and blocks, as vLLM lays it out on one GPU.

Source: vllm/v1/kv_cache_interface.py and vllm/v1/core/kv_cache_utils.py, read at 0.9.2, 0.11.0, 0.15.0, 0.19.0, 0.22.1, 0.27.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, lcm
from typing import Literal

from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.memory_overheads import architecture, runs_v2
from simulator.catalog.models import (
    CompressedAttention,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    Mamba1,
    Mamba2,
    Mixer,
    Model,
)
from simulator.catalog.quantizations import Quantization
from simulator.errors import NotModelled
from simulator.memory.kv_deepseek_v4 import BLOCK_SIZE as COMPRESSED_BLOCK_SIZE
from simulator.memory.kv_deepseek_v4 import compressed_layout
from simulator.memory.kv_layout import KvLayout, LayerCache
from simulator.memory.speculative import reads_hidden_states
from simulator.units import BYTES_OF

StoredAs = Literal["fp32", "bf16", "fp16", "fp8", "nvfp4", "int8"]


def kv_layout(
    layers: Sequence[Layer],
    model: Model,
    quantization: Quantization | None,
    args: ResolvedArgs,
    engine: Engine,
    gpu: Gpu,
    drafter: tuple[Sequence[Layer], Model] | None = None,
) -> KvLayout:
    """The KV cache of some layers (a pipeline stage) on one GPU, and of those that draft for them. `args` are resolved.

    Raises NotModelled for attention we have no layout for.
    """
    block_size = args.block_size
    stored = stored_as(model, quantization, args)
    if model.architecture.startswith("Mllama"):
        raise NotModelled(f"{model.name}: the cache of cross-attention layers is not modelled, and vLLM has dropped them")
    mixers = [layer.mixer for layer in layers if layer.mixer is not None]
    if drafter is not None and drafter[1] is model:
        mixers += [layer.mixer for layer in drafter[0] if layer.mixer is not None]
        drafter = None
    if compressed := [mixer for mixer in mixers if isinstance(mixer, CompressedAttention)]:
        eight_bit = args.kv_cache_dtype not in ("bf16", "fp16")
        packed = engine.at_least("0.27")
        return compressed_layout(compressed, eight_bit=eight_bit, in_flight=_in_flight(model, args, engine), packed=packed)
    caches = [c for mixer in mixers for c in layer_caches(mixer, model, stored, args, block_size)]
    if drafter is not None:
        drafting = [layer.mixer for layer in drafter[0] if layer.mixer is not None]
        caches += [c for mixer in drafting for c in layer_caches(mixer, drafter[1], stored, args, block_size)]
    caches = _with_matching_states(caches, model, args, engine)
    if not caches:
        raise NotModelled(f"{model.name} has no attention or state layer: nothing to cache is not modelled")
    if args.disable_hybrid_kv_cache_manager or not _keeps_windows(caches, args, engine):
        caches = [replace(c, kind="full", reach=0) if c.kind in ("sliding", "chunked") else c for c in caches]
    return _grouped(caches, _in_flight(model, args, engine))


def stored_as(model: Model, quantization: Quantization | None, args: EngineArgs) -> StoredAs:
    """The type the KV cache is stored in: what the arguments say, else what the checkpoint asks for, else the model's own."""
    if args.kv_cache_dtype == "auto":
        asked = quantization.kv_cache_dtype if quantization else None
        return asked or model.dtype
    return "fp8" if args.kv_cache_dtype.startswith("fp8") else args.kv_cache_dtype  # type: ignore[return-value]


def attention_block_size(model: Model, engine: Engine, gpu: Gpu) -> int:
    """Tokens in a block where none is asked for: 16, and what the kernels of latent attention want.

    Source: check_and_update_config in vllm/platforms/cuda.py (0.11.0), get_preferred_block_size of the backends (0.19.0).
    """
    if any(isinstance(layer.mixer, CompressedAttention) for layer in model.layers):
        return COMPRESSED_BLOCK_SIZE
    latent = [layer.mixer for layer in model.layers if isinstance(layer.mixer, LatentAttention)]
    if not latent or engine.generation == "v0":
        return 16
    if any(mixer.index_top_k for mixer in latent):
        return 64
    kind = architecture(gpu)
    ended = kind.latent_block_until is not None and engine.at_least(kind.latent_block_until)
    return 16 if ended else kind.latent_block


def layer_caches(mixer: Mixer, model: Model, stored: StoredAs, args: EngineArgs, block_size: int) -> list[LayerCache]:
    """What one mixer keeps on one GPU.

    Heads are split over tensor-parallel ranks, and replicated once there are more ranks than heads. A latent is replicated on
    every rank. A sparse indexer keeps its keys beside it: 8-bit values with a scale per 128 (DeepSeek), or 16-bit (MiniMax-M3).
    """
    shards = args.decode_context_parallel_size
    if isinstance(mixer, GroupedQueryAttention):
        index = [LayerCache("full", block_size * mixer.index_dim * 2, block_size)] if mixer.index_heads else []
        return [] if mixer.shares_kv else [_grouped_query(mixer, stored, args.tensor_parallel_size, block_size, shards), *index]
    if isinstance(mixer, LatentAttention):
        if stored in ("nvfp4", "int8"):
            raise NotModelled(
                f"{model.name}: a latent KV cache is stored in 16 bits or fp8; kv_cache_dtype {stored} has no kernel",
                field="kv_cache_dtype",
            )
        rows = [_latent_row_bytes(mixer, stored)]
        if mixer.index_heads:
            rows.append(mixer.index_dim + 4 * ceil(mixer.index_dim / 128))
        return [LayerCache("full", block_size * row, block_size, shards=shards) for row in rows]
    if isinstance(mixer, Mamba1 | Mamba2 | GatedDeltaNet):
        return [LayerCache("state", state_bytes(mixer, model, args), block_size, states=1)]
    raise NotModelled(f"{model.name}: the KV cache of '{mixer.kind}' attention is not modelled")


def _grouped_query(
    mixer: GroupedQueryAttention, stored: StoredAs, tensor_parallel: int, block_size: int, shards: int
) -> LayerCache:
    heads = max(1, mixer.kv_heads // tensor_parallel)
    page = block_size * heads * (_vector_bytes(mixer.head_dim, stored) + _vector_bytes(mixer.value_head_dim, stored))
    if mixer.window:
        return LayerCache("sliding", page, block_size, reach=mixer.window)
    if mixer.chunk:
        return LayerCache("chunked", page, block_size, reach=mixer.chunk)
    return LayerCache("full", page, block_size, shards=shards)


def _vector_bytes(size: int, stored: StoredAs) -> int:
    """Bytes of one cached vector: NVFP4 has a scale byte per 16 values, per-token-head INT8 a 4-byte scale."""
    if stored == "nvfp4":
        return size // 2 + size // 16
    return size * BYTES_OF[stored] + (4 if stored == "int8" else 0)


def _latent_row_bytes(mixer: LatentAttention, stored: StoredAs) -> int:
    """Bytes of one token's latent; sparse attention in FP8 keeps 512 values, their scales and a 16-bit rope: 656 bytes."""
    if mixer.index_top_k and stored == "fp8":
        return mixer.kv_lora_rank + 4 * ceil(mixer.kv_lora_rank / 128) + 2 * mixer.rope_dim
    return (mixer.kv_lora_rank + mixer.rope_dim) * BYTES_OF[stored]


_AS_STORED: dict[str, StoredAs] = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def state_bytes(mixer: Mamba1 | Mamba2 | GatedDeltaNet, model: Model, args: EngineArgs) -> int:
    """Bytes of the fixed state of one sequence in one layer on one GPU: recurrent state and convolution state.

    mamba_cache_dtype sets the type of both, mamba_ssm_cache_dtype that of the first; the checkpoint's own else.
    Source: MambaStateShapeCalculator and MambaStateDtypeCalculator in vllm/model_executor/layers/mamba/mamba_utils.py (0.19.0).
    """
    tensor_parallel = args.tensor_parallel_size
    narrow = BYTES_OF[_AS_STORED.get(args.mamba_cache_dtype, model.dtype)]
    own = _AS_STORED.get(args.mamba_cache_dtype, mixer.state_dtype)
    wide = BYTES_OF[_AS_STORED.get(args.mamba_ssm_cache_dtype, own)]
    kept = mixer.conv_kernel - 1
    if isinstance(mixer, Mamba1):
        return mixer.inner // tensor_parallel * (mixer.state_size * wide + kept * narrow)
    if isinstance(mixer, Mamba2):
        groups = mixer.groups if mixer.groups % tensor_parallel == 0 else tensor_parallel
        channels = mixer.heads * mixer.head_dim + 2 * groups * mixer.state_size
        state = mixer.heads // tensor_parallel * mixer.head_dim * mixer.state_size
    else:
        channels = 2 * mixer.key_heads * mixer.key_head_dim + mixer.value_heads * mixer.value_head_dim
        state = mixer.value_heads // tensor_parallel * mixer.value_head_dim * mixer.key_head_dim
    return state * wide + channels // tensor_parallel * kept * narrow


def _with_matching_states(caches: list[LayerCache], model: Model, args: ResolvedArgs, engine: Engine) -> list[LayerCache]:
    """Attention blocks grown until an attention page holds a state, and states padded to it: all pages of a pool are alike.

    A prefix-cached state is kept per block by Mamba kernels that support it, and twice per sequence otherwise; speculative
    decoding keeps one more for every drafted token. Source: HybridAttentionMambaModelConfig in
    vllm/model_executor/models/config.py (0.19.0); num_speculative_blocks of MambaSpec in vllm/v1/kv_cache_interface.py (0.27.1).
    """
    states = [c.page_bytes for c in caches if c.kind == "state"]
    attention = [c for c in caches if c.kind != "state"]
    if not states or not attention:
        return caches
    token_bytes = max(c.page_bytes // c.block_size for c in attention)
    mode = _state_caching(model, args, engine)
    unit = lcm(256, 16) if mode == "all" else 16
    block = max(attention[0].block_size, unit * ceil(max(states) / (unit * token_bytes)))
    drafted = args.decode_length - 1
    kept = {"all": 0, "align": 2 + drafted, "none": 1 + drafted}[mode]
    page = block * token_bytes
    return [
        replace(c, page_bytes=page, block_size=block, states=kept)
        if c.kind == "state"
        else replace(c, page_bytes=c.page_bytes // c.block_size * block, block_size=block)
        for c in caches
    ]


def _state_caching(model: Model, args: EngineArgs, engine: Engine) -> Literal["none", "all", "align"]:
    """What prefix caching keeps of recurrent states: nothing, one a block where the kernels support it, or the last two."""
    if not (args.enable_prefix_caching and engine.at_least("0.12")):
        return "none"
    if args.mamba_cache_mode in ("all", "align"):
        return args.mamba_cache_mode
    return "all" if any(isinstance(layer.mixer, Mamba1 | Mamba2) for layer in model.layers) else "align"


def _keeps_windows(caches: Iterable[LayerCache], args: EngineArgs, engine: Engine) -> bool:
    """Whether windows save memory: vLLM's hybrid KV cache manager, from 0.9.2.

    Beside other layers it is off for chunked ones from 0.10 to 0.13, and later where a draft head
    reads the model's hidden states. Source: VllmConfig in vllm/config/vllm.py and
    VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE in vllm/envs.py (0.10.1 to 0.33.0).
    """
    kinds = {c.kind for c in caches}
    if engine.generation == "v0":
        return False
    if len(kinds) == 1:
        return True
    if "chunked" in kinds and engine.at_least("0.10"):
        return engine.at_least("0.14") and not reads_hidden_states(args)
    return engine.at_least("0.9.2")


def _in_flight(model: Model, args: ResolvedArgs, engine: Engine) -> int:
    """Tokens scheduled before a window's old blocks are freed: a batch, or from 0.26 on one for each concurrent batch.

    Source: max_in_flight_tokens and max_concurrent_batches in vllm/config/vllm.py (0.26.0; absent in 0.25.0).
    """
    tokens, stages = args.max_num_batched_tokens, args.pipeline_parallel_size
    if not engine.at_least("0.26"):
        return tokens
    if args.async_scheduling and runs_v2(model, engine):
        return tokens * (stages + 1)
    return tokens * (2 if args.async_scheduling and stages == 1 else stages)


def _grouped(caches: Sequence[LayerCache], in_flight: int) -> KvLayout:
    """Layers in groups of equal size, as `_get_kv_cache_groups_uniform_page_size` forms them; one kind of layer is one group.

    The group size is the fewest layers of any kind, or the most where that is less than half as many again.
    """
    kinds = {(c.kind, c.reach, c.states) for c in caches}
    if len(kinds) == 1:
        return KvLayout((caches[0],), sum(c.page_bytes for c in caches), caches[0].block_size, in_flight)
    caches = _with_equal_pages(caches)
    counts: dict[LayerCache, int] = {}
    for cache in caches:
        counts[cache] = counts.get(cache, 0) + 1
    fewest, most = min(counts.values()), max(counts.values())
    size = most if most < 1.5 * fewest else fewest
    groups = tuple(cache for cache, count in counts.items() for _ in range(ceil(count / size)))
    return KvLayout(groups, size * groups[0].page_bytes, min(g.block_size for g in groups), in_flight)


def _with_equal_pages(caches: Sequence[LayerCache]) -> list[LayerCache]:
    """Smaller pages grown to the largest by more tokens a block. Raises NotModelled where they do not divide."""
    largest = max(c.page_bytes for c in caches)
    if odd := next((c for c in caches if largest % c.page_bytes), None):
        raise NotModelled(f"KV pages of {odd.page_bytes} and {largest} bytes in one model: vLLM cannot share a pool between them")
    return [replace(c, page_bytes=largest, block_size=c.block_size * (largest // c.page_bytes)) for c in caches]
