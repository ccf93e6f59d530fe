"""Reports: what instances tell of their load now and then, for those who choose among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.engine.clock import REPORT, Alarm, Clock


class Endpoint(Protocol):
    """What a router sees: one instance, or a server of several ranks."""

    @property
    def outstanding(self) -> int:
        """Requests waiting or running."""

    @property
    def waiting(self) -> int:
        """Requests that wait."""

    @property
    def working(self) -> bool:
        """Whether it has requests, not only such as can never be scheduled."""

    def kv_use(self) -> float:
        """The fraction of the KV blocks that requests hold now."""


@dataclass(slots=True)
class LoadReport:
    """The load of one endpoint at some instant."""

    waiting: int
    running: int
    kv_use: float


class LoadReports:
    """The latest report of each endpoint: all report at once, `every` so long while there is work; with 0 at each question."""

    def __init__(self, clock: Clock, every: Any) -> None:
        self.clock, self.every = clock, every
        self.alarm = Alarm(clock, REPORT, self._report_all)
        self.reporting = False
        self.latest: dict[Endpoint, LoadReport] = {}

    def of(self, endpoints: Iterable[Endpoint]) -> list[LoadReport]:
        """The reports that are known now; who reads them may add to them what it knows itself."""
        if not self.reporting:
            self.latest.clear()
            if self.every:
                self.reporting = True
                self.clock.set(self.alarm, self.clock.now + self.every)
        latest = self.latest
        for endpoint in endpoints:
            if endpoint not in latest:
                latest[endpoint] = _report(endpoint)
        return [latest[endpoint] for endpoint in endpoints]

    def _report_all(self, alarm: Alarm) -> None:
        self.clock.reach(alarm.when, REPORT)
        self.latest = {endpoint: _report(endpoint) for endpoint in self.latest}
        self.reporting = any(endpoint.working for endpoint in self.latest)
        if self.reporting:
            self.clock.set(alarm, alarm.when + self.every)


def _report(endpoint: Endpoint) -> LoadReport:
    waiting = endpoint.waiting
    return LoadReport(waiting, endpoint.outstanding - waiting, endpoint.kv_use())
