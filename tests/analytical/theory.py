"""Closed-form queueing: what a simulation must come to where a formula exists.

Rates are per second, times in seconds. Every steady-state formula raises Unstable where the queue would grow without bound.

Source: Harchol-Balter, Performance Modeling and Design of Computer Systems, Cambridge 2013 (chapters in each docstring).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from simulator.errors import Unstable
from simulator.text import number, plural


def utilization(rate: float, service_s: float, servers: int = 1) -> float:
    """The fraction of time a server is busy: rate * mean service / servers. Raises Unstable at 1 or more."""
    busy = rate * service_s / servers
    if busy >= 1:
        raise Unstable(
            f"{number(rate, 6)} requests/s of {service_s:g} s load {plural(servers, 'server')} to {busy:.0%}; "
            "the queue grows without bound"
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


def mg1_wait_square(rate: float, service_s: float, scv: float, third: float) -> float:
    """Mean square of the wait in M/G/1, first come first served: 2 * wait^2 + rate * E[S^3] / (3 * (1 - load)) (chapter 26).

    `third` is E[S^3] / E[S]^3: 1 deterministic, 6 exponential.

    >>> mg1_wait_square(0.5, 1.0, scv=1.0, third=6.0)
    4.0
    """
    wait = mg1_wait(rate, service_s, scv)
    return 2 * wait**2 + rate * third * service_s**3 / (3 * (1 - utilization(rate, service_s)))


def mg1_lifo_wait_square(rate: float, service_s: float, scv: float, third: float) -> float:
    """Mean square of the wait in M/G/1, last come first served without preemption: 1 / (1 - load) of that of FCFS.

    The mean is that of FCFS. Source: Abate and Whitt, Operations Research Letters 20 (1997) 199-206; also chapter 29.

    >>> mg1_lifo_wait_square(0.5, 1.0, scv=1.0, third=6.0)
    8.0
    """
    return mg1_wait_square(rate, service_s, scv, third) / (1 - utilization(rate, service_s))


def priority_waits(classes: Sequence[tuple[float, float, float]]) -> list[float]:
    """Mean wait of each class in M/G/1 with priorities that do not preempt (chapter 31).

    `classes` are (rate, service_s, scv), most urgent first. Wait = work in service found / ((1 - load of the classes above) *
    (1 - load of those and its own)). Source: Cobham, Operations Research 2 (1954) 70-76.

    >>> priority_waits([(0.25, 1.0, 1.0), (0.25, 1.0, 1.0)])
    [0.6666666666666666, 1.3333333333333333]
    """
    total = sum(rate for rate, _, _ in classes)
    utilization(total, sum(rate * service_s for rate, service_s, _ in classes) / total)
    found = sum(rate * service_s**2 * (1 + scv) / 2 for rate, service_s, scv in classes)
    waits, load = [], 0.0
    for rate, service_s, _ in classes:
        above, load = load, load + rate * service_s
        waits.append(found / ((1 - above) * (1 - load)))
    return waits


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


def birth_death_mean(rate: float, departures: Sequence[float]) -> float:
    """Mean number inside where n requests leave at `departures[n - 1]` a second, and more than it has entries at its last.

    The chance of n is in proportion to the product over k <= n of rate / departures[k - 1] (chapter 14). A batch whose step
    takes step_s(n) with n sequences, each of a geometric number of tokens, is such a chain: departures[n - 1] = n / (tokens
    * step_s(n)). Where no request waits the number of tokens may have any distribution of that mean.

    Source: Cohen, The multiple phase service network with generalized processor sharing, Acta Informatica 12 (1979) 245-284.

    >>> birth_death_mean(0.5, [1.0])
    1.0
    """
    last = utilization(rate, 1 / departures[-1])
    chance, whole, mean = 1.0, 1.0, 0.0
    for n, departure in enumerate(departures, 1):
        chance *= rate / departure
        whole += chance
        mean += n * chance
    beyond = chance * last / (1 - last)
    return (mean + beyond * (len(departures) + 1 / (1 - last))) / (whole + beyond)


def closed_loop_rate(users: int, response_s: float, think_s: float) -> float:
    """Requests per second of a closed loop: users / (response + think), by Little's law (chapter 6).

    >>> closed_loop_rate(10, 1.5, 0.5)
    5.0
    """
    return users / (response_s + think_s)


def repairman_rate(users: int, service_s: float, think_s: float) -> float:
    """Requests per second of `users` with exponential think and service times at one server, M/M/1//N (chapter 19).

    By mean value analysis: response = service * (1 + queue with one user fewer). Think times, and service times where the
    server shares itself among all, may have any distribution of that mean.

    >>> round(repairman_rate(1, 1.0, 1.0), 6)
    0.5
    """
    queue = rate = 0.0
    for n in range(1, users + 1):
        response = service_s * (1 + queue)
        rate = n / (response + think_s)
        queue = rate * response
    return rate
