"""The parts of the engine: which are chosen for what, and what each tells the others."""

import numpy as np
import pytest
from support.by_hand import limits

from simulator.engine.clock import Clock
from simulator.engine.fleet.pool import InstancePool
from simulator.engine.fleet.router import LeastKvUse, Router
from simulator.engine.instance.durations import in_seconds
from simulator.engine.kv.blocks import BlockPool
from simulator.engine.kv.cached import CachedPool
from simulator.engine.kv.grouped import GroupedPool
from simulator.engine.kv.own_blocks import OwnBlocksPool
from simulator.engine.kv.windowed import WindowedPool
from simulator.engine.request import Request, Status
from simulator.engine.scheduler.build import build_scheduler
from simulator.engine.scheduler.config import KvGroup
from simulator.engine.scheduler.scheduler import EVEN, IDLE
from simulator.spec import variants

GROUPS = (KvGroup(), KvGroup(window=8))


@pytest.mark.parametrize(
    ("changed", "prefixes", "pool"),
    [
        ({}, True, BlockPool),
        ({"enable_prefix_caching": True}, True, CachedPool),
        ({"enable_prefix_caching": True}, False, OwnBlocksPool),
        ({"kv_groups": GROUPS, "enable_prefix_caching": True}, False, GroupedPool),
        ({"kv_groups": GROUPS}, False, WindowedPool),
        ({"kv_groups": GROUPS, "enable_prefix_caching": True}, True, GroupedPool),
    ],
)
def test_the_block_pool_does_no_more_than_the_configuration_asks_for(changed, prefixes, pool):
    scheduler, _ = build_scheduler(limits(**changed), (), prefixes=prefixes)
    assert type(scheduler.pool) is pool


def test_a_step_says_who_starts_who_completes_a_prompt_and_when_all_decode():
    scheduler, _ = build_scheduler(limits(), (), prefixes=False)
    assert scheduler.schedule() is IDLE
    request = Request(0, prompt=5, output=3, arrived=0.0)
    scheduler.waiting.append(request)
    step = scheduler.schedule()
    assert (step.started, step.chunks) == ([request], [(request, 5, True)])
    assert request.status is Status.PREFILLING
    assert not scheduler.carry_out(step)
    assert (list(step.completed), request.status) == ([request], Status.DECODING)
    assert scheduler.schedule() is EVEN
    assert scheduler.horizon() == 2
    assert list(scheduler.advance(2)) == [request]
    assert request.status is Status.FINISHED
    scheduler.retire([request])
    assert scheduler.pool.free == scheduler.pool.total


def test_a_step_that_lacks_blocks_says_who_was_preempted():
    scheduler, _ = build_scheduler(limits(kv_blocks=2, block_size=4), (), prefixes=False)
    first, second = (Request(i, prompt=4, output=5, arrived=0.0) for i in range(2))
    scheduler.waiting.append(first)
    scheduler.waiting.append(second)
    scheduler.carry_out(scheduler.schedule())
    step = scheduler.schedule()
    assert list(step.preempted) == [second]
    assert (second.status, second.preemptions, second.kv) == (Status.PREEMPTED, 1, None)


class Idle:
    outstanding = waiting = 0

    def __init__(self, number):
        self.number = number

    def kv_use(self):
        return 0.0

    kv_use_at_least = kv_use


@pytest.mark.parametrize("router", [kind() for kind in variants(Router)])
def test_a_router_chooses_among_the_instances_that_are_ready_when_it_chooses(router):
    everyone = [Idle(number) for number in range(3)]
    pool = InstancePool(everyone, 16, Clock(), in_seconds)
    choose = router.start(pool, np.random.default_rng(0))
    request = Request(0, prompt=5, output=3, arrived=0.0)
    choose(request)
    pool.ready = everyone[2:]
    assert {choose(request).number for _ in range(5)} == {2}


def test_the_router_by_kv_use_looks_at_the_ready_ones_too():
    everyone = [Idle(number) for number in range(3)]
    pool = InstancePool(everyone, 16, Clock(), in_seconds)
    choose = LeastKvUse().start(pool, np.random.default_rng(0))
    pool.ready = everyone[1:]
    assert choose(Request(0, prompt=5, output=3, arrived=0.0)).number == 1
