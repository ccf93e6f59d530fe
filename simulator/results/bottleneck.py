"""Binding: what keeps a deployment from doing more, read from the steps it took."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.results.api_server import waiting_s
from simulator.results.model import Binding, Resource

_RARELY = 0.05
# Share of the KV blocks in use up to which a request of any length finds room.
_ROOM = 0.9
_WORDS: dict[Resource, str] = {
    "KV memory": "requests wait because the KV cache is full",
    "sequence limit": "requests wait because {seats} sequences are running",
    "token budget": "prompts wait because steps are full of {budget} tokens",
    "adapter slots": "requests wait because {loras} LoRA adapters are running, and theirs is another",
    "API server": "requests and tokens wait for the API server, which does one thing after another",
    "compute": "no limit holds requests back; steps last as long as their arithmetic",
    "bandwidth": "no limit holds requests back; steps last as long as reading weights and KV cache from memory",
    "communication": "no limit holds requests back; steps last as long as moving activations between GPUs",
    "overhead": "no limit holds requests back; steps last as long as the engine takes to prepare and launch them",
    "prefill pool": "prompts wait for the prefill pool",
    "decode pool": "answers wait for the decode pool",
    "link": "KV waits for the link between the pools",
    "nothing": "no limit holds requests back",
}


def bottleneck(
    trace: RunRecord, limits: SchedulerConfig, resource_seconds: Mapping[Resource, float], start_s: float = 0.0
) -> Binding:
    """The resource that holds requests back in the largest share of busy time from `start_s` on.

    A stretch in which requests wait is put down to the first limit that it has reached: sequences, tokens, LoRA
    adapters where there are some and KV blocks are left, else KV blocks.
    The API server holds back for as long as requests wait before it.
    Where that is less than 5 % of the time no limit binds, and the answer is the part of the step that takes longest, from
    `resource_seconds` (see `simulator.results.time_breakdown`); without them nothing is said to bind.
    """
    s = trace.stretches
    length = np.clip(s["end_s"] - np.maximum(s["start_s"], start_s), 0.0, None)
    busy = float(length.sum())
    if busy <= 0:
        return _answer("nothing", 0.0, limits)
    held = {name: float(length[mask].sum()) / busy for name, mask in _held(trace, limits).items()}
    held["API server"] = min(waiting_s(trace, start_s) / busy, 1.0)
    worst = max(held, key=lambda name: held[name])
    if held[worst] >= _RARELY:
        return _answer(worst, held[worst], limits)
    total = sum(resource_seconds.values())
    if total <= 0:
        return _answer("nothing", 0.0, limits)
    part = max(resource_seconds, key=lambda name: resource_seconds[name])
    return _answer(part, resource_seconds[part] / total, limits)


def _held(trace: RunRecord, limits: SchedulerConfig) -> dict[Resource, NDArray[np.bool_]]:
    s = trace.stretches
    waits = s["waiting"] > 0
    sequences = waits & (s["sequences"] >= limits.seats)
    tokens = waits & ~sequences & (s["decoding"] + s["prefill_tokens"] >= limits.token_budget)
    slots = np.zeros_like(waits)
    if limits.adapter_slots:
        slots = waits & ~sequences & ~tokens & (s["kv_blocks"] <= _ROOM * limits.kv_blocks)
    return {
        "KV memory": (waits & ~sequences & ~tokens & ~slots) | (s["preempted"] > 0),
        "sequence limit": sequences,
        "token budget": tokens,
        "adapter slots": slots,
    }


def _answer(resource: Resource, share: float, limits: SchedulerConfig) -> Binding:
    loras = limits.adapter_slots.max_loras if limits.adapter_slots else 0
    words = _WORDS[resource].format(seats=limits.seats_argument, budget=limits.budget_argument, loras=loras)
    return Binding(resource, share, f"{words} ({share:.0%} of busy time)" if share else words)
