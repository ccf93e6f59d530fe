"""Page: a run as one HTML file that needs nothing else, drawn by the reader's browser without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from simulator.report import words
from simulator.report.charts import theme as theme
from simulator.report.comparison import Row, best_of, comparison
from simulator.report.pages.offline import as_json, asset, markup, template, vega
from simulator.results.metrics import METRICS
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.summary import as_stored
from simulator.text import visible

_MOST_GUESSES = 3


def run_page(run: RunResult) -> str:
    """The page. Altair and Vega are loaded here and only here."""
    run = as_stored(run)
    figures, panels = _drawn(run)
    told, short = words.folded(run)
    page: str = template("page.html").render(
        run=run,
        title=f"{run.name}: capacity report",
        date=_date(run.created_at),
        sentence=words.scenario_sentence(run),
        verdicts=[_verdict(run, d) for d in run.deployments],
        told=[_verdict(run, d) for d in told],
        short=[_verdict(run, d) for d in short],
        comparison=_comparison(run),
        figures=_numbered([figure for figure in figures if figure.panels], panels),
        undrawn=_undrawn(figures),
        slider=_slider(run),
        doubts=[words.sentence(doubt) for doubt in run.doubts],
        numbers=_numbers(run),
        caveats=_caveats(run),
        metrics=METRICS,
        commands=_labelled(run, lambda d: d.serve_command),
        benchmarks=_labelled(run, lambda d: d.bench_command if d.runs else ""),
        **_trust(run),
        style=markup(asset("page.css")),
        script=markup(asset("page.js")),
        vega=markup(vega()),
        panels=as_json(panels),
        config=as_json(theme.config()),
    )
    return page


def _labelled(run: RunResult, command: Callable[[DeploymentResult], str]) -> str:
    """A command of each deployment that has one, below what it is of."""
    lines = [f"# {visible(d.name)}: {d.wording}\n{command(d)}" for d in run.deployments if command(d)]
    return "\n".join(lines)


def _drawn(run: RunResult) -> tuple[list[Any], list[dict[str, Any]]]:
    """The figures, and the specifications of all their panels in order.

    Altair checks every part against the Vega-Lite schema as it is put together, which takes longer than all the rest. The charts
    are checked so by their tests, not in every run.
    """
    from altair.utils import schemapi

    from simulator.report.charts.all import CHARTS
    from simulator.report.charts.panels import specification

    with schemapi.debug_mode(False):
        figures = [chart(run) for chart in CHARTS]
        return figures, [specification(run, panel, figure.caption) for figure in figures for panel in figure.panels]


def _verdict(run: RunResult, d: DeploymentResult) -> dict[str, Any]:
    mark, index = words.mark(d), run.deployments.index(d)
    return {
        "name": d.name,
        "title": d.title,
        "wording": d.wording if d.gpus > 1 else "",
        "verdict": d.verdict,
        "reason": words.sentence(d.reason),
        "runs": d.runs,
        "sign": mark.sign,
        "css": mark.css,
        "color": theme.color(index),
        "dash": " ".join(map(str, theme.dash(index))),
        "index": index,
        "slo": words.slo_phrase(d),
        "cost": words.usd(d.cost.usd_per_hour) if d.cost else "",
        "dated": f"{d.cost.price_source.split(': ')[0]}{f', {d.cost.price_date}' if d.cost.price_date else ''}" if d.cost else "",
        "judged": words.sentence(words.judged_line(d)),
        "sureness": words.sentence(words.sureness(d)),
        "capacity": words.sentence(_capacity(d)),
        "binds": words.sentence(d.binding.sentence) if d.binding and d.binding.gain is not None else "",
        "remedy": words.remedy_line(d, run.workload.busiest_per_s),
        "chosen": d.name == run.recommendation.deployment,
    }


def _numbers(run: RunResult) -> list[tuple[str, str]]:
    """The three numbers that decide about what is recommended: dollars, the least sure latency, the rate it surely takes."""
    chosen = next((d for d in run.deployments if d.name == run.recommendation.deployment), None)
    if chosen is None:
        return []
    numbers = []
    if chosen.cost and chosen.cost.usd_per_month is not None:
        numbers.append((f"${chosen.cost.usd_per_month:,.0f}", f"a month, {chosen.title}"))
    if judged := words.judged_line(chosen, most=1).split("; ")[0]:
        numbers.append((judged, "where a real server's lies in four of five cases" if "(" in judged else ""))
    if chosen.assurance and chosen.assurance.sure_per_s:
        demand = run.workload.rate_per_s
        asked = f", of a demand of {words.rate(demand)}" if demand else ""
        numbers.append((words.rate(chosen.assurance.sure_per_s), f"90% sure up to there{asked}"))
    return numbers


def _caveats(run: RunResult) -> list[str]:
    """What stands under the answer on paper: what is guessed, and what is not modelled."""
    guessed = dict.fromkeys(line for d in run.deployments for line in d.extrapolations)
    lines = [words.sentence(line) for line in list(guessed)[:_MOST_GUESSES]]
    if len(guessed) > _MOST_GUESSES:
        lines.append(f"{len(guessed) - _MOST_GUESSES} more guesses are under “Outside what was measured”.")
    if run.not_modelled:
        lines.append(f"Not modelled: {'; '.join(run.not_modelled)}.")
    return ["A simulation, not a measurement.", *lines]


def _capacity(d: DeploymentResult) -> str:
    """What it sustains, and what of it within the SLO."""
    if d.queueing_point is None:
        return ""
    slo = f"; meets the SLO up to {words.rate(d.slo_capacity.value)}" if d.slo_capacity else ""
    return f"sustains {words.queueing(d)}{slo}"


def _comparison(run: RunResult) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for name, rows in groupby(comparison(run), key=lambda row: row.group):
        cells = [(row.label, _cells(run, row)) for row in rows]
        known = [{"label": label, "cells": row} for label, row in cells if any(cell["text"] != words.NONE for cell in row)]
        groups += [{"name": name, "rows": known}] if known else []
    return groups


def _cells(run: RunResult, row: Row) -> list[dict[str, Any]]:
    """The cells of a row; the best of it is sought among those that keep up, or among all that run where none does."""
    keep_up = [d for d in run.deployments if d.verdict in ("stable", "saturated")]
    best = best_of(row, keep_up or [d for d in run.deployments if d.runs])
    return [{"text": row.say(d), "best": d in best} for d in run.deployments]


def _numbered(figures: Iterable[Any], panels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures with the place of each of their panels among all panels."""
    places = iter(range(len(panels)))
    numbered = []
    for figure in figures:
        own = [next(places) for _ in figure.panels]
        described = [
            {"index": i, "title": panels[i].get("title", {}).get("text", "chart"), "height": panels[i].get("height", 0)}
            for i in own
        ]
        numbered.append({**{f.name: getattr(figure, f.name) for f in dataclasses.fields(figure)}, "panels": described})
    return numbered


def _undrawn(figures: Iterable[Any]) -> list[str]:
    """Each reason why a figure is missing, with the figures it explains."""
    reasons: dict[str, list[str]] = {}
    for figure in figures:
        if not figure.panels and not figure.needless:
            reasons.setdefault(figure.caption, []).append(figure.title)
    return [f"{reason} Not drawn: {', '.join(f'“{title}”' for title in titles)}." for reason, titles in reasons.items()]


def _slider(run: RunResult) -> dict[str, Any] | None:
    from simulator.report.charts.panels import start_rate

    rates = [point.rate_per_s for d in run.deployments for point in d.curve]
    if not rates:
        return None
    start = start_rate(run)
    low, high = min(*rates, start), max(*rates, start)
    return {
        "low": f"{low:.6g}",
        "high": f"{high:.6g}",
        "start": f"{start:.6g}",
        "said": f"{words.number_or_dash(start)} requests/s",
    }


def _trust(run: RunResult) -> dict[str, Any]:
    def each(lines: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(lines))

    named = [(d.name, d) for d in run.deployments]
    return {
        "method": _METHOD.format(engine=run.engine, how=_how(run.engine)),
        "bands": each(f"{name}: {words.band(metric, band)}, from {band.basis}"
                      for name, d in named for metric, band in d.error_bands.items()),
        "extrapolations": each(f"{name}: {line}" for name, d in named for line in d.extrapolations),
        "prices": each(f"{d.gpu}: {words.usd(d.cost.usd_per_gpu_hour)} per GPU-hour, {d.cost.price_source}, {d.cost.price_date}"
                       for _, d in named if d.cost),
        "notes": each(f"{name}: {line}" for name, d in named for line in (*d.notes, *(d.memory.notes if d.memory else ()))),
    }  # fmt: skip


_VLLM_S_WAY = (
    "chunked prefill, a budget of tokens and of sequences a step, KV cache in blocks, preemption with recomputation, "
    "first come first served"
)
_WAYS = {
    "sglang": "prompts in steps of their own, meanwhile nobody decodes; room kept free for a share of "
    "the running answers; the shortest answers retracted where tokens run out; prompts and answers "
    "found again in a radix tree",
    "tensorrt-llm": "decodes first, prompts cut to what tokens are left in a step, and nobody let in "
    "whose whole prompt and answer have no blocks (GUARANTEED_NO_EVICT)",
}


def _how(engine: str) -> str:
    """How an engine batches, in words."""
    return next((way for family, way in _WAYS.items() if engine.startswith(family)), _VLLM_S_WAY)


_METHOD = (
    "Every request is simulated through continuous batching as {engine} does it: {how}. "
    "A step lasts as long as a roofline of the GPU says, "
    "with efficiencies fitted to published measurements. Latencies are those of the requests that"
    " arrived after warm-up. Beside a figure stands where a real server's lies in four of five "
    "cases, by published figures of the same class; near the queueing point also by what steps "
    "that last longer do to the queue. What is called sure has a chance of nine in ten at least, "
    "what is likely of seven in ten. A percentile is too few to say where it lies beyond the "
    "slowest request in more than one case of ten. A deployment is overloaded when its backlog "
    "grows by more than chance explains, with a false alarm in at most 1% of runs. A request that"
    " gets no answer (refused because it can never fit or a queue limit is reached, timed out, or"
    " not sent because a turn before it got none) counts as a miss of every limit. More of them than the SLO leaves out "
    "(5% at most; 1% without an SLO) is a verdict of its own, and latencies are those of the "
    "others."
)


def _date(created_at: str) -> str:
    try:
        return f"{datetime.fromisoformat(created_at):%d %B %Y, %H:%M}"
    except ValueError:
        return created_at
