"""What one release of vLLM's scheduler does and another does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from simulator.spec import spec


@spec
class SchedulerRules:
    """The rules that changed between releases; the defaults are those that most releases share.

    Admission: `cap_at_admission`: the gate for whole prompts counts no more blocks of a window than
    a sequence ever holds there; `cap_counts_steps`: that is with a token budget for each step in
    flight, not one alone. `lone_prefill_uncut`: long_prefill_token_threshold does not hold for a
    request that is alone. `holds_hits`: in steps without prompts (prefill_schedule_interval) a
    request waits even where all of its prompt but one token is cached.
    Blocks: `frees_when_done`: a block leaves a window when the tokens after it are computed, not
    when they are scheduled. `unnamed_first`: blocks that nothing can be found in are used again
    before all others, `unnamed_first_in_windows`: those of layers with a window.
    `useless_unnamed`: where layer groups differ in block size, blocks that no prefix hit can end
    with cannot be found; `needless_unnamed`: nor can those of a window of one token.
    Preemption by priority: `skips_one`: where the victim stood before the request at hand without
    being in this step, the request behind it misses the step. `goes_on`: those behind a request
    that was its own victim still get their turn.
    Pools: `loads_leave_prompts`: KV that comes from another pool takes no blocks that prompts in
    work here will need.

    Source: vllm/v1/core/sched/scheduler.py, kv_cache_manager.py, single_type_kv_cache_manager.py
    and block_pool.py of the wheels of 0.10 to 0.33; engines.yaml says from which release each holds.
    """

    cap_at_admission: bool = True
    cap_counts_steps: bool = True
    frees_when_done: bool = False
    unnamed_first: bool = False
    unnamed_first_in_windows: bool = False
    lone_prefill_uncut: bool = False
    skips_one: bool = False
    goes_on: bool = False
    useless_unnamed: bool = False
    needless_unnamed: bool = False
    holds_hits: bool = False
    loads_leave_prompts: bool = True

    @classmethod
    def of(cls, names: Iterable[str]) -> SchedulerRules:
        """These rules and no others. Raises TypeError for a name that is none."""
        known: dict[str, Any] = dict.fromkeys((f.name for f in fields(cls)), False)
        return cls(**{**known, **dict.fromkeys(names, True)})
