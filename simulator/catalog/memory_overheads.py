"""Memory overheads: what an engine's release, and a GPU's architecture, use of a card besides weights and KV cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

from pydantic import ValidationError

from simulator.catalog import stanzas
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu, gpu
from simulator.errors import SimulatorError
from simulator.spec import Count, Natural, NonNegative, Positive, spec

Mxfp4Kernel = Literal["marlin", "triton", "trtllm"]


@spec
class GpuArchitecture:
    """What engines do and reserve on GPUs of one architecture. GiB of one GPU.

    `outside_torch_gib`: kernels and cuBLAS on one GPU alone; None takes the release's. `graph_residue_gib`: left behind by
    profiling the CUDA graphs. `fused_all_reduce`: ranks on NVLink keep its workspace. `latent_block`: tokens in a block of
    latent attention, until the release `latent_block_until`. `mxfp4`: what runs experts in MXFP4 from `mxfp4_since` on.
    `rented`: its cards that are commonly rented.
    """

    name: str
    outside_torch_gib: NonNegative | None = None
    graph_residue_gib: NonNegative = 0.0
    fused_all_reduce: bool = False
    latent_block: Count = 16
    latent_block_until: str | None = None
    mxfp4: Mxfp4Kernel = "marlin"
    mxfp4_since: str = "0"
    rented: tuple[str, ...] = ()
    source: str
    checked: str


@spec
class MemoryOverheads:
    """What one release of an engine uses beside weights and KV cache. GiB of one GPU; copies are of the float32 logits.

    `hidden_copies`: hidden states of the batch alive at the peak of a layer. `sorted_copies`: of the logits, while the sampler
    sorts them for top-k and top-p; `filtered_copies`: where a kernel filters instead, with `kernel_rows` rows of its own;
    `counted_copies`: on model runner V2, which does neither. `gathered_copies`: more where ranks gather the logits and sort.
    `unified_gib`: what the system takes meanwhile of memory that it shares; `unified_pair_gib`: with two such machines.
    `fused_peers_gib`: ranks with fused all-reduce. `runner_v2_for`: which models, beside those named, model runner V2 runs.
    """

    name: str
    hidden_copies: Positive
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
    expert_buffers_kept: bool = False
    graphs_leave_residue: bool = False
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


def mxfp4_kernel(engine: Engine, card: Gpu) -> Mxfp4Kernel:
    """What runs experts in MXFP4, and so how they are padded."""
    found = architecture(card)
    return found.mxfp4 if engine.family == "vllm" and engine.at_least(found.mxfp4_since) else "marlin"


@cache
def rented_cards(vendor: str) -> tuple[Gpu, ...]:
    """Cards of a vendor that are commonly rented, by whole GiB of memory, older architectures first among equals."""
    every = [gpu(name) for kind in stanzas.stanzas("architectures") for name in _architecture(kind).rented]
    return tuple(sorted((c for c in every if c.vendor == vendor), key=lambda card: card.memory_bytes // 2**30))


@cache
def _architecture(name: str) -> GpuArchitecture:
    with _named("architectures", name):
        return GpuArchitecture(name=name, **_dated(stanzas.load("architectures", name)))


@cache
def _merged(names: tuple[str, ...]) -> MemoryOverheads:
    fields: dict[str, Any] = {}
    for name in names:
        fields |= stanzas.load("memory_overheads", name)
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
