"""Data parallel: the ranks of one server, and the front end of vLLM that chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Literal

from simulator.engine.fleet.queue_limits import Door
from simulator.engine.fleet.reports import LoadReports
from simulator.engine.instance.instance import Instance
from simulator.engine.instance.lock_step import LockStep
from simulator.engine.request import Request
from simulator.spec import Count, NonNegative, spec

Balance = Literal["router", "in_turn", "fewest_waiting", "weighted", "rotating", "in_flight"]
ChooseRank = Callable[[Request], Instance]


@spec
class DataParallel:
    """Each server has so many `ranks`, to which its front end gives requests; `lock_step` where they make steps together.

    `balance`, by the counts that ranks last reported, which the front end adds its own choices to
    until the next report, every `report_s`: `fewest_waiting`, then fewest running (vLLM 0.10);
    `weighted`, the least 4 * waiting + running (0.11 on); `rotating`, the same with ties taken in
    turn (0.25 on); `in_flight`, the most of its own unfinished ones and of those reported, and more
    where requests wait and KV memory is short (0.27 on). `in_turn`: no counts.
    `router`: there is no front end, each rank is a server of its own to the router.

    A report holds what the scheduler has at that instant; vLLM's is up to a step older.

    Source: vLLM 0.10 to 0.33, vllm/v1/engine/core_client.py `get_core_engine_for_request`,
    vllm/v1/engine/coordinator.py.
    """

    ranks: Count
    balance: Balance = "weighted"
    report_s: NonNegative = 0.1
    lock_step: LockStep | None = None


class RankSet:
    """The ranks of one server: what a router sees of it, and which of them a request goes to.

    `door`: where it lets requests in, if it does not take all.
    """

    def __init__(self, ranks: Sequence[Instance], balance: Balance, reports: LoadReports, door: Door | None = None) -> None:
        self.ranks, self.reports, self.door = ranks, reports, door
        for rank in ranks:
            rank.door = door
        self.first = 0
        self.choose_rank: ChooseRank = getattr(self, f"_{'in_turn' if balance == 'router' else balance}")
        self.turns = count()

    @property
    def outstanding(self) -> int:
        """Requests waiting or running."""
        return sum(rank.outstanding for rank in self.ranks)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(rank.waiting for rank in self.ranks)

    @property
    def working(self) -> bool:
        """Whether a rank has requests, not only such as can never be scheduled."""
        return any(rank.working for rank in self.ranks)

    def kv_use(self) -> float:
        """The fraction of the KV blocks that requests hold now."""
        return sum(rank.kv_use() for rank in self.ranks) / len(self.ranks)

    def kv_use_at_least(self) -> float:
        """A fraction that `kv_use` is not below."""
        return sum(rank.kv_use_at_least() for rank in self.ranks) / len(self.ranks)

    def why_closed(self) -> str:
        """Why it turns away who comes now; empty if it does not."""
        return "" if self.door is None else self.door.why_closed(self.outstanding)

    def choose(self, request: Request) -> Instance:
        """The rank that a request goes to."""
        return self.ranks[0] if len(self.ranks) == 1 else self.choose_rank(request)

    def _in_turn(self, request: Request) -> Instance:
        return self.ranks[next(self.turns) % len(self.ranks)]

    def _fewest_waiting(self, request: Request) -> Instance:
        reports = self.reports.of(self.ranks)
        chosen = min(range(len(reports)), key=lambda i: (reports[i].waiting, reports[i].running))
        if reports[chosen].waiting:
            reports[chosen].waiting += 1
        else:
            reports[chosen].running += 1
        return self.ranks[chosen]

    def _weighted(self, request: Request) -> Instance:
        reports = self.reports.of(self.ranks)
        chosen = min(self._from_first(), key=lambda i: 4 * reports[i].waiting + reports[i].running)
        reports[chosen].waiting += 1
        return self.ranks[chosen]

    def _rotating(self, request: Request) -> Instance:
        chosen = self._weighted(request)
        self.first = (self.first + 1) % len(self.ranks)
        return chosen

    def _in_flight(self, request: Request) -> Instance:
        reports = self.reports.of(self.ranks)

        def score(i: int) -> float:
            report = reports[i]
            pressure = 6.0 * max(0.0, report.kv_use - 0.5)
            present = max(self.ranks[i].outstanding, report.waiting + report.running)
            return present + report.waiting * pressure

        chosen = min(self._from_first(), key=score)
        reports[chosen].waiting += 1
        self.first = (self.first + 1) % len(self.ranks)
        return self.ranks[chosen]

    def _from_first(self) -> list[int]:
        return [*range(self.first, len(self.ranks)), *range(self.first)]
