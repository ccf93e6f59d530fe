"""How fast kernels run on each GPU, and what engines add around them; each number with its basis."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from simulator.catalog import stanzas
from simulator.catalog.gpus import Gpu
from simulator.errors import UnknownName
from simulator.spec import NonNegative, Positive, spec

RunningKernel = Literal[
    "bf16", "fp8", "fp8_block", "fp8_wo", "int8", "int8_wo", "int4_wo", "nvfp4", "nvfp4_wo", "mxfp4", "mxfp4_wo", "nf4"
]


@spec
class Efficiency:
    """Fractions of the datasheet's bandwidth and FLOP/s that a matmul kernel reaches; `sharpness` as in physics.Rates.

    `extrapolated` names where the numbers were taken from when nothing was measured on this GPU.
    """

    bandwidth: Positive
    compute: Positive
    sharpness: Positive = 1.0
    extrapolated: str = ""


@spec
class Collective:
    """An all-reduce: microseconds before the first byte, and the fraction of the link's bandwidth it reaches."""

    custom_latency_us: NonNegative
    custom_bandwidth: Positive
    nccl_latency_us: NonNegative
    nccl_bandwidth: Positive


@spec
class Kernels:
    """Efficiencies of one GPU, or of an architecture where the GPU itself was not measured.

    `decode_bandwidth` by bytes of a KV element ("16", "8"); `prefill_compute` is of the 16-bit FLOP/s.
    """

    name: str
    gemm: dict[RunningKernel, Efficiency]
    moe: dict[RunningKernel, Efficiency]
    decode_bandwidth: Positive
    prefill_compute: Positive
    elementwise_bandwidth: Positive = 0.75
    sampling_bandwidth: Positive = 0.70
    all_reduce: dict[int, Collective]
    extrapolated: tuple[str, ...] = ()
    source: str
    checked: str


@spec
class Overheads:
    """What an engine adds to its kernels: multipliers on their seconds, and seconds of its own."""

    name: str
    gemm: Positive = 1.0
    moe_memory: Positive = 1.0
    moe_compute: Positive = 1.0
    all_reduce: Positive = 1.0
    elementwise: Positive = 1.0
    prefill: Positive = 1.0
    decode: Positive = 1.0
    layer_us: NonNegative
    moe_layer_us: NonNegative
    step_us: NonNegative
    sequence_us: NonNegative
    extrapolated: tuple[str, ...] = ()
    source: str
    checked: str


def kernels(gpu: Gpu) -> Kernels:
    """The efficiencies of a GPU: its own, or those of its architecture."""
    for name in (gpu.name, *gpu.aliases, gpu.architecture):
        try:
            return _build(stanzas.find("kernels", name, "kernels"))
        except UnknownName:
            continue
    raise UnknownName("kernels", gpu.name, stanzas.stanzas("kernels"))


def overheads(engine_family: str, generation: str) -> Overheads:
    """The overheads of an engine, `vllm-v1` and so on."""
    name = stanzas.find("overheads", f"{engine_family}-{generation}", "engine overheads")
    return Overheads(name=name, **_dated(stanzas.load("overheads", name)))


@cache
def _build(name: str) -> Kernels:
    return Kernels(name=name, **_merged(name))


def _merged(name: str) -> dict[str, Any]:
    """The stanza of a name over the one it is `like`; what is taken from there by kernel stays."""
    own = _dated(stanzas.load("kernels", name))
    parent = own.pop("like", None)
    base = _merged(parent) if parent else {}
    tables = {key: {**base.get(key, {}), **own.get(key, {})} for key in ("gemm", "moe", "all_reduce")}
    return {**base, **own, **tables}


def _dated(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "checked": str(fields["checked"])}
