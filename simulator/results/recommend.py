"""Recommendation: the cheapest deployment that does what was asked, or how far the nearest one is from it."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.results.model import DeploymentResult, Recommendation
from simulator.results.slo import SloCheck
from simulator.text import number


def recommend(deployments: Sequence[DeploymentResult], rate_per_s: float | None) -> Recommendation:
    """The cheapest deployment that is stable and meets the SLO: by dollars an hour where all have a price, else by GPUs.

    Of equally cheap ones, the one with the most headroom.
    """
    fitting = [d for d in deployments if d.steady and d.slo_met is not False and _served(d)]
    stable = [d for d in fitting if d.verdict == "stable"] or fitting
    if not stable:
        return Recommendation(None, _none_will_do(deployments, rate_per_s))
    priced = all(d.cost for d in stable)

    def order(d: DeploymentResult) -> tuple[float, int, float]:
        return (d.cost.usd_per_hour if priced and d.cost else float(d.gpus), d.gpus, -(headroom(d, rate_per_s) or 0.0))

    best = min(stable, key=order)
    room = headroom(best, rate_per_s)
    return Recommendation(
        best.name, _sentence(best, len(stable), priced, room), best.cost.usd_per_hour if best.cost else None, room
    )


def headroom(deployment: DeploymentResult, rate_per_s: float | None) -> float | None:
    """How much more traffic it takes: capacity within the SLO (without one, the queueing point) over demand, less one."""
    capacity = deployment.slo_capacity or deployment.queueing_point
    return capacity.value / rate_per_s - 1 if capacity and rate_per_s else None


def called(deployment: DeploymentResult) -> str:
    """A deployment by its name, with its hardware where the name does not say it."""
    name, title = deployment.name, deployment.title
    return name if title in name else f"{name} ({title})"


def _served(deployment: DeploymentResult) -> bool:
    return bool(deployment.metrics and deployment.metrics.get("finished"))


def _sentence(best: DeploymentResult, choices: int, priced: bool, room: float | None) -> str:
    rank = "the only one" if choices == 1 else f"the {'cheapest' if priced else 'smallest'} of {choices}"
    one = "s" if choices == 1 else ""
    parts = [f"{called(best)}: {rank} that {f'meet{one} the SLO' if best.slo else f'keep{one} up with the traffic'}"]
    if best.cost:
        parts.append(f"at ${best.cost.usd_per_hour:.2f} an hour")
    if room is not None:
        parts.append(f"with room for {room:.0%} more traffic" if room > 0 else "with no room for more traffic")
    return ", ".join(parts) + "."


def _none_will_do(deployments: Sequence[DeploymentResult], rate_per_s: float | None) -> str:
    running = [d for d in deployments if d.runs]
    demand = f"at {number(rate_per_s, 6)} requests/s" if rate_per_s else "at this load"
    if not running:
        return f"Nothing here starts. Nearest way out: {_remedy(deployments[0])}." if deployments else "Nothing to compare."
    if not any(_served(d) for d in running):
        return f"Nothing here completed a request. {called(running[0])}: {running[0].reason}."
    steady = [d for d in running if d.steady and d.slo]
    if not steady:
        most = max(running, key=lambda d: d.queueing_point.value if d.queueing_point else 0.0)
        reach = (
            f"; the most, {called(most)}, sustains {number(most.queueing_point.value)} requests/s" if most.queueing_point else ""
        )
        return f"Nothing here keeps up {demand}{reach}."
    closest = min(steady, key=lambda d: max(_excess(check) for check in d.slo))
    worst = max(closest.slo, key=_excess)
    return f"Nothing here meets the SLO {demand}. The nearest is {called(closest)}: {_miss(worst)}."


def _remedy(deployment: DeploymentResult) -> str:
    return deployment.remedies[0] if deployment.remedies else deployment.reason


def _excess(check: SloCheck) -> float:
    """How many times over its limit a term is; a share that should be high counts the other way round."""
    if check.measured is None:
        return float("inf")
    ratio = check.measured / check.limit
    return ratio if check.unit else 1 / ratio if ratio else float("inf")


def _miss(check: SloCheck) -> str:
    if check.measured is None:
        return f"{check.term} has no steady value"
    unit = f" {check.unit}" if check.unit else ""
    return f"{check.term} is {number(check.measured)}{unit} against {number(check.limit, 6)}{unit}"
