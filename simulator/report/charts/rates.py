"""Charts over the offered rate: what each deployment does at other rates than the one that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from simulator.report import words
from simulator.report.charts import data as frames
from simulator.report.charts.panels import (
    NOTHING_RAN,
    SECONDS,
    Figure,
    Panel,
    at_rate,
    by_deployment,
    crowded,
    dashed,
    demand_line,
    faded,
    fixed_x,
    has_panel,
    layered,
    limit_line,
    log_scale,
    names,
    rate_scale,
    rows,
    shadows,
    shaped,
    small_panels,
    what_if_line,
)
from simulator.results.model import RunResult
from simulator.results.slo import PromisedLatency

_ONE_RATE = "Only one rate was simulated, so there is nothing to draw against the rate."
_NOT_STEADY = "No rate was steady, so there is no latency to draw."


def throughput(run: RunResult) -> Figure:
    """Requests completed against requests offered, with the queueing point, the SLO capacity and the demand."""
    key, title = "throughput", "Throughput against offered rate"
    data = frames.curve_rows(run.deployments)
    if not data:
        return Figure(key, title, _no_curve(run))
    demand = [run.workload.rate_per_s] if run.workload.rate_per_s else []
    x = alt.X("rate:Q", **rate_scale(run, [*demand, *(row["rate"] for row in data)], "offered, requests/s"))
    marked = [e.value for d in run.deployments for e in (d.queueing_point, d.slo_capacity) if e]
    y = alt.Y("requests_per_s:Q", **rate_scale(run, [*marked, *(row["requests_per_s"] for row in data)], None))
    lines = rows(run, data, ("d", "rate", "requests_per_s", "output_tokens_per_s")).mark_line(
        strokeWidth=2, point=alt.OverlayMarkDef(size=18)
    )
    drawn = lines.encode(
        x=x,
        y=y,
        color=by_deployment(run),
        strokeDash=dashed(run),
        opacity=faded(),
        tooltip=[
            alt.Tooltip("deployment:N"),
            alt.Tooltip("rate:Q", format=".3~r"),
            alt.Tooltip("requests_per_s:Q", format=".3~r"),
            alt.Tooltip("output_tokens_per_s:Q", format=",.0f"),
        ],
    )
    if crowded(data):
        panel = _small_throughput(run, data, x, y)
        return Figure(key, title, _throughput_words(run), (panel,), names=False)
    layers = [_keeping_up(data), drawn, *_points(run), demand_line(run), what_if_line()]
    return Figure(key, title, _throughput_words(run), (layered(layers, "Completed, requests/s", 300),))


def _small_throughput(run: RunResult, data: Sequence[dict[str, Any]], x: alt.X, y: alt.Y) -> Panel:
    """The same, a small panel a deployment."""
    ends = [
        {"d": i, "at": estimate.value, "kind": kind}
        for i, d in enumerate(run.deployments)
        for kind, estimate in enumerate((d.queueing_point, d.slo_capacity))
        if estimate
    ]
    own, fields = alt.Chart(), ("d", "rate", "requests_per_s", "at", "kind")
    line = own.mark_line(strokeWidth=2.4, clip=True).encode(x=x, y=y, color=by_deployment(run), opacity=faded())
    marks = [
        own.transform_filter(f"isValid(datum.at) && datum.kind == {kind}")
        .mark_point(shape=shape, size=80, filled=shape == "diamond", strokeWidth=2)
        .encode(x=alt.X("at:Q"), y=alt.Y("at:Q"), color=by_deployment(run), opacity=faded())
        for kind, shape in enumerate(("diamond", "circle"))
    ]
    behind = [_keeping_up(data), demand_line(run, named=False), what_if_line()]
    return small_panels(run, [*data, *ends], fields, [line, *marks], "Completed, requests/s", behind)


def _no_curve(run: RunResult) -> str:
    """Why there is nothing to draw against the rate."""
    if not any(d.runs for d in run.deployments):
        return NOTHING_RAN
    return _NOT_STEADY if any(d.curve for d in run.deployments) else _ONE_RATE


def _keeping_up(data: Sequence[dict[str, float]]) -> Panel:
    """The diagonal on which everything offered is completed, as far as anything is completed."""
    least, most = min(row["requests_per_s"] for row in data), max(row["requests_per_s"] for row in data)
    ends: list[dict[str, Any]] = [{"rate": least, "requests_per_s": least}, {"rate": most, "requests_per_s": most}]
    line = alt.Chart(alt.InlineData(values=ends)).mark_line(strokeDash=[1, 4], opacity=0.5, color="currentColor")
    return line.encode(x=alt.X("rate:Q"), y=alt.Y("requests_per_s:Q"))


def _points(run: RunResult) -> list[Panel]:
    """Diamonds at the queueing points, circles at the SLO capacities."""
    queueing = [{"d": i, "at": d.queueing_point.value} for i, d in enumerate(run.deployments) if d.queueing_point]
    within = [{"d": i, "at": d.slo_capacity.value} for i, d in enumerate(run.deployments) if d.slo_capacity]
    drawn: list[Panel] = []
    for data, shape, word in ((queueing, "diamond", "queueing point"), (within, "circle", "SLO capacity")):
        if data:
            base = rows(run, data, ("d", "at")).transform_calculate(what=f"'{word}'")
            mark = base.mark_point(shape=shape, size=110, filled=shape == "diamond", strokeWidth=2)
            tip = [alt.Tooltip("deployment:N"), alt.Tooltip("what:N"), alt.Tooltip("at:Q", title="requests/s", format=".3~r")]
            drawn.append(mark.encode(x=alt.X("at:Q"), y=alt.Y("at:Q"), color=by_deployment(run), opacity=faded(), tooltip=tip))
    return drawn


def _throughput_words(run: RunResult) -> str:
    known = [d for d in run.deployments if d.queueing_point]
    text = "Diamond: the queueing point, where the line leaves the diagonal. Circle: the highest rate that meets the SLO. "
    if not known:
        return text
    best = max(known, key=lambda d: d.queueing_point.value if d.queueing_point else 0.0)
    text += f"{best.name} sustains the most, {words.queueing(best)} requests. "
    demand = run.workload.rate_per_s
    short = [d for d in known if demand and d.queueing_point and d.queueing_point.value < demand]
    return text + (f"Below the demand of {words.rate(demand)}: {names(short)}." if short else "")


def latency(run: RunResult) -> Figure:
    """Each latency against the offered rate, class by class: median and promised percentile, the
    SLO, the error band."""
    key, title = "latency", "Latency against offered rate"
    places = frames.promised_columns(run.deployments)
    data = [row for row in frames.curve_rows(run.deployments) if any(row.get(f"value{i}") for i in range(len(places)))]
    if not data:
        return Figure(key, title, _no_curve(run))
    many = crowded(data)
    shown = [(i, each) for i, each in enumerate(places) if not many or has_panel(each, places)]
    panels = tuple(_latency_panel(run, data, i, each, apart=many) for i, each in shown)
    percentiles = " and ".join(dict.fromkeys(f"p{each.percentile:g}" for each in places))
    text = f"Thick: {percentiles}, as promised. Thin: median"
    if any(row.get(f"low{i}") for row in data for i in range(len(places))):
        text += ". Shaded: where that percentile of a real server lies in four of five cases"
    return Figure(
        key,
        title,
        f"{text}. Lines end where the queue starts to grow: beyond it there is no latency to speak of.",
        panels,
        "stack" if many else "grid",
        names=not many,
    )


def _latency_panel(run: RunResult, rows_: Sequence[dict[str, Any]], place: int, each: PromisedLatency, *, apart: bool) -> Panel:
    names = {name: f"{name}{place}" for name in ("median", "value", "low", "high")}
    data = [{"d": r["d"], "rate": r["rate"], **{n: r.get(column) for n, column in names.items()}} for r in rows_]
    known = [row for row in data if row["value"]]
    x = alt.X("rate:Q", **rate_scale(run, [row["rate"] for row in rows_], "offered, requests/s"))
    limits = [each.limit] if each.limit is not None else []
    log = log_scale([*(row[n] for row in known for n in ("median", "value")), *limits], SECONDS)
    fields, ended = ("d", "rate", *names), _with_ends(known, log["scale"]["domain"])
    base = alt.Chart() if apart else rows(run, ended, fields)
    tip = [
        *([] if apart else [alt.Tooltip("deployment:N")]),
        alt.Tooltip("rate:Q", format=".3~r"),
        alt.Tooltip("median:Q", format=".3~r"),
        alt.Tooltip("value:Q", title=f"p{each.percentile:g}", format=".3~r"),
        alt.Tooltip("low:Q", title="from", format=".3~r"),
        alt.Tooltip("high:Q", title="to", format=".3~r"),
    ]
    look: dict[str, Any] = {"color": by_deployment(run), "tooltip": tip}
    look |= {} if apart else {"strokeDash": dashed(run)}
    value = base.mark_line(strokeWidth=2.4, point=alt.OverlayMarkDef(size=14), clip=True).encode(
        x=x, y=alt.Y("value:Q", **log), opacity=faded(), **look
    )
    median = base.mark_line(strokeWidth=1, clip=True).encode(x=x, y=alt.Y("median:Q", **log), opacity=faded(), **look)
    band = (
        base.transform_filter("isValid(datum.low)")
        .mark_area(clip=True)
        .encode(x=x, y=alt.Y("low:Q", **log), y2=alt.Y2("high:Q"), color=by_deployment(run), opacity=faded(0.14))
    )
    lines = [limit_line(limit, words.limit_words(each), horizontal=True) for limit in limits]
    if apart:
        behind = [shadows(known, x, alt.Y("value:Q", **log)), what_if_line(), *lines]
        return small_panels(run, ended, fields, [band, median, value], each.name, behind)
    return layered([band, median, value, *lines, what_if_line()], each.name, 240)


def _with_ends(data: Sequence[dict[str, Any]], domain: Sequence[float]) -> list[dict[str, Any]]:
    """The rows with a band that has no upper end drawn to the top of the panel."""
    return [{**row, "high": domain[1] if row["low"] and row["high"] is None else row["high"]} for row in data]


def tradeoffs(run: RunResult) -> Figure:
    """Throughput per GPU against the speed each user sees, and dollars per million tokens against latency."""
    key, title = "tradeoffs", "What speed costs"
    data = [row for row in frames.curve_rows(run.deployments) if row["per_user"] is not None]
    if not data:
        return Figure(key, title, _no_curve(run))
    user = alt.X("per_user:Q", title="tokens/s each user sees", axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=False))
    per_gpu = _path(
        run,
        data,
        ("per_user", user),
        ("per_gpu", alt.Y("per_gpu:Q", title=None, axis=alt.Axis(tickCount=5))),
        "Output tokens/s per GPU",
    )
    panels = [per_gpu]
    place, each = next((i, each) for i, each in enumerate(frames.promised_columns(run.deployments)) if each.latency == "e2e")
    slowest = f"value{place}"
    if any(row["usd"] is not None and row.get(slowest) is not None for row in data):
        slow = alt.X(f"{slowest}:Q", **log_scale([row.get(slowest) for row in data], SECONDS, each.name))
        dollars = alt.Y("usd:Q", **log_scale([row["usd"] for row in data], "'$' + format(datum.value, '.3~r')"))
        panels.append(
            _path(
                run,
                [row for row in data if row["usd"]],
                (slowest, slow),
                ("usd", dollars),
                "Dollars per million output tokens",
            )
        )
    text = "Each line follows one deployment from little to much traffic; the large point is the what-if rate. "
    text += "Better is up and right, and on the second down and left." if len(panels) > 1 else "Better is up and right."
    many = crowded(data)
    return Figure(key, title, text, tuple(panels), "stack" if many else "pairs", names=not many)


def _path(run: RunResult, data: Sequence[dict[str, float]], x: tuple[str, alt.X], y: tuple[str, alt.Y], title: str) -> Panel:
    if crowded(data):
        return _small_paths(run, data, x, y, title)
    base = rows(run, data, ("d", "rate", x[0], y[0]))
    tip = [
        alt.Tooltip("deployment:N"),
        alt.Tooltip("rate:Q", format=".3~r"),
        alt.Tooltip(f"{x[0]}:Q", format=".3~r"),
        alt.Tooltip(f"{y[0]}:Q", format=".3~r"),
    ]
    line = base.mark_line(strokeWidth=2).encode(
        x=x[1], y=y[1], order=alt.Order("rate:Q"), color=by_deployment(run), strokeDash=dashed(run), opacity=faded(), tooltip=tip
    )
    dots = base.mark_point(size=26, filled=True).encode(
        x=x[1], y=y[1], color=by_deployment(run), shape=shaped(run), opacity=faded(), tooltip=tip
    )
    nearest = base.transform_calculate(away="abs(datum.rate - rate)").transform_joinaggregate(nearest="min(away)", groupby=["d"])
    here = nearest.transform_filter("datum.away == datum.nearest").mark_point(size=170, filled=True)
    return layered(
        [line, dots, here.encode(x=x[1], y=y[1], color=by_deployment(run), shape=shaped(run), opacity=faded())], title, 280
    )


def _small_paths(
    run: RunResult, data: Sequence[dict[str, float]], x: tuple[str, alt.X], y: tuple[str, alt.Y], title: str
) -> Panel:
    """The same, a small panel a deployment."""
    own, along = alt.Chart(), alt.Order("rate:Q")
    look: dict[str, Any] = {"x": x[1], "y": y[1], "color": by_deployment(run), "opacity": faded()}
    line = own.mark_line(strokeWidth=2.4).encode(order=along, **look)
    away = own.transform_calculate(away="abs(datum.rate - rate)").transform_joinaggregate(nearest="min(away)", groupby=["d"])
    here = away.transform_filter("datum.away == datum.nearest").mark_point(size=110, filled=True).encode(**look)
    behind = [shadows(data, x[1], y[1])]
    return small_panels(run, data, ("d", "rate", x[0], y[0]), [line, here], title, behind)


def what_if(run: RunResult) -> Figure:
    """What each deployment does at the slider's rate."""
    key, title = "what-if", "What if the rate were different?"
    spans = frames.segments(run.deployments)
    if not spans:
        return Figure(key, title, _no_curve(run))
    shown = [d for d in run.deployments if d.curve]
    place = {run.deployments.index(d): row for row, d in enumerate(shown)}
    data = [{**span, "row": place[span["d"]]} for span in spans]
    judged = [
        (f"value{i}", SECONDS, each.name)
        for i, each in enumerate(frames.promised_columns(run.deployments))
        if each.latency != "e2e" or each.limit is not None
    ]
    shown_panels = (_WHAT_IF[0], *judged, _WHAT_IF[1])
    panels = [_bars(run, data, len(shown), name, write, word) for name, write, word in shown_panels]
    text = "At the what-if rate, read off between the rates that were simulated. "
    return Figure(
        key,
        title,
        text + "Past its queueing point a deployment has no latency, and its bar is gone.",
        tuple(panels),
        "pairs",
        names=False,
    )


_WHAT_IF = (
    ("requests_per_s", "format(datum.value, '.3~r') + '/s'", "Completed, requests/s"),
    ("kv_use_mean", "format(datum.value, '.0%')", "KV cache in use"),
)


def _bars(run: RunResult, data: Sequence[dict[str, float]], count: int, name: str, write: str, title: str) -> Panel:
    base = at_rate(run, data, name, "row").transform_calculate(said=f"isValid(datum.value) ? {write} : 'the queue grows'")
    y = alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(count)), paddingInner=0.5, paddingOuter=0.25))
    x = alt.X("value:Q", axis=None, scale=alt.Scale(domainMin=0), stack=None)
    never_empty = alt.Chart(alt.InlineData(values=[{"value": 1e-6}])).mark_point(opacity=0).encode(x=x)
    bars = base.mark_bar(height=13).encode(x=x, y=y, color=by_deployment(run), opacity=faded())
    name_text = base.mark_text(align="left", baseline="bottom", dy=-9, limit=alt.ExprRef("width - 116")).encode(
        x=fixed_x(0), y=y, text=alt.Text("deployment:N")
    )
    number = base.mark_text(align="right", baseline="bottom", dy=-9, fontWeight=600).encode(
        x=fixed_x("width"), y=y, text=alt.Text("said:N")
    )
    return layered([never_empty, bars, name_text, number], title, 40 * count)
