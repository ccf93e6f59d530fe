"""The page of a size over time: what to take, what each hour needs, spares against availability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simulator.planning.changing.size import SizedFleet, SizingOverTime
from simulator.planning.changing.spares import Spares
from simulator.report import sizing_over_time as said
from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageAnswer, PageTable, plain_page
from simulator.text import plural
from simulator.units import HOUR


def size_over_time_page(sizing: SizingOverTime) -> str:
    """The page."""
    best = sizing.best
    first, *others = said.sentences_over_time(sizing)
    return plain_page(
        f"{sizing.scenario.name}: what to rent over time",
        f"What keeps {said.asked_words(sizing)}, of {plural(len(sizing.fleets), 'deployment')}.",
        _drawings(sizing),
        [_spare_table(f.spares) for f in sizing.fleets if f.spares and f.spares.rows],
        lines=("How this was found", _method(sizing)),
        answer=PageAnswer("Rent" if best else "No deployment will do", first, others, good=best is not None),
        first=[PageTable("What will do", *said.table_rows(sizing))],
    )


def _spare_table(spares: Spares) -> PageTable:
    rows = [said.spare_cells(row) for row in spares.rows]
    note = (
        f"The traffic needs {plural(spares.needed or 0, 'replica')}. Too few ready: the share of "
        "time, by the law of machines that fail and are replaced; what an outage makes missed "
        "beyond that is simulated, and so is what it loses."
    )
    title = f"Spares against availability: {spares.deployment.name}"
    return PageTable(title, said.SPARE_COLUMNS, rows, note)


def _drawings(sizing: SizingOverTime) -> list[Drawing]:
    shown = [f for f in sizing.fleets if f.run is not None]
    if not shown:
        return []
    caption = "Mean replicas paid for in each stretch of the time, starting ones too; dotted: needed."
    return [Drawing("Replicas over time", caption, _replicas(sizing, shown))]


def _replicas(sizing: SizingOverTime, shown: Sequence[SizedFleet]) -> dict[str, Any]:
    import altair as alt
    import polars as pl

    points = [
        {"deployment": f.deployment.name, "hours": m.start_s / HOUR, "n": m.ready + m.starting}
        for f in shown
        if f.run
        for m in f.run.over_time.moments
    ]
    step = sizing.stretch_s / HOUR
    needs = [{"hours": i * step, "n": n} for f in shown[:1] for i, n in enumerate((*f.needs, f.needs[-1]))]
    names = [f.deployment.name for f in shown]
    color = alt.Scale(domain=names, range=[theme.color(i) for i in range(len(names))])
    time = alt.X("hours:Q", title="hours since the start", axis=alt.Axis(grid=False))
    count = alt.Y("n:Q", title="replicas", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    lines = alt.Chart(pl.DataFrame(points)).mark_line(interpolate="step-after", strokeWidth=2)
    lines = lines.encode(
        x=time,
        y=count,
        color=alt.Color("deployment:N", scale=color, sort=names, legend=alt.Legend(columns=2)),
        tooltip=["deployment:N", alt.Tooltip("n:Q", title="replicas", format=".2~f")],
    )
    needed = alt.Chart(pl.DataFrame(needs)).mark_line(interpolate="step-after", strokeDash=[2, 3], color="gray")
    chart = alt.layer(lines, needed.encode(x=time, y=count))
    drawn: dict[str, Any] = chart.properties(width="container", height=280).to_dict()
    return drawn


def _method(sizing: SizingOverTime) -> list[str]:
    step = said.stretch_words(sizing.stretch_s)
    lines = [
        f"SLO: {'; '.join(sizing.scenario.promises)}. It is judged {step} by {step}; a request without an answer misses it.",
        f"How many replicas each {step} needs is simulated for that {step} alone; of two the busier "
        "one needs no fewer, so what lies between equal ones is not simulated.",
        "Each deployment stays what it is: a fixed number, an autoscaler's minimum and maximum, or "
        "the numbers of its schedule are found, its targets and hours kept, a rise of a schedule "
        "made earlier by what a start takes. What is given was then simulated over all of the time.",
        "Dollars are of the replica-hours of that run, starts paid for too.",
    ]
    if any(f.mix for f in sizing.fleets):
        lines.append(
            "The mix of commitments is the cheapest by the stated prices for those hours; reclaims "
            "of spot replicas are suffered only where faults says so."
        )
    if all(math.isinf(f.usd_per_day) for f in sizing.fleets):
        lines.append("No price is known: give prices.usd_per_gpu_hour.")
    return lines
