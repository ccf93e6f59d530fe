"""Trace page: what is in a trace, drawn: rate over time, lengths, and what a prefix cache of each size would find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageTable, plain_page
from simulator.text import number, plural
from simulator.workload.fit.prefix_reuse import Reuse
from simulator.workload.fit.statistics import LengthStatistics, Portrait, RateStatistics
from simulator.workload.fit.workload import Fit
from simulator.workload.fit.yaml import workload_yaml

_HEIGHT = 220


def trace_page(name: str, portrait: Portrait, fitted: Fit | str) -> str:
    """The page of a trace; `fitted` is the workload that stands for it, or why there is none."""
    drawings = [_lengths(portrait)]
    if portrait.rate is not None:
        drawings.insert(0, _rate(portrait.rate))
    if portrait.reuse is not None:
        drawings.append(_reuse(portrait.reuse))
    sentence = f"{plural(portrait.requests, 'request')} in {portrait.duration_s / 60:,.1f} min, read as {portrait.format}."
    if isinstance(fitted, str):
        return plain_page(name, f"{sentence} {fitted}", drawings, [_figures(portrait)])
    return plain_page(
        name,
        sentence,
        drawings,
        [_figures(portrait), _distances(fitted)],
        lines=("What the fitted workload loses", fitted.lost),
        code=("A workload that stands for it", workload_yaml(fitted.workload)),
    )


def _rate(rate: RateStatistics) -> Drawing:
    import altair as alt

    rows = [{"s": i * rate.bin_s, "per_s": value} for i, value in enumerate(rate.per_s)]
    chart = _chart(rows).mark_area(interpolate="step-after", color=theme.color(0), opacity=0.7)
    chart = chart.encode(x=alt.X("s:Q", title="seconds since the start"), y=alt.Y("per_s:Q", title="requests/s"))
    caption = (
        f"{number(rate.mean_per_s)} requests/s on average; coefficient of variation of the gaps {rate.gap_cv:.2f} (Poisson: 1)."
    )
    return Drawing("Rate over time", caption, chart.to_dict())


def _lengths(portrait: Portrait) -> Drawing:
    import altair as alt

    parts = (("prompt", portrait.prompt), ("output", portrait.output))
    rows = [{"of": of, "share": q, "tokens": max(tokens, 1.0)} for of, lengths in parts for q, tokens in lengths.quantiles]
    chart = (
        _chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("tokens:Q", scale=alt.Scale(type="log"), title="tokens", axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y("share:Q", title="share of requests", axis=alt.Axis(format="%")),
            color=alt.Color("of:N", scale=alt.Scale(domain=["prompt", "output"], range=[theme.color(0), theme.color(1)])),
        )
    )
    caption = f"Share of requests with at most so many tokens. Their rank correlation is {portrait.spearman:.2f}."
    return Drawing("Prompt and output tokens", caption, chart.to_dict())


def _reuse(reuse: Reuse) -> Drawing:
    import altair as alt

    rows = [{"tokens": tokens, "share": share} for tokens, share in reuse.by_cache_tokens]
    chart = (
        _chart(rows)
        .mark_line(point=True, color=theme.color(2))
        .encode(
            x=alt.X(
                "tokens:Q", scale=alt.Scale(type="log"), title="prefix cache, tokens", axis=alt.Axis(format="~s", tickCount=5)
            ),
            y=alt.Y("share:Q", title="prompt tokens found", axis=alt.Axis(format="%")),
        )
    )
    caption = (
        f"A cache without end would find {reuse.endless:.1%} of the prompt tokens; blocks are of {reuse.block_tokens} tokens."
    )
    return Drawing("Prefix reuse by cache size", caption, chart.to_dict())


def _chart(rows: Sequence[dict[str, Any]]) -> Any:
    import altair as alt
    import polars as pl

    return alt.Chart(pl.DataFrame(rows)).properties(width="container", height=_HEIGHT)


def _figures(portrait: Portrait) -> PageTable:
    def row(name: str, lengths: LengthStatistics) -> list[str]:
        at = {round(q, 3): tokens for q, tokens in lengths.quantiles}
        shown = (lengths.mean, lengths.std, lengths.least, at[0.5], at[0.9], at[0.99], lengths.greatest, lengths.total)
        return [name, *(f"{value:,.0f}" for value in shown)]

    header = ("tokens", "mean", "std", "min", "p50", "p90", "p99", "max", "total")
    return PageTable("Lengths", header, [row("prompt", portrait.prompt), row("output", portrait.output)])


def _distances(fitted: Fit) -> PageTable:
    rows = [[d.name, number(d.trace, 4), number(d.fitted, 4), "" if d.ks is None else f"{d.ks:.3f}"] for d in fitted.distances]
    return PageTable("How well it fits", ("figure", "trace", "fitted", "KS distance"), rows)
