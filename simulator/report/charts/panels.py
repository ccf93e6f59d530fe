"""Figures: a title, what the reader should see in it, and panels that Vega draws; with the pieces that panels share.

Channels are given as objects, `x=alt.X("rate:Q")`: to find the class for a plain text Altair goes through its whole schema, which
takes ten milliseconds each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
from altair.utils import schemapi

from simulator.errors import SimulatorError
from simulator.report import words
from simulator.report.charts import theme as theme
from simulator.report.charts.data import as_csv
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.slo import PromisedLatency

Rows = Iterable[Mapping[str, Any]]
Panel = Any  # an Altair chart or layers of them; half of Altair's methods return Any
SECONDS = "datum.value < 1 ? format(datum.value * 1000, '.3~r') + ' ms' : format(datum.value, '.3~r') + ' s'"
_FAR_APART = 5
_SMALL = 200
NOTHING_RAN = "No deployment started, so nothing ran."
NO_STEP = "No step was taken, because no request was let in."
FOCUS = "focus < 0 || datum.d == focus"
MOST_LINES = 5
"""More lines than these in one panel are a thicket: then each deployment has a small panel of its own."""


@dataclass(frozen=True)
class Figure:
    """One drawing of the page. `caption` says what is seen, in a sentence or two; it is also what a screen reader reads.

    `panels` stand beside each other where there is room (`grid`, `pairs`) or under each other on one axis (`stack`). Without
    panels the caption says why there is nothing to draw. `names`: whether the deployments' colors need explaining. `needless`:
    whether nobody misses it where it is not drawn.
    """

    key: str
    title: str
    caption: str
    panels: tuple[Panel, ...] = ()
    layout: Literal["grid", "pairs", "stack"] = "stack"
    names: bool = True
    needless: bool = False


def notebook_chart(run: RunResult, figure: Figure) -> Any:
    """A figure as one Altair chart: its panels under each other, with the parameters that they refer to.

    Raises SimulatorError, saying why, for a figure that has nothing to draw.
    """
    if not figure.panels:
        raise SimulatorError(f"{figure.key}: {figure.caption}")
    names = ", ".join(d.name for d in run.deployments)
    with schemapi.debug_mode(False):
        whole = alt.vconcat(*figure.panels, title=alt.TitleParams(text=figure.title, subtitle=names))
        return whole.add_params(*(alt.param(**parameter) for parameter in _parameters(run)))


def _parameters(run: RunResult) -> list[dict[str, Any]]:
    """What the page's controls set: the what-if rate, and the deployment that stands out."""
    return [{"name": "rate", "value": start_rate(run)}, {"name": "focus", "value": -1}]


def specification(run: RunResult, panel: Panel, description: str) -> dict[str, Any]:
    """A panel as a Vega-Lite specification without a network reference, with the parameters that the page's controls set.

    `rate`: the what-if rate, requests/s; `focus`: the deployment that stands out, -1 for all.
    """
    with alt.data_transformers.enable(consolidate_datasets=False):
        spec: dict[str, Any] = panel.to_dict(validate=schemapi.DEBUG_MODE)
    del spec["$schema"]
    spec.pop("config", None)
    return {**spec, "params": [*spec.get("params", []), *_parameters(run)], "description": description}


def start_rate(run: RunResult) -> float:
    """Where the slider starts: the demand, or the middle of what was simulated."""
    if run.workload.rate_per_s:
        return run.workload.rate_per_s
    rates = [point.rate_per_s for d in run.deployments for point in d.curve]
    return sorted(rates)[len(rates) // 2] if rates else 0.0


def rows(run: RunResult, data: Rows, fields: Sequence[str], text: Sequence[str] = ()) -> alt.Chart:
    """A chart over rows given as CSV. Fields are numbers but for `text`; `d`, a deployment's index, brings its name."""
    parse = {name: "string" if name in text else "number" for name in fields}
    source = alt.InlineData(values=as_csv(data, fields), format=alt.CsvDataFormat(type="csv", parse=parse))
    chart = alt.Chart(source)
    names = json.dumps([d.name for d in run.deployments], ensure_ascii=False)
    return chart.transform_calculate(deployment=f"{names}[datum.d]") if "d" in fields else chart


def crowded(data: Rows) -> bool:
    """Whether rows are of more deployments than one panel shows apart."""
    return len({row["d"] for row in data}) > MOST_LINES


def has_panel(each: PromisedLatency, places: Sequence[PromisedLatency]) -> bool:
    """Whether a latency is one that decides: those with a limit, or where none has one, TTFT and TPOT."""
    if any(place.limit is not None for place in places):
        return each.limit is not None
    return each.latency != "e2e"


def small_panels(
    run: RunResult,
    data: Rows,
    fields: Sequence[str],
    layers: Sequence[Panel],
    title: str,
    behind: Sequence[Panel | None] = (),
    height: int = 96,
) -> Panel:
    """A small panel a deployment, named and on the same axes, so that they compare without a legend.

    `layers` are drawn of the deployment's own rows and have no data themselves; those `behind` have and are the same in each. The
    page sets how many stand in a row.
    """
    called = json.dumps([d.name for d in run.deployments], ensure_ascii=False)
    source = rows(run, data, fields).data
    header = alt.Header(
        title=None,
        labelExpr=f"{called}[datum.value]",
        labelAnchor="start",
        labelFontWeight=600,
        labelLimit=_SMALL,
        labelPadding=4,
    )
    drawn = alt.layer(*(layer for layer in behind if layer is not None), *layers, data=source)
    small = drawn.properties(width=_SMALL, height=height)
    panels = small.facet(facet=alt.Facet("d:N", header=header), columns=2, spacing=14)
    return panels.resolve_axis(x="independent", y="independent").properties(title=alt.TitleParams(title, offset=8))


def shadows(data: Rows, x: alt.X, y: alt.Y) -> Panel:
    """The lines of all deployments, faint, to put behind those of one."""
    names = dict.fromkeys(str(channel.shorthand).split(":")[0] for channel in (x, y))
    fields = ("other", *dict.fromkeys(("rate", *names)))
    plain = [{"other": row["d"], **row} for row in data]
    parse: dict[str, Any] = dict.fromkeys(fields, "number")
    source = alt.InlineData(values=as_csv(plain, fields), format=alt.CsvDataFormat(type="csv", parse=parse))
    lines = alt.Chart(source).mark_line(strokeWidth=1, opacity=0.16, color="currentColor", clip=True)
    return lines.encode(x=x, y=y, detail=alt.Detail("other:N"), order=alt.Order("rate:Q"))


def by_deployment(run: RunResult) -> alt.Color:
    """Color by deployment. The legend stands on the page beside the panels, once."""
    count = len(run.deployments)
    scale = alt.Scale(domain=list(range(count)), range=[theme.color(i) for i in range(count)])
    return alt.Color("d:N", scale=scale, legend=None)


def dashed(run: RunResult) -> alt.StrokeDash:
    """Dash by deployment, different where colors come again."""
    count = len(run.deployments)
    return alt.StrokeDash(
        "d:N", scale=alt.Scale(domain=list(range(count)), range=[theme.dash(i) for i in range(count)]), legend=None
    )


def shaped(run: RunResult) -> alt.Shape:
    """Point shape by deployment."""
    count = len(run.deployments)
    return alt.Shape("d:N", scale=alt.Scale(domain=list(range(count)), range=[theme.shape(i) for i in range(count)]), legend=None)


def faded(full: float = 1.0) -> alt.OpacityValue:
    """Opacity: full for the deployment in focus, faint for the others."""
    return alt.OpacityValue(0.1 * full, condition={"test": FOCUS, "value": full})


def fixed_x(place: float | Literal["width"]) -> alt.XValue:
    """A place across the panel, in pixels from its left."""
    return alt.XValue(place)  # type: ignore[no-untyped-call]


def fixed_y(place: float) -> alt.YValue:
    """A place in the panel, in pixels from its top."""
    return alt.YValue(place)  # type: ignore[no-untyped-call]


def limit_rule(value: float) -> Panel:
    """An upright dashed line at an SLO limit, without its name."""
    base = alt.Chart(alt.InlineData(values=[{"limit": value}]))
    return base.mark_rule(color=theme.LIMIT, strokeDash=[5, 3], strokeWidth=1.5).encode(x=alt.X("limit:Q"))


def limit_line(value: float, text: str, *, horizontal: bool, place: float = 0.5, raised: int = 0) -> Panel:
    """A dashed line at an SLO limit, named: at its left end, or above it, where `place` is its share of the panel's width.

    `raised`: pixels by which it stands higher than usual, where there are several.
    """
    base = alt.Chart(alt.InlineData(values=[{"limit": value}]))
    rule = base.mark_rule(color=theme.LIMIT, strokeDash=[5, 3], strokeWidth=1.5)
    if horizontal:
        label = base.mark_text(color=theme.LIMIT, text=text, align="left", baseline="bottom", dx=4, dy=-2, fontSize=11)
        return rule.encode(y=alt.Y("limit:Q")) + label.encode(y=alt.Y("limit:Q"), x=fixed_x(0))
    align: Literal["left", "center", "right"] = "left" if place < 0.2 else "right" if place > 0.8 else "center"
    label = base.mark_text(color=theme.LIMIT, text=text, align=align, baseline="bottom", dy=-4, fontSize=11)
    return rule.encode(x=alt.X("limit:Q")) + label.encode(x=alt.X("limit:Q"), y=fixed_y(-raised))


def demand_line(run: RunResult, *, named: bool = True) -> Panel | None:
    """A vertical line at the rate that was asked for."""
    demand = run.workload.rate_per_s
    if not demand:
        return None
    base = alt.Chart(alt.InlineData(values=[{"demand": demand}])).encode(x=alt.X("demand:Q"))
    rule = base.mark_rule(strokeDash=[2, 3], opacity=0.8)
    if not named:
        return rule
    return rule + base.mark_text(text=f"demand {words.rate(demand)}", align="left", dx=4, baseline="top", fontSize=11).encode(
        y=fixed_y(0)
    )


def what_if_line() -> Panel:
    """A vertical line at the slider's rate."""
    base = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(at="rate")
    return base.mark_rule(color=theme.PALETTE[0], strokeWidth=2, opacity=0.55, clip=True).encode(x=alt.X("at:Q"))


def at_rate(run: RunResult, spans: Sequence[Mapping[str, Any]], name: str, *more: str) -> alt.Chart:
    """One row a deployment: `value`, a quantity of `frames.segments` at the slider's rate, null where the queue grows."""
    ends = low, high = f"{name}_0", f"{name}_1"
    within = f"datum.{low} + (datum.{high} - datum.{low}) * (rate - datum.r0) / (datum.r1 - datum.r0)"
    held = f"rate <= datum.queueing || datum.r1 == 1e9 ? datum.{low} : null"
    value = f"isValid(datum.{low}) ? (isValid(datum.{high}) ? {within} : {held}) : null"
    chart = rows(run, spans, ("d", "r0", "r1", "queueing", *ends, *more))
    return chart.transform_filter("datum.r0 <= rate && rate < datum.r1").transform_calculate(value=value)


def layered(layers: Iterable[Panel | None], title: str, height: int, *, headroom: int = 8) -> Panel:
    """Layers as one panel; `headroom` pixels stay free between its title and the drawing."""
    drawn = [layer for layer in layers if layer is not None]
    panel = alt.layer(*drawn).properties(height=height)
    return panel.properties(title=alt.TitleParams(title, offset=headroom)) if title else panel


def log_scale(values: Iterable[float | None], label: str, title: str | None = None, *, grid: bool = True) -> dict[str, Any]:
    """Scale and axis of a logarithmic channel around the positive values, at round numbers; `label` is a Vega expression."""
    known = [value for value in values if value]
    low, high = (min(known) / 1.12, max(known) * 1.12) if known else (0.1, 10.0)
    axis = alt.Axis(values=round_numbers(low, high), labelExpr=label, title=title, grid=grid)
    return {"scale": alt.Scale(type="log", domain=[low, high], nice=False), "axis": axis}


def rate_scale(run: RunResult, rates: Iterable[float], title: str | None) -> dict[str, Any]:
    """Scale and axis of a channel of rates: logarithmic where deployments sustain very different ones, else from 0."""
    known = sorted(rate for rate in rates if rate > 0)
    capacities = [d.queueing_point.value for d in run.deployments if d.queueing_point]
    if capacities and max(capacities) > _FAR_APART * min(capacities):
        return log_scale(known, "format(datum.value, '~r')", title, grid=False)
    top = 1.04 * known[-1] if known else 1.0
    return {"scale": alt.Scale(domain=[0, top], nice=False), "axis": alt.Axis(title=title, grid=False, tickCount=5)}


def round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in between, at equal steps of a logarithmic axis, as many as there are up to `most`; the middle if none.

    >>> round_numbers(0.03, 4.0)
    [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    sets = [
        [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        for digits in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,))
    ]
    inside = [[value for value in values if low <= value <= high] for values in sets]
    if few := next((values for values in inside if 0 < len(values) <= most), None):
        return few
    whole_decades = inside[-1] or [float(f"{math.sqrt(low * high):.2g}")]
    return whole_decades[:: math.ceil(len(whole_decades) / most)]


def names(deployments: Sequence[DeploymentResult], most: int = 4) -> str:
    """Names in a sentence: A, B and C; past `most`, how many there are. Names with a comma stand in quotation marks."""
    plain = [d.name for d in deployments]
    quoted = [f"“{name}”" for name in plain] if any("," in name for name in plain) else plain
    if len(quoted) > most:
        return f"{', '.join(quoted[: most - 1])} and {len(quoted) - most + 1} others"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
