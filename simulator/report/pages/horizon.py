"""The page of `sim horizon`: what weeks come to, and from which hours that is known."""

from __future__ import annotations

from typing import Any

from simulator.planning.horizon.run import Horizon
from simulator.report import horizon as said
from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageAnswer, PageTable, plain_page
from simulator.scenario import Scenario
from simulator.text import number, plural


def horizon_page(scenario: Scenario, found: tuple[Horizon, ...]) -> str:
    """The page."""
    days = found[0].hours / 24
    simulated = max(h.simulated / h.asked for h in found)
    header, rows = said.rows_of(found)
    tables = [
        PageTable(
            f"Kinds of hours: {h.deployment.name}",
            said.KIND_COLUMNS,
            [said.kind_cells(kind) for kind in h.kinds],
        )
        for h in found
    ]
    first, *others = [line for h in found for line in said.lines_of(h)]
    heading = f"{number(days)} days from {100 * simulated:.0f}% of their requests"
    return plain_page(
        f"{scenario.name}: {number(days)} days",
        f"What {number(days)} days come to for {plural(len(found), 'deployment')}, within the SLO: "
        f"{'; '.join(scenario.promises)}.",
        [_drawing(found)],
        tables,
        lines=("How this was found", said.method()),
        answer=PageAnswer(heading, first, others),
        first=[PageTable("All hours", header, rows)],
    )


def _drawing(found: tuple[Horizon, ...]) -> Drawing:
    import altair as alt
    import polars as pl

    points = [
        {"deployment": h.deployment.name, "day": hour / 24, "good": kind.good_share}
        for h in found
        for kind in h.kinds
        for hour in kind.kind.hours
    ]
    names = [h.deployment.name for h in found]
    color = alt.Scale(domain=names, range=[theme.color(i) for i in range(len(names))])
    lines = alt.Chart(pl.DataFrame(points)).mark_line(interpolate="step-after", strokeWidth=1.5)
    axis = alt.Axis(title="share within the SLO", format="%", tickCount=5)
    chart = lines.encode(
        x=alt.X("day:Q", title="days since the start", axis=alt.Axis(grid=False)),
        y=alt.Y("good:Q", axis=axis, scale=alt.Scale(zero=False)),
        color=alt.Color("deployment:N", scale=color, sort=names, legend=alt.Legend(columns=2)),
    )
    drawn: dict[str, Any] = chart.properties(width="container", height=260).to_dict()
    caption = "Each hour has the value of its kind, of which a quietest and a busiest were simulated."
    return Drawing("Requests answered within the SLO, hour by hour", caption, drawn)
