"""Rental prices by provider and commitment; never one without its date."""

from __future__ import annotations

from functools import cache
from typing import Literal

from simulator.catalog import stanzas
from simulator.catalog.gpus import Gpu, gpu
from simulator.errors import UnknownName
from simulator.spec import NonNegative, Positive, spec

Commitment = Literal["on-demand", "spot", "community"]


@spec
class Price:
    """What one provider asks for one hour of one GPU, as seen on a date.

    `on-demand` is a machine of one's own by the hour, `spot` may be taken away, `community` runs in somebody else's rack.
    `source_kind` secondary: read in a price table, not on the provider's page.
    """

    provider: str
    gpu: str
    usd_per_gpu_hour: Positive
    commitment: Commitment
    source: str
    source_kind: Literal["primary", "secondary"]
    checked: str
    note: str = ""


@spec
class Offer:
    """A price of one's own: what somebody asks for one hour of one GPU, with where that stands and as of when."""

    gpu: str
    usd_per_gpu_hour: NonNegative
    provider: str = "own price list"
    commitment: Commitment = "on-demand"
    source: str = ""
    checked: str = ""


def prices(gpu_name: str | Gpu | None = None) -> tuple[Price, ...]:
    """Every price of a GPU, cheapest first, or of all GPUs in file order. Raises UnknownName for a GPU we do not know."""
    entries = stanzas.stanzas("prices")
    if gpu_name is None:
        return tuple(_build(entry) for entry in entries)
    name = gpu(gpu_name).name
    listed = [_build(entry) for entry in entries if stanzas.written("prices", entry, "gpu") == name]
    return tuple(sorted(listed, key=lambda p: p.usd_per_gpu_hour))


def price(gpu_name: str | Gpu, provider: str | None = None, commitment: str = "on-demand") -> Price | None:
    """The cheapest price of a GPU for a commitment, from one provider or from any; None where we know none.

    Without a provider this is the cheapest listing of that commitment, on-demand unless said otherwise, so community and spot
    offers never stand in for a machine of one's own. Raises UnknownName for a provider or commitment that is in no entry.

    >>> price("h100", provider="aws").usd_per_gpu_hour
    6.88
    """
    commitment = _known("commitment", commitment, _written("commitment"))
    offers = [p for p in prices(gpu_name) if p.commitment == commitment]
    if provider is not None:
        provider = _known("provider", provider.lower(), providers())
        offers = [p for p in offers if p.provider == provider]
    return offers[0] if offers else None


def providers() -> tuple[str, ...]:
    """Every provider with a price, in file order."""
    return _written("provider")


def _known(kind: str, name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        raise UnknownName(kind, name, sorted(names))
    return name


@cache
def _written(field: str) -> tuple[str, ...]:
    """Every value of a field, in file order."""
    return tuple(dict.fromkeys(stanzas.written("prices", entry, field) for entry in stanzas.stanzas("prices")))


@cache
def _build(name: str) -> Price:
    fields = stanzas.load_entry("prices", name)
    return Price(**{**fields, "checked": str(fields["checked"])})
