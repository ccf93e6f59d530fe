"""A pool: the instances among which a router chooses."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.engine.clock import Clock
from simulator.engine.fleet.data_parallel import RankSet
from simulator.engine.instance.durations import Ticks
from simulator.engine.instance.instance import Instance
from simulator.workload.requests import Ints


class InstancePool:
    """Instances, or servers of several ranks, that serve the same requests; those of them that are `ready` take new ones.

    `previous`: which request each one follows, as `Requests` has it. `clock` and `ticks` are for
    routers that know the load from reports only.
    """

    __slots__ = ("block_size", "clock", "previous", "ready", "ticks")

    def __init__(
        self,
        ready: Sequence[Instance] | Sequence[RankSet],
        block_size: int,
        clock: Clock,
        ticks: Ticks,
        previous: Ints | None = None,
    ) -> None:
        self.ready = ready
        self.block_size = block_size
        self.clock = clock
        self.ticks = ticks
        self.previous = previous
