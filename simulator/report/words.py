"""Words: how numbers, verdicts and rows are written, the same on the page, in Markdown and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from simulator import text as amounts
from simulator.results.model import DeploymentResult, ErrorBand, Estimate, RunResult, Verdict
from simulator.results.recommend import headroom
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
    """A share as a percentage; what is not all of it never reads 100 %.

    >>> percent(0.1234), percent(0.9999), percent(1.0)
    ('12.3%', '99.9%', '100%')
    """
    if value is None:
        return NONE
    if 0.999 < value < 1:
        return "99.9%"
    return f"{value * 100:.3g}%"


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


def slo_limits(run: RunResult, latency: str) -> list[tuple[float, str]]:
    """The limits on a latency in seconds, each with the words for a chart, one for each class that has its own."""
    checks = next((d.slo for d in run.deployments if d.slo), ())
    ours = [(check.limit, check.term.rpartition(": ")[0]) for check in checks if check.term.endswith(latency)]
    return [(limit, f"SLO{f' {name}' * bool(name)} {seconds(limit)}") for limit, name in dict(ours).items()]


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


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A row of the comparison: its label, its group, the value of each deployment in words."""

    label: str
    group: str
    value: Callable[[DeploymentResult], str]


def _pair(first: str, second: str, write: Callable[[float | None], str]) -> Callable[[DeploymentResult], str]:
    def value(d: DeploymentResult) -> str:
        a, b = metric(d, first, write), metric(d, second, write)
        return a if a == b else f"{a} / {b}"

    return value


def comparison(run: RunResult) -> tuple[ComparisonRow, ...]:
    """The rows of the comparison table, in order."""
    demand = run.workload.rate_per_s
    slower = any(d.recovers_below_per_s is not None for d in run.deployments)

    def room(d: DeploymentResult) -> str:
        spare = headroom(d, demand)
        return NONE if spare is None else f"{spare:+.0%}"

    latency = [
        ComparisonRow(f"{word} p50 / p99", "Latency", _pair(f"{key}_p50_s", f"{key}_p99_s", seconds))
        for key, word in (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL"), ("e2e", "E2E"))
    ]
    return (
        ComparisonRow("Verdict", "Answer", lambda d: d.verdict),
        ComparisonRow("SLO", "Answer", slo_word),
        *([ComparisonRow("Unanswered requests", "Answer", _unanswered)] if any(map(_lost, run.deployments)) else []),
        ComparisonRow("Hardware", "Answer", lambda d: d.title),
        ComparisonRow("GPUs", "Answer", lambda d: str(d.gpus)),
        *_slo_terms(run),
        ComparisonRow("Per hour", "Cost", lambda d: usd(d.cost.usd_per_hour) if d.cost else NONE),
        ComparisonRow("Per month", "Cost", lambda d: usd(d.cost.usd_per_month) if d.cost else NONE),
        ComparisonRow(
            "Per million output tokens", "Cost", lambda d: usd(d.cost.usd_per_million_output_tokens) if d.cost else NONE
        ),
        ComparisonRow(
            "The same at the SLO capacity", "Cost", lambda d: usd(d.cost.usd_per_million_output_tokens_at_slo) if d.cost else NONE
        ),
        ComparisonRow(
            "Per million tokens in and out", "Cost", lambda d: usd(d.cost.usd_per_million_total_tokens) if d.cost else NONE
        ),
        ComparisonRow("Starts to queue at", "Capacity", lambda d: estimate(d.queueing_point)),
        *([ComparisonRow("Recovers from a queue below", "Capacity", lambda d: rate(d.recovers_below_per_s))] if slower else []),
        ComparisonRow("Meets the SLO up to", "Capacity", lambda d: estimate(d.slo_capacity)),
        ComparisonRow("Headroom over demand", "Capacity", room),
        ComparisonRow("What binds", "Capacity", lambda d: d.binding.resource if d.binding else NONE),
        ComparisonRow("Requests", "Throughput", lambda d: metric(d, "requests_per_s", rate)),
        ComparisonRow("Output tokens/s", "Throughput", lambda d: metric(d, "output_tokens_per_s", number_or_dash)),
        ComparisonRow("All tokens/s", "Throughput", lambda d: metric(d, "total_tokens_per_s", number_or_dash)),
        ComparisonRow(
            "Output tokens/s per GPU", "Throughput", lambda d: metric(d, "output_tokens_per_s_per_gpu", number_or_dash)
        ),
        ComparisonRow("Goodput", "Throughput", _goodput),
        *latency,
        ComparisonRow("Running mean / peak", "Queue", _pair("running_mean", "running_peak", number_or_dash)),
        ComparisonRow("Waiting mean / peak", "Queue", _pair("waiting_mean", "waiting_peak", number_or_dash)),
        ComparisonRow("Preemptions", "Queue", lambda d: metric(d, "preemptions", number_or_dash)),
        ComparisonRow("KV cache", "Memory", lambda d: gib(max(d.memory.kv_cache_bytes, 0.0)) if d.memory else NONE),
        ComparisonRow("KV tokens per replica", "Memory", lambda d: number_or_dash(d.memory.kv_tokens) if d.memory else NONE),
        ComparisonRow("KV use mean / peak", "Memory", _pair("kv_use_mean", "kv_use_peak", percent)),
        ComparisonRow("Longest context that fits", "Memory", _longest),
        ComparisonRow("Requests the KV cache holds", "Memory", _concurrency),
        ComparisonRow("KV blocks run out from", "Memory", lambda d: rate(d.oom_point.full_at_per_s) if d.oom_point else NONE),
        ComparisonRow("Preempts from", "Memory", lambda d: rate(d.oom_point.preempts_at_per_s) if d.oom_point else NONE),
    )


def _slo_terms(run: RunResult) -> Iterator[ComparisonRow]:
    """A row for each term of the SLO, with what was measured."""
    terms = next((d.slo for d in run.deployments if d.slo), ())
    for i, check in enumerate(terms):
        asked = f"at most {seconds(check.limit)}" if check.unit else f"at least {percent(check.limit)}"
        yield ComparisonRow(f"{check.term}, {asked}", "SLO", partial(_measured, i))


def _measured(term: int, d: DeploymentResult) -> str:
    check = d.slo[term] if d.slo else None
    if check is not None and check.unit and check.too_few_answers:
        return f"{amounts.share(check.unanswered)} unanswered, missed"
    if check is None or check.measured is None:
        return NOT_STEADY if d.runs and not d.steady else NONE
    value = seconds(check.measured) if check.unit else percent(check.measured)
    return value if check.met else f"{value}, missed"


def _lost(d: DeploymentResult) -> float:
    """The share of the requests that got no answer."""
    return (d.metrics or {}).get("unanswered_share") or 0.0


def _unanswered(d: DeploymentResult) -> str:
    if d.metrics is None:
        return NONE
    count = sum(d.metrics.get(name) or 0.0 for name in ("refused", "abandoned"))
    return f"{count:,.0f} ({amounts.share(_lost(d))})" if count else "none"


def _goodput(d: DeploymentResult) -> str:
    flow, share = metric(d, "goodput_per_s", rate), metric(d, "goodput_share", percent)
    return flow if flow == share else f"{flow}, {share} of requests"


def _longest(d: DeploymentResult) -> str:
    return f"{d.oom_point.longest_context_tokens:,} tokens" if d.oom_point else NONE


def _concurrency(d: DeploymentResult) -> str:
    return f"{d.oom_point.concurrency:,.0f} at once" if d.oom_point else NONE
