"""Charts of the run itself: how long requests took, what happened over time, and what was asked."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.report import words
from simulator.report.charts import data as frames
from simulator.report.charts import theme as theme
from simulator.report.charts.panels import (
    MOST_LINES,
    NO_STEP,
    NOTHING_RAN,
    SECONDS,
    Figure,
    Panel,
    at_rate,
    by_deployment,
    dashed,
    faded,
    has_panel,
    layered,
    limit_line,
    limit_rule,
    log_scale,
    names,
    rows,
    shadows,
    small_panels,
)
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.slo import PromisedLatency
from simulator.results.steady_state import last_arrival
from simulator.results.tables import LABEL, latencies
from simulator.text import plural

_FEW = 5
_LENGTHS = {"prompt_tokens": "Prompt tokens", "output_tokens": "Output tokens"}
_MEANS = {"sequences": "running_mean", "waiting": "waiting_mean", "kv_blocks": "kv_use_mean"}


def distributions(run: RunResult) -> Figure:
    """The share of requests within each latency, class by class, with the SLO."""
    key, title = "distributions", "Latency of the requests"
    shown = [(i, d, latencies(d.trace)) for i, d in enumerate(run.deployments) if d.trace and d.steady]
    shown = [(i, d, columns) for i, d, columns in shown if np.isfinite(columns["e2e_s"]).any()]
    if not shown:
        return Figure(key, title, _no_latency(run))
    places, many = frames.promised_columns(run.deployments), len(shown) > MOST_LINES
    panels = tuple(
        _ecdf_panel(run, shown, i, each, apart=many) for i, each in enumerate(places) if not many or has_panel(each, places)
    )
    unsteady = [d for d in run.deployments if d.verdict == "overloaded"]
    percentiles = " and ".join(dict.fromkeys(f"p{each.percentile:g}" for each in places))
    text = "Share of the requests that took at most this long, from arrival. The dashed red line is the SLO. "
    if not many and any(d.curve for d in run.deployments):
        text += f"Circles: median and {percentiles} at the what-if rate. "
    if unsteady:
        text += f"Not shown: {names(unsteady)}, where a longer run would only show longer times. "
    return Figure(key, title, text, panels, "stack" if many else "grid", names=not many)


def _no_latency(run: RunResult) -> str:
    if not any(d.runs for d in run.deployments):
        return NOTHING_RAN
    return (
        "No request finished."
        if any(d.steady for d in run.deployments)
        else "The queue grows everywhere, so no latency is steady."
    )


def _ecdf_panel(
    run: RunResult,
    shown: list[tuple[int, DeploymentResult, dict[str, frames.Floats]]],
    place: int,
    each: PromisedLatency,
    *,
    apart: bool,
) -> Panel:
    data = []
    for i, d, columns in shown:
        measured = columns[f"{each.latency}_s"][_asked(run, d, each.label)]
        data += [{"d": i, "at": at, "share": share} for at, share in zip(*frames.ecdf(measured), strict=True)]
    fields = ("d", "at", "share")
    base = (alt.Chart() if apart else rows(run, data, fields)).transform_filter("datum.at > 0")
    limits = [each.limit] if each.limit is not None else []
    seen = sorted(row["at"] for row in data if row["at"] > 0)
    log = log_scale([*seen, *limits], SECONDS, grid=False)
    x = alt.X("at:Q", **log)
    y = alt.Y("share:Q", axis=alt.Axis(format="%", title=None, tickCount=4), scale=alt.Scale(domain=[0, 1]))
    lines = base.mark_line(strokeWidth=2, interpolate="linear", clip=True).encode(
        x=x,
        y=y,
        color=by_deployment(run),
        opacity=faded(),
        tooltip=[
            *([] if apart else [alt.Tooltip("deployment:N")]),
            alt.Tooltip("at:Q", title="s", format=".3~r"),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    title = f"{each.label}: {each.latency.upper()}" if each.label else each.latency.upper()
    if apart:
        within = [limit_rule(limit) for limit in limits] if seen else []
        behind = [shadows([row for row in data[::4] if row["at"] > 0], x, y), *within]
        return small_panels(run, data, fields, [lines], title, behind)
    lines = lines.encode(strokeDash=dashed(run))
    low, high = log["scale"]["domain"]
    promised = [_upright(limit, words.limit_words(each), (low, high)) for limit in limits] if seen else []
    on_axis = f"{low} <= datum.value && datum.value <= {high}"
    levels = (("median", 0.5), ("value", each.percentile / 100))
    circles = [_circles(run, f"{name}{place}", share, on_axis, x, y) for name, share in levels]
    return layered([lines, *promised, *circles], title, 220, headroom=20)


def _asked(run: RunResult, d: DeploymentResult, label: str) -> NDArray[np.bool_]:
    """The requests of a class, or all, that arrived after warm-up."""
    assert d.trace is not None
    measured: NDArray[np.bool_] = d.trace.requests["arrival_s"] >= d.warmup_s
    if not label or LABEL not in d.trace.requests:
        return measured
    named = [each.get("name") for each in run.scenario.get("workload", {}).get("classes", ())]
    return measured & (d.trace.requests[LABEL] == named.index(label)) if label in named else measured


def _upright(limit: float, text: str, axis: tuple[float, float]) -> Panel:
    """A vertical line at a limit, its name above it."""
    low, high = axis
    place = float(np.log(limit / low) / np.log(high / low))
    return limit_line(limit, text, horizontal=False, place=place)


def _circles(run: RunResult, name: str, share: float, on_axis: str, x: alt.X, y: alt.Y) -> Panel | None:
    """A percentile of each deployment at the slider's rate, where it is on the axis."""
    spans = frames.segments(run.deployments)
    if not spans:
        return None
    base = at_rate(run, spans, name).transform_filter(on_axis).transform_calculate(at="datum.value", share=f"{share}")
    return base.mark_point(size=70, strokeWidth=2).encode(x=x, y=y, color=by_deployment(run), opacity=faded())


def over_time(run: RunResult) -> Figure:
    """Running, waiting, KV use and preemptions over one time axis."""
    key, title = "timeline", "Queue and KV cache over time"
    shown = [(i, d) for i, d in enumerate(run.deployments) if d.trace and len(d.trace.stretches["start_s"])]
    if not shown:
        return Figure(key, title, NO_STEP if any(d.runs for d in run.deployments) else NOTHING_RAN)
    end = _shown_until([d.trace for _, d in shown if d.trace])
    waited = any(d.trace.stretches["waiting"].any() for _, d in shown if d.trace)
    panels = [_time_panel(run, shown, "sequences", "Requests running", end)]
    panels += [_time_panel(run, shown, "waiting", "Requests waiting", end)] if waited else []
    panels.append(_time_panel(run, shown, "kv_blocks", "KV blocks in use, share", end))
    if any(d.link and d.link.shares for _, d in shown):
        panels.append(_link_panel(run, shown, end))
    preempted = [d for _, d in shown if d.trace and d.trace.stretches["preempted"].any()]
    text = "The peaks are kept where points were left out. " + ("" if waited else "No request had to wait for a place. ")
    many = len(shown) > MOST_LINES
    text += "Dashed: the mean at the what-if rate. " if any(d.curve for d in run.deployments) and not many else ""
    if preempted:
        panels.append(_preemption_panel(run, shown, end))
        text += f"Requests were preempted on {names(preempted)}. "
    else:
        text += "No request was preempted. "
    growing = [d for d in run.deployments if d.verdict == "overloaded"]
    text += f"The queue of {names(growing)} grows as long as requests arrive." if growing else ""
    return Figure(key, title, text, tuple(panels), names=not many or bool(preempted))


def _shown_until(traces: Sequence[RunRecord]) -> float:
    """Seconds to show: all of it, but of draining after the last arrival not much more than a quarter of the time before."""
    last = max(float(trace.stretches["end_s"].max()) for trace in traces)
    arrivals = max(last_arrival(trace) for trace in traces)
    return min(last, 1.3 * arrivals) if arrivals > 0 else last


def _time_axes(end: float) -> alt.X:
    return alt.X(
        "time:Q",
        title="seconds since the start",
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(grid=False, tickCount=6),
    )


def _time_panel(run: RunResult, shown: list[tuple[int, DeploymentResult]], column: str, word: str, end: float) -> Panel:
    data, most = [], frames.points_each(len(shown))
    for i, d in shown:
        if d.trace is None:
            continue
        times, values = frames.level(d.trace, column)
        times, values = times[times <= end], values[times <= end]
        if column == "kv_blocks":
            values = values / max(_blocks(d), 1)
        data += [{"d": i, "time": time, "value": value} for time, value in zip(*frames.thin(times, values, most), strict=True)]
    axis = alt.Axis(title=None, tickCount=4, minExtent=40, format="%" if column == "kv_blocks" else "~s")
    scale = alt.Scale(domainMin=0, zero=True)
    fields, apart = ("d", "time", "value"), len(shown) > MOST_LINES
    base = alt.Chart() if apart else rows(run, data, fields)
    drawn = base.mark_line(interpolate="step-after", strokeWidth=1.4, clip=True).encode(
        x=_time_axes(end), y=alt.Y("value:Q", axis=axis, scale=scale), color=by_deployment(run), opacity=faded(0.9)
    )
    if apart:
        return small_panels(run, data, fields, [drawn], word, height=70)
    return layered([drawn.encode(strokeDash=dashed(run)), _mean_lines(run, column)], word, 130)


def _blocks(d: DeploymentResult) -> int:
    """KV blocks of all replicas, of both pools where there are two."""
    if d.pools:
        return sum(pool.memory.num_gpu_blocks * pool.instances for pool in d.pools)
    return (d.memory.num_gpu_blocks if d.memory else 0) * d.replicas


def _link_panel(run: RunResult, shown: list[tuple[int, DeploymentResult]], end: float) -> Panel:
    """What the link between two pools carries, over what it could."""
    data = []
    for i, d in shown:
        if d.link is None or d.trace is None:
            continue
        begins = float(np.nanmin(d.trace.requests["arrival_s"]))
        times = [begins + part * d.link.part_s for part in range(len(d.link.shares))]
        data += [{"d": i, "time": t, "value": v} for t, v in zip(times, d.link.shares, strict=True) if t <= end]
    axis = alt.Axis(title=None, tickCount=4, minExtent=40, format="%")
    lines = rows(run, data, ("d", "time", "value")).mark_line(interpolate="step-after", strokeWidth=1.4, clip=True)
    drawn = lines.encode(
        x=_time_axes(end),
        y=alt.Y("value:Q", axis=axis, scale=alt.Scale(domainMin=0, zero=True)),
        color=by_deployment(run),
        strokeDash=dashed(run),
        opacity=faded(0.9),
    )
    return layered([drawn], "Link between the pools in use, share", 100)


def _mean_lines(run: RunResult, column: str) -> Panel | None:
    """The mean of each deployment at the slider's rate, as a dashed level."""
    spans = frames.segments(run.deployments)
    if not spans:
        return None
    base = at_rate(run, spans, _MEANS[column]).transform_filter("isValid(datum.value)")
    return base.mark_rule(strokeDash=[5, 4], strokeWidth=1.3).encode(
        y=alt.Y("value:Q"), color=by_deployment(run), opacity=faded(0.8)
    )


def _preemption_panel(run: RunResult, shown: list[tuple[int, DeploymentResult]], end: float) -> Panel:
    edges = np.linspace(0, end, 81)
    below = np.zeros(80)
    data = []
    for i, d in shown:
        if d.trace is None:
            continue
        s = d.trace.stretches
        counts = np.histogram(s["start_s"], edges, weights=s["preempted"])[0]
        spans = zip(edges, edges[1:], counts, below, strict=False)
        data += [{"d": i, "time": start, "end": stop, "from": b, "to": b + n} for start, stop, n, b in spans if n]
        below = below + counts
    bars = rows(run, data, ("d", "time", "end", "from", "to")).mark_bar(opacity=0.8)
    axis = alt.Axis(title=None, tickCount=4, minExtent=40)
    drawn = bars.encode(
        x=_time_axes(end),
        x2=alt.X2("end:Q"),
        y=alt.Y("from:Q", axis=axis),
        y2=alt.Y2("to:Q"),
        color=by_deployment(run),
        opacity=faded(0.8),
    )
    return layered([drawn], f"Preemptions in each {words.seconds(float(edges[1]))}", 100)


def workload(run: RunResult) -> Figure:
    """What was asked: arrivals over time and lengths."""
    key, title = "workload", "The workload"
    trace = next((d.trace for d in run.deployments if d.trace is not None and len(d.trace)), None)
    if trace is None:
        return Figure(key, title, NOTHING_RAN)
    if len(trace) < _FEW:
        return Figure(key, title, f"{plural(len(trace), 'request')}: too few to show how they are distributed.")
    r = trace.requests
    end = max(float(np.nanmax(r["arrival_s"])), 1e-3)
    counts, edges = np.histogram(r["arrival_s"], np.linspace(0, end, min(60, len(trace) + 1) + 1))
    width = edges[1] - edges[0]
    bins = [{"time": a, "end": b, "value": n / width} for a, b, n in zip(edges, edges[1:], counts, strict=False)]
    arrivals = rows(run, bins, ("time", "end", "value"))
    bars = arrivals.mark_bar(color=theme.PALETTE[0]).encode(
        x=alt.X("time:Q", title="seconds since the start", axis=alt.Axis(grid=False, tickCount=5)),
        x2=alt.X2("end:Q"),
        y=alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4)),
        y2=alt.Y2Datum(0),
    )
    base = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(value="rate")
    level = base.mark_rule(strokeDash=[5, 4]).encode(y=alt.Y("value:Q")) if run.workload.rate_per_s else None
    lengths = [_length_panel(run, r[name], word) for name, word in _LENGTHS.items()]
    average = [f"{np.mean(r[name]):,.0f} tokens on average and {np.percentile(r[name], 99):,.0f} at p99" for name in _LENGTHS]
    text = f"{plural(len(trace), 'request')}. Prompts have {average[0]}, outputs {average[1]}."
    return Figure(key, title, text, (layered([bars, level], "Arrivals, requests/s", 170), *lengths), "grid", names=False)


def _length_panel(run: RunResult, lengths: frames.Floats, word: str) -> Panel:
    low, high = np.floor(np.log2(lengths.min())), np.ceil(np.log2(lengths.max() + 1))
    edges = 2.0 ** np.linspace(low, high, int(2 * (high - low)) + 1)
    counts = np.histogram(lengths, edges)[0] / len(lengths)
    data = [{"from": a, "to": b, "share": n} for a, b, n in zip(edges, edges[1:], counts, strict=False)]
    axis = alt.Axis(grid=False, values=_every_other(edges), format=",d", title=None)
    bars = (
        rows(run, data, ("from", "to", "share"))
        .mark_bar(color=theme.PALETTE[0])
        .encode(
            x=alt.X("from:Q", scale=alt.Scale(type="log", base=2, nice=False), axis=axis),
            x2=alt.X2("to:Q"),
            y=alt.Y("share:Q", axis=alt.Axis(format="%", title=None, tickCount=4)),
            y2=alt.Y2Datum(0),
        )
    )
    return layered([bars], word, 170)


def _every_other(edges: frames.Floats) -> list[float]:
    """Powers of four among the edges, or of two where those are few."""
    exponents = np.log2(edges)
    fours = edges[np.isclose(exponents % 2, 0)]
    return [float(x) for x in (fours if len(fours) >= 3 else edges[np.isclose(exponents % 1, 0)])]
