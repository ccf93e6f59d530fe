"""GPUs: what a datasheet and the driver say of one card."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from simulator.catalog import stanzas
from simulator.spec import Count, Positive, spec

Architecture = Literal["volta", "turing", "ampere", "ada", "hopper", "blackwell", "blackwell-rtx", "cdna3"]
ComputeType = Literal["fp32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"]


@spec
class Gpu:
    """One GPU. Memory as the driver reports it (torch's total), dense FLOP/s without sparsity.

    `link_bytes_per_s` is the one-direction bandwidth to a peer GPU over `link`; for PCIe cards it is what the
    slot allows and a server's topology may give less, so a deployment can override it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    vendor: Literal["nvidia", "amd"] = "nvidia"
    architecture: Architecture
    compute_capability: Positive | None = None
    memory_bytes: Count
    memory_bytes_per_s: Positive
    flops: dict[ComputeType, Positive]
    link: Literal["nvlink", "pcie", "infinity-fabric"]
    link_bytes_per_s: Positive
    tdp_watts: Positive
    source: str
    checked: str
    note: str = ""

    def computes(self, dtype: ComputeType) -> bool:
        """Whether the tensor cores have the type; without it a quantized weight is only stored in it."""
        return dtype in self.flops


def gpu(name: str | Gpu) -> Gpu:
    """A GPU by any of its names. Raises UnknownName with the nearest ones."""
    return name if isinstance(name, Gpu) else _build(stanzas.find("gpus", name, "GPU"))


def gpus() -> tuple[Gpu, ...]:
    """Every GPU of the catalog, in file order."""
    return tuple(_build(name) for name in stanzas.stanzas("gpus"))


@cache
def _build(name: str) -> Gpu:
    return Gpu(name=name, **_si(stanzas.load("gpus", name)))


def _si(fields: dict[str, Any]) -> dict[str, Any]:
    """Datasheet units (GiB, GB/s, TFLOP/s) to SI."""
    f = dict(fields)
    f["memory_bytes"] = round(f.pop("memory_gib") * 2**30)
    f["memory_bytes_per_s"] = f.pop("memory_gb_per_s") * 1e9
    f["link_bytes_per_s"] = f.pop("link_gb_per_s") * 1e9
    f["flops"] = {dtype: tera * 1e12 for dtype, tera in f.pop("tflops").items()}
    f["checked"] = str(f["checked"])
    return f
