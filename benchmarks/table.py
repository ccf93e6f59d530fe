"""The tables on the terminal, and the same as JSON."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.engine import Speed
from benchmarks.goals import Figure, Goal

_COLORS = {"aim": "green", "must": "cyan", "short": "red", "-": "default"}
_PER_REQUEST = (
    ("requests/s", "requests_per_s"),
    ("steps/s", "steps_per_s"),
    ("us/request", "us_per_request"),
    ("bare timeouts", "bare_timeouts_per_request"),
    ("oracle us", "oracle_us_per_request"),
    ("x oracle", "times_oracle"),
    ("steps", "steps_per_request"),
    ("stretches", "stretches_per_request"),
    ("preempted", "preemptions_per_request"),
    ("cached", "prompt_share_cached"),
)


def speed_to_dict(name: str, found: Speed | None) -> dict[str, Any]:
    """A case as plain values; only its name where it could not be simulated."""
    if found is None:
        return {"name": name, "available": False}
    trace = found.trace
    steps = float(trace.stretches["steps"].sum()) / len(trace)
    return {
        "name": name,
        "available": True,
        "requests": len(trace),
        "rate_per_s": found.case.workload.mean_rate(),
        "requests_per_s": found.requests_per_s,
        "steps_per_s": found.requests_per_s * steps,
        "us_per_request": 1e6 / found.requests_per_s,
        "bare_timeouts_per_request": found.timeouts,
        "bare_timeout_us": 1e6 * median(found.timeout_s),
        "oracle_requests": len(found.few),
        "oracle_us_per_request": 1e6 * median(found.oracle_s),
        "times_oracle": found.times_oracle,
        "steps_per_request": steps,
        "stretches_per_request": len(trace.stretches["steps"]) / len(trace),
        "preemptions_per_request": float(trace.requests["preemptions"].mean()),
        "prompt_share_cached": float(trace.requests["cached_tokens"].sum() / trace.requests["prompt_tokens"].sum()),
    }


def figure_to_dict(figure: Figure) -> dict[str, Any]:
    """A figure with its goal as plain values."""
    goal = figure.goal
    return {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "must": goal.must if goal else None,
        "aim": goal.aim if goal else None,
        "more_is_better": goal.more if goal else None,
        "reached": figure.standing,
        "note": figure.note,
    }


def print_cases(cases: list[dict[str, Any]], console: Console) -> None:
    """What a request costs in every case."""
    bare = median(case["bare_timeout_us"] for case in cases if case["available"])
    caption = f"CPU time of one core. One bare timeout of a SimPy process: {bare:.2f} us. From 'steps' on: per request."
    table = Table(title="Engine", caption=caption)
    table.add_column("case")
    for title, _ in _PER_REQUEST:
        table.add_column(title, justify="right")
    for case in cases:
        values = [_short(case[key]) for _, key in _PER_REQUEST] if case["available"] else ["not available"]
        table.add_row(case["name"], *values)
    console.print(table)


def print_figures(figures: list[Figure], console: Console) -> None:
    """Every figure beside its goal."""
    table = Table(title="Goals and other figures")
    table.add_column("figure")
    for title in ("measured", "must", "aim"):
        table.add_column(title, justify="right")
    table.add_column("reached")
    table.add_column("note")
    for figure in figures:
        measured = "not available" if figure.value is None else f"{_short(figure.value)} {figure.unit}"
        must, aim = (_bound(figure.goal, which) for which in ("must", "aim"))
        color = _COLORS[figure.standing]
        table.add_row(figure.name, measured, must, aim, f"[{color}]{figure.standing}[/]", figure.note)
    console.print(table)


def _bound(goal: Goal | None, which: str) -> str:
    return f"{'≥' if goal.more else '≤'} {_short(getattr(goal, which))}" if goal else ""


def _short(value: float) -> str:
    """Three significant digits, thousands grouped, no exponent."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
