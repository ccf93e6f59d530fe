"""Agreement: what is said of a deployment at its demand. Verdict, queueing point and headroom come
from here and agree.

The run at the demand and the search for the queueing point are two witnesses, and either can be
wrong: the run may be too short, a false alarm, or lucky, and the search simulates one replica with
other arrivals. The rule: what the run surely shows of the demand decides. Where it shows nothing
for sure, the search does. The point is then moved to the side of the demand that the verdict says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from simulator.planning.capacity.deployment_run import DeploymentRun, rejudged
from simulator.planning.capacity.search import SLOWER, TOLERANCE, Turn
from simulator.results.model import Estimate
from simulator.results.steady_state import MOSTLY, Steadiness
from simulator.text import number


@dataclass(frozen=True, slots=True)
class Agreed:
    """The run as it is judged, the turn beside it, and the reason for the verdict; empty where the
    run's own stands."""

    run: DeploymentRun
    turn: Turn
    reason: str = ""


def agreed(
    demand: float, run: DeploymentRun, turn: Turn, longer: Callable[[], DeploymentRun]
) -> Agreed:
    """Verdict and queueing point at a demand, requests/s, of steady traffic: overloaded just where
    the point is below the demand.

    `longer`: a longer run at the demand, asked where run and search contradict each other.
    """
    found = (
        _overloaded(demand, run, turn, longer)
        if run.steadiness.verdict == "overloaded"
        else _served(demand, run, turn)
    )
    recovers = found.turn.recovers_below
    if recovers is None or demand <= recovers or found.run.steadiness.verdict == "overloaded":
        return found
    beyond = f"once requests queue it recovers only below {number(recovers)} requests/s"
    return dataclasses.replace(
        found, reason=f"{found.reason or keeps_up(found.run.steadiness)}; {beyond}"
    )


def carries(found: Estimate, demand: float) -> Estimate:
    """A rate from a short search, of a deployment that was seen to carry the demand: at least
    that."""
    high = None if found.high is None else max(found.high, demand)
    return Estimate(max(found.value, demand), found.low, high)


def keeps_up(s: Steadiness) -> str:
    """That a run keeps up, and how much of the time requests wait."""
    return f"it keeps up; requests wait for a place {s.waiting_share:.0%} of the time"


def varying(demand: float, run: DeploymentRun, turn: Turn) -> Agreed:
    """The same of traffic whose rate varies, whose verdict is on the run as a whole: its peaks may
    be above the point though its mean rate, `demand`, is not, and it may end before a mean rate
    above the point shows."""
    s, point = (
        run.steadiness,
        f"the queueing point of even traffic, {number(turn.value)} requests/s",
    )
    mean = f"its mean rate of {number(demand)} requests/s"
    if s.verdict == "overloaded" and turn.value >= demand:
        return Agreed(run, turn, f"{grows(s)}, though {mean} is below {point}: its peaks are not")
    if s.verdict != "overloaded" and turn.value < demand:
        reason = (
            f"it keeps up with so many requests, but {mean} is above {point}: with more like them "
            "the backlog would grow"
        )
        return Agreed(rejudged(run, "saturated"), turn, reason)
    return Agreed(run, turn)


def _overloaded(
    demand: float,
    run: DeploymentRun,
    turn: Turn,
    longer: Callable[[], DeploymentRun],
) -> Agreed:
    """The backlog of the run surely grows. Where the search says that it cannot, a longer run tells
    which of them is wrong."""
    if turn.high is not None and turn.high < demand:
        return Agreed(run, turn)
    if demand >= turn.low:
        return Agreed(run, _below(demand, run.steadiness, turn))
    return _second_look(demand, run, turn, longer().steadiness)


def _second_look(demand: float, run: DeploymentRun, turn: Turn, longer: Steadiness) -> Agreed:
    """What a longer run says of one whose backlog grows though the search says that it cannot."""
    if longer.verdict == "overloaded":
        return Agreed(run, _below(demand, longer, turn))
    by_chance = "the backlog grows by chance in this run, and does not in a longer one"
    return Agreed(rejudged(run, longer.verdict), turn, f"{by_chance}: {_point(turn)}")


def _served(demand: float, run: DeploymentRun, turn: Turn) -> Agreed:
    """The backlog of the run is not seen to grow."""
    s = run.steadiness
    if _grows_unseen(demand, s, turn):
        unseen = "the backlog grows, which this run is too short to show"
        return Agreed(rejudged(run, "overloaded"), turn, f"{unseen}: {_point(turn)}")
    if demand > turn.value:
        return _at_the_point(demand, run, turn)
    if s.verdict == "saturated" and s.waiting_share <= MOSTLY and demand < turn.low:
        waits = f"requests wait for a place {s.waiting_share:.0%} of the time"
        return Agreed(rejudged(run, "stable"), turn, f"it keeps up: {_point(turn)}; {waits}")
    return Agreed(run, turn)


def _grows_unseen(demand: float, s: Steadiness, turn: Turn) -> bool:
    """Whether the search makes sure that the backlog grows, and the run does not show otherwise."""
    if turn.high is None or demand <= turn.high:
        return False
    return bool(s.note) or s.drift_high_per_s >= demand - turn.high


def _at_the_point(demand: float, run: DeploymentRun, turn: Turn) -> Agreed:
    """The demand is above the point that the search found, and the run keeps up with it."""
    raised = _above(demand, turn)
    if not run.steadiness.note and run.steadiness.drift_high_per_s < TOLERANCE * demand:
        return Agreed(run, raised)
    reason = f"the demand is at the queueing point, {number(demand)} requests/s"
    return Agreed(rejudged(run, "saturated"), raised, reason)


def _below(demand: float, s: Steadiness, turn: Turn) -> Turn:
    """The turn of what was seen to grow at the demand: what it completed of it, and no less than
    the search makes sure of, or half of the demand where that is more than the demand."""
    least = turn.low if turn.low <= demand else demand / 2
    value = min(turn.value, max(demand - s.drift_per_s, least))
    low = max(0.0, min(turn.low, demand - s.drift_high_per_s))
    recovers = (
        None if turn.recovers_below is None or turn.recovers_below >= value else turn.recovers_below
    )
    return Turn(value, min(low, value), demand, recovers)


def _above(demand: float, turn: Turn) -> Turn:
    """The turn of what was not seen to grow at a demand above it; what a backlog leaves of it is
    known from the search."""
    high = None if turn.high is None else max(turn.high, demand)
    slower = turn.high is not None and demand > turn.high * (1 + SLOWER)
    return Turn(demand, turn.low, high, turn.recovers_below or (turn.value if slower else None))


def grows(s: Steadiness) -> str:
    """By how much the backlog of a run grows."""
    between = f"{number(s.drift_low_per_s, 2)} to {number(s.drift_high_per_s, 2)}"
    return f"the backlog grows by {number(s.drift_per_s)} requests/s ({between})"


def _point(turn: Turn) -> str:
    return f"the queueing point is {number(turn.value)} requests/s"
