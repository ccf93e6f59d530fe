"""Between the GPUs of a server: which way traffic takes, and what an all-reduce reaches of it."""

from __future__ import annotations

from dataclasses import replace

from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import AllReduce, interconnect, kernels
from simulator.errors import NotModelled

# A stated link of at least this share of the card's NVLink bridge is that bridge: PCIe of its time gives no more than half.
_BRIDGED = 0.8


def reached(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> AllReduce:
    """An all-reduce of `ranks` GPUs over the link that is stated, or the datasheet's. Raises NotModelled for other numbers.

    Two cards with a bridge use it where the stated link is as fast as one. Cards on PCIe whose driver refuses peer access go
    through the host's memory. The one-shot kernel runs on PCIe only between two cards that have it.
    """
    known = _table(gpu, ranks, link_bytes_per_s)
    if ranks not in known:
        raise NotModelled(f"no all-reduce over {ranks} GPUs is modelled; known: {', '.join(map(str, known))}")
    found = known[ranks]
    return replace(found, custom_us=None, custom_link=None) if gpu.link == "pcie" and ranks > 2 else found


def through_host(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> bool:
    """Whether traffic of `ranks` GPUs goes through the host's memory."""
    return gpu.link == "pcie" and not gpu.peer_access and not _bridged(gpu, ranks, link_bytes_per_s)


def _table(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> dict[int, AllReduce]:
    if _bridged(gpu, ranks, link_bytes_per_s):
        return interconnect("nvlink-bridge").all_reduce
    if through_host(gpu, ranks, link_bytes_per_s):
        return interconnect("host-memory").all_reduce
    return kernels(gpu).all_reduce


def _bridged(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> bool:
    bridge = gpu.bridge_bytes_per_s
    return ranks == 2 and bridge is not None and link_bytes_per_s is not None and link_bytes_per_s >= _BRIDGED * bridge
