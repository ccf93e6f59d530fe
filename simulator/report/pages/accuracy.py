"""Accuracy: predictions beside measurements as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageTable, plain_page
from simulator.text import plural
from simulator.validation.compare import report
from simulator.validation.measurements import Comparison, Findings

_MOST_POINTS, _OFF = 3_000, 0.2
_ERRORS = (
    ("median %", "median_percent"),
    ("mean %", "mean_percent"),
    ("p90 %", "p90_percent"),
    ("bias %", "bias_percent"),
    ("right %", "right_percent"),
)


def accuracy_page(findings: Findings, source: str, skipped: Sequence[str], suspect: Sequence[str] = ()) -> str:
    """The page of what `sim validate` found in `source`; `skipped` says which rows were left out and why, `suspect` which are
    compared but in doubt."""
    points = Drawing(
        "Every figure",
        "On the line the prediction is exact; the thin lines are 20% off. Both axes are logarithmic.",
        _points(findings.comparisons),
    )
    return plain_page(
        "Predicted against measured",
        f"{plural(len(findings.comparisons), 'figure')} of {source}; {_skipped(len(skipped))}.",
        [points],
        [
            PageTable(
                "Errors", ("rows", "metric", "n", *(name for name, _ in _ERRORS)), [_row(g) for g in report(findings)["groups"]]
            )
        ],
        lines=("Skipped and suspect" if suspect else "Skipped", [*skipped, *suspect]),
    )


def _row(group: Mapping[str, Any]) -> list[str]:
    errors = (f"{group[key]:.1f}" if key in group else "" for _, key in _ERRORS)
    return [group["group"], group["metric"], str(group["n"]), *errors]


def _skipped(kinds: int) -> str:
    return f"{plural(kinds, 'kind')} of rows {'was' if kinds == 1 else 'were'} skipped"


def _points(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """One panel a metric: a point a figure, on logarithmic axes, with the line of exact predictions and those 20 % off."""
    import altair as alt
    import polars as pl

    rows = [
        {"metric": c.metric, "measured": c.measured, "predicted": c.predicted, "row": f"{c.source} {c.row}"}
        for c in comparisons
        if isinstance(c.measured, int | float) and isinstance(c.predicted, int | float) and min(c.measured, c.predicted) > 0
    ]
    rows = rows[:: max(1, -(-len(rows) // _MOST_POINTS))]
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("measured:Q", scale=alt.Scale(type="log"), title="measured", axis=alt.Axis(format="~s", tickCount=4)),
    )
    points = base.mark_circle(size=16, opacity=0.5, color=theme.color(0)).encode(
        y=alt.Y("predicted:Q", scale=alt.Scale(type="log"), title="predicted", axis=alt.Axis(format="~s", tickCount=4)),
        tooltip=["row:N", "measured:Q", "predicted:Q"],
    )
    lines = [_line(base, factor, width) for factor, width in ((1.0, 1.2), (1 - _OFF, 0.5), (1 + _OFF, 0.5))]
    chart = alt.layer(*lines, points).properties(width=200, height=200)
    panels = chart.facet(facet=alt.Facet("metric:N", title=None), columns=4).resolve_scale(x="independent", y="independent")
    drawn: dict[str, Any] = panels.to_dict()
    return drawn


def _line(base: Any, factor: float, width: float) -> Any:
    at = base.transform_calculate(line=f"datum.measured * {factor}")
    return at.mark_line(strokeWidth=width, color=theme.LIMIT).encode(y="line:Q")
