"""The fleet over time: what was asked, replicas ready and starting, what was kept, and what a start is made of."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt

from simulator.report.charts.panels import Figure, Panel, by_deployment, dashed, faded, layered, rows
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.over_time import Moment, OverTime, clock
from simulator.text import number
from simulator.units import HOUR

_DOWN = ("dies", "drains")


def replicas_over_time(run: RunResult) -> Figure:
    """One time axis: demand, ready replicas with what befell them, and the share of requests that was kept."""
    shown = [(i, d, d.over_time) for i, d in enumerate(run.deployments) if d.over_time is not None]
    if not shown:
        return Figure("fleet", "The fleet over time", "All replicas serve from start to end.", needless=True)
    ready = _line(run, shown, lambda m: m.ready)
    started = _line(run, shown, lambda m: m.ready + m.starting, shade=0.35)
    replicas = "Replicas ready, faint with those that start; marked where one died or was taken away"
    answered = "Share answered within the SLO" if run.slo else "Share answered"
    panels = [
        layered([_line(run, shown, lambda m: m.asked_per_s)], "Requests/s sent", 110),
        layered([started, ready, _marks(run, shown)], replicas, 150),
        layered([_line(run, shown, lambda m: m.kept, "%")], answered, 110),
        _causes(run, shown),
    ]
    told = " ".join(f"{d.name}: {_told(o)}" for _, d, o in shown)
    return Figure("fleet", "The fleet over time", told, tuple(panels))


def _told(o: OverTime) -> str:
    paid = f", ${o.usd:,.2f}" if o.usd is not None else ""
    ready = f"{o.least_ready} to {o.most_ready} replicas ready, {number(o.replica_hours)} replica-hours{paid}"
    return f"{ready}.{f' {o.worst[:1].upper()}{o.worst[1:]}.' if o.worst else ''}"


_Value = Callable[[Moment], float | None]
_Shown = list[tuple[int, DeploymentResult, OverTime]]


def _time(end: float) -> alt.X:
    scale = alt.Scale(domain=[0, end / HOUR], nice=False)
    return alt.X("hours:Q", title="hours since the start", scale=scale, axis=alt.Axis(grid=False, tickCount=8))


def _end(shown: _Shown) -> float:
    return max(o.horizon_s for _, _, o in shown)


def _line(run: RunResult, shown: _Shown, value: _Value, written: str = "~s", shade: float = 0.9) -> Panel:
    """A quantity over time, a line a deployment."""
    known = [(i, m.start_s / HOUR, value(m)) for i, _, o in shown for m in o.moments]
    data = [{"d": i, "hours": hours, "value": each} for i, hours, each in known if each is not None]
    axis = alt.Axis(title=None, tickCount=4, minExtent=40, format=written)
    lines = rows(run, data, ("d", "hours", "value")).mark_line(interpolate="step-after", strokeWidth=1.5, clip=True)
    return lines.encode(
        x=_time(_end(shown)),
        y=alt.Y("value:Q", axis=axis, scale=alt.Scale(zero=True)),
        color=by_deployment(run),
        strokeDash=dashed(run),
        opacity=faded(shade),
    )


def _marks(run: RunResult, shown: _Shown) -> Panel | None:
    """What befell the replicas, at the foot of the panel."""
    data = [
        {"d": i, "hours": when / HOUR, "what": f"replica {replica} {what} at {clock(when)}{f': {why}' if why else ''}"}
        for i, _, o in shown
        for when, replica, what, why in o.events
        if what in _DOWN
    ]
    if not data:
        return None
    points = rows(run, data, ("d", "hours"), ("what",)).mark_point(shape="triangle-down", size=45, filled=True, clip=True)
    return points.encode(
        x=_time(_end(shown)),
        y=alt.datum(0),
        color=by_deployment(run),
        tooltip=alt.Tooltip("what:N", title="event"),
        opacity=faded(0.9),
    )


def _causes(run: RunResult, shown: _Shown) -> Panel:
    """A bar of one start for each deployment, by cause."""
    data = [
        {"d": i, "name": d.name, "cause": cause, "seconds": seconds}
        for i, d, o in shown
        for cause, seconds in o.cold_start.items()
        if seconds
    ]
    bars = rows(run, data, ("d", "seconds"), ("name", "cause")).mark_bar(height=14)
    drawn = bars.encode(
        x=alt.X("seconds:Q", title="seconds of one start", axis=alt.Axis(grid=False, tickCount=6)),
        y=alt.Y("name:N", title=None, axis=alt.Axis(labelLimit=150)),
        color=alt.Color("cause:N", legend=alt.Legend(title=None, orient="top")),
        tooltip=[alt.Tooltip("name:N"), alt.Tooltip("cause:N"), alt.Tooltip("seconds:Q", format=".3~s")],
    )
    return layered([drawn], "What a start is made of", 24 * len(shown))
