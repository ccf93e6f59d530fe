"""Recommendation: the cheapest deployment that does what was asked, or how far the nearest one is from it."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.results.model import DeploymentResult, Recommendation
from simulator.text import number


def recommend(deployments: Sequence[DeploymentResult], rate_per_s: float | None) -> Recommendation:
    """The cheapest deployment that is stable, answers the requests and meets the SLO.

    By dollars an hour where all have a price, else by GPUs.
    Of equally cheap ones, the one with the most headroom. One that would not work a backlog off at the demand is recommended
    only where no other will do.
    """
    fitting = [d for d in deployments if d.carries and _served(d)]
    stable = [d for d in fitting if d.verdict == "stable"] or fitting
    stable = [d for d in stable if recovers(d, rate_per_s)] or stable
    if not stable:
        return Recommendation(None, _none_will_do(deployments, rate_per_s))
    priced = all(d.cost for d in stable)

    def order(d: DeploymentResult) -> tuple[float, int, float]:
        return (d.cost.usd_per_hour if priced and d.cost else float(d.gpus), d.gpus, -(headroom(d, rate_per_s) or 0.0))

    best = min(stable, key=order)
    room = headroom(best, rate_per_s)
    return Recommendation(
        best.name, _sentence(best, len(stable), priced, room, rate_per_s), best.cost.usd_per_hour if best.cost else None, room
    )


def headroom(deployment: DeploymentResult, rate_per_s: float | None) -> float | None:
    """How much more traffic it takes: capacity within the SLO (without one, the queueing point) over demand, less one.

    None where no rate meets the SLO, and where traffic whose rate varies overloads it, though it would carry as much if it
    came evenly.
    """
    capacity = deployment.slo_capacity if deployment.slo else deployment.queueing_point
    if not capacity or not rate_per_s:
        return None
    room = capacity.value / rate_per_s - 1
    return None if room > 0 and deployment.verdict == "overloaded" else room


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


def _sentence(best: DeploymentResult, choices: int, priced: bool, room: float | None, demand: float | None) -> str:
    rank = "the only one" if choices == 1 else f"the {'cheapest' if priced else 'smallest'} of {choices}"
    one = "s" if choices == 1 else ""
    parts = [f"{called(best)}: {rank} that {f'meet{one} the SLO' if best.slo else f'keep{one} up with the traffic'}"]
    if best.cost:
        parts.append(f"at ${best.cost.usd_per_hour:.2f} an hour")
    if room is not None:
        parts.append(f"with room for {room:.0%} more traffic" if room > 0 else "with no room for more traffic")
    if not recovers(best, demand) and best.recovers_below_per_s is not None:
        parts.append(f"but once requests queue it recovers only below {number(best.recovers_below_per_s)} requests/s")
    return ", ".join(parts) + "."


def _none_will_do(deployments: Sequence[DeploymentResult], rate_per_s: float | None) -> str:
    running = [d for d in deployments if d.runs]
    demand = f"at {number(rate_per_s, 6)} requests/s" if rate_per_s else "at this load"
    if not running:
        return f"Nothing here starts. Nearest way out: {_remedy(deployments[0])}." if deployments else "Nothing to compare."
    if not any(_served(d) for d in running):
        return f"Nothing here completed a request. {called(running[0])}: {running[0].reason}."
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


def _remedy(deployment: DeploymentResult) -> str:
    return deployment.remedies[0] if deployment.remedies else deployment.reason
