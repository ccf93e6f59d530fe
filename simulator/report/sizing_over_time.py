"""A size over time in words, the same in the terminal and on its page."""

from __future__ import annotations

import math
from typing import Any

from simulator.planning.changing.commitments import CommitmentMix
from simulator.planning.changing.size import SizedFleet, SizingOverTime
from simulator.planning.changing.spares import SpareRow
from simulator.text import number, plural, share
from simulator.units import HOUR, MINUTE

SPARE_COLUMNS = (
    "spares",
    "replicas",
    "$/hour",
    "SLO kept",
    "missed a month",
    "too few ready",
    "missed an outage",
    "requests lost",
)
_MONTH_MIN, _SAME_USD = 730 * 60, 0.005


def asked_words(sizing: SizingOverTime) -> str:
    """What is asked for: `the SLO in every hour`, `the SLO in 95% of all 10 min`."""
    step = stretch_words(sizing.stretch_s)
    if all(fleet.spares for fleet in sizing.fleets):
        return f"the SLO in {_exactly(sizing.asked)} of the time"
    if sizing.asked == 1:
        return f"the SLO in every {step}"
    return f"the SLO in {_exactly(sizing.asked)} of the time, {step} by {step}"


def stretch_words(seconds: float) -> str:
    """`hour`, `10 min`."""
    if abs(seconds - HOUR) < 1:
        return "hour"
    if seconds < MINUTE:
        return f"{number(seconds)} s"
    return f"{number(seconds / MINUTE)} min"


def _exactly(value: float) -> str:
    """A share close to one with all its nines: `99.95%`."""
    digits = min(6, max(1, math.ceil(-math.log10(max(1 - value, 1e-9)))))
    return f"{100 * value:.{digits}f}".rstrip("0").rstrip(".") + "%"


def table_rows(sizing: SizingOverTime) -> tuple[tuple[str, ...], list[list[str]]]:
    """A header, and a row for each fleet that keeps the SLO."""
    mixed = any(fleet.mix for fleet in sizing.fleets)
    header = ("deployment", "how many", "SLO kept", "$/day", *(["$/day mixed"] if mixed else []))
    rows = []
    for fleet in sizing.fleets:
        if fleet.keeps:
            with_mix = [_money(fleet.mixed_usd_per_day)] if mixed else []
            kept = _exactly(fleet.availability)
            bill = _money(fleet.usd_per_day)
            rows.append([fleet.deployment.name, fleet.how, kept, bill, *with_mix])
    return header, rows


def spare_cells(row: SpareRow) -> list[str]:
    """The cells of a row of spares, as SPARE_COLUMNS names them."""
    missed = (1 - row.availability) * _MONTH_MIN
    return [
        str(row.spares),
        str(row.replicas),
        _money(row.usd_per_hour),
        _exactly(row.availability),
        f"{number(missed, 2)} min",
        f"{row.too_few:.2g}" if row.too_few else "0",
        f"{row.outage_s:.0f} s",
        f"{row.lost:,}",
    ]


def _money(value: float) -> str:
    return f"{value:,.2f}" if math.isfinite(value) else "-"


def sentences_over_time(sizing: SizingOverTime) -> list[str]:
    """The answer, a sentence a line."""
    best = sizing.best
    if best is None:
        return ["Nothing here will do.", *refused(sizing)]
    bill = f", ${best.mixed_usd_per_day:,.2f} a day" if math.isfinite(best.usd_per_day) else ""
    lines = [f"Take {best.deployment.name} ({best.how}){bill}."]
    lines += [mix_words(fleet, fleet.mix) for fleet in (best,) if fleet.mix]
    if best.run and best.run.over_time.worst:
        worst = best.run.over_time.worst
        lines.append(f"{worst[:1].upper()}{worst[1:]}.")
    return [*lines, *_dearer(sizing, best), *refused(sizing)]


def _dearer(sizing: SizingOverTime, best: SizedFleet) -> list[str]:
    """What each other one that will do costs more."""
    of = best.mixed_usd_per_day
    lines = []
    for fleet in sizing.fleets:
        more = fleet.mixed_usd_per_day - of
        if fleet.keeps and fleet is not best and math.isfinite(more) and of:
            much = f"${more:,.2f} a day more ({share(more / of)})" if more > _SAME_USD else "the same"
            lines.append(f"not {fleet.deployment.name} ({fleet.how}): {much}")
    return lines


def refused(sizing: SizingOverTime) -> list[str]:
    """Why each of the others will not do."""
    return [f"not {f.deployment.name}: {f.why}" for f in sizing.fleets if not f.keeps]


def mix_words(fleet: SizedFleet, mix: CommitmentMix) -> str:
    """The cheapest mix of commitments in words."""
    parts = [
        plural(mix.reserved, "replica") + " reserved" if mix.reserved else "",
        f"{number(mix.on_demand_hours)} replica-hours on demand" if mix.on_demand_hours else "",
        f"{number(mix.spot_hours)} on spot" if mix.spot_hours else "",
    ]
    return (
        f"Cheapest mix for {fleet.deployment.name}: {', '.join(filter(None, parts))}: "
        f"${mix.usd:,.2f} in place of ${mix.on_demand_usd:,.2f} on demand."
    )


def data(sizing: SizingOverTime) -> dict[str, Any]:
    """The sizing as plain data."""
    best = sizing.best
    return {
        "scenario": sizing.scenario.name,
        "rate_per_s": sizing.scenario.workload.mean_rate(),
        "availability_asked": sizing.asked,
        "stretch_s": sizing.stretch_s,
        "best": best.deployment.name if best else None,
        "best_usd_per_day": _finite(best.mixed_usd_per_day) if best else None,
        "fleets": [_fleet(fleet) for fleet in sizing.fleets],
    }


def _fleet(fleet: SizedFleet) -> dict[str, Any]:
    told = fleet.run.over_time if fleet.run else None
    mix, spares = fleet.mix, fleet.spares
    return {
        "name": fleet.deployment.name,
        "keeps": fleet.keeps,
        "how": fleet.how,
        "why": fleet.why,
        "availability": fleet.availability,
        "replicas": fleet.deployment.pool.replicas,
        "needs": list(fleet.needs),
        "replica_hours": told.replica_hours if told else None,
        "kept": told.kept if told else None,
        "usd_per_day": _finite(fleet.usd_per_day),
        "mix": _fields(mix) if mix else None,
        "mixed_usd_per_day": _finite(fleet.mixed_usd_per_day),
        "spares": [_fields(row) for row in spares.rows] if spares else None,
    }


def _fields(row: CommitmentMix | SpareRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {name: _finite(value) if isinstance(value, float) else value for name, value in values.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
