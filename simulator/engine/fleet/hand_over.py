"""How requests pass from a prefill pool to a decode pool: which of them, and over what link."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.router import RoundRobin, Router
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.latency.step import StepTime
from simulator.spec import Count, Natural, spec

Servers = tuple[tuple[StepTime, SchedulerConfig], ...]


@spec
class Routing:
    """Which pool a request goes to first, and whether it needs both.

    A proxy sends each request to a prefill instance and then, with its KV, to a decode instance.
    With `decode_first` the decode instance is chosen first; it computes the prompt itself where
    fewer than `local_below` tokens of it were not sent to it before, or where `most_waiting`
    requests wait in the prefill pool already.

    Source: vLLM examples/online_serving/disaggregated_serving (proxy); llm-d-inference-scheduler,
    prefix-based P/D decider, `nonCachedTokens`; NVIDIA Dynamo, conditional disaggregation,
    `max_local_prefill_length` and `max_prefill_queue_size`.
    """

    decode_first: bool = False
    local_below: Natural = 0
    most_waiting: Count | None = None

    def __post_init__(self) -> None:
        if not self.decode_first and (self.local_below or self.most_waiting is not None):
            raise ValueError("a prompt can stay with its decode instance only where that is chosen first: decode_first")


@dataclass(frozen=True, slots=True)
class PoolServers:
    """The instances of one pool and how requests reach them."""

    servers: Servers
    router: Router = RoundRobin()  # noqa: RUF009  a frozen spec
    data_parallel: DataParallel = DataParallel(ranks=1)  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class KvLink:
    """What lies between the pools.

    `out` and `into` are what each prefill instance can send and each decode instance receive, bytes
    per second; `block_bytes` what a KV block of a decode instance takes; `latency_s` passes before
    the first byte moves.
    """

    out: tuple[float, ...]
    into: tuple[float, ...]
    block_bytes: float
    latency_s: float = 0.0
