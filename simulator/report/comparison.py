"""Comparison: the rows of the table that puts deployments side by side, as numbers with a unit and a better end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from simulator import text as amounts
from simulator.report import words
from simulator.report.words import NONE, NOT_STEADY
from simulator.results.metrics import METRICS
from simulator.results.model import Cost, DeploymentResult, RunResult
from simulator.results.over_time import OverTime
from simulator.results.recommend import headroom
from simulator.results.slo import PromisedLatency, SloCheck

Better = Literal["higher", "lower", "neither"]
Value = Callable[[DeploymentResult], float | None]
Say = Callable[[DeploymentResult], str]

_WRITERS: Mapping[str, Callable[[float | None], str]] = {
    "s": words.seconds,
    "requests/s": words.rate,
    "bytes": words.gib,
    "$": words.usd,
    "share": words.percent,
}
_UNITS = {metric.name: metric.unit for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `value`: the number of a deployment, in `unit`, None where there is none or the row has only words.

    `better`: which end of the numbers is the better one. `say`: the cell in words, which nothing reads again.
    """

    label: str
    group: str
    value: Value
    unit: str
    better: Better
    say: Say


def best_of(row: Row, deployments: Sequence[DeploymentResult]) -> list[DeploymentResult]:
    """The deployments that are best in a row, and those that read the same; none where all do, or no end is better."""
    numbers = [(value, d) for d in deployments if (value := row.value(d)) is not None]
    if row.better == "neither" or len({row.say(d) for _, d in numbers}) < 2:
        return []
    choose = max if row.better == "higher" else min
    best, first = choose(numbers, key=lambda number: number[0])
    return [d for value, d in numbers if value == best or row.say(d) == row.say(first)]


def comparison(run: RunResult) -> tuple[Row, ...]:
    """The rows of the comparison table, in order."""
    return (
        *_answer(run),
        *_slo_terms(run),
        *_cost(),
        *_fleet(run),
        *_capacity(run),
        *_throughput(),
        *_latency(run),
        *_queue(),
        *_pools(run),
        *_memory(),
    )


def _answer(run: RunResult) -> Iterator[Row]:
    row = partial(_words, "Answer")
    yield row("Verdict", lambda d: d.verdict)
    yield row("SLO", words.slo_word)
    if any(d.assurance for d in run.deployments):
        yield _number("Answer", "How sure", _chance, "share", "higher", _sure)
    if any(map(_unanswered_share, run.deployments)):
        yield _number("Answer", "Unanswered requests", _unanswered_share, "share", say=_unanswered)
    yield row("Hardware", lambda d: d.title)
    yield _number("Answer", "GPUs", lambda d: d.gpus)


def _slo_terms(run: RunResult) -> Iterator[Row]:
    """A row for each term of the SLO, with what was measured."""
    for i, check in enumerate(next((d.slo for d in run.deployments if d.slo), ())):
        unit = "s" if check.latency else "share"
        asked = f"{'at most' if check.latency else 'at least'} {_WRITERS[unit](check.limit)}"
        yield _number("SLO", f"{check.term}, {asked}", partial(_measured, i), unit, say=partial(_say_measured, i))


def _cost() -> Iterator[Row]:
    for label, of in (
        ("Per hour", lambda cost: cost.usd_per_hour),
        ("Per month", lambda cost: cost.usd_per_month),
        ("Per million output tokens", lambda cost: cost.usd_per_million_output_tokens),
        ("The same at the SLO capacity", lambda cost: cost.usd_per_million_output_tokens_at_slo),
        ("Per million tokens in and out", lambda cost: cost.usd_per_million_total_tokens),
    ):
        yield _number("Cost", label, partial(_dollars, of), "$", "lower")
    yield _number("Cost", "Power of all GPUs, estimated", _watts, "W", say=partial(_counted, _watts, "W"))
    energy = "Energy per million output tokens, estimated"
    yield _number("Cost", energy, _kwh, "kWh", "lower", say=_say_kwh)
    electricity = "Its electricity"
    yield _number("Cost", electricity, _electricity, "$", "lower")


def _watts(d: DeploymentResult) -> float | None:
    return d.cost.watts if d.cost else None


def _kwh(d: DeploymentResult) -> float | None:
    """Kilowatt-hours of a million output tokens at this run's throughput."""
    watts, tokens = _watts(d), _of_metrics("output_tokens_per_s", d)
    return watts / tokens * 1e6 / 3.6e6 if watts and tokens else None


def _say_kwh(d: DeploymentResult) -> str:
    kwh = _kwh(d)
    return NONE if kwh is None else f"{words.number_or_dash(kwh, 2)} kWh"


def _electricity(d: DeploymentResult) -> float | None:
    """Dollars of that energy, where the price of a kWh is stated."""
    kwh, usd = _kwh(d), d.cost.usd_per_kwh if d.cost else None
    return None if kwh is None or usd is None else kwh * usd


def _fleet(run: RunResult) -> Iterator[Row]:
    """What became of replicas that come and go."""
    if not any(d.over_time for d in run.deployments):
        return
    counted = partial(_number, "Fleet over time")
    kept = "Answered within the SLO" if run.slo else "Answered"
    yield counted(kept, partial(_of_fleet, lambda o: o.kept), "share", "higher")
    yield _words("Fleet over time", "Replicas ready", _ready)
    yield counted("Replica-hours", partial(_of_fleet, lambda o: o.replica_hours), better="lower")
    yield counted("Cost of the run", partial(_of_fleet, lambda o: o.usd), "$", "lower")
    yield counted("Time without a ready replica", partial(_of_fleet, lambda o: o.none_ready), "share", "lower")
    yield counted("Requests lost with a replica", partial(_of_fleet, lambda o: o.lost), better="lower")
    yield counted("Requests sent again", partial(_of_fleet, lambda o: o.sent_again))
    yield counted("A start takes", partial(_of_fleet, lambda o: sum(o.cold_start.values())), "s")


def _of_fleet(of: Callable[[OverTime], float | None], d: DeploymentResult) -> float | None:
    return None if d.over_time is None else of(d.over_time)


def _ready(d: DeploymentResult) -> str:
    told = d.over_time
    if told is None:
        return NONE
    return f"{told.least_ready} to {told.most_ready}, {told.starts} started, {told.deaths} died"


def _capacity(run: RunResult) -> Iterator[Row]:
    number = partial(_number, "Capacity")
    yield number("Starts to queue at", _queueing_point, "requests/s", "higher", words.queueing)
    if any(d.recovers_below_per_s is not None for d in run.deployments):
        yield number("Recovers from a queue below", lambda d: d.recovers_below_per_s, "requests/s")
    yield number("Meets the SLO up to", _slo_capacity, "requests/s", "higher", lambda d: words.rate(_slo_capacity(d)))
    if any(d.assurance for d in run.deployments):
        word = "meet the SLO" if run.slo else "keep up"
        yield number(f"90% sure to {word} up to", _sure_rate, "requests/s", "higher")
    room = partial(_headroom, run.workload.busiest_per_s)
    yield number(
        f"Headroom over {'the peak' if run.workload.peak_per_s else 'demand'}", room, "share", say=lambda d: _signed(room(d))
    )
    yield _words("Capacity", "What binds", _binds)


def _binds(d: DeploymentResult) -> str:
    if d.binding is None:
        return NONE
    gain = d.binding.gain
    return d.binding.resource if gain is None else f"{d.binding.resource} ({gain:+.0%} if relieved)"


def _throughput() -> Iterator[Row]:
    metric = partial(_metric, "Throughput")
    yield metric("Requests", "requests_per_s")
    yield _number("Throughput", "Output tokens/s", partial(_of_metrics, "output_tokens_per_s"), say=_output)
    yield metric("All tokens/s", "total_tokens_per_s")
    yield metric("Output tokens/s per GPU", "output_tokens_per_s_per_gpu", better="higher")
    yield _number("Throughput", "Goodput", partial(_of_metrics, "goodput_per_s"), "requests/s", say=_goodput)


def _latency(run: RunResult) -> Iterator[Row]:
    """Median and promised percentile of each latency, class by class, with the band; then the gaps
    between tokens."""
    for i, each in enumerate(next((d.promised for d in run.deployments if d.promised), ())):
        whose = f"{each.label}: " if each.label else ""
        label = f"{whose}{each.latency.upper()} p50 / p{each.percentile:g}"
        yield _number("Latency", label, partial(_median, i), "s", "lower", partial(_say_promised, i))
    yield _metric("Latency", "ITL p50 / p99", "itl_p50_s", "itl_p99_s", better="lower")


def _queue() -> Iterator[Row]:
    yield _metric("Queue", "Running mean / peak", "running_mean", "running_peak")
    yield _metric("Queue", "Waiting mean / peak", "waiting_mean", "waiting_peak")
    yield _metric("Queue", "Preemptions", "preemptions")


def _pools(run: RunResult) -> Iterator[Row]:
    """The prefill and the decode pool, the parts of TTFT, and the link, where a deployment has such."""
    if not any(d.pools for d in run.deployments):
        return
    for i, role in enumerate(("Prefill", "Decode")):
        yield _words("Pools", f"{role} pool", partial(_pool_wording, i))
        yield _number("Pools", f"{role} pool busy", partial(_of_pool, i, "busy_share"), "share")
        yield _number("Pools", f"{role} pool KV use", partial(_of_pool, i, "kv_use_mean"), "share")
        yield _number("Pools", f"{role} pool weights a GPU", partial(_weights, i), "bytes")
        yield _number("Pools", f"{role} pool KV cache a GPU", partial(_kv_bytes, i), "bytes")
    for name in dict.fromkeys(name for d in run.deployments if d.link for name in d.link.waits):
        yield _number("Pools", f"TTFT: {name}", partial(_part_of_ttft, name), "s", "lower")
    for label, name, unit in _LINK_ROWS:
        yield _number("Pools", label, partial(_of_link, name), unit)


_LINK_ROWS = (
    ("KV sent a request", "bytes_mean", "bytes"),
    ("Transfer p50", "transfer_p50_s", "s"),
    ("Transfer p99", "transfer_p99_s", "s"),
    ("Link use mean", "use_mean", "share"),
    ("Link use peak", "use_peak", "share"),
)


def _pool_wording(index: int, d: DeploymentResult) -> str:
    return d.pools[index].wording if d.pools else NONE


def _of_pool(index: int, name: str, d: DeploymentResult) -> float | None:
    return getattr(d.pools[index], name) if d.pools else None


def _weights(index: int, d: DeploymentResult) -> float | None:
    return d.pools[index].memory.weights_bytes if d.pools else None


def _kv_bytes(index: int, d: DeploymentResult) -> float | None:
    return max(d.pools[index].memory.kv_cache_bytes, 0.0) if d.pools else None


def _part_of_ttft(name: str, d: DeploymentResult) -> float | None:
    return d.link.waits.get(name) if d.link else None


def _of_link(name: str, d: DeploymentResult) -> float | None:
    return getattr(d.link, name) if d.link else None


def _memory() -> Iterator[Row]:
    number = partial(_number, "Memory")
    yield number("KV cache", lambda d: max(d.memory.kv_cache_bytes, 0.0) if d.memory else None, "bytes", "higher")
    yield number("KV tokens per replica", lambda d: d.memory.kv_tokens if d.memory else None)
    yield _metric("Memory", "KV use mean / peak", "kv_use_mean", "kv_use_peak", unit="share")
    longest: Value = lambda d: d.oom_point.longest_context_tokens if d.oom_point else None  # noqa: E731
    held: Value = lambda d: d.oom_point.concurrency if d.oom_point else None  # noqa: E731
    yield number("Longest context that fits", longest, "tokens", say=partial(_counted, longest, "tokens"))
    yield number("Requests the KV cache holds", held, "requests", say=partial(_counted, held, "at once"))
    yield number("KV blocks run out from", lambda d: d.oom_point.full_at_per_s if d.oom_point else None, "requests/s")
    yield number("Preempts from", lambda d: d.oom_point.preempts_at_per_s if d.oom_point else None, "requests/s")


def _words(group: str, label: str, say: Say) -> Row:
    """A row without numbers."""
    return Row(label, group, lambda d: None, "", "neither", say)


def _number(group: str, label: str, value: Value, unit: str = "", better: Better = "neither", say: Say | None = None) -> Row:
    """A row of numbers, written as their unit is, or by a function of its own."""
    return Row(label, group, value, unit, better, say or (lambda d: _write(unit, value(d))))


def _metric(group: str, label: str, *names: str, unit: str = "", better: Better = "neither") -> Row:
    """A row of one metric, or of several beside each other, of which the first is compared."""
    unit = unit or _UNITS[names[0]]

    def say(d: DeploymentResult) -> str:
        return " / ".join(dict.fromkeys(words.metric(d, name, partial(_write, unit)) for name in names))

    return Row(label, group, partial(_of_metrics, names[0]), unit, better, say)


def _write(unit: str, value: float | None) -> str:
    return _WRITERS.get(unit, words.number_or_dash)(value)


def _of_metrics(name: str, d: DeploymentResult) -> float | None:
    return (d.metrics or {}).get(name)


def _dollars(of: Callable[[Cost], float | None], d: DeploymentResult) -> float | None:
    return of(d.cost) if d.cost else None


def _queueing_point(d: DeploymentResult) -> float | None:
    return d.queueing_point.value if d.queueing_point else None


def _slo_capacity(d: DeploymentResult) -> float | None:
    return d.slo_capacity.value if d.slo_capacity else None


def _headroom(demand: float | None, d: DeploymentResult) -> float | None:
    return headroom(d, demand)


def _chance(d: DeploymentResult) -> float | None:
    return d.assurance.chance if d.assurance and d.runs else None


def _sure(d: DeploymentResult) -> str:
    chance = _chance(d)
    return NONE if chance is None else f"{d.standing}, {amounts.sure(chance)}"


def _sure_rate(d: DeploymentResult) -> float | None:
    return d.assurance.sure_per_s if d.assurance else None


def _promised(index: int, d: DeploymentResult) -> PromisedLatency | None:
    return d.promised[index] if d.promised else None


def _median(index: int, d: DeploymentResult) -> float | None:
    each = _promised(index, d)
    return each.median if each and d.steady else None


def _say_promised(index: int, d: DeploymentResult) -> str:
    each = _promised(index, d)
    if each is None or not d.steady or each.value is None:
        return NOT_STEADY if d.runs and not d.steady else NONE
    return f"{words.seconds(each.median)} / {words.banded_seconds(each)}"


def _output(d: DeploymentResult) -> str:
    value, band = _of_metrics("output_tokens_per_s", d), d.error_bands.get("output_tokens_per_s")
    if value is None or band is None:
        return words.number_or_dash(value)
    return amounts.banded(value, value * band.low, value * band.high)


def _signed(share: float | None) -> str:
    return NONE if share is None else f"{share:+.0%}"


def _counted(value: Value, noun: str, d: DeploymentResult) -> str:
    count = value(d)
    return NONE if count is None else f"{count:,.0f} {noun}"


def _term(index: int, d: DeploymentResult) -> SloCheck | None:
    return d.slo[index] if d.slo else None


def _measured(index: int, d: DeploymentResult) -> float | None:
    check = _term(index, d)
    return check.measured if check else None


def _say_measured(index: int, d: DeploymentResult) -> str:
    check = _term(index, d)
    if check is not None and check.latency and check.too_few_answers:
        return f"{amounts.share(check.unanswered)} unanswered, missed"
    if check is None or check.measured is None:
        return NOT_STEADY if d.runs and not d.steady else NONE
    value = _write("share", check.measured)
    if check.latency:
        held = PromisedLatency(check.label, check.latency, 0.0, check.limit, None, check.measured, check.low, check.high)
        value = words.banded_seconds(held, check.limit)
    return value if check.met else f"{value}, missed"


def _unanswered_share(d: DeploymentResult) -> float | None:
    return _of_metrics("unanswered_share", d)


def _unanswered(d: DeploymentResult) -> str:
    if d.metrics is None:
        return NONE
    count = sum(d.metrics.get(name) or 0.0 for name in ("refused", "abandoned", "lost"))
    return f"{count:,.0f} ({amounts.share(_unanswered_share(d) or 0.0)})" if count else "none"


def _goodput(d: DeploymentResult) -> str:
    flow, share = words.metric(d, "goodput_per_s", words.rate), words.metric(d, "goodput_share", words.percent)
    return flow if flow == share else f"{flow}, {share} of requests"
