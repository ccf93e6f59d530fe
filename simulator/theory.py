"""Closed-form queueing: what a simulation must come to where a formula exists.

Rates are per second, times in seconds. Every steady-state formula raises Unstable where the queue would grow without bound.

Source: Harchol-Balter, Performance Modeling and Design of Computer Systems, Cambridge 2013 (chapters in each docstring).
"""

from __future__ import annotations

import math

from simulator.errors import Unstable


def utilization(rate: float, service_s: float, servers: int = 1) -> float:
    """The fraction of time a server is busy: rate * mean service / servers. Raises Unstable at 1 or more."""
    busy = rate * service_s / servers
    if busy >= 1:
        raise Unstable(
            f"{rate:g} requests/s of {service_s:g} s load {servers} server(s) to {busy:.0%}; the queue grows without bound"
        )
    return busy


def little(rate: float, time_s: float) -> float:
    """Mean number in a system: rate * mean time in it (chapter 6).

    >>> little(4.0, 0.5)
    2.0
    """
    return rate * time_s


def mg1_wait(rate: float, service_s: float, scv: float) -> float:
    """Mean wait in M/G/1, by Pollaczek and Khinchine: rate * E[S^2] / (2 * (1 - load)) (chapter 23).

    `scv` is the squared coefficient of variation of the service time: 0 deterministic, 1 exponential.

    >>> mg1_wait(0.5, 1.0, scv=1.0)
    1.0
    """
    load = utilization(rate, service_s)
    return rate * service_s**2 * (1 + scv) / (2 * (1 - load))


def md1_wait(rate: float, service_s: float) -> float:
    """Mean wait in M/D/1, half that of M/M/1.

    >>> md1_wait(0.5, 1.0)
    0.5
    """
    return mg1_wait(rate, service_s, scv=0.0)


def erlang_c(rate: float, service_s: float, servers: int) -> float:
    """The chance that a request must wait in M/M/c (chapter 14).

    >>> round(erlang_c(1.0, 1.0, 2), 6)
    0.333333
    """
    load = utilization(rate, service_s, servers)
    offered = rate * service_s
    blocked = 1.0
    for c in range(1, servers + 1):
        blocked = offered * blocked / (c + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def mmc_wait(rate: float, service_s: float, servers: int) -> float:
    """Mean wait in M/M/c: Erlang C * service / (servers * (1 - load)) (chapter 14).

    >>> mmc_wait(0.5, 1.0, 1)
    1.0
    """
    load = utilization(rate, service_s, servers)
    return erlang_c(rate, service_s, servers) * service_s / (servers * (1 - load))


def mginf_mean(rate: float, service_s: float) -> float:
    """Mean number in M/G/inf, which is Poisson distributed whatever the service time's distribution: rate * mean service."""
    return rate * service_s


def poisson_pmf(mean: float, count: int) -> float:
    """The chance of `count` where `mean` is expected.

    >>> round(poisson_pmf(2.0, 0), 6)
    0.135335
    """
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean > 0 else float(count == 0)


def ps_response(rate: float, service_s: float, own_service_s: float) -> float:
    """Mean time in M/G/1 processor sharing of a request that needs `own_service_s`: own / (1 - load) (chapter 30).

    >>> ps_response(0.5, 1.0, 3.0)
    6.0
    """
    return own_service_s / (1 - utilization(rate, service_s))


def closed_loop_rate(users: int, response_s: float, think_s: float) -> float:
    """Requests per second of a closed loop: users / (response + think), by Little's law (chapter 6).

    >>> closed_loop_rate(10, 1.5, 0.5)
    5.0
    """
    return users / (response_s + think_s)


def repairman_rate(users: int, service_s: float, think_s: float) -> float:
    """Requests per second of `users` with exponential think and service times at one server, M/M/1//N (chapter 6, 13).

    By mean value analysis: response = service * (1 + queue with one user fewer).

    >>> round(repairman_rate(1, 1.0, 1.0), 6)
    0.5
    """
    queue = rate = 0.0
    for n in range(1, users + 1):
        response = service_s * (1 + queue)
        rate = n / (response + think_s)
        queue = rate * response
    return rate
