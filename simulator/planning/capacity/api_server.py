"""The API server's ceiling: it does one thing after another, so it keeps up while a second brings
less than a second of work."""

from __future__ import annotations

import math

from simulator.planning.capacity.probes import answered_by
from simulator.server import FleetPlan
from simulator.workload.requests import Requests


def api_server_ceiling(fleet: FleetPlan, requests: Requests) -> float:
    """Requests/s that the API server before one instance takes and answers; infinite where none is
    modelled.

    One over the mean work of a request, those that get no answer included: they are no work.
    """
    if fleet.api_server is None:
        return math.inf
    answered = answered_by(fleet.server, requests)
    work = fleet.api_server.work_s(answered.prompt_tokens, answered.output_tokens)
    mean = float(work.sum()) / len(requests)
    return 1 / mean if mean > 0 else math.inf


def api_servers_for(fleet: FleetPlan, requests: Requests, rate_per_s: float) -> int | None:
    """The `--api-server-count` of each server with which the API servers of all take such a rate;
    None where none is modelled.

    A tenth more than the rate needs, so that requests and tokens do not wait long.
    """
    if fleet.api_server is None:
        return None
    ranks = 1 if fleet.plan.args.data_parallel_external_lb else fleet.plan.args.data_parallel_size
    now = fleet.api_server.processes * ranks
    each = api_server_ceiling(fleet, requests) * fleet.instances / now
    return max(1, math.ceil(1.1 * rate_per_s / each))
