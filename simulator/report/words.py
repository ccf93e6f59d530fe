"""Words: how numbers, verdicts and rows are written, the same on the page, in Markdown and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from simulator import text as amounts
from simulator.results.model import DeploymentResult, ErrorBand, Estimate, RunResult, Verdict
from simulator.results.slo import Latency
from simulator.text import plural

GIB = 2.0**30
_FEW_TERMS = 3
_BANDED = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E", "output_tokens_per_s": "output tokens/s"}
NOT_STEADY, NONE = "not steady", "–"


class Mark(NamedTuple):
    """A verdict's sign: a shape that differs without color, an ASCII fallback, a CSS class and a color name of the terminal."""

    sign: str
    ascii: str
    css: str
    color: str


MARKS: dict[Verdict, Mark] = {
    "stable": Mark("✔", "+", "stable", "green"),
    "saturated": Mark("▲", "!", "saturated", "yellow"),
    "overloaded": Mark("✖", "x", "overloaded", "red"),
    "requests unanswered": Mark("⊖", "-", "overloaded", "red"),
    "does not fit": Mark("⊘", "o", "unfit", "magenta"),
    "max_model_len exceeds KV": Mark("⊘", "o", "unfit", "magenta"),
    "cannot run": Mark("⊘", "o", "unfit", "magenta"),
}

MISSED = Mark("▲", "!", "saturated", "yellow")


def mark(d: DeploymentResult) -> Mark:
    """The sign of a deployment: its verdict's, but what runs and misses the SLO is no success."""
    return MISSED if d.verdict == "stable" and d.slo_met is False else MARKS[d.verdict]


def number_or_dash(value: float | None, digits: int = 3) -> str:
    """As `text.number`; a dash where there is none."""
    return NONE if value is None else amounts.number(value, digits)


def seconds(value: float | None) -> str:
    """Seconds as people say them: 12.3 ms, 1.23 s, 4 min 10 s."""
    if value is None:
        return NONE
    if value < 0.9995:
        return f"{number_or_dash(value * 1e3)} ms"
    if value < 600:
        return f"{number_or_dash(value)} s"
    return f"{int(value // 60):,} min {int(value % 60)} s"


def percent(value: float | None) -> str:
    """A share as a percentage, as `text.share`; a dash where there is none."""
    return NONE if value is None else amounts.share(value)


def gib(value: float | None) -> str:
    """Bytes in GiB to one decimal."""
    return NONE if value is None else f"{value / GIB:,.1f} GiB"


def usd(value: float | None) -> str:
    """Dollars: cents below a thousand."""
    if value is None:
        return NONE
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"


def rate(value: float | None) -> str:
    """Requests a second."""
    return NONE if value is None else f"{number_or_dash(value)}/s"


def estimate(value: Estimate | None) -> str:
    """A rate with its interval."""
    if value is None:
        return NONE
    if value.high is None:
        return f"≥ {rate(value.value)}"
    return f"{rate(value.value)} ({number_or_dash(value.low)} to {number_or_dash(value.high)})"


def scenario_sentence(run: RunResult) -> str:
    """The scenario in one sentence."""
    model = next((d.memory.model for d in run.deployments if d.memory), None)
    served = f"{model} on {run.engine}: " if model else f"{run.engine}: "
    return f"{served}{run.workload.sentence.rstrip('.')}."


def slo_limits(run: RunResult, latency: Latency) -> list[tuple[float, str]]:
    """The limits on a latency in seconds, each with the words for a chart, one for each class that has its own."""
    checks = next((d.slo for d in run.deployments if d.slo), ())
    ours = {check.limit: check.label for check in checks if check.latency == latency}
    return [(limit, f"SLO {label} {seconds(limit)}" if label else f"SLO {seconds(limit)}") for limit, label in ours.items()]


def slo_word(d: DeploymentResult) -> str:
    """Whether the SLO is met, in a word or the term that is missed."""
    if d.slo_met is None:
        return NONE
    if d.slo_met:
        return "met"
    missed = [check.term for check in d.slo if not check.met]
    few = missed if len(missed) <= _FEW_TERMS else [*missed[:1], f"{len(missed) - 1} more terms"]
    return f"missed: {', '.join(few)}" if d.steady and missed else "missed"


def band(metric: str, error: ErrorBand) -> str:
    """How far a metric may be off: `TTFT ±40%`."""
    return f"{_BANDED.get(metric, metric)} ±{error.percent:g}%"


def sentence(text: str) -> str:
    """A text as a sentence: a capital first, unless it is an argument's name, and a full stop last.

    >>> sentence("weights do not fit"), sentence("max_model_len is too long.")
    ('Weights do not fit.', 'max_model_len is too long.')
    """
    first = text.split(" ", 1)[0]
    start = text[:1] if "_" in first or "=" in first else text[:1].upper()
    return f"{start}{text[1:].rstrip('.')}." if text else ""


def remedy_line(d: DeploymentResult, demand: float | None) -> str:
    """The nearest thing that would help, empty when nothing is known or needed.

    Where one of several replicas' capacity is known, it is how many of them the demand needs; at most so many where there is an
    SLO, for a router that sends each request to the replica with the least to do keeps it with fewer.
    """
    if d.remedies or not d.runs or not demand or (d.verdict == "stable" and d.slo_met is not False):
        return d.remedies[0] if d.remedies else ""
    capacity = d.slo_capacity if d.slo else d.queueing_point
    if capacity is None or capacity.value <= 0:
        return ""
    each = capacity.value / d.replicas
    wanted = math.ceil(demand / each)
    if wanted <= d.replicas:
        return ""
    replicas = plural(wanted, "replica")
    return f"at most {replicas}; one alone takes {rate(each)} within the SLO" if d.slo else f"{replicas}, each takes {rate(each)}"


def metric(d: DeploymentResult, name: str, write: Callable[[float | None], str]) -> str:
    """A metric in words; of an overloaded run the steady ones are said to be not steady."""
    if d.metrics is None:
        return NONE
    value = d.metrics.get(name)
    if value is None and not d.steady and d.runs:
        return NOT_STEADY
    return write(value)
