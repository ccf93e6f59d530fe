"""Cases of a prefill pool and a decode pool, drawn so that blocks, ports and seats are short and times tie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from oracle import Arguments, Rules, rules_of
from oracle.pools import PooledOracle
from support.engine_cases import RELEASES, ROUTERS, Case, hashes, limits, requests, step_times

from simulator.engine.fleet.hand_over import KvLink, PoolServers, Routing
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import RunRecord
from simulator.engine.serve import serve_pools
from simulator.workload.requests import Requests


@dataclass
class PoolCase:
    """One run through two pools."""

    requests: Requests
    prefill: PoolServers
    decode: PoolServers
    link: KvLink
    routing: Routing
    source: Load
    seed: int
    rules: Rules

    def __repr__(self) -> str:
        shown = repr(Case(self.requests, [*self.prefill.servers, *self.decode.servers], self.prefill.router, self.source))
        return f"{shown}\n  {self.decode.router} {self.link} {self.routing} {self.rules} {self.seed}"

    def trace(self) -> RunRecord:
        """The engine's record, in integer ticks of a second."""
        return serve_pools(
            self.requests,
            self._ruled(self.prefill),
            self._ruled(self.decode),
            self.link,
            routing=self.routing,
            load=self.source,
            seed=self.seed,
            tick_s=1.0,
        )

    def _ruled(self, pool: PoolServers) -> PoolServers:
        case = Case(self.requests, list(pool.servers), pool.router, self.source, rules=self.rules)
        return replace(pool, servers=tuple((time, case.config(config)) for time, config in pool.servers))

    def oracle(self) -> PooledOracle:
        """What the naive simulator makes of it."""
        link = self.link
        ports = SimpleNamespace(out=link.out, into=link.into, block=int(link.block_bytes), latency=int(link.latency_s))
        how = self.routing, ports, self.source, self.seed, self.rules, Arguments()
        oracle = PooledOracle(self.requests, self.prefill, self.decode, *how)
        oracle.run()
        return oracle


@st.composite
def pool_cases(draw: st.DrawFn, *, most_instances: int = 3, **fixed: Any) -> PoolCase:
    """Any case of two pools.

    Every step takes a tick at least: what a step of no time causes in another instance at the same
    instant has no order of its own.
    """
    caching = draw(st.booleans())
    size = draw(st.sampled_from([1, 2, 4]))
    fixed = {"block_size": size, "enable_prefix_caching": caching, "scheduling_policy": "fcfs", "state_blocks": 0} | fixed
    pools = []
    for _ in range(2):
        servers = []
        for _ in range(draw(st.integers(1, most_instances))):
            some = draw(limits(**fixed))
            servers.append((replace(draw(step_times(some)), constant=1), some))
        pools.append(PoolServers(tuple(servers), draw(st.sampled_from(ROUTERS))))
    closed = draw(st.sampled_from([False, False, True]))
    asked = draw(requests(turns=not closed))
    if caching and draw(st.booleans()):
        asked = replace(asked, hashes=draw(hashes(asked, size)))
    speeds = st.sampled_from([1, 2, 3, 7, 1000])
    link = KvLink(
        out=tuple(draw(speeds) for _ in pools[0].servers),
        into=tuple(draw(speeds) for _ in pools[1].servers),
        block_bytes=draw(st.sampled_from([1, 1, 5, 20])),
        latency_s=draw(st.sampled_from([0, 0, 1, 4])),
    )
    decode_first = draw(st.booleans())
    local = draw(st.sampled_from([0, 0, 4, 12])) if decode_first else 0
    most = draw(st.sampled_from([None, None, 1, 3])) if decode_first else None
    routing = Routing(decode_first=decode_first, local_below=local, most_waiting=most)
    source = ClosedLoop(concurrency=draw(st.integers(1, 6))) if closed else OpenLoop()
    rules = rules_of(draw(st.sampled_from(RELEASES)))
    asked = replace(asked, priority=None)
    return PoolCase(asked, *pools, link, routing, source, draw(st.integers(0, 3)), rules)


def assert_pools_equal(trace: RunRecord, oracle: PooledOracle) -> None:
    """Every time, count, step and transfer of the two is the same."""
    r, went = trace.requests, np.array(oracle.first["replica"]) >= 0
    for column, log in (("arrival_s", "arrival"), ("first_token_s", "first_token"), ("finish_s", "finish"), ("left_s", "left")):
        np.testing.assert_array_equal(r[column], np.array(oracle.log[log]), err_msg=column)
    np.testing.assert_array_equal(r["status"], np.array(oracle.log["status"]))
    np.testing.assert_array_equal(r["replica"], np.array(oracle.log["replica"]))
    np.testing.assert_array_equal(r["prefill_replica"], np.array(oracle.first["replica"]))
    np.testing.assert_array_equal(r["prefilled_s"], np.array(oracle.first["finish"]))
    np.testing.assert_array_equal(r["decode_scheduled_s"], np.array(oracle.log["scheduled"]))
    for column, log in (("scheduled_s", "scheduled"), ("cached_tokens", "cached")):
        merged = np.where(went, np.array(oracle.first[log]), np.array(oracle.log[log]))
        np.testing.assert_array_equal(r[column], merged, err_msg=column)
    both = np.array(oracle.first["preemptions"]) + np.array(oracle.log["preemptions"])
    np.testing.assert_array_equal(r["preemptions"], both)
    _assert_transfers_equal(trace, oracle)


def _assert_transfers_equal(trace: RunRecord, oracle: PooledOracle) -> None:
    rows = sorted(oracle.transfers, key=lambda row: row["request"])
    order = np.argsort(trace.transfers["request"], kind="stable")
    for column, name in (
        *((name, name) for name in ("request", "source", "sink")),
        *(("begin_s", "begin"), ("end_s", "end"), ("bytes", "amount")),
    ):
        wanted = [float(row.get(name, np.nan)) for row in rows]
        np.testing.assert_array_equal(trace.transfers[column][order], np.array(wanted), err_msg=column)
