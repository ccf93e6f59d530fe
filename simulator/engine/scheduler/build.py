"""Which scheduler, decode batch and block pool an instance has: chosen once, so that what is absent is never asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from simulator.engine.kv.blocks import BlockPool
from simulator.engine.kv.cached import CachedPool
from simulator.engine.kv.grouped import GroupedPool
from simulator.engine.kv.own_blocks import OwnBlocksPool
from simulator.engine.kv.radix_pool import RadixPool
from simulator.engine.kv.windowed import WindowedPool
from simulator.engine.request import Request
from simulator.engine.scheduler.adapters import AdapterScheduler, RunningAdapters
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch
from simulator.engine.scheduler.pools import DecodePoolScheduler, PrefillPoolScheduler
from simulator.engine.scheduler.prefill_first import PrefillFirstScheduler
from simulator.engine.scheduler.prefill_interval import PrefillIntervalScheduler
from simulator.engine.scheduler.scheduler import Scheduler
from simulator.engine.scheduler.sglang import SglangScheduler
from simulator.engine.scheduler.speculative import SpeculativeBatch, SpeculativeScheduler
from simulator.engine.scheduler.static import StaticScheduler
from simulator.engine.scheduler.trtllm import NoEvictScheduler
from simulator.engine.scheduler.vllm import VllmScheduler
from simulator.engine.scheduler.windows import InWindow, WindowSums
from simulator.errors import NotModelled

Role = Literal["", "prefill", "decode"]
PREFILL: Role = "prefill"
DECODE: Role = "decode"


def build_scheduler(
    config: SchedulerConfig,
    windows: Iterable[int],
    *,
    prefixes: bool,
    role: Role = "",
    adapters: Sequence[int] | None = None,
) -> tuple[Scheduler, Mapping[int, InWindow]]:
    """The scheduler that obeys `config`, and the sums over its decode batch of each window of the step time.

    `windows`: the sizes that the step time depends on; `prefixes`: whether requests tell what their blocks hold; `role`: of which
    of two pools it is, if of any; `adapters`: the LoRA adapter of each request. Raises NotModelled for what does not go together.
    """
    if role:
        check_role(config, role)
    if config.adapter_slots:
        check_adapters(config)
    caching = config.enable_prefix_caching and not _finds_nothing(config, prefixes=prefixes)
    plain = config.kv_groups == (KvGroup(),)
    _check(config, caching=caching, plain=plain, windows=bool(windows))
    lag = config.window_lag
    kept = {(group.window + lag, config.size_of(group)) for group in config.kv_groups if group.window is not None}
    sums = {(window, size): WindowSums(window, size) for window, size in kept}
    in_steps = {window: next((s for (w, _), s in sums.items() if w == window), None) for window in windows}
    timed = {window: found or WindowSums(window, config.block_size) for window, found in in_steps.items()}
    running: dict[int, Request] = {}
    if config.speculation:
        return _speculative(config, running, windows, caching=caching, prefixes=prefixes)
    batch = DecodeBatch(config.alignment, running)
    batch.followers += dict.fromkeys([*sums.values(), *timed.values()])
    if config.sglang is not None and not role:
        return SglangScheduler(config, config.sglang, running, batch, RadixPool(config, batch)), timed
    if config.guaranteed_no_evict and not role:
        finds = caching and prefixes
        return NoEvictScheduler(config, running, batch, (CachedPool if finds else BlockPool)(config, batch)), timed
    if config.scheduling_policy == "static" and not role:
        return StaticScheduler(config, running, batch, BlockPool(config, batch)), timed
    pool = _pool(config, batch, sums, caching=caching, prefixes=prefixes)
    if config.adapter_slots and adapters is not None:
        return AdapterScheduler(config, running, batch, pool, RunningAdapters(adapters, config.adapter_slots)), timed
    return _kind(config, role)(config, running, batch, pool), timed


def _speculative(
    config: SchedulerConfig, running: dict[int, Request], windows: Iterable[int], *, caching: bool, prefixes: bool
) -> tuple[Scheduler, Mapping[int, InWindow]]:
    batch = SpeculativeBatch(config, running, windows)
    pool = _pool(config, batch, {}, caching=caching, prefixes=prefixes)
    return SpeculativeScheduler(config, running, batch, pool), batch.windows


def _kind(config: SchedulerConfig, role: Role) -> type[VllmScheduler]:
    if role:
        return PrefillPoolScheduler if role == "prefill" else DecodePoolScheduler
    if config.prefill_first:
        return PrefillFirstScheduler
    return VllmScheduler if config.prefill_schedule_interval == 1 else PrefillIntervalScheduler


def check_role(config: SchedulerConfig, role: Role) -> None:
    """Raise NotModelled for what an instance of a pool cannot be."""
    if config.speculation or config.adapter_slots:
        what = "speculative decoding" if config.speculation else "LoRA adapters"
        raise NotModelled(f"{what} in a {role} pool")
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
    if config.sglang is not None or config.guaranteed_no_evict:
        if config.state_blocks or not plain or config.scheduling_policy != "fcfs":
            ways = "several KV groups, blocks for states, priorities or static batches"
            raise NotModelled(f"the schedulers of SGLang and TensorRT-LLM with {ways}")
        return
    unlike = config.async_scheduling or caching or windows or config.state_blocks or not plain
    if config.scheduling_policy == "static" and unlike:
        raise NotModelled("static batching with async scheduling, a prefix cache, sliding windows, states or several KV groups")
    if config.speculation:
        check_speculation(config)
    if caching and config.state_blocks:
        raise NotModelled("a prefix cache beside recurrent states that are not cached; switch enable_prefix_caching off")


def check_adapters(config: SchedulerConfig) -> None:
    """Raise NotModelled for what does not go together with LoRA adapters."""
    if config.sglang is not None or config.guaranteed_no_evict or config.scheduling_policy != "fcfs":
        raise NotModelled("LoRA adapters with another scheduler than vLLM's first come, first served")
    if config.speculation or config.prefill_first or config.prefill_schedule_interval > 1:
        raise NotModelled("LoRA adapters with speculative decoding, or prompts in steps of their own or in one of so many")


def check_speculation(config: SchedulerConfig) -> None:
    """Raise NotModelled for what does not go together with drafted tokens."""
    if config.kv_groups != (KvGroup(),):
        raise NotModelled("speculative decoding where layers with a sliding window give KV blocks back")
    if config.scheduling_policy == "static" or config.prefill_first or config.prefill_schedule_interval > 1:
        raise NotModelled("speculative decoding with static batching, prompts in steps of their own, or seldom prefills")
    needed = config.seats * config.verified
    if needed > config.token_budget:
        raise NotModelled(
            "speculative decoding where not all sequences can verify their tokens in one step: "
            f"{config.seats_argument} {config.seats} x {config.verified} tokens exceed "
            f"{config.budget_argument} {config.token_budget}; raise it to {needed}"
        )
