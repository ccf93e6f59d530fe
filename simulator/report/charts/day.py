"""Chart of traffic whose rate varies: the demand over the day against what each deployment carries, and replicas for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import altair as alt

from simulator.report import words
from simulator.report.charts import theme as theme
from simulator.report.charts.panels import Figure, Panel, by_deployment, dashed, faded, layered, names, rows
from simulator.results.model import DeploymentResult, RunResult
from simulator.text import number, plural
from simulator.units import HOUR

_HEADROOM = 1.6


@dataclass(frozen=True, slots=True)
class _Carrier:
    """A deployment with the rate that one of its replicas carries, requests/s, and the replicas it needs at each rate."""

    index: int
    deployment: DeploymentResult
    each_per_s: float
    needed: tuple[int, ...]

    @property
    def whole_per_s(self) -> float:
        return self.each_per_s * self.deployment.replicas


def day(run: RunResult) -> Figure:
    """The demand over time, what each deployment carries of it, and how many replicas would."""
    key, title = "day", "The traffic over the day"
    rates = run.workload.rates
    if not rates:
        return Figure(key, title, "The rate of the traffic does not vary.", needless=True)
    carriers = _carriers(run, [rate for _, rate in rates])
    panels = (_demand(run, rates, carriers), *([_replicas(run, rates, carriers)] if _vary(carriers) else []))
    return Figure(key, title, _words(run, rates, carriers), panels, "pairs")


def _carriers(run: RunResult, rates: Sequence[float]) -> list[_Carrier]:
    found = []
    for i, d in enumerate(run.deployments):
        point = d.slo_capacity if d.slo else d.queueing_point
        if point is not None and point.value > 0:
            each = point.value / d.replicas
            found.append(_Carrier(i, d, each, tuple(max(1, ceil(rate / each - 1e-9)) for rate in rates)))
    return found


def _vary(carriers: Sequence[_Carrier]) -> bool:
    return any(max(c.needed) > 1 for c in carriers)


def _hours(end: float) -> tuple[float, str]:
    """Seconds of the unit that reads best, and its name."""
    return (HOUR, "hours") if end >= 2 * HOUR else (60.0, "minutes")


def _time(rates: Sequence[tuple[float, float]]) -> tuple[list[float], alt.X]:
    """The times in their unit, one more than there are rates, and their channel."""
    step = rates[1][0] - rates[0][0]
    unit, name = _hours(rates[-1][0] + step)
    times = [t / unit for t, _ in rates] + [(rates[-1][0] + step) / unit]
    scale = alt.Scale(domain=[0, times[-1]], nice=False)
    return times, alt.X("time:Q", scale=scale, axis=alt.Axis(title=f"{name} since the start", grid=False, tickCount=8))


def _demand(run: RunResult, rates: Sequence[tuple[float, float]], carriers: Sequence[_Carrier]) -> Panel:
    times, x = _time(rates)
    level = [rate for _, rate in rates]
    asked = [{"time": t, "rate": rate} for t, rate in zip(times, [*level, level[-1]], strict=True)]
    shown = [c for c in carriers if c.whole_per_s <= _HEADROOM * max(level)]
    top = 1.05 * max(max(level), *(c.whole_per_s for c in shown), 0.0)
    y = alt.Y("rate:Q", scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(title=None, tickCount=5))
    area = rows(run, asked, ("time", "rate")).mark_area(interpolate="step-after", color="#888888", opacity=0.35)
    lines = rows(run, [{"d": c.index, "rate": c.whole_per_s} for c in shown], ("d", "rate")).mark_rule(strokeWidth=2)
    rule = lines.encode(y=alt.Y("rate:Q"), color=by_deployment(run), strokeDash=dashed(run), opacity=faded())
    return layered([area.encode(x=x, y=y), rule if shown else None], "Demand and what each carries, requests/s", 220)


def _replicas(run: RunResult, rates: Sequence[tuple[float, float]], carriers: Sequence[_Carrier]) -> Panel:
    times, x = _time(rates)
    data = [{"d": c.index, "time": t, "n": n} for c in carriers for t, n in zip(times, [*c.needed, c.needed[-1]], strict=True)]
    axis = alt.Axis(title=None, tickMinStep=1, tickCount=5, format="d")
    lines = rows(run, data, ("d", "time", "n")).mark_line(interpolate="step-after", strokeWidth=2)
    y = alt.Y("n:Q", axis=axis, scale=alt.Scale(domainMin=0))
    drawn = lines.encode(x=x, y=y, color=by_deployment(run), strokeDash=dashed(run), opacity=faded())
    return layered([drawn], "Replicas that the rate needs", 220)


def _words(run: RunResult, rates: Sequence[tuple[float, float]], carriers: Sequence[_Carrier]) -> str:
    step, level = rates[1][0] - rates[0][0], [rate for _, rate in rates]
    unit, name = _hours(rates[-1][0] + step)
    peak = max(range(len(level)), key=lambda i: level[i])
    within = "within the SLO" if run.slo else "without its queue growing"
    after = f"after {number(rates[peak][0] / unit, 2)} {name}"
    text = f"Gray: the demand, from {words.rate(min(level))} to {words.rate(level[peak])} {after}. "
    text += f"Lines: the even rate that a deployment carries {within}. "
    short = [c for c in carriers if c.whole_per_s < level[peak]]
    if short:
        longest = max(sum(rate > c.whole_per_s for rate in level) * step / unit for c in short)
        text += f"Below the peak: {names([c.deployment for c in short])}, for at most {number(longest, 2)} {name}. "
    most = max(carriers, key=lambda c: max(c.needed), default=None)
    if most is not None and max(most.needed) > 1:
        text += _following(most, run)
    return text + "A queue that the peak leaves is worked off later; the run above has it, these lines have not."


def _following(c: _Carrier, run: RunResult) -> str:
    """What replicas that follow the traffic would save."""
    low, high, mean = min(c.needed), max(c.needed), sum(c.needed) / len(c.needed)
    text = f"{c.deployment.name} needs {low} to {plural(high, 'replica')}"
    if c.deployment.cost:
        one = c.deployment.cost.usd_per_hour / c.deployment.replicas
        text += f": {words.usd(one * high)} an hour for the peak, {words.usd(one * mean)} if replicas follow the rate at once"
    return f"{text}. "
