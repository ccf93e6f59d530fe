"""Words: how numbers, verdicts and rows are written, the same on the page, in Markdown and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from simulator import text as amounts
from simulator.latency.error_bands import ErrorBand
from simulator.results.model import DeploymentResult, RunResult, Verdict
from simulator.results.slo import PromisedLatency

GIB = 2.0**30
_FEW_TERMS = 3
_BANDED = {
    **{name: name.upper() for name in ("ttft", "tpot", "e2e")},
    **{f"{name}_tail": f"{name.upper()} p90 and beyond" for name in ("ttft", "tpot", "e2e")},
    "output_tokens_per_s": "output tokens/s",
}
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
OPEN = Mark("◐", "?", "open", "yellow")


def mark(d: DeploymentResult) -> Mark:
    """The sign of a deployment: its verdict's, but what runs and misses the SLO is no success, and
    what may miss it is open."""
    if d.runs and d.standing in ("too close to call", "too few to say"):
        return OPEN
    return MISSED if d.verdict == "stable" and d.standing == "misses" else MARKS[d.verdict]


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


def scenario_sentence(run: RunResult) -> str:
    """The scenario in one sentence, and which release its engine is taken for."""
    model = next((d.memory.model for d in run.deployments if d.memory), None)
    served = f"{model} on {run.engine}: " if model else f"{run.engine}: "
    taken = f" {run.taken_for}." if run.taken_for else ""
    return f"{served}{run.workload.sentence.rstrip('.')}.{taken}"


def limit_words(each: PromisedLatency) -> str:
    """A limit for a chart: `SLO 1 s`."""
    return f"SLO {seconds(each.limit)}"


def slo_word(d: DeploymentResult) -> str:
    """Whether the SLO is met and how sure that is, or the term that is missed."""
    if d.slo_met is None:
        return NONE
    if d.standing == "too few to say" and d.assurance:
        return f"too few requests to say ({d.assurance.needed:,} would tell)"
    if d.standing == "too close to call" and d.assurance:
        return f"too close to call ({amounts.sure(d.assurance.chance)})"
    if d.standing == "meets":
        return f"met ({amounts.sure(d.assurance.chance)})" if d.assurance else "met"
    missed = [check.term for check in d.slo if not check.met]
    few = missed if len(missed) <= _FEW_TERMS else [*missed[:1], f"{len(missed) - 1} more terms"]
    return f"missed: {', '.join(few)}" if d.steady and missed else "missed"


def slo_phrase(d: DeploymentResult) -> str:
    """The same after a verdict: `, SLO met (95% sure)`; without an SLO how sure the verdict is;
    empty for what does not run."""
    if not d.runs:
        return ""
    if d.slo_met is not None:
        return f", SLO {slo_word(d)}"
    return f" ({amounts.sure(d.assurance.chance)} to keep up)" if d.assurance and d.verdict != "overloaded" else ""


def judged_line(d: DeploymentResult, most: int = _FEW_TERMS) -> str:
    """The latencies that an SLO judges against their limits, the least sure first: `TTFT p99 2.2 s
    (1.3 to 3.1) of 2 s`."""
    if not d.steady:
        return ""
    known = [each for each in d.promised if each.limit is not None and each.value is not None]
    known.sort(key=lambda each: -(each.high or math.inf) / (each.limit or 1.0))
    said = [f"{each.name} {banded_seconds(each, each.limit)} of {seconds(each.limit)}" for each in known[:most]]
    return "; ".join([*said, *([f"{len(known) - most} more"] if len(known) > most else [])])


def banded_seconds(each: PromisedLatency, like: float | None = None) -> str:
    """A latency with its band, in milliseconds where what it is held against, or itself, is below a
    second."""
    if each.value is None:
        return NONE
    scale, unit = (1e3, " ms") if (like or each.value) < 0.9995 else (1.0, " s")
    low, high = (None if end is None else scale * end for end in (each.low, each.high))
    return amounts.banded(scale * each.value, low, high, unit)


def sureness(d: DeploymentResult) -> str:
    """Up to which rate it is sure to do what is asked, and from which it is sure not to; empty
    where no error is known.

    Where the limit that decides is missed or met by less than the error, it says by how much.
    """
    a = d.assurance
    if a is None or not d.runs:
        return ""
    if d.standing == "too few to say":
        return f"the percentile lies beyond the slowest of so few requests too often; {a.needed:,} would tell"
    parts = [_margin(d)] if d.standing == "too close to call" and d.slo else []
    if a.sure_per_s:
        parts.append(f"90% sure up to {rate(a.sure_per_s)}")
    if a.lost_per_s and d.standing != "meets":
        parts.append(f"sure to fail from {rate(a.lost_per_s)} on")
    return "; ".join(filter(None, parts))


def _margin(d: DeploymentResult) -> str:
    known = [check for check in d.slo if check.strain is not None and check.chance is not None and check.latency]
    if not known:
        return ""
    worst = min(known, key=lambda check: check.chance or 0.0)
    by = abs((worst.measured or 0.0) - worst.limit)
    return f"{'misses' if not worst.met else 'keeps'} {worst.term} by {seconds(float(f'{by:.2g}'))}, inside the error"


def queueing(d: DeploymentResult) -> str:
    """Where it starts to queue, with the band of a real server."""
    point, a = d.queueing_point, d.assurance
    if point is None:
        return NONE
    if point.high is None:
        return f"≥ {rate(point.value)}"
    low, high = (a.queueing_low_per_s, a.queueing_high_per_s) if a else (None, None)
    return amounts.banded(point.value, low, high, "/s")


def ranked(run: RunResult) -> list[DeploymentResult]:
    """The deployments as they are told: the recommended one, then as they are listed."""
    return sorted(run.deployments, key=lambda d: d.name != run.recommendation.deployment)


def folded(run: RunResult, most: int = 6) -> tuple[list[DeploymentResult], list[DeploymentResult]]:
    """The deployments that are told in full, and, where there are more than `most`, the losers that
    are told in a line each."""
    every = ranked(run)
    room = most - sum(not _loses(d) for d in every)
    losers = [d for d in every if _loses(d)]
    short = losers[max(room, 0) :]
    return [d for d in every if d not in short], short


def _loses(d: DeploymentResult) -> bool:
    return not d.runs or d.standing == "misses"


def band(metric: str, error: ErrorBand) -> str:
    """Where a real figure lies beside the predicted one: `TTFT −19% to +41%`, `TPOT ±7%`."""
    low, high = (round(100 * (end - 1)) for end in (error.low, error.high))
    name = _BANDED.get(metric, metric)
    return f"{name} ±{high}%" if abs(low + high) <= 1 else f"{name} {_signed(low)} to {_signed(high)}"


def _signed(percent_: int) -> str:
    return f"{'−' if percent_ < 0 else '+'}{abs(percent_)}%"


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
    replicas = d.counted(wanted)
    return f"at most {replicas}; one alone takes {rate(each)} within the SLO" if d.slo else f"{replicas}, each takes {rate(each)}"


def metric(d: DeploymentResult, name: str, write: Callable[[float | None], str]) -> str:
    """A metric in words; of an overloaded run the steady ones are said to be not steady."""
    if d.metrics is None:
        return NONE
    value = d.metrics.get(name)
    if value is None and not d.steady and d.runs:
        return NOT_STEADY
    return write(value)
