"""A preempted request finds its own blocks that left a window only where they have names: the run begins again with them."""

from __future__ import annotations

import numpy as np
import pytest
from support.engine_cases import Case, assert_equal, step_time

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.fleet import Fleet
from simulator.engine.fleet.router import RoundRobin
from simulator.engine.kv.grouped_cache import OwnBlocksNeeded
from simulator.engine.load import OpenLoop
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.workload.requests import BlockHashes, Requests


def two_requests(kv_blocks: int, hashes: BlockHashes | None = None, **more: bool) -> Case:
    """Prompts of 5 and 3 tokens, 12 tokens out each, two layer groups of which one has a window of 4."""
    limits = SchedulerConfig(
        kv_blocks=kv_blocks,
        block_size=4,
        max_num_seqs=4,
        max_num_batched_tokens=16,
        enable_prefix_caching=True,
        async_scheduling=True,
        kv_groups=(KvGroup(), KvGroup(window=4)),
        **more,
    )
    requests = Requests(np.zeros(2), np.array([5, 3]), np.array([12, 12]), hashes=hashes)
    time = step_time(limits, base=1, token=1, sample=0, sequence=0, context=0, pair=0)
    return Case(requests, [(time, limits)], RoundRobin(), OpenLoop())


def run_once(case: Case) -> None:
    """Serve a case without beginning again."""
    Fleet(case.requests, case.replicas, case.router, case.source, 0, 1.0, DataParallel(ranks=1)).run()


def test_a_run_begins_again_where_a_block_without_a_name_might_be_found() -> None:
    case = two_requests(kv_blocks=11)
    with pytest.raises(OwnBlocksNeeded):
        run_once(case)
    trace = case.trace()
    assert trace.requests["preemptions"].tolist() == [0, 1]
    assert trace.requests["finish_s"].tolist() == [40, 48]  # 56 if the block that left the window were not found
    assert_equal(trace, case.oracle())


def test_with_names_from_the_start_it_is_the_same_run() -> None:
    case, named = two_requests(kv_blocks=11), two_requests(kv_blocks=11, names_own=True)
    run_once(named)
    again, once = case.trace(), named.trace()
    for name, column in once.requests.items():
        np.testing.assert_array_equal(again.requests[name], column)


def test_blocks_that_a_workload_names_are_found_without_beginning_again() -> None:
    case = two_requests(kv_blocks=11, hashes=BlockHashes(4, np.array([0, 4, 8]), np.arange(8)))
    run_once(case)
    trace = case.trace()
    assert trace.requests["preemptions"].tolist() == [0, 1]
    assert_equal(trace, case.oracle())
