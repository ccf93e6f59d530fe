"""What stands beside the engines of a deployment: the ranks of one server, its reports, its front end."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.server import Item, Server
from simulator.engine.fleet.data_parallel import DataParallel

ALONE = DataParallel(ranks=1)


class Ranks:
    """The ranks of one server. In lock step `asked` counts their common steps since all were idle."""

    def __init__(self, number: int, servers: list[Server]) -> None:
        self.number, self.servers = number, servers
        self.asked = 0
        self.awake = False
        self.resting = True
        self.first = self.turn = 0
        self.limits = servers[0].limits
        self.reports = Reports(servers)

    @property
    def outstanding(self) -> int:
        return sum(s.outstanding for s in self.servers)

    @property
    def waiting(self) -> list[Item]:
        return [item for s in self.servers for item in s.waiting]

    def queued(self) -> int:
        return sum(s.queued() for s in self.servers)

    def kv_use(self) -> float:
        return sum(s.kv_use() for s in self.servers) / len(self.servers)


class Reports:
    """What each of some servers or groups last told of itself: [waiting, running, KV use]."""

    def __init__(self, of: list) -> None:
        self.of, self.known, self.reporting = of, [], False

    def take(self) -> None:
        self.known = [[s.queued(), s.outstanding - s.queued(), s.kv_use()] for s in self.of]


@dataclass
class FrontLane:
    """The front end of one server: when it will have done all it has, and how many of the server's steps it has sent."""

    free_at: float = 0
    steps: int = 0
