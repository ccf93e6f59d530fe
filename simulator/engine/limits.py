"""Limits of one replica: the numbers that the scheduler obeys."""

from __future__ import annotations

from typing import Literal

from simulator.spec import Count, Natural, spec


@spec
class Limits:
    """What one replica may do in a step, and the KV blocks it has.

    `reserve_full_prompt`: a waiting request is admitted only when blocks for its whole remaining prompt are free
    (vLLM's scheduler_reserve_full_isl). `async_scheduling`: finishes and admissions are seen one step late.
    """

    kv_blocks: Count
    block_size: Count = 16
    max_num_seqs: Count
    max_num_batched_tokens: Count
    max_model_len: Count | None = None
    long_prefill_token_threshold: Natural = 0
    max_num_partial_prefills: Count = 1
    scheduling_policy: Literal["fcfs", "priority", "static"] = "fcfs"
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = False
    reserve_full_prompt: bool = False
    async_scheduling: bool = False
