"""Memory overheads: what an engine's release, and a GPU's architecture, use of a card besides weights and KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from functools import cache
from typing import Any, Literal

from pydantic import ValidationError

from simulator.catalog import stanzas
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu, gpu
from simulator.catalog.models import Model
from simulator.errors import SimulatorError
from simulator.spec import Count, Natural, NonNegative, Positive, spec

Mxfp4Kernel = Literal["marlin", "triton", "triton-unpadded", "trtllm", "aiter"]


@spec
class GpuArchitecture:
    """What engines do and reserve on GPUs of one architecture. GiB of one GPU.

    `context_gib`: the context of the driver. `outside_torch_gib`: kernels and cuBLAS on one GPU alone; None takes the release's.
    `graph_residue_gib`: left behind by profiling the CUDA graphs. `first_graph_gib`, `graph_layer_mib`: of their estimate, where
    it differs from the release's; `sparse_graphs_gib`: the estimate with sparse latent attention. `sorts_logits`: its sampler
    sorts, whatever the release. `fused_all_reduce`: ranks on NVLink keep its workspace. `latent_block`: tokens in a block of
    latent attention, until the release `latent_block_until`. `mxfp4`: what runs experts in MXFP4, by the release it
    does from; Marlin before.
    `rented`: its cards that are commonly rented.
    """

    name: str
    context_gib: NonNegative = 0.5
    outside_torch_gib: NonNegative | None = None
    graph_residue_gib: NonNegative = 0.0
    sparse_graphs_gib: NonNegative = 0.0
    first_graph_gib: NonNegative | None = None
    graph_layer_mib: NonNegative | None = None
    sorts_logits: bool = False
    fused_all_reduce: bool = False
    latent_block: Count = 16
    latent_block_until: str | None = None
    mxfp4: dict[str, Mxfp4Kernel] = field(default_factory=dict)
    rented: tuple[str, ...] = ()
    source: str
    checked: str


@spec
class MemoryOverheads:
    """What one release of an engine uses beside weights and KV cache. GiB of one GPU; copies are of the float32 logits.

    `hidden_copies`, `width_copies`: hidden states of the batch alive at the peak of a layer, and rows as wide as its
    feed-forward block; `compiled_width_copies` where it is compiled. `sorted_copies`: of the logits, while the sampler sorts them
    for top-k and top-p; `filtered_copies`: where a kernel filters instead, with `kernel_rows` rows of its own; `counted_copies`:
    on model runner V2, which does neither. `gathered_copies`: more where ranks gather the logits and sort.
    `profiles_encoder`: whether the largest images are encoded once, which takes `vision_gib` more of Qwen's VL models.
    `times_kernels`: whether compiling times kernels on a copy of the embedding table. `allocator_gib`: what the allocator holds
    unused, where that counts; `allocator_pins`: where that may be a whole freed block. `sleep_mode_gib`: what the release
    overlooks where sleep mode brings an allocator of its own. `unified_gib`: what the system takes meanwhile of memory that it
    shares; `unified_pair_gib`: with two such machines. `fused_peers_gib`: ranks with fused all-reduce.
    `first_graph_gib`, and of every further CUDA graph `graph_layer_mib` an attention layer and `graph_state_layer_mib` a
    recurrent one: the engine's estimate; `v2_graph_gib`: of a graph on runner V2. `runner_v2_for`: which models, beside those
    named, model runner V2 runs.
    """

    name: str
    hidden_copies: Positive
    width_copies: Positive = 3.0
    compiled_width_copies: Positive = 3.0
    sorted_copies: Positive
    filtered_copies: Positive | None = None
    counted_copies: Positive | None = None
    kernel_rows: Natural = 0
    gathered_copies: NonNegative = 0.0
    outside_torch_gib: NonNegative
    unified_gib: NonNegative = 0.0
    unified_pair_gib: NonNegative = 0.0
    peers_gib: dict[Literal["nvlink", "pcie", "infinity-fabric"], NonNegative]
    fused_peers_gib: NonNegative = 0.0
    first_graph_gib: NonNegative = 0.0
    graph_layer_mib: NonNegative = 0.0
    graph_state_layer_mib: NonNegative = 0.0
    v2_graph_gib: NonNegative = 0.0
    expert_buffers_kept: bool = False
    graphs_leave_residue: bool = False
    profiles_encoder: bool = False
    vision_gib: NonNegative = 0.0
    times_kernels: bool = False
    allocator_gib: NonNegative = 0.0
    allocator_pins: bool = False
    sleep_mode_gib: NonNegative = 0.0
    runner_v2_architectures: tuple[str, ...] = ()
    runner_v2_for: Literal["named", "dense", "all"] = "named"
    source: str
    checked: str


def memory_overheads(engine: Engine) -> MemoryOverheads:
    """The overheads of an engine's release: of its generation, the stanzas up to it one over the other.

    Engines that are not vLLM take those of its newest release.
    """
    names = [name for name in stanzas.stanzas("memory_overheads") if name.startswith(f"{engine.generation}-")]
    reached = [name for name in names if engine.at_least(name.split("-")[1])] or names[:1]
    return _merged(tuple(reached))


def architecture(card: Gpu) -> GpuArchitecture:
    """The architecture of a GPU. Raises UnknownName with the nearest names."""
    return _architecture(stanzas.find("architectures", card.architecture, "GPU architecture"))


def runs_v2(model: Model, engine: Engine) -> bool:
    """Whether the release runs this model on model runner V2: some architectures first, then dense models, then all."""
    release = memory_overheads(engine)
    dense = not model.is_moe and not model.is_hybrid
    named = model.architecture in release.runner_v2_architectures
    return named or release.runner_v2_for == "all" or (dense and release.runner_v2_for == "dense")


def mxfp4_kernel(engine: Engine, card: Gpu) -> Mxfp4Kernel:
    """What runs experts in MXFP4, and so how they are padded."""
    kernels = architecture(card).mxfp4 if engine.family == "vllm" else {}
    return next((kernel for release, kernel in reversed(kernels.items()) if engine.at_least(release)), "marlin")


@cache
def rented_cards(vendor: str) -> tuple[Gpu, ...]:
    """Cards of a vendor that are commonly rented, by whole GiB of memory, older architectures first among equals."""
    every = [gpu(name) for kind in stanzas.stanzas("architectures") for name in _architecture(kind).rented]
    return tuple(sorted((c for c in every if c.vendor == vendor), key=lambda card: card.memory_bytes // 2**30))


@cache
def _architecture(name: str) -> GpuArchitecture:
    with _named("architectures", name):
        return GpuArchitecture(name=name, **_dated(stanzas.load_entry("architectures", name)))


@cache
def _merged(names: tuple[str, ...]) -> MemoryOverheads:
    fields: dict[str, Any] = {}
    for name in names:
        fields |= stanzas.load_entry("memory_overheads", name)
    with _named("memory_overheads", names[-1]):
        return MemoryOverheads(name=names[-1], **_dated(fields))


def _dated(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "checked": str(fields["checked"])}


@contextmanager
def _named(file: str, name: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SimulatorError(f"catalog/{file}: {name}: {where}: {first['msg']}") from None
