"""A long horizon in words, the same in the terminal and on its page."""

from __future__ import annotations

from typing import Any

from simulator.planning.horizon.run import Horizon, KindRun
from simulator.text import number, plural, share
from simulator.units import DAY, HOUR

KIND_COLUMNS = ("hours", "requests/s", "replicas", "simulated", "within SLO", "hours kept", "idle")
_BACKLOG_S = 120.0


def rows_of(found: tuple[Horizon, ...]) -> tuple[tuple[str, ...], list[list[str]]]:
    """A header, and a row a deployment."""
    header = ("deployment", "within SLO", "hours kept", "replica-hours", "$", "kWh", "idle")
    rows = []
    for h in found:
        usd = "-" if h.usd is None else f"{h.usd:,.2f}"
        cells = [f"{number(h.replica_hours, 5)}", usd, number(sum(h.kwh.values())), share(h.idle)]
        rows.append([h.deployment.name, _with_error(h), _kept(h), *cells])
    return header, rows


def _with_error(h: Horizon) -> str:
    return f"{100 * h.good:.2f}% ± {100 * h.good_error:.2f}"


def _kept(h: Horizon) -> str:
    low, high = h.kept_hours
    return f"{low if low == high else f'{low} to {high}'} of {h.hours}"


def kind_cells(k: KindRun) -> list[str]:
    """The cells of a kind of hours, as KIND_COLUMNS names them."""
    low, high = k.keeps
    hours = len(k.kind.hours)
    paid = sum(run.paid_s for run in k.runs)
    busy = sum(run.prefill_s + run.decode_s for run in k.runs)
    return [
        str(hours),
        number(k.kind.asked / hours / HOUR),
        number(paid / len(k.runs) / HOUR),
        ", ".join(when(hour) for hour in k.kind.simulated),
        f"{100 * k.good_share:.2f}%",
        f"{low if low == high else f'{low} to {high}'}",
        share(max(0.0, 1 - busy / paid)) if paid else "-",
    ]


def when(hour: int) -> str:
    """`day 2, 14:00`."""
    return f"day {hour // 24 + 1}, {hour % 24}:00"


def lines_of(h: Horizon) -> list[str]:
    """What is to be known of a deployment, a sentence a line."""
    phases = ", ".join(f"{phase} {number(kwh)}" for phase, kwh in h.kwh.items())
    bill = "" if h.usd_energy is None else f", ${h.usd_energy:,.2f}"
    days = h.hours * HOUR / DAY
    lines = [
        f"{h.deployment.name}: of {h.asked:,} requests in {number(days)} days "
        f"{h.simulated:,} were simulated, {plural(len(h.kinds), 'kind')} of hours.",
        f"Energy at the GPUs, kWh: {phases}{bill}.",
        f"Unused: {share(h.idle)} of the paid time an engine had nothing to do.",
    ]
    if h.left_s > _BACKLOG_S:
        lines.append(
            f"Up to {number(h.left_s)} s of traffic were left when an hour ended: the hour after it "
            "was simulated without them, and is worse than it looks."
        )
    return lines


def method() -> list[str]:
    """How the numbers come about."""
    return [
        "Hours are alike whose requests, and those of each class, are within a few percent, with "
        "the same replicas by the clock. Of each kind the quietest and the busiest hour were "
        "simulated in full, from ten minutes before on; the others are taken to be between them.",
        "± is half of what these two differ by, weighted by requests; hours kept are from the "
        "fewest to the most that these two allow.",
        "Power is as prices.power states it; otherwise TDP while an engine works and 15% of it "
        "while it does not, which is a guess. A power cap is not modelled.",
    ]


def data_of(found: tuple[Horizon, ...]) -> list[dict[str, Any]]:
    """The horizons as plain data."""
    return [
        {
            "name": h.deployment.name,
            "hours": h.hours,
            "requests": h.asked,
            "simulated": h.simulated,
            "good_share": h.good,
            "good_share_error": h.good_error,
            "kept_hours": list(h.kept_hours),
            "output_tokens": h.output_tokens,
            "replica_hours": h.replica_hours,
            "idle_share": h.idle,
            "kwh": h.kwh,
            "usd": h.usd,
            "usd_energy": h.usd_energy,
            "left_s": h.left_s,
            "kinds": [
                {
                    "hours": list(k.kind.hours),
                    "simulated": list(k.kind.simulated),
                    "requests": k.kind.asked,
                    "good_share": k.good_share,
                    "kept_hours": list(k.keeps),
                }
                for k in h.kinds
            ],
        }
        for h in found
    ]
