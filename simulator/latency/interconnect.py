"""Between the GPUs of a replica: which way traffic takes, and what collectives reach of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import AllReduce, exchange, interconnect, kernels
from simulator.catalog.links import LinkSpec
from simulator.errors import NotModelled
from simulator.units import US

# A stated link of at least this share of the card's NVLink bridge is that bridge: PCIe of its time gives no more than half.
_BRIDGED = 0.8


@dataclass(frozen=True, slots=True)
class Ranks:
    """The GPUs that take part in a collective: so many of them, every `apart`-th of the replica, on servers of one card.

    `link_bytes_per_s`: what the user's server gives from one GPU to another in one direction, None for the datasheet's.
    `network` joins the servers.
    """

    gpu: Gpu
    number: int
    apart: int = 1
    link_bytes_per_s: float | None = None
    network: LinkSpec = field(default_factory=LinkSpec)

    @property
    def of_a_server(self) -> int:
        """How many of them one server or rack has. Raises NotModelled where the last would have fewer."""
        here = min(self.number, max(1, self.gpu.link_domain // self.apart))
        if self.number % here:
            raise NotModelled(
                f"{self.number} ranks, {here} on a server of {self.gpu.link_domain} {self.gpu.name}, "
                "leave the last one part full; take a multiple"
            )
        return here

    @property
    def servers(self) -> int:
        """Servers or racks that they lie on."""
        return self.number // self.of_a_server

    @property
    def link(self) -> float:
        """Bytes per second from one GPU to another of its server, one direction."""
        return self.link_bytes_per_s or self.gpu.link_bytes_per_s


def reached(ranks: Ranks) -> AllReduce:
    """An all-reduce of these ranks, as fractions of the link between GPUs of one server. Raises NotModelled for other numbers.

    Two cards with a bridge use it where the stated link is as fast as one. Cards on PCIe whose driver refuses peer access go
    through the host's memory. The one-shot kernel runs on PCIe only between two cards that have it. Between servers the ring goes
    through every GPU's port, so that the slower of a server's link and all its ports together tells; a tree has the latency.
    """
    within = _within(ranks)
    if ranks.servers == 1:
        return within
    ports = ranks.of_a_server * ranks.network.collective_bytes_per_s
    share = ports / ranks.link if ranks.of_a_server == 1 else min(within.nccl_link, ports / ranks.link)
    first_us = within.nccl_us if within.custom_us is None else within.custom_us
    hops_us = math.log2(ranks.servers) * ranks.network.hop_s / US
    return AllReduce(nccl_us=first_us + hops_us, nccl_link=share)


def all_to_all(ranks: Ranks, copies: int, to_rank: float, from_rank: float) -> tuple[tuple[float, float], ...]:
    """Ways to carry each token to the ranks of its experts and back: seconds before the first, and seconds a token, of each way.

    A token has `copies` experts; a copy of it is `to_rank` bytes long, what comes back `from_rank`.
    In a server or rack one copy goes to each rank that has any of them. Between servers few tokens
    are sent once for every expert, without waiting; many once to every server.
    """
    message = to_rank + from_rank
    if ranks.servers == 1:
        known = exchange("nvlink")
        return ((known.first_us * US, _others(ranks.number, copies) * message / ((known.link or 1.0) * ranks.link)),)
    port, doublings = ranks.network.collective_bytes_per_s, math.log2(ranks.servers) - 1
    away = copies * (1 - 1 / ranks.servers)
    few, many = (exchange(name) for name in ("few-tokens", "many-tokens"))
    return (
        ((few.first_us + doublings * few.doubling_us) * US, away * message / port),
        ((many.first_us + doublings * many.doubling_us) * US, _others(ranks.servers, copies) * message / port),
    )


def through_host(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> bool:
    """Whether traffic of `ranks` GPUs goes through the host's memory."""
    return gpu.link == "pcie" and not gpu.peer_access and not _bridged(gpu, ranks, link_bytes_per_s)


def _others(places: int, copies: int) -> float:
    """How many of the other places a token goes to in the mean whose copies choose theirs evenly."""
    return (places - 1) * (1 - (1 - 1 / places) ** copies)


def _within(ranks: Ranks) -> AllReduce:
    """An all-reduce of those of one server; of a lone one what two would wait for each other."""
    gpu, number = ranks.gpu, max(ranks.of_a_server, 2)
    known = _table(gpu, number, ranks.link_bytes_per_s)
    if number > max(known) and gpu.link == "nvlink":
        return _more(number)
    if number not in known:
        raise NotModelled(f"no all-reduce over {number} GPUs is modelled; known: {', '.join(map(str, known))}")
    found = known[number]
    return replace(found, custom_us=None, custom_link=None) if gpu.link == "pcie" and number > 2 else found


def _more(number: int) -> AllReduce:
    """An all-reduce of more GPUs on one switch than any table has: what a doubling adds, as often as it takes."""
    known = interconnect("nvlink-domain").all_reduce
    few, twice = min(known), max(known)
    doublings = math.log2(number / few)

    def after(small: float, large: float) -> float:
        return small + doublings * (large - small)

    low, high = known[few], known[twice]
    return replace(
        low,
        nccl_us=after(low.nccl_us, high.nccl_us),
        custom_us=after(low.custom_us or 0.0, high.custom_us or 0.0),
    )


def _table(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> dict[int, AllReduce]:
    if _bridged(gpu, ranks, link_bytes_per_s):
        return interconnect("nvlink-bridge").all_reduce
    if through_host(gpu, ranks, link_bytes_per_s):
        return interconnect("host-memory").all_reduce
    return kernels(gpu).all_reduce


def _bridged(gpu: Gpu, ranks: int, link_bytes_per_s: float | None) -> bool:
    bridge = gpu.bridge_bytes_per_s
    return ranks == 2 and bridge is not None and link_bytes_per_s is not None and link_bytes_per_s >= _BRIDGED * bridge
