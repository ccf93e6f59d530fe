"""Commitments: which replicas of a fleet over time to reserve, to rent on demand, and on spot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.engine.record import FleetEvent
from simulator.planning.costs import price_of, stated_price
from simulator.results.over_time import Floats
from simulator.scenario import Pool, Prices
from simulator.units import HOUR


@dataclass(frozen=True, slots=True)
class CommitmentMix:
    """The cheapest mix: `reserved` replicas paid for around the clock, the rest by the hour.

    Hours are of replicas; `usd` is for the whole run, `on_demand_usd` what all of it would cost on
    demand. Nothing is said of reclaims: those that a run is to suffer stand in `faults`.
    """

    reserved: int
    reserved_hours: float
    on_demand_hours: float
    spot_hours: float
    usd: float
    on_demand_usd: float


def paid_for(events: Sequence[FleetEvent], horizon_s: float) -> Floats:
    """Seconds in which at least 1, 2, ... replicas are paid for, starting ones too; shape (m,)."""
    changes: list[tuple[float, int]] = []
    present: set[int] = set()
    for event in events:
        if event.what in ("starts", "ready") and event.replica not in present:
            present.add(event.replica)
            changes.append((event.when, 1))
        elif event.what in ("dies", "gone") and event.replica in present:
            present.remove(event.replica)
            changes.append((event.when, -1))
    times = np.array([0.0, *(min(when, horizon_s) for when, _ in changes), horizon_s])
    levels = np.cumsum([0, *(change for _, change in changes)])
    lengths = np.diff(times)
    return np.array([lengths[levels >= n].sum() for n in range(1, int(levels.max()) + 1)])


def cheapest_mix(
    seconds: Floats, horizon_s: float, pool: Pool, prices: Prices
) -> CommitmentMix | None:
    """The cheapest mix for replicas that are paid for as `paid_for` says; None where neither a
    reserved nor a spot price is stated of its GPU.

    The n-th replica is reserved where a whole run of it reserved costs less than its own hours
    otherwise. Of those that are not, every one may be on spot up to `spot_at_most` of all replicas
    that there are by then, where that is cheaper.
    """
    found, each = price_of(pool, prices), pool.gpus_per_replica
    reserved = stated_price(pool.gpu, prices.reserved_usd_per_gpu_hour)
    spot = stated_price(pool.gpu, prices.spot_usd_per_gpu_hour)
    if found is None or (reserved is None and spot is None):
        return None
    on_demand, hours = found[0] * each, seconds / HOUR
    most = len(hours) if reserved is not None else 0
    mixes = (
        _mix(
            hours,
            n,
            horizon_s / HOUR,
            (reserved or 0.0) * each,
            on_demand,
            None if spot is None else spot * each,
            prices,
        )
        for n in range(most + 1)
    )
    return min(mixes, key=lambda mix: (mix.usd, mix.reserved))


def _mix(
    hours: Floats,
    reserved: int,
    horizon: float,
    base: float,
    on_demand: float,
    spot: float | None,
    prices: Prices,
) -> CommitmentMix:
    """The mix with so many reserved: the n-th replica is there `hours[n - 1]`."""
    on_spot = 0.0
    if spot is not None and spot < on_demand:
        exactly = hours - np.append(hours[1:], 0.0)  # hours in which there are just n
        counts = np.arange(1, len(hours) + 1)
        share = np.floor(prices.spot_at_most * counts + 1e-9)
        on_spot = float((exactly * np.minimum(np.maximum(counts - reserved, 0), share)).sum())
    by_the_hour = float(hours[reserved:].sum()) - on_spot
    usd = reserved * horizon * base + by_the_hour * on_demand + on_spot * (spot or 0.0)
    return CommitmentMix(
        reserved, reserved * horizon, by_the_hour, on_spot, usd, float(hours.sum()) * on_demand
    )
