"""Does a GGUF file run on a GPU under llama.cpp: weights by layer, cache by slot, compute buffer, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from simulator.catalog.gguf import KV_TYPES, Mixture, bytes_of
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import GatedDeltaNet, GroupedQueryAttention, LatentAttention, Layer, Mamba2, Model
from simulator.errors import NotModelled, SimulatorError
from simulator.memory.llama_cpp.weights import FileWeights, file_weights
from simulator.memory.overhead import context_bytes
from simulator.memory.remedies import Remedy
from simulator.spec import Count, Natural, NonNegative, spec
from simulator.units import GIB

LlamaCppOutcome = Literal["fits", "may not fit", "does not fit"]
_CELLS = 256
_FP32 = 4
_SHORT = 8192  # a context that is still of use, offered with fewer layers on the GPU
# How far a file may lie off whose maker chose types matrix by matrix, and the compute buffer.
_UNSTATED_TYPES, _COMPUTE = 0.1, 0.15


@spec
class LlamaCppArgs:
    """Arguments of llama-server: `n_ctx` (-c) cells in all, shared by `n_parallel` (-np) slots; `n_gpu_layers` (-ngl): the output
    and so many less one of the last layers; `n_cpu_moe` layers whose experts stay on the host.

    0 or None: the model's whole length, every layer. Four slots are llama-server's own default. `unified`: slots draw from one
    cache (--kv-unified); else each has an equal part. `no_kv_offload`: the cache stays on the host. `memory_used_gib`: GiB
    held by others.
    """

    n_ctx: Natural = 0
    n_parallel: Count = 4
    unified: bool = True
    n_gpu_layers: Natural | None = None
    n_cpu_moe: Natural = 0
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool = True
    n_ubatch: Count = 512
    swa_full: bool = False
    no_kv_offload: bool = False
    memory_used_gib: NonNegative = 0.0


@dataclass(frozen=True, slots=True)
class LlamaCppPlan:
    """Bytes on the GPU and on the host. `low`/`high` bound what the GPU needs; `available` is what it has for it.

    `cells`: tokens that the cache of full attention holds, over all slots; a slot has `slot_tokens` of them.
    """

    model: Model
    mixture: Mixture
    gpu: Gpu
    args: LlamaCppArgs
    layers_on_gpu: int
    weights_bytes: float
    kv_bytes: float
    state_bytes: float
    compute_bytes: float
    host_bytes: float
    low_bytes: float
    high_bytes: float
    available_bytes: float
    cells: int
    slot_tokens: int
    outcome: LlamaCppOutcome
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def needed_bytes(self) -> float:
        """What the GPU must have free."""
        return self.weights_bytes + self.kv_bytes + self.state_bytes + self.compute_bytes

    @property
    def reason(self) -> str:
        """The answer in one line."""
        low, high = self.low_bytes / GIB, self.high_bytes / GIB
        wanted = f"needs {self.needed_bytes / GIB:.2f} GiB ({low:.2f} to {high:.2f})"
        return f"{self.outcome}: {wanted} of {self.gpu.name}, which has {self.available_bytes / GIB:.2f} free"


def plan_llama_cpp(model: Model, mixture: Mixture, gpu: Gpu, args: LlamaCppArgs | None = None) -> LlamaCppPlan:
    """The plan of one GPU, with what would make it fit. Never raises for lack of room.

    Raises NotModelled for layers whose cache in llama.cpp we do not know.
    """
    weights, tied = file_weights(model, mixture)
    plan = _plan(model, mixture, gpu, args or LlamaCppArgs(), weights, tied)
    return plan if plan.outcome == "fits" else replace(plan, remedies=tuple(_remedies(plan, weights, tied)))


def _plan(model: Model, mixture: Mixture, gpu: Gpu, args: LlamaCppArgs, weights: FileWeights, tied: bool) -> LlamaCppPlan:
    for kind in (args.type_k, args.type_v):
        if kind not in KV_TYPES:
            raise SimulatorError(f"llama.cpp has no cache of type {kind!r}; its types are {', '.join(KV_TYPES)}")
    count = len(model.layers)
    asked = count + 1 if args.n_gpu_layers is None else args.n_gpu_layers
    first = max(0, count + 1 - asked)
    # The output is the first that goes to the GPU; an embedding that is the output too is copied there.
    with_output = asked > 0
    on_gpu = range(min(first, count), count)
    output = (weights.embedding if tied else weights.output) if with_output else 0.0
    kept = output + sum(weights.layers[i] + (weights.experts[i] if i >= args.n_cpu_moe else 0.0) for i in on_gpu)
    cells = _padded(args.n_ctx or model.max_position)
    slots = 1 if args.unified else args.n_parallel
    cached = [0.0 if args.no_kv_offload else _cache_bytes(model.layers[i], model, args, cells, slots) for i in on_gpu]
    states = [0.0 if args.no_kv_offload else _state_bytes(model.layers[i], args) for i in on_gpu]
    compute = compute_bytes(model, args, cells, on_gpu=bool(on_gpu))
    needed = kept + sum(cached) + sum(states) + compute
    unsure = _COMPUTE * compute + (0.0 if mixture.exact else _UNSTATED_TYPES * kept)
    available = gpu.memory_bytes - context_bytes(gpu) - args.memory_used_gib * GIB
    return LlamaCppPlan(
        model=model,
        mixture=mixture,
        gpu=gpu,
        args=args,
        layers_on_gpu=len(on_gpu),
        weights_bytes=kept,
        kv_bytes=sum(cached),
        state_bytes=sum(states),
        compute_bytes=compute,
        host_bytes=weights.total - kept + (weights.embedding if tied and with_output else 0.0),
        low_bytes=needed - unsure,
        high_bytes=needed + unsure,
        available_bytes=available,
        cells=cells,
        slot_tokens=cells if args.unified else cells // args.n_parallel,
        outcome=_outcome(needed - unsure, needed + unsure, available),
        notes=tuple(_notes(model, mixture, args, count, len(on_gpu))),
    )


def _outcome(low: float, high: float, available: float) -> LlamaCppOutcome:
    if high <= available:
        return "fits"
    return "may not fit" if low <= available else "does not fit"


def _padded(cells: float) -> int:
    return ceil(cells / _CELLS) * _CELLS


def _cache_bytes(layer: Layer, model: Model, args: LlamaCppArgs, cells: int, slots: int) -> float:
    """Keys and values of one layer over all slots.

    A window keeps itself and a batch behind it, of each slot. Source: llama_kv_cache and llama_kv_cache_iswa in llama.cpp
    src/llama-kv-cache.cpp and src/llama-kv-cache-iswa.cpp; Qwen3.6-27B at 131,072 cells in q8_0: 4,352 MiB (public log), 11
    windowed layers of Gemma-3-1B with a batch of 64: 8.25 MiB (public log).
    """
    mixer = layer.mixer
    if isinstance(mixer, GatedDeltaNet | Mamba2) or mixer is None:
        return 0.0
    if isinstance(mixer, LatentAttention):
        width = mixer.kv_lora_rank + mixer.rope_dim
        return cells * bytes_of(args.type_k, width, width)
    if not isinstance(mixer, GroupedQueryAttention):
        raise NotModelled(f"{model.name}: the cache of '{mixer.kind}' attention in llama.cpp is not modelled")
    if mixer.shares_kv:
        return 0.0
    held = cells
    if (reach := mixer.window or mixer.chunk) and not args.swa_full:
        windows = reach * (args.n_parallel if args.unified else 1)
        held = slots * min(cells // slots, _padded(windows + args.n_ubatch))
    keys, values = mixer.kv_heads * mixer.head_dim, mixer.kv_heads * mixer.value_head_dim
    return held * (bytes_of(args.type_k, keys, keys) + bytes_of(args.type_v, values, values))


def _state_bytes(layer: Layer, args: LlamaCppArgs) -> float:
    """Recurrent and convolution states of one layer, in FP32, of every slot.

    Source: llama_memory_recurrent; four slots of Qwen3.6-27B: 598.5 MiB (public log).
    """
    mixer = layer.mixer
    if isinstance(mixer, GatedDeltaNet):
        channels = 2 * mixer.key_heads * mixer.key_head_dim + mixer.value_heads * mixer.value_head_dim
        state = mixer.value_heads * mixer.value_head_dim * mixer.key_head_dim
    elif isinstance(mixer, Mamba2):
        channels = mixer.heads * mixer.head_dim + 2 * mixer.groups * mixer.state_size
        state = mixer.heads * mixer.head_dim * mixer.state_size
    else:
        return 0.0
    return args.n_parallel * (state + (mixer.conv_kernel - 1) * channels) * _FP32


def compute_bytes(model: Model, args: LlamaCppArgs, cells: int, *, on_gpu: bool) -> float:
    """The compute buffer: logits and hidden states of a batch in FP32, or where that is more, its scores without flash attention.

    Agrees to the last digit with logs of Qwen2.5-7B (304.00 MiB), Qwen3.6-27B (495.00) and Gemma-3-1B (64.28); without flash
    attention with Llama-2-7B at 4,096 (296.00) and Llama-3-8B at 8,192 (560.00).
    """
    if not on_gpu:
        return 0.0
    batch = args.n_ubatch * _FP32
    logits = batch * (model.vocabulary + model.hidden)
    heads = max((getattr(layer.mixer, "heads", 0) for layer in model.layers), default=0)
    mask = batch * cells * (1.5 if args.flash_attention else 1.0)
    scores = 0.0 if args.flash_attention else batch * cells * heads
    return max(logits, scores + mask + 4 * batch * model.hidden)


def _notes(model: Model, mixture: Mixture, args: LlamaCppArgs, layers: int, on_gpu: int) -> Iterator[str]:
    yield from model.approximations
    if not mixture.exact:
        yield f"types chosen matrix by matrix are taken as {mixture.name}, within {_UNSTATED_TYPES:.0%}"
    if on_gpu < layers:
        yield f"{layers - on_gpu} of {layers} layers stay on the host"
    if model.vision_parameters:
        yield "the image encoder is a file of its own (--mmproj) and not counted"
    if args.n_ctx == 0:
        yield f"-c not given: {model.max_position:,} tokens, as config.json has them"


def _remedies(plan: LlamaCppPlan, weights: FileWeights, tied: bool) -> Iterator[Remedy]:
    """The smallest single change of each kind that fits."""
    args, count = plan.args, len(plan.model.layers)

    def first(changes: Iterator[tuple[str, LlamaCppArgs]]) -> Iterator[Remedy]:
        for words, changed in changes:
            better = _plan(plan.model, plan.mixture, plan.gpu, changed, weights, tied)
            if better.outcome == "fits":
                needs = f"{better.needed_bytes / GIB:.2f} GiB, {better.slot_tokens:,} tokens a slot"
                yield Remedy(words, needs)
                return

    lengths = (cells for cells in range(plan.cells - 4096, 0, -4096))
    yield from first((f"-c {cells}", replace(args, n_ctx=cells)) for cells in lengths)
    smaller = [kind for kind in ("q8_0", "q4_0") if bytes_of(kind, 256) < bytes_of(args.type_k, 256)]
    yield from first((f"-ctk {kind} -ctv {kind}", replace(args, type_k=kind, type_v=kind)) for kind in smaller)
    if sum(weights.experts):
        moe = range(args.n_cpu_moe + 1, count + 1)
        yield from first((f"--n-cpu-moe {kept}", replace(args, n_cpu_moe=kept)) for kept in moe)
    fewer = range(plan.layers_on_gpu, 0, -1)
    yield from first((f"-ngl {kept}", replace(args, n_gpu_layers=kept)) for kept in fewer)
    if plan.cells > _SHORT:
        short = replace(args, n_ctx=_SHORT)
        yield from first((f"-c {_SHORT} -ngl {kept}", replace(short, n_gpu_layers=kept)) for kept in fewer)
