"""The page of `sim sweep`: which points are worth having, what each axis does, and why points failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.report import words
from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageAnswer, PageTable, plain_page
from simulator.text import number, plural

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]
_COST, _PACE, _OUTPUT, _STRAIN = "usd_per_million_output_tokens", "tpot_p50_s", "output_tokens_per_s", "slo_strain"
_MOST_LINES = 24
_MOST_ROWS = 400
_COLUMNS = {
    "verdict": "Verdict",
    _STRAIN: "Of the limit",
    "ttft_p99_s": "TTFT p99",
    "tpot_p99_s": "TPOT p99",
    "requests_per_s": "Requests",
    _OUTPUT: "Output tokens/s",
    "kv_use_peak": "KV peak",
    "queueing_point_per_s": "Starts to queue at",
    "slo_capacity_per_s": "Meets the SLO up to",
    "usd_per_hour": "$ an hour",
    _COST: "$ per million output tokens",
}
_SAID = {
    _STRAIN: words.percent,
    "ttft_p99_s": words.seconds,
    "tpot_p99_s": words.seconds,
    "requests_per_s": words.rate,
    "kv_use_peak": words.percent,
    "queueing_point_per_s": words.rate,
    "slo_capacity_per_s": words.rate,
    "usd_per_hour": words.usd,
    _COST: words.usd,
}
_PANELS = {
    _OUTPUT: "Output tokens/s",
    _STRAIN: "Judged latency, share of its limit",
    "ttft_p99_s": "TTFT p99, seconds",
    _COST: "$ per million output tokens",
}


def sweep_page(name: str, frame: pl.DataFrame, paths: Sequence[str]) -> str:
    """The page of a sweep's frame; `paths` are the axes, without that of the deployments."""
    rows = [row for row in frame.iter_rows(named=True) if row["status"] == "done"]
    served = [row for row in rows if row.get(_OUTPUT) is not None]
    judged = any(row.get(_STRAIN) is not None for row in served)
    best = front(served, judged=judged)
    answer = _answer(served, frame.height, paths, judged=judged)
    drawings = [*_pareto(served, best, paths, judged=judged), *(_axis(served, path, paths) for path in paths)]
    points = _points(rows, best, paths)
    failed = _failed(frame, paths)
    over = ", ".join(paths) or "the deployments"
    return plain_page(
        f"{name}: a sweep over {over}",
        f"{plural(frame.height, 'point')}: {len(served):,} that served, {frame.height - len(served)} that did not.",
        [d for d in drawings if d is not None],
        [points, *([failed] if failed else [])],
        lines=("How to read it", _notes(judged=judged)),
        answer=answer,
    )


def front(rows: Sequence[Row], *, judged: bool) -> list[int]:
    """The rows, by index, of which no other costs as little a token and serves as well.

    Well: with its latencies, `judged` by the SLO, further below their limits; without an SLO, with more output tokens/s for each
    user. Where no price is known, more output tokens/s per GPU stand for less cost.
    """
    known = [(i, place) for i, row in enumerate(rows) if (place := _place(row, judged=judged, priced=_priced(rows)))]
    return [i for i, (x, y) in known if not any(_beats(other, (x, y)) for _, other in known)]


def _beats(other: tuple[float, float], one: tuple[float, float]) -> bool:
    return other != one and other[0] <= one[0] and other[1] <= one[1]


def _priced(rows: Sequence[Row]) -> bool:
    return any(row.get(_COST) is not None for row in rows)


def _place(row: Row, *, judged: bool, priced: bool) -> tuple[float, float] | None:
    """Cost and slowness, both better when less; None where one is not known, or the queue grows."""
    cost = row.get(_COST) if priced else (1 / output if (output := row[_OUTPUT] / row["gpus"]) else None)
    slow = row.get(_STRAIN) if judged else row.get(_PACE)
    return None if cost is None or slow is None or row["verdict"] == "overloaded" else (cost, slow)


def _answer(served: Sequence[Row], count: int, paths: Sequence[str], *, judged: bool) -> PageAnswer:
    able = [row for row in served if (row["slo_met"] if judged else row["verdict"] == "stable")]
    what = "meets the SLO" if judged else "keeps up"
    if not able:
        return PageAnswer("No point will do", f"Of {plural(count, 'point')} none {what}.", good=False)
    priced = [row for row in able if row.get("usd_per_hour") is not None]
    lines = []
    if priced:
        cheapest = min(priced, key=lambda row: (row["usd_per_hour"], row.get(_COST) or math.inf))
        lines.append(f"Least an hour: {_point(cheapest, paths)}, {words.usd(cheapest['usd_per_hour'])} an hour.")
        per_token = [row for row in priced if row.get(_COST) is not None]
        if per_token:
            least = min(per_token, key=lambda row: row[_COST])
            lines.append(f"Least a token: {_point(least, paths)}, {words.usd(least[_COST])} per million output tokens.")
    most = max(able, key=lambda row: row[_OUTPUT])
    lines.append(f"Most: {_point(most, paths)}, {number(most[_OUTPUT])} output tokens/s.")
    share = f"{len(able):,} of {plural(count, 'point')} {'meet the SLO' if judged else 'keep up'}"
    return PageAnswer("What will do", f"{share}, by the prediction itself; its error is not in this count.", lines)


def _point(row: Row, paths: Sequence[str]) -> str:
    """A point in words: its deployment and the values of the axes."""
    values = ", ".join(f"{_short(path)} {_cell(path, row[path])}" for path in paths)
    return f"{row['deployment']}{f' with {values}' if values else ''}"


def _short(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return words.NONE
    if name in _SAID:
        return _SAID[name](value)
    return number(value, 4) if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _pareto(served: Sequence[Row], best: Sequence[int], paths: Sequence[str], *, judged: bool) -> list[Drawing]:
    """Cost against judged latency, or without an SLO against the pace of a user; the front as a line."""
    import altair as alt
    import polars as pl

    priced = _priced(served)
    data = [
        {
            "deployment": row["deployment"],
            "point": _point(row, paths),
            "cost": row[_COST] if priced else row[_OUTPUT] / row["gpus"],
            "served": row[_STRAIN] if judged else 1 / row[_PACE],
            "front": i in best,
        }
        for i, row in enumerate(served)
        if _place(row, judged=judged, priced=priced)
    ]
    if len(data) < 2:
        return []
    cost = "$ per million output tokens" if priced else "output tokens/s per GPU"
    good = "judged latency, share of its limit" if judged else "tokens/s each user sees"
    x = alt.X("cost:Q", title=cost, scale=_log([row["cost"] for row in data]), axis=alt.Axis(tickCount=5, format="~r"))
    y = alt.Y(
        "served:Q", title=good, scale=_log([row["served"] for row in data]), axis=alt.Axis(tickCount=5, format=_tick(judged))
    )
    tip = ["point:N", alt.Tooltip("cost:Q", title=cost, format=".3~r"), alt.Tooltip("served:Q", title=good, format=_tick(judged))]
    chart = alt.Chart(pl.DataFrame(data))
    points = chart.mark_point(filled=True, size=60).encode(
        x=x,
        y=y,
        color=_color(served),
        shape=_shape(served),
        tooltip=tip,
        opacity=alt.condition("datum.front", alt.value(1), alt.value(0.4)),
    )
    line = chart.transform_filter("datum.front").mark_line(strokeWidth=1.2, opacity=0.6, color="currentColor")
    layers = [line.encode(x=x, y=y, order=alt.Order("cost:Q")), points]
    if judged:
        limit = alt.Chart(pl.DataFrame({"served": [1.0]})).mark_rule(color=theme.LIMIT, strokeDash=[5, 3])
        layers.append(limit.encode(y="served:Q"))
    drawn: dict[str, Any] = alt.layer(*layers).properties(width="container", height=300).to_dict()
    better = ("left" if priced else "right") + (" and down" if judged else " and up")
    caption = f"Better is {better}. The line joins the points that no other beats in both; faint points are beaten."
    caption += " Above the dashed line the SLO is missed." if judged else ""
    return [Drawing(f"{'Cost' if priced else 'Throughput'} against {'judged latency' if judged else 'pace'}", caption, drawn)]


def _tick(judged: bool) -> str:
    return "~%" if judged else "~r"


def _log(values: Sequence[float]) -> Any:
    import altair as alt

    return alt.Scale(type="log", nice=False, padding=16) if min(values) > 0 else alt.Scale(nice=True)


def _names(data: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["deployment"]) for row in data))


def _color(data: Sequence[Row]) -> Any:
    import altair as alt

    names = _names(data)
    scale = alt.Scale(domain=names, range=[theme.color(i) for i in range(len(names))])
    return alt.Color("deployment:N", scale=scale, sort=names, legend=alt.Legend(columns=2, labelLimit=320))


def _shape(data: Sequence[Row]) -> Any:
    import altair as alt

    names = _names(data)
    scale = alt.Scale(domain=names, range=[theme.shape(i) for i in range(len(names))])
    return alt.Shape("deployment:N", scale=scale, sort=names, legend=alt.Legend(columns=2, labelLimit=320))


def _axis(served: Sequence[Row], path: str, paths: Sequence[str]) -> Drawing | None:
    """What an axis does to throughput, judged latency and cost: a line for each setting of the others."""
    panels = [name for name in _PANELS if any(row.get(name) is not None for row in served)]
    panels = [name for name in panels if name != "ttft_p99_s" or _STRAIN not in panels]
    if not panels or len({row[path] for row in served}) < 2:
        return None
    others = [other for other in paths if other != path]
    settings = {(row["deployment"], *(str(row[other]) for other in others)) for row in served}
    lines = len(settings) <= _MOST_LINES
    first, *more = (_axis_panel(served, path, others, name, lines=lines) for name in panels)
    caption = f"What {path} does" + (f", a line for every setting of {', '.join(others)}" if others and lines else "") + "."
    caption += "" if lines else f" Points alone: {len(settings)} lines would cover each other."
    caption += " Latencies are not drawn where the queue grows." if any(row["verdict"] == "overloaded" for row in served) else ""
    return Drawing(f"Over {_short(path)}", caption, first, tuple(more))


def _axis_panel(served: Sequence[Row], path: str, others: Sequence[str], name: str, *, lines: bool) -> dict[str, Any]:
    import altair as alt
    import polars as pl

    numeric = all(isinstance(row[path], int | float) and not isinstance(row[path], bool) for row in served)
    data = [
        {
            "deployment": row["deployment"],
            "setting": ", ".join([row["deployment"], *(f"{_short(other)} {_cell(other, row[other])}" for other in others)]),
            "at": row[path] if numeric else str(row[path]),
            "value": row.get(name),
        }
        for row in served
    ]
    kind = "Q" if numeric else "N"
    order = None if numeric else list(dict.fromkeys(row["at"] for row in data))
    at = [row["at"] for row in data if isinstance(row["at"], int | float)]
    wide = numeric and min(at) > 0 and max(at) > 30 * min(at)
    scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(zero=False) if numeric else alt.Scale()
    axis = alt.Axis(grid=False, tickCount=5, format="~s") if numeric else alt.Axis(grid=False)
    x = alt.X(f"at:{kind}", title=_short(path), sort=order, scale=scale, axis=axis)
    y = alt.Y(
        "value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, format="~%" if name == _STRAIN else "~s")
    )
    chart = alt.Chart(pl.DataFrame(data)).transform_filter("isValid(datum.value)")
    tip = [
        "setting:N",
        alt.Tooltip(f"at:{kind}", title=_short(path)),
        alt.Tooltip("value:Q", title=_PANELS[name], format=",.3~r"),
    ]
    mark = (
        chart.mark_line(point=alt.OverlayMarkDef(size=24), strokeWidth=1.6) if lines else chart.mark_point(size=30, filled=True)
    )
    drawn: dict[str, Any] = (
        mark.encode(x=x, y=y, color=_color(served), detail="setting:N", tooltip=tip)
        .properties(width="container", height=220, title=_PANELS[name])
        .to_dict()
    )
    return drawn


def _points(rows: Sequence[Row], best: Sequence[int], paths: Sequence[str]) -> PageTable:
    """The points that were computed, those that no other beats first, then in the order of the grid."""
    served = [row for row in rows if row.get(_OUTPUT) is not None]
    first = [served[i] for i in best]
    ordered = [*((row, True) for row in first), *((row, False) for row in rows if not any(row is other for other in first))]
    shown = {name: title for name, title in _COLUMNS.items() if any(row.get(name) is not None for row in rows)}
    header = ("Deployment", *(_short(path) for path in paths), "Unbeaten", *shown.values())
    cells = [
        [str(row["deployment"]), *(_cell(path, row[path]) for path in paths), "yes" if good else "", *_of(row, shown)]
        for row, good in ordered[:_MOST_ROWS]
    ]
    left = len(ordered) - len(cells)
    note = (
        f"{plural(left, 'more point')} not shown; all are in sweep.parquet."
        if left
        else "The same rows, with every metric, are in sweep.parquet."
    )
    return PageTable("Every point", header, cells, note)


def _of(row: Row, shown: Mapping[str, str]) -> list[str]:
    return [_cell(name, row.get(name)) for name in shown]


def _failed(frame: pl.DataFrame, paths: Sequence[str]) -> PageTable | None:
    """Why points did not serve: refused, or not started; those of one reason together."""
    points: dict[tuple[str, str], list[Row]] = {}
    for row in frame.iter_rows(named=True):
        if row.get(_OUTPUT) is None:
            what = "refused" if row["status"] == "failed" else str(row["verdict"])
            points.setdefault((what, str(row["reason"])), []).append(row)
    if not points:
        return None
    cells = [[_which(rows, paths), what, words.sentence(reason)] for (what, reason), rows in points.items()]
    return PageTable("Why points did not serve", ("Points", "What", "Why"), cells)


def _which(rows: Sequence[Row], paths: Sequence[str], most: int = 4) -> str:
    told = "; ".join(_point(row, paths) for row in rows[:most])
    return told if len(rows) <= most else f"{told}; {len(rows) - most} more"


def _notes(*, judged: bool) -> list[str]:
    lines = [
        "TTFT: time to first token. TPOT: time per output token after the first. p99: 99 of 100 requests are as fast or faster.",
        "Each point is a run of the scenario with these values. Compare points by differences: all share the prediction's error.",
    ]
    if judged:
        lines.insert(
            1,
            "Of the limit: the latency that comes nearest to its limit, or exceeds it by most, at its promised percentile.",
        )
    return lines
