"""Costs: dollars and energy of a deployment. Never a price without its source and date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator import catalog
from simulator.catalog.gpus import Gpu
from simulator.errors import UnknownName
from simulator.results.model import Cost
from simulator.scenario import Deployment, Owned, Pool, Prices
from simulator.units import HOUR, HOURS_PER_MONTH

if TYPE_CHECKING:
    from simulator.catalog.prices import Offer, Price

_YOURS = "given in the scenario"
_HOURS_PER_YEAR = 8766.0


def cost(
    deployment: Deployment,
    prices: Prices,
    *,
    output_tokens_per_s: float | None = None,
    total_tokens_per_s: float | None = None,
    good_per_s: float | None = None,
    busy: float | None = None,
    gpus: float | None = None,
) -> Cost | None:
    """Dollars for a deployment, and for a token or a good request at this throughput; None without
    a price.

    `busy`, the share of time that its GPUs work, gives the energy: an estimate, TDP in busy time
    and IDLE_SHARE of it otherwise.
    """
    pools = deployment.pools
    priced = [(pool, found) for pool in pools if (found := price_of(pool, prices)) is not None]
    if len(priced) < len(pools):
        return None
    shared = 1.0 if gpus is None else gpus / deployment.gpus
    per_hour = shared * sum(usd * pool.gpus for pool, (usd, _, _) in priced)
    usd_per_gpu_hour = priced[0][1][0] if len(pools) == 1 else per_hour / deployment.gpus
    source, date = _sources([found for _, found in priced])
    return Cost(
        usd_per_hour=per_hour,
        usd_per_gpu_hour=usd_per_gpu_hour,
        price_source=source,
        price_date=date,
        usd_per_million_output_tokens=usd_per(1e6, per_hour, output_tokens_per_s),
        usd_per_million_total_tokens=usd_per(1e6, per_hour, total_tokens_per_s),
        usd_per_month=per_hour * HOURS_PER_MONTH,
        usd_per_thousand_good_requests=usd_per(1e3, per_hour, good_per_s),
        watts=None if busy is None else shared * sum(watts(p.gpu, busy) * p.gpus for p in pools),
        usd_per_kwh=prices.electricity(),
    )


def _sources(found: Sequence[tuple[float, str, str]]) -> tuple[str, str]:
    """Where the prices of a deployment's pools are from, and the earliest date of those."""
    sources = dict.fromkeys(source for _, source, _ in found)
    dates = [date for _, _, date in found if date]
    return "; ".join(sources), min(dates, default="")


IDLE_SHARE = 0.15
"""Power of an idle GPU over its TDP: a guess; datasheets do not state it."""


def watts(gpu: Gpu, busy: float) -> float:
    """Estimated power of one GPU, watts: TDP while it works, IDLE_SHARE of it while it does not.
    Real servers stay below TDP."""
    return gpu.tdp_watts * (busy + IDLE_SHARE * (1 - busy))


def watts_by_phase(gpu: Gpu, prices: Prices) -> dict[str, float]:
    """Watts of one GPU while it idles, computes prompts, and decodes: as stated, else TDP, idle
    IDLE_SHARE of it."""
    stated = prices.power
    return {
        "idle": stated.idle_watts or IDLE_SHARE * gpu.tdp_watts,
        "prefill": stated.prefill_watts or gpu.tdp_watts,
        "decode": stated.decode_watts or gpu.tdp_watts,
    }


def usd_per(amount: float, usd_per_hour: float, per_s: float | None) -> float | None:
    """Dollars for `amount` of something that comes at `per_s`; None where it does not come.

    >>> usd_per(1e6, 3.6, 1000.0)
    1.0
    """
    return usd_per_hour / HOUR / per_s * amount if per_s else None


def price_of(pool: Pool, prices: Prices) -> tuple[float, str, str] | None:
    """Dollars per GPU-hour, where from, and as of when.

    The first of: the pool's own, the scenario's for this GPU, the cheapest of its own offers,
    hardware that is owned, the catalog's cheapest listing.
    """
    gpu, own = pool.gpu, pool.usd_per_gpu_hour
    if own is None:
        own = _stated(gpu, prices)
    if own is not None:
        return own, _YOURS, ""
    if offer := _offered(gpu, prices):
        said = f": {offer.source}" if offer.source else ""
        return (
            offer.usd_per_gpu_hour,
            f"{offer.provider} {offer.commitment}, {_YOURS}{said}",
            offer.checked,
        )
    if prices.owned is not None:
        return owned_usd_per_gpu_hour(prices.owned, gpu), f"owned hardware, {_YOURS}", ""
    return _listed(gpu, prices)


def _stated(gpu: Gpu, prices: Prices) -> float | None:
    """What the scenario says of this GPU."""
    return stated_price(gpu, prices.usd_per_gpu_hour)


def stated_price(gpu: Gpu, stated: Mapping[str, float]) -> float | None:
    """Dollars per GPU-hour of a GPU, stated under whatever name of it; None where it is not."""
    named = {_canonical(name): usd for name, usd in stated.items()} | dict(stated)
    return named.get(gpu.name)


def _offered(gpu: Gpu, prices: Prices) -> Offer | None:
    """The cheapest of the scenario's own offers of a GPU that provider and commitment allow."""
    asked = None if prices.provider is None else prices.provider.lower()
    found = [
        offer
        for offer in prices.offers
        if gpu.name in (offer.gpu, _canonical(offer.gpu))
        and offer.commitment == prices.commitment
        and asked in (None, offer.provider.lower())
    ]
    return min(found, key=lambda offer: offer.usd_per_gpu_hour, default=None)


def _canonical(name: str) -> str:
    """The catalog's name of a GPU; one that it does not have is called as it is written."""
    try:
        return catalog.gpu(name).name
    except UnknownName:
        return name


def _listed(gpu: Gpu, prices: Prices) -> tuple[float, str, str] | None:
    from simulator.catalog.prices import price

    try:
        listed = price(gpu.name, prices.provider, prices.commitment)
    except UnknownName as unknown:
        if unknown.kind == "GPU" or prices.offers:
            return None
        raise
    return None if listed is None else (listed.usd_per_gpu_hour, _whose(listed), listed.checked)


def _whose(listed: Price) -> str:
    """Where a listing is from, in words."""
    seen = "" if listed.source_kind == "primary" else ", read in a price table"
    return f"{listed.provider} {listed.commitment}{seen}: {listed.source}"


def owned_usd_per_gpu_hour(owned: Owned, gpu: Gpu) -> float:
    """Dollars per GPU-hour of hardware one owns: its price spread over its years, and power at TDP
    around the clock."""
    hours = owned.years * _HOURS_PER_YEAR
    kilowatts = (owned.watts_per_gpu or gpu.tdp_watts) / 1000
    return owned.usd_per_gpu / hours + kilowatts * owned.pue * owned.usd_per_kwh
