"""Which scheduler, decode batch and block pool an instance has: chosen once, so that what is absent is never asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.kv.cached import CachedPool
from simulator.engine.kv.grouped import GroupedPool
from simulator.engine.kv.own_blocks import OwnBlocksPool
from simulator.engine.kv.windowed import WindowedPool
from simulator.engine.request import Request
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.pools import DecodePoolScheduler, PrefillPoolScheduler
from simulator.engine.scheduler.prefill_first import PrefillFirstScheduler
from simulator.engine.scheduler.prefill_interval import PrefillIntervalScheduler
from simulator.engine.scheduler.scheduler import Scheduler
from simulator.engine.scheduler.static import StaticScheduler
from simulator.engine.scheduler.vllm import VllmScheduler
from simulator.engine.scheduler.windows import WindowSums
from simulator.errors import NotModelled

Role = Literal["", "prefill", "decode"]
PREFILL: Role = "prefill"
DECODE: Role = "decode"


def build_scheduler(
    config: SchedulerConfig, windows: Iterable[int], *, prefixes: bool, role: Role = ""
) -> tuple[Scheduler, dict[int, WindowSums]]:
    """The scheduler that obeys `config`, and the sums over its decode batch of each window of the step time.

    `windows`: the sizes that the step time depends on; `prefixes`: whether requests tell what their blocks hold; `role`: of which
    of two pools it is, if of any. Raises NotModelled for what does not go together.
    """
    caching = config.enable_prefix_caching and not _finds_nothing(config, prefixes=prefixes)
    plain = config.kv_groups == (KvGroup(),)
    _check(config, caching=caching, plain=plain, windows=bool(windows))
    lag = config.window_lag
    kept = {(group.window + lag, config.size_of(group)) for group in config.kv_groups if group.window is not None}
    sums = {(window, size): WindowSums(window, size) for window, size in kept}
    in_steps = {window: next((s for (w, _), s in sums.items() if w == window), None) for window in windows}
    timed = {window: found or WindowSums(window, config.block_size) for window, found in in_steps.items()}
    running: dict[int, Request] = {}
    batch = DecodeBatch(config.alignment, running)
    batch.followers += dict.fromkeys([*sums.values(), *timed.values()])
    if config.scheduling_policy == "static" and not role:
        return StaticScheduler(config, running, batch, BlockPool(config, batch)), timed
    pool = _pool(config, batch, sums, caching=caching, prefixes=prefixes)
    return _kind(config, role)(config, running, batch, pool), timed


def _kind(config: SchedulerConfig, role: Role) -> type[VllmScheduler]:
    if role:
        check_role(config, role)
        return PrefillPoolScheduler if role == "prefill" else DecodePoolScheduler
    if config.prefill_first:
        return PrefillFirstScheduler
    return VllmScheduler if config.prefill_schedule_interval == 1 else PrefillIntervalScheduler


def check_role(config: SchedulerConfig, role: Role) -> None:
    """Raise NotModelled for what an instance of a pool cannot be."""
    if config.scheduling_policy != "fcfs":
        raise NotModelled(f"scheduling_policy {config.scheduling_policy} in a {role} pool; use fcfs")
    if config.prefill_first or config.prefill_schedule_interval > 1:
        raise NotModelled(f"prompts in steps of their own, or in one of so many, in a {role} pool")
    if config.kv_groups != (KvGroup(),) or config.state_blocks:
        raise NotModelled(f"sliding windows, several KV groups or recurrent states in a {role} pool")


def _finds_nothing(config: SchedulerConfig, *, prefixes: bool) -> bool:
    """Whether a prefix cache changes nothing: states are not cached, nor the blocks of a window of one token where the release
    does not name them, and all layers must agree on what is found."""
    rules, alignment = config.rules, config.alignment
    needless = any(
        group.window == 1 and (rules.needless_unnamed or (rules.useless_unnamed and config.size_of(group) < alignment))
        for group in config.kv_groups
    )
    return needless or bool(config.state_blocks and not prefixes)


def _pool(
    config: SchedulerConfig, batch: DecodeBatch, sums: dict[tuple[int, int], WindowSums], *, caching: bool, prefixes: bool
) -> BlockPool:
    if config.kv_groups == (KvGroup(),):
        if not caching:
            return BlockPool(config, batch)
        return CachedPool(config, batch) if prefixes else OwnBlocksPool(config, batch)
    if not caching:
        return WindowedPool(config, batch, sums)
    pool = GroupedPool(config, batch, sums)
    batch.followers.append(pool)
    return pool


def _check(config: SchedulerConfig, *, caching: bool, plain: bool, windows: bool) -> None:
    unlike = config.async_scheduling or caching or windows or config.state_blocks or not plain
    if config.scheduling_policy == "static" and unlike:
        raise NotModelled("static batching with async scheduling, a prefix cache, sliding windows, states or several KV groups")
    if caching and config.state_blocks:
        raise NotModelled("a prefix cache beside recurrent states that are not cached; switch enable_prefix_caching off")
