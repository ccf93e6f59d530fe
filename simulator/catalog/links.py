"""Links between servers: what the catalog knows of them, and what a scenario says."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simulator.catalog import stanzas
from simulator.errors import NotModelled, SimulatorError
from simulator.spec import NonNegative, Positive, spec
from simulator.units import GB, US

USUAL = "rdma-400g"
"""The link that is assumed where none is named: one 400 Gb/s port a GPU, as servers of eight H100 have."""


@spec
class KnownLink:
    """A link of the catalog: see catalog/data/links.yaml."""

    name: str
    gb_per_s: Positive
    efficiency: Annotated[float, Field(gt=0, le=1)]
    latency_us: NonNegative
    hop_us: NonNegative | None = None
    collective_efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    collective_source: str = ""
    source: str
    checked: str


@cache
def known_link(name: str) -> KnownLink:
    """A link of the catalog by its name. Raises UnknownName."""
    found = stanzas.find("links", name, "link")
    fields = dict(stanzas.load_entry("links", found))
    fields.pop("aliases", None)
    return KnownLink(name=found, **{**fields, "checked": str(fields["checked"])})


def links() -> tuple[KnownLink, ...]:
    """All links of the catalog."""
    return tuple(known_link(name) for name in stanzas.stanzas("links"))


def _named(value: Any) -> Any:
    """A name of the catalog."""
    try:
        return known_link(value).name if isinstance(value, str) else value
    except SimulatorError as problem:
        raise ValueError(str(problem)) from None


def _carries(value: Any) -> Any:
    if isinstance(value, int | float) and value <= 0:
        raise ValueError(f"must be greater than 0, not {value}: over a link of zero no KV ever arrives")
    return value


@spec
class LinkSpec:
    """What joins the GPUs of different servers: a `kind` of the catalog, and what is different of it here.

    `gb_per_s` is what the port of one GPU carries in one direction, where GPUs share a port its part
    of that; `efficiency` the part of it that transfers reach; `latency_us` passes before the first
    byte of a transfer moves, of a collective for every doubling of the servers.
    """

    kind: Annotated[str, BeforeValidator(_named)] = USUAL
    gb_per_s: Annotated[Positive | None, BeforeValidator(_carries)] = None
    efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    latency_us: NonNegative | None = None

    @property
    def port_bytes_per_s(self) -> float:
        """What the port of one GPU carries, bytes per second in one direction."""
        known = known_link(self.kind)
        return (self.gb_per_s or known.gb_per_s) * GB * (self.efficiency or known.efficiency)

    @property
    def latency_s(self) -> float:
        """Seconds before the first byte of a transfer moves."""
        latency = known_link(self.kind).latency_us if self.latency_us is None else self.latency_us
        return latency * US

    @property
    def collective_bytes_per_s(self) -> float:
        """What collectives of GPUs on different servers reach of the port of one, bytes per second. Raises NotModelled."""
        known = known_link(self.kind)
        reached = self.efficiency or known.collective_efficiency
        if reached is None:
            raise NotModelled(f"no collectives between servers over {self.kind}; known: {', '.join(_networks())}")
        return (self.gb_per_s or known.gb_per_s) * GB * reached

    @property
    def hop_s(self) -> float:
        """Seconds that a collective takes longer for every doubling of the servers."""
        hop = known_link(self.kind).hop_us if self.latency_us is None else self.latency_us
        return (hop or 0.0) * US

    @property
    def sentence(self) -> str:
        """What it carries, and where that is from."""
        known = known_link(self.kind)
        figures = f"{self.port_bytes_per_s / GB:.3g} GB/s a GPU and {self.latency_s / US:.0f} us"
        stated = None not in (self.gb_per_s, self.efficiency, self.latency_us)
        return f"{figures}, as stated" if stated else f"{figures} ({self.kind}: {known.source})"


def _networks() -> list[str]:
    return [link.name for link in links() if link.collective_efficiency is not None]


def link_of(value: Any) -> Any:
    """A bare name is the link of that kind."""
    return {"kind": value} if isinstance(value, str) else value
