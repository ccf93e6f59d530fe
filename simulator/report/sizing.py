"""Sizing in words: what `sim size` says, the same in the terminal and on its page."""

from __future__ import annotations

import math

from simulator.planning.size import Candidate, Sizing
from simulator.text import number, plural


def to_carry(sizing: Sizing) -> str:
    """What is to be carried: `20 requests/s within the SLO`."""
    rate, loop = sizing.scenario.workload.mean_rate(), sizing.scenario.workload.closed_loop
    what = f"{number(rate, 6)} requests/s" if rate is not None else plural(loop.concurrency, "user") if loop else "a batch"
    lost = f" with {plural(sizing.ask.spare, 'replica')} lost" if sizing.ask.spare else ""
    return f"{what}{' within the SLO' if sizing.scenario.promises else ''}{lost}"


def money(value: float, digits: int = 2) -> str:
    """Dollars without their sign; a dash where no price is known."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def grown(candidate: Candidate) -> str:
    """What the grown traffic takes; a dash where no number of replicas will do."""
    if candidate.grown is None:
        return "-"
    cost = f", ${candidate.grown_usd_per_hour:,.2f}/h" if math.isfinite(candidate.grown_usd_per_hour) else ""
    return f"{plural(candidate.grown, 'replica')}{cost}"


def sentences(sizing: Sizing, months: float) -> list[str]:
    """The answer, a sentence a line; `months`: when the asked growth will have happened."""
    best = sizing.best
    if best is None:
        nearest = sizing.nearest
        return ["Nothing here will do.", *([f"Nearest is {nearest.deployment.name}: {nearest.why}."] if nearest else [])]
    return [
        f"Take {best.deployment.name}: {best.wording}{f'; {best.why}' if best.why else ''}. {price_line(best)}",
        *remarks(sizing, months),
    ]


def price_line(candidate: Candidate) -> str:
    """Its price with provider and date, or how to give one."""
    if candidate.price:
        return f"{candidate.price}."
    return f"No price is known: give prices.usd_per_gpu_hour.{candidate.deployment.pool.gpu.name}."


def remarks(sizing: Sizing, months: float) -> list[str]:
    """What else is to be known of the best: requests without an answer, a backlog, growth."""
    best, growth = sizing.best, sizing.ask.growth
    if best is None:
        return []
    lines = [f"{best.unanswered}."] if best.unanswered else []
    rate = sizing.scenario.workload.mean_rate()
    if best.recovers_below is not None and rate is not None and rate > best.recovers_below:
        lines.append(f"Once requests queue it recovers only below {number(best.recovers_below)} requests/s.")
    if growth > 1 and best.headroom is not None and best.headroom > 0:
        lasts = months * math.log1p(best.headroom) / math.log(growth)
        lines.append(f"Growing x{growth:g} in {months:g} months, it is outgrown in about {lasts:.1f} months.")
    later = sizing.best_grown
    if growth > 1 and later is not None:
        lines.append(
            f"At x{growth:g} the {_cheapest(sizing)} is {later.deployment.name}: {grown(later).replace('/h', ' an hour')}."
        )
    return lines


def _cheapest(sizing: Sizing) -> str:
    """What the first of the candidates is: the cheapest, or where no price is known the smallest."""
    return "cheapest" if any(math.isfinite(c.usd_per_hour) for c in sizing.fitting) else "smallest"
