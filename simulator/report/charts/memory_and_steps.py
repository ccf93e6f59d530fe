"""Charts of what is spent: the bytes of a GPU and the seconds of the steps, a bar a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from simulator.memory.account import PARTS
from simulator.report import words
from simulator.report.charts import data as frames
from simulator.report.charts import theme as theme
from simulator.report.charts.panels import NO_STEP, NOTHING_RAN, Figure, Panel, at_rate, fixed_x, layered, names, rows
from simulator.results.model import DeploymentResult, Memory, RunResult

GIB = words.GIB
_SAID = dict(zip(PARTS, ("weights", "activations", "runtime", "CUDA graphs", "KV cache", "left free"), strict=True))


def memory(run: RunResult) -> Figure:
    """Where each GPU's memory goes: what is needed beside what is reserved, against the card."""
    shown = [(i, d, d.memory) for i, d in enumerate(run.deployments) if d.memory]
    if not shown:
        return Figure("memory", "Memory of one GPU", "No memory plan was made.")
    parts = [{"d": i, "row": row, **part} for row, (i, _, m) in enumerate(shown) for part in _memory_parts(m)]
    marks = [_memory_marks(row, i, m) for row, (i, _, m) in enumerate(shown)]
    base = rows(run, parts, ("d", "row", "order", "part", "from", "to"), text=("part",))
    scale = alt.Scale(domain=list(_SAID.values()), range=[*theme.PARTS[:5], "#8884"])
    bars = base.mark_bar(height=15).encode(
        x=alt.X("from:Q", title="GiB of one GPU", axis=alt.Axis(tickCount=6)),
        x2=alt.X2("to:Q"),
        y=_row(len(shown)),
        color=alt.Color("part:N", scale=scale, sort=list(_SAID.values()), legend=alt.Legend(columns=3)),
        tooltip=[
            alt.Tooltip("deployment:N"),
            alt.Tooltip("part:N"),
            alt.Tooltip("from:Q", format=".1f"),
            alt.Tooltip("to:Q", format=".1f"),
        ],
    )
    ends = rows(run, marks, ("d", "row", "card", "reserved", "low", "high", "kv_from", "kv"))
    card = ends.mark_tick(thickness=3, height=24).encode(x=alt.X("card:Q"), y=_row(len(shown)))
    reserved = ends.mark_tick(thickness=1.5, height=24).encode(x=alt.X("reserved:Q"), y=_row(len(shown)))
    spread = (
        ends.transform_filter("datum.kv > 0")
        .mark_rule(strokeWidth=1)
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=_row(len(shown)))
    )
    layers = [bars, card, reserved, spread, _kv_in_use(run, marks, len(shown)), _row_names(ends, len(shown))]
    panel = layered(layers, "", 44 * len(shown))
    return Figure("memory", "Memory of one GPU", _memory_words(run), (panel,), names=False)


def _memory_parts(m: Memory) -> list[dict[str, Any]]:
    parts = m.parts()
    ends = np.cumsum([0.0, *parts.values()]) / GIB
    return [{"order": PARTS.index(part), "part": _SAID[part], "from": ends[k], "to": ends[k + 1]} for k, part in enumerate(parts)]


def _memory_marks(row: int, index: int, m: Memory) -> dict[str, Any]:
    before, kv = m.used_bytes / GIB, max(m.kv_cache_bytes, 0.0) / GIB
    low, high = before + max(m.kv_cache_low_bytes, 0.0) / GIB, before + max(m.kv_cache_high_bytes, 0.0) / GIB
    ends = {"card": m.total_bytes / GIB, "reserved": m.reserved_bytes / GIB, "low": low, "high": high}
    return {"d": index, "row": row, **ends, "kv_from": before, "kv": kv}


def _kv_in_use(run: RunResult, marks: Sequence[Mapping[str, Any]], count: int) -> Panel | None:
    """The part of the KV cache in use at the slider's rate, as a dark line in its middle."""
    where = {mark["d"]: mark for mark in marks}
    known = [{**span, **where[span["d"]]} for span in frames.segments(run.deployments) if span["d"] in where]
    if not known:
        return None
    base = at_rate(run, known, "kv_use_mean", "row", "kv_from", "kv").transform_filter("isValid(datum.value)")
    ends = base.transform_calculate(end="datum.kv_from + datum.kv * min(datum.value, 1)")
    return ends.mark_bar(height=4, color="#103a2c").encode(x=alt.X("kv_from:Q"), x2=alt.X2("end:Q"), y=_row(count))


def _memory_words(run: RunResult) -> str:
    some = [d for d in run.deployments if d.memory and d.memory.kv_cache_bytes > 0]
    none = [d for d in run.deployments if d.memory and d.memory.kv_cache_bytes <= 0]
    text = "Thick mark: the card. Thin mark: what gpu_memory_utilization reserves. "
    if some:
        most = max(some, key=lambda d: d.memory.kv_tokens if d.memory else 0)
        tokens = most.memory.kv_tokens if most.memory else 0
        text += f"The most KV cache a replica has is {tokens:,} tokens, on {most.name}. "
        text += "The fine line at its end is the doubt about its size. "
        text += "The dark line in it is what is in use at the what-if rate. " if any(d.curve for d in some) else ""
    return text + (f"No room for KV cache on {names(none)}." if none else "")


def steps(run: RunResult) -> Figure:
    """Where the time of the steps goes."""
    key, title = "steps", "Where the step time goes"
    shown = [(i, d) for i, d in enumerate(run.deployments) if sum(d.step_seconds.values()) > 0]
    if not shown:
        return Figure(key, title, NO_STEP if any(d.runs for d in run.deployments) else NOTHING_RAN)
    every = dict.fromkeys(part for _, d in shown for part in d.step_seconds)
    parts = [part for part in every if any(d.step_seconds.get(part, 0.0) > 0 for _, d in shown)]
    data = [
        {"d": i, "row": row, "order": parts.index(part), "part": _said(part), "share": spent / sum(d.step_seconds.values())}
        for row, (i, d) in enumerate(shown)
        for part, spent in d.step_seconds.items()
        if spent > 0
    ]
    base = rows(run, data, ("d", "row", "order", "part", "share"), text=("part",))
    scale = alt.Scale(domain=[_said(part) for part in parts], range=list(theme.PARTS[: len(parts)]))
    bars = base.mark_bar(height=15).encode(
        x=alt.X("share:Q", axis=alt.Axis(format="%", title="share of busy time", tickCount=5), scale=alt.Scale(domain=[0, 1])),
        y=_row(len(shown)),
        color=alt.Color("part:N", scale=scale, legend=alt.Legend(columns=3)),
        order=alt.Order("order:Q"),
        tooltip=[alt.Tooltip("deployment:N"), alt.Tooltip("part:N"), alt.Tooltip("share:Q", format=".1%")],
    )
    places = rows(run, [{"d": i, "row": row} for row, (i, _) in enumerate(shown)], ("d", "row"))
    panel = layered([bars, _row_names(places, len(shown))], "", 44 * len(shown))
    return Figure(key, title, _longest_parts(run), (panel,), names=False)


def _said(part: str) -> str:
    """A part of the step as the reader knows it."""
    return {"gemm": "GEMM", "experts": "experts' GEMM", "head": "LM head", "engine": "scheduler"}.get(part, part)


def _longest_parts(run: RunResult) -> str:
    """Which part takes the longest, and where."""
    longest: dict[str, list[DeploymentResult]] = {}
    for d in run.deployments:
        if sum(d.step_seconds.values()) > 0:
            longest.setdefault(max(d.step_seconds, key=lambda part: d.step_seconds[part]), []).append(d)
    return " ".join(f"Most of the busy time goes to {_said(part)} on {names(where)}." for part, where in longest.items())


def _row(count: int) -> alt.Y:
    return alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(count)), paddingInner=0.5, paddingOuter=0.25))


def _row_names(base: alt.Chart, count: int) -> Panel:
    """The deployments' names above their bars, cut where the panel ends."""
    text = base.mark_text(align="left", baseline="bottom", dy=-11, limit=alt.ExprRef("width"))
    return text.encode(x=fixed_x(0), y=_row(count), text=alt.Text("deployment:N"))
