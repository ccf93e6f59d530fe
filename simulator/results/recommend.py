"""Recommendation: the cheapest deployment that is sure to do what was asked, or how far the nearest
one is from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, inf

from simulator.results.assurance import LIKELY
from simulator.results.model import Cost, DeploymentResult, Recommendation
from simulator.results.slo import SloCheck
from simulator.text import number, plural, sure

_GROWTH = ((1.5, "at +50 %"), (2.0, "at twice the traffic"))
_CALIBRATE = "two measured runs of it would tell (sim calibrate)"
_MOST_REPLICAS = 100


def recommend(
    deployments: Sequence[DeploymentResult], rate_per_s: float | None, peak_per_s: float | None = None
) -> Recommendation:
    """The cheapest deployment that is sure to be stable, answer the requests and meet the SLO; else
    that is likely to.

    By dollars an hour where all have a price, else by GPUs. Of equally cheap ones, the one with the
    most headroom. One that would not work a backlog off at the demand is recommended only where no
    other will do. What is less than likely is never recommended by itself: then the replicas of it
    that are likely to do are named.

    `peak_per_s`, the highest rate of traffic that varies, is what room and growth are counted from.
    """
    busiest = peak_per_s or rate_per_s
    serving = [d for d in deployments if _served(d)]
    able = [d for d in serving if d.standing == "meets"]
    if not able:
        able = [d for d in serving if d.standing == "too close to call" and d.assurance and d.assurance.chance >= LIKELY]
    stable = [d for d in able if d.verdict == "stable"] or able
    stable = [d for d in stable if recovers(d, rate_per_s)] or stable
    if not stable:
        return Recommendation(None, _none_will_do(deployments, rate_per_s), lines=tuple(_ways_out(serving, busiest)))
    priced = all(d.cost for d in stable)

    def order(d: DeploymentResult) -> tuple[float, int, float]:
        return (d.cost.usd_per_hour if priced and d.cost else float(d.gpus), d.gpus, -(headroom(d, busiest) or 0.0))

    best = min(stable, key=order)
    room = headroom(best, busiest)
    return Recommendation(
        best.name,
        _sentence(best, len(stable), priced, room, rate_per_s, busiest),
        best.cost.usd_per_hour if best.cost else None,
        room,
        best.assurance.chance if best.assurance else None,
        tuple(_beside(best, deployments, busiest, peak_per_s)),
    )


def headroom(deployment: DeploymentResult, rate_per_s: float | None) -> float | None:
    """How much more traffic it takes: capacity within the SLO (without one, the queueing point) over demand, less one.

    None where no rate meets the SLO, where the demand itself is missed, and where traffic whose
    rate varies overloads it, though it would carry as much if it came evenly.
    """
    capacity = deployment.slo_capacity if deployment.slo else deployment.queueing_point
    if not capacity or not rate_per_s:
        return None
    room = capacity.value / rate_per_s - 1
    missed = deployment.verdict == "overloaded" or deployment.slo_met is False
    return None if missed else room


def recovers(deployment: DeploymentResult, rate_per_s: float | None) -> bool:
    """Whether it works a backlog off at the demand."""
    below = deployment.recovers_below_per_s
    return below is None or rate_per_s is None or rate_per_s <= below


def called(deployment: DeploymentResult) -> str:
    """A deployment by its name, with its hardware where the name does not say it."""
    name, title = deployment.name, deployment.title
    return name if title in name else f"{name} ({title})"


def _served(deployment: DeploymentResult) -> bool:
    return bool(deployment.metrics and deployment.metrics.get("finished"))


def _sentence(
    best: DeploymentResult,
    choices: int,
    priced: bool,
    room: float | None,
    demand: float | None,
    busiest: float | None,
) -> str:
    rank = "the only one" if choices == 1 else f"the {'cheapest' if priced else 'smallest'} of {choices}"
    one, certain = "s" if choices == 1 else "", best.standing == "meets"
    does = f"meet{one} the SLO" if best.slo else f"keep{one} up with the traffic"
    if not certain:
        will = "is" if choices == 1 else "are"
        does = f"{will} likely to {'meet the SLO' if best.slo else 'keep up'}, and nothing here is sure to"
    how = f" ({sure(best.assurance.chance)})" if best.assurance else ""
    parts = [f"{called(best)}: {rank} that {does}{how}"]
    if best.cost:
        parts.append(f"at ${best.cost.usd_per_hour:.2f} an hour")
    if busiest and (each := _sure_each(best)):
        room = each * best.replicas / busiest - 1
    if room is not None:
        parts.append(f"with room for {room:.0%} more traffic" if room > 0 else "with no room for more traffic")
    if not recovers(best, demand) and best.recovers_below_per_s is not None:
        parts.append(f"but once requests queue it recovers only below {number(best.recovers_below_per_s)} requests/s")
    return ", ".join(parts) + "."


def _beside(
    best: DeploymentResult,
    deployments: Sequence[DeploymentResult],
    demand: float | None,
    peak: float | None,
) -> Iterator[str]:
    """What else decides about a recommended deployment."""
    if best.cost:
        yield f"{plural(best.gpus, 'GPU')}: {_price(best.cost)}."
    if demand and (growth := _growth(best, demand, peak)):
        yield growth
    certain = best.standing == "meets"
    if not certain:
        yield f"To be sure: {_CALIBRATE}."
    cheaper = [d for d in deployments if d is not best and _is_open(d) and (not certain or _cheaper(d, best))]
    if cheaper:
        yield f"{'Cheaper and too' if certain else 'Also too'} close to call: {'; '.join(map(_open, cheaper))}; {_CALIBRATE}."


def _price(cost: Cost) -> str:
    dated = f", {cost.price_date}" if cost.price_date else ""
    month = f", ${cost.usd_per_month:,.0f} a month" if cost.usd_per_month is not None else ""
    return f"${cost.usd_per_hour:,.2f} an hour{month} ({cost.price_source.split(': ')[0]}{dated})"


def _growth(d: DeploymentResult, demand: float, peak: float | None) -> str:
    """What it takes when the traffic grows, by the rate up to which it is as sure as now."""
    each = _sure_each(d)
    if not each:
        return ""
    word = "Sure" if d.standing == "meets" else "Likely"
    wanted = [(times, said, ceil(demand * times / each)) for times, said in _GROWTH]
    steps = [
        f"{said} it still will do" if n <= d.replicas else f"{said} it takes {d.counted(n)}{_dollars(d, n)}"
        for _, said, n in wanted
    ]
    even = f" of even traffic, against a peak of {number(peak)}/s" if peak else ""
    return f"{word} up to {number(each * d.replicas)} requests/s{even}; {', '.join(steps)}."


def _sure_each(d: DeploymentResult) -> float | None:
    """Requests/s that one of its replicas takes, as surely as the deployment does what is asked;
    likely where it does not."""
    if d.assurance is None:
        return None
    rate = d.assurance.sure_per_s if d.standing == "meets" else d.assurance.likely_per_s
    return rate / d.replicas if rate else None


def _dollars(d: DeploymentResult, replicas: int) -> str:
    return f" (${d.cost.usd_per_hour / d.replicas * replicas:,.2f} an hour)" if d.cost else ""


def _is_open(d: DeploymentResult) -> bool:
    return d.standing in ("too close to call", "too few to say")


def _cheaper(d: DeploymentResult, best: DeploymentResult) -> bool:
    return d.cost is not None and best.cost is not None and d.cost.usd_per_hour < best.cost.usd_per_hour


def _open(d: DeploymentResult) -> str:
    """A deployment that may do, with the term that decides it and how sure that is."""
    if d.assurance is None:
        return d.name
    if d.standing == "too few to say":
        return f"{d.name} (too few requests to say: {d.assurance.needed:,} would tell)"
    worst = _least_sure(d)
    return f"{d.name} ({f'{worst.said}, ' if worst else ''}{sure(d.assurance.chance)})"


def _least_sure(d: DeploymentResult) -> SloCheck | None:
    known = [check for check in d.slo if check.chance is not None]
    return min([c for c in known if c.latency] or known, key=lambda check: check.chance or 0.0, default=None)


def _ways_out(serving: Sequence[DeploymentResult], demand: float | None) -> Iterator[str]:
    """What would do where nothing listed is likely to: replicas of what is there, and what would
    make the close ones sure."""
    able = [
        (d, each) for d in serving if demand and d.assurance and (each := _each_likely(d)) and demand / each <= _MOST_REPLICAS
    ]
    if demand and able:
        priced = all(d.cost for d, _ in able)

        def order(one: tuple[DeploymentResult, float]) -> float:
            d, each = one
            unit = d.cost.usd_per_hour if priced and d.cost else float(d.gpus)
            return unit / d.replicas * ceil(demand / each)

        best, each = min(able, key=order)
        replicas = max(ceil(demand / each), best.replicas + 1)
        yield (
            f"The nearest that is likely to: {best.counted(replicas)} of {called(best)}{_dollars(best, replicas)}, "
            f"each taking {number(each)} requests/s by its curve."
        )
    if any(_is_open(d) for d in serving):
        yield f"To be sure: {_CALIBRATE}."


def _each_likely(d: DeploymentResult) -> float | None:
    rate = d.assurance.likely_per_s if d.assurance else None
    return rate / d.replicas if rate else None


def _none_will_do(deployments: Sequence[DeploymentResult], rate_per_s: float | None) -> str:
    running = [d for d in deployments if d.runs]
    demand = f"at {number(rate_per_s, 4)} requests/s" if rate_per_s else "at this load"
    if not running:
        return f"Nothing here starts. Nearest way out: {_nearest_start(deployments)}." if deployments else "Nothing to compare."
    if not any(_served(d) for d in running):
        return f"Nothing here completed a request. {called(running[0])}: {running[0].reason}."
    if undecided := [d for d in running if _is_open(d)]:
        does = "meet the SLO" if undecided[0].slo else "keep up"
        return f"Nothing here is sure to {does} {demand}. Too close to call: {'; '.join(map(_open, undecided))}."
    steady = [d for d in running if d.steady]
    if not steady:
        most = max(running, key=lambda d: d.queueing_point.value if d.queueing_point else 0.0)
        reach = (
            f"; the most, {called(most)}, sustains {number(most.queueing_point.value)} requests/s" if most.queueing_point else ""
        )
        return f"Nothing here keeps up {demand}{reach}."
    answering = [d for d in steady if d.verdict != "requests unanswered"]
    if not answering:
        closest = min(steady, key=lambda d: (d.metrics or {}).get("unanswered_share") or 0.0)
        return f"Nothing here answers enough of the requests. The nearest is {called(closest)}: {closest.reason}."
    closest = min(answering, key=lambda d: max(check.excess for check in d.slo))
    worst = max((check for check in closest.slo if not check.met), key=lambda check: check.excess)
    return f"Nothing here meets the SLO {demand}. The nearest is {called(closest)}: {worst}."


def _nearest_start(deployments: Sequence[DeploymentResult]) -> str:
    """What would make the deployment start that is missing the least memory, as a share of its card."""

    def missing(d: DeploymentResult) -> float:
        return d.memory.used_bytes / d.memory.total_bytes if d.memory else inf

    nearest = min(deployments, key=lambda d: (not d.remedies, missing(d)))
    return f"{called(nearest)} with {nearest.remedies[0]}" if nearest.remedies else f"{called(nearest)}: {nearest.reason}"
