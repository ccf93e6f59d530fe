"""Notebook: a run as frames, a table and charts, where it is looked at in Python.

Charts and pages belong to the report, which stands above the results and is loaded here by its name, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import UnknownName
from simulator.results.files import write_run
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.tables import requests_table, rows_table
from simulator.text import html_table, number

if TYPE_CHECKING:
    import polars as pl

_SHOWN = {
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "output tokens/s",
    "ttft_p99_s": "p99 TTFT s",
    "tpot_p99_s": "p99 TPOT s",
}


def deployments_frame(run: RunResult) -> pl.DataFrame:
    """One row a deployment; metrics are columns under their own names."""
    return rows_table([_row(d) for d in run.deployments])


def _row(d: DeploymentResult) -> dict[str, Any]:
    return {
        "deployment": d.name,
        "gpu": d.gpu,
        "gpus": d.gpus,
        "replicas": d.replicas,
        "verdict": d.verdict,
        "reason": d.reason,
        "slo_met": d.slo_met,
        "kv_tokens": d.memory.kv_tokens if d.memory else None,
        "queueing_point_per_s": d.queueing_point.value if d.queueing_point else None,
        "slo_capacity_per_s": d.slo_capacity.value if d.slo_capacity else None,
        "usd_per_hour": d.cost.usd_per_hour if d.cost else None,
        **(d.metrics or {}),
    }


def requests_frame(run: RunResult) -> pl.DataFrame:
    """The requests of every deployment that ran, with its name before them."""
    import polars as pl

    tables = [(d.name, requests_table(d.trace)) for d in run.deployments if d.trace is not None]
    named = [table.select(pl.lit(name).alias("deployment"), pl.all()) for name, table in tables]
    return pl.concat(named, how="diagonal") if named else pl.DataFrame({"deployment": pl.Series([], dtype=pl.String)})


def run_html(run: RunResult) -> str:
    """The deployments as a table, the recommendation above it."""
    head = ("deployment", "verdict", *_SHOWN.values(), "queues at /s", "$/hour")
    return html_table(head, [_cells(d) for d in run.deployments], run.recommendation.sentence)


def _cells(d: DeploymentResult) -> Sequence[str]:
    metrics = d.metrics or {}
    values = [metrics.get(name) for name in _SHOWN]
    values.append(d.queueing_point.value if d.queueing_point else None)
    values.append(d.cost.usd_per_hour if d.cost else None)
    return (d.name, d.verdict, *("–" if value is None else number(value) for value in values))


def chart_of(run: RunResult, name: str) -> Any:
    """A chart of the page as Altair draws it, its panels under each other."""
    charts = {chart.__name__: chart for chart in import_module("simulator.report.charts.all").CHARTS}
    if name not in charts:
        raise UnknownName("chart", name, charts)
    return import_module("simulator.report.charts.panels").notebook_chart(run, charts[name](run))


def save_run(run: RunResult, folder: Path, *, force: bool = False) -> Path:
    """The run as the folder that `sim run` writes, without the requests of a benchmark, which only the scenario draws."""
    page = import_module("simulator.report.pages.run").run_page(run)
    summary = import_module("simulator.report.terminal").markdown(run)
    return write_run(run, folder, {"index.html": page, "summary.md": summary}, force=force)
