"""Spares: how many more replicas keep the SLO at a stated availability while nodes fail."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from simulator.engine.fleet.faults import Outage, RandomOutages
from simulator.errors import NotModelled
from simulator.planning.capacity.deployment_run import promised
from simulator.planning.capacity.replicas import fit_replicas
from simulator.planning.costs import price_of
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.kept import stretches_kept
from simulator.results.slo import Floats
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart, FleetPlan
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

_MOST, _ASKED, _SHORTEST_S = 16, 40, 10.0
_BEFORE_S, _AFTER_S = 300.0, 900.0


@dataclass(frozen=True, slots=True)
class SpareRow:
    """So many spares: `replicas` with them, dollars an hour of all, the share of time in which the
    SLO is kept, and why not in the rest.

    `too_few`: the share of time with fewer replicas than the traffic needs. `outage_s`: seconds in
    which the SLO is missed because of one outage beyond that, and `lost` its requests: simulated.
    """

    spares: int
    replicas: int
    usd_per_hour: float
    availability: float
    too_few: float
    outage_s: float
    lost: int


@dataclass(frozen=True, slots=True)
class Spares:
    """What a deployment needs while nodes fail: `needed` replicas for the traffic, None where no
    number will do and `why`; a row for each number of spares up to the first that reaches `asked`.
    """

    deployment: Deployment
    asked: float
    needed: int | None
    rows: tuple[SpareRow, ...] = ()
    why: str = ""

    @property
    def enough(self) -> SpareRow | None:
        """The fewest spares that reach the availability; None where none do."""
        return next((row for row in self.rows if row.availability >= self.asked), None)


def fails_at_random(deployment: Deployment) -> bool:
    """Whether all that befalls its replicas is that nodes fail at random."""
    pool = deployment.pool
    return (
        pool.autoscaler is None
        and bool(pool.faults)
        and all(isinstance(each, RandomOutages) for each in pool.faults)
    )


def spares_of(scenario: Scenario, deployment: Deployment, asked: float, most: int) -> Spares:
    """Spares from none on until the availability is reached, or no more of them would.

    The SLO is missed while fewer replicas are ready than the traffic needs, which `ready_law` says,
    and for a while after each outage, which is simulated: what the dead one had is sent again or
    lost, new requests go to it until that is noticed, and the rest works off what was left.
    Raises NotModelled for more than one kind of random outages.
    """
    pool = deployment.pool
    if len(pool.faults) != 1 or not isinstance(pool.faults[0], RandomOutages):
        raise NotModelled(
            f"{deployment.name}: spares for several kinds of outages at once; leave one in faults"
        )
    fault = pool.faults[0]
    fitting = fit_replicas(scenario, deployment.with_pool(replicas=1, faults=()), most=most)
    if fitting.replicas is None:
        return Spares(deployment, asked, None, why=fitting.why)
    rows: list[SpareRow] = []
    for spares in range(_MOST + 1):
        rows.append(_row(scenario, deployment, fault, fitting.replicas, spares))
        if rows[-1].availability >= asked:
            return Spares(deployment, asked, fitting.replicas, tuple(rows))
        if rows[-1].too_few < (1 - asked) / 100 and spares >= 2 * fault.together:
            break
    left = rows[-1]
    why = (
        f"each outage takes {left.outage_s:,.0f} s whatever the spares; detect it sooner, or lose "
        "fewer replicas at once"
    )
    return Spares(deployment, asked, fitting.replicas, tuple(rows), why)


def _row(
    scenario: Scenario, deployment: Deployment, fault: RandomOutages, needed: int, spares: int
) -> SpareRow:
    replicas = needed + spares
    with_spares = deployment.with_pool(replicas=replicas, faults=())
    fleet = plan_fleet(scenario, with_spares.with_pool(faults=deployment.pool.faults))
    assert not isinstance(fleet, DoesNotStart)
    assert fleet.operation is not None
    start_s = sum(fleet.operation.cold_start.values())
    ready = ready_law(replicas, fault, start_s)
    too_few = float(ready[:needed].sum())
    missed_s, lost = _one_outage(scenario, with_spares, fault, start_s)
    if spares < fault.together:
        missed_s = max(0.0, missed_s - fault.restart_after_s - start_s)
    outages_per_s = math.ceil(replicas / fault.together) / fault.mtbf_s
    found = price_of(deployment.pool, scenario.prices)
    usd = math.inf if found is None else found[0] * deployment.pool.gpus_per_replica * replicas
    availability = max(0.0, 1 - too_few - outages_per_s * missed_s)
    return SpareRow(spares, replicas, usd, availability, too_few, missed_s, lost)


def ready_law(replicas: int, fault: RandomOutages, start_s: float) -> Floats:
    """How likely it is that 0, 1, ... `replicas` are ready, shape (replicas + 1,).

    A node is up for `mtbf_s` on average, then away for `restart_after_s` and a start; one that
    fails while it starts begins anew. By the mean length of a renewal it is up for the share
    1 / (e^(start/mtbf) (1 + restart/mtbf)). Nodes are independent: the machine-repair model.

    Source: Barlow and Proschan, Mathematical Theory of Reliability (1965), availability of a
    renewed component.

    >>> ready_law(1, RandomOutages(mtbf_s=99.0, restart_after_s=1.0), 0.0).round(6).tolist()
    [0.01, 0.99]
    """
    up = 1 / (math.exp(start_s / fault.mtbf_s) * (1 + fault.restart_after_s / fault.mtbf_s))
    law = np.ones(1)
    for first in range(0, replicas, fault.together):
        node = np.zeros(min(fault.together, replicas - first) + 1)
        node[0], node[-1] = 1 - up, up
        law = np.convolve(law, node)
    return law


def _one_outage(
    scenario: Scenario, deployment: Deployment, fault: RandomOutages, start_s: float
) -> tuple[float, int]:
    """Seconds in which one outage of a node makes the SLO missed, and the requests that it loses:
    the same requests with it and without."""
    outage = Outage(
        at_s=_BEFORE_S,
        replicas=tuple(range(min(fault.together, deployment.pool.replicas))),
        notice_s=fault.notice_s,
        detected_after_s=fault.detected_after_s,
        restart_after_s=fault.restart_after_s,
    )
    end = _BEFORE_S + fault.restart_after_s + start_s + fault.detected_after_s + _AFTER_S
    requests = _long_enough(scenario, end)
    rate = len(requests) / end
    edges = np.arange(0.0, end, max(_SHORTEST_S, _ASKED / rate))
    promises = promised(scenario, requests)
    kept, lost = [], []
    for faults in ((), (outage,)):
        fleet = plan_fleet(scenario, deployment.with_pool(faults=faults))
        assert isinstance(fleet, FleetPlan)
        record = fleet.serve(requests, seed=scenario.seed)
        kept.append(stretches_kept(record, promises, edges))
        lost.append(int((record.requests["status"] != 0).sum()))
    undisturbed, disturbed = kept
    worse = np.nansum(undisturbed) - np.nansum(disturbed)
    return float(max(0.0, worse) * (edges[1] - edges[0])), max(0, lost[1] - lost[0])


def _long_enough(scenario: Scenario, seconds: float) -> Requests:
    """The requests of so many seconds of this traffic."""
    workload = dataclasses.replace(scenario.workload, requests=None, duration=seconds)
    return sample(workload, scenario.seed)
