"""The configuration of one instance's scheduler: the numbers that it obeys."""

from __future__ import annotations

import sys
from math import lcm
from typing import Literal

from simulator.engine.scheduler.rules import SchedulerRules
from simulator.engine.scheduler.sglang_rules import SglangRules
from simulator.spec import Count, Natural, spec


@spec
class KvGroup:
    """Layers that take their KV blocks together: `groups` of them, each a block of its own for every `block_size` tokens.

    All blocks take the same memory, so layers that keep less of a token have more tokens in one; without a `block_size` it is
    the scheduler's, the smallest. With a `window` a sequence gives back the blocks that no later token attends to. Models with
    one kind of attention have one group without a window; vLLM splits hybrid models into groups of equally many layers.

    Source: vLLM vllm/v1/core/kv_cache_utils.py (grouping), vllm/v1/core/single_type_kv_cache_manager.py (SlidingWindowManager).
    """

    groups: Count = 1
    window: Count | None = None
    block_size: Count | None = None


@spec
class Speculation:
    """What drafts asks of the scheduler: `tokens` drafted for each decoding sequence of a step, all of which it then verifies.

    `lookahead`: tokens beyond those scheduled that blocks are taken for, as the drafter writes its
    own KV there. `drops_last_block`: the last block of a prefix hit is computed again, for the
    hidden states that the drafter reads.

    Source: vLLM vllm/v1/core/sched/scheduler.py (num_spec_tokens, num_lookahead_tokens) and
    vllm/v1/core/single_type_kv_cache_manager.py (use_eagle).
    """

    tokens: Count
    lookahead: Natural = 0
    drops_last_block: bool = False


@spec
class AdapterSlots:
    """Room for LoRA adapters: `max_loras` different ones run at once, `max_cpu_loras` are kept in host memory.

    Source: vLLM vllm/config/lora.py.
    """

    max_loras: Count
    max_cpu_loras: Count


@spec
class SchedulerConfig:
    """What one instance may do in a step, and the KV blocks it has. Names and meaning are vLLM's.

    `kv_blocks`: those a request can get, one fewer than num_gpu_blocks, as vLLM keeps a null block. `reserve_full_prompt`: a
    waiting request is admitted only when blocks for its whole remaining prompt are free (scheduler_reserve_full_isl).
    `watermark_blocks` stay free when a request is admitted beside others (watermark). `async_scheduling`: a step is composed
    while the one before it runs, so finishes and arrivals are seen one step late. `max_num_partial_prefills` above 1 only sets
    long_prefill_token_threshold, to 4 % of max_model_len where it is 0: that is all vLLM's V1 scheduler does with it.
    `names_own`: blocks that hold what only one request has are followed when they leave a sliding window, which takes time.
    `prefill_first`: whole prompts are computed in steps of their own, before any decode, as V0 does without chunked prefill.
    `state_blocks`: those that a sequence holds from its admission on for recurrent states, however long it is (MambaManager).
    `max_num_scheduled_tokens` and `max_num_active_seqs` hold in place of max_num_batched_tokens and max_num_seqs where they are
    less. `long_prefill_token_threshold_adaptive`: the threshold is at least max_num_batched_tokens shared out among all present.
    `prefill_schedule_interval`: prompts are computed in one step of so many while others decode. `rules`: the release's.
    `speculation`: tokens are drafted, and a decoding sequence takes one token of the budget more for each.
    `adapter_slots`: where LoRA adapters are served, how many run at once.
    `guaranteed_no_evict`: the scheduler is TensorRT-LLM's, which lets in who has blocks to its end.
    `sglang`: the scheduler is SGLang's, with these numbers; of the others those hold that it has too.
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
    prefill_first: bool = False
    enable_prefix_caching: bool = False
    reserve_full_prompt: bool = False
    async_scheduling: bool = False
    watermark_blocks: Natural = 0
    names_own: bool = False
    kv_groups: tuple[KvGroup, ...] = (KvGroup(),)
    state_blocks: Natural = 0
    max_num_scheduled_tokens: Count | None = None
    max_num_active_seqs: Count | None = None
    long_prefill_token_threshold_adaptive: bool = False
    prefill_schedule_interval: Count = 1
    rules: SchedulerRules = SchedulerRules()
    speculation: Speculation | None = None
    adapter_slots: AdapterSlots | None = None
    guaranteed_no_evict: bool = False
    sglang: SglangRules | None = None

    def __post_init__(self) -> None:
        if self.max_num_batched_tokens < self.max_num_seqs:
            budget, seqs = self.max_num_batched_tokens, self.max_num_seqs
            raise ValueError(f"max_num_batched_tokens ({budget}) must be at least max_num_seqs ({seqs})")
        if self.max_num_active_seqs is not None and self.max_num_active_seqs > self.max_num_seqs:
            active, seqs = self.max_num_active_seqs, self.max_num_seqs
            raise ValueError(f"max_num_active_seqs ({active}) must not exceed max_num_seqs ({seqs})")
        chunk = self.sglang.chunked_prefill_size if self.sglang is not None else None
        if chunk is not None and chunk > self.max_num_batched_tokens:
            raise ValueError(
                f"chunked_prefill_size ({chunk}) must not exceed max_num_batched_tokens ({self.max_num_batched_tokens})"
            )
        if any(self.size_of(group) % self.block_size for group in self.kv_groups):
            raise ValueError(f"block sizes of layer groups must be multiples of block_size ({self.block_size})")

    @property
    def verified(self) -> int:
        """Tokens that a decoding sequence has in a step: its last one, and those drafted."""
        return 1 + self.speculation.tokens if self.speculation else 1

    @property
    def lookahead(self) -> int:
        """Tokens beyond those scheduled that blocks are taken for."""
        return self.speculation.lookahead if self.speculation else 0

    @property
    def drops_last_block(self) -> bool:
        """Whether the last block of a prefix hit is computed again."""
        return self.speculation is not None and self.speculation.drops_last_block

    @property
    def beyond(self) -> int:
        """The most tokens beyond those computed that blocks of a sequence are taken for."""
        steps = 2 if self.async_scheduling else 1
        return steps * self.verified + self.lookahead if self.speculation else 0

    @property
    def window_lag(self) -> int:
        """Steps by which blocks leave windows later than they could."""
        return int(self.async_scheduling and self.rules.frees_when_done)

    def most_blocks(self, group: KvGroup) -> int:
        """The most blocks that one sequence ever holds in a layer group: with a window, its own and those in flight."""
        if group.window is None:
            return sys.maxsize
        two_steps = self.rules.cap_counts_steps and self.async_scheduling
        in_flight = self.max_num_batched_tokens * (2 if two_steps else 1)
        tokens = min(group.window - 1 + in_flight, self.max_model_len or sys.maxsize)
        return -(-tokens // self.size_of(group)) + 1

    def size_of(self, group: KvGroup) -> int:
        """Tokens in a block of a layer group."""
        return group.block_size or self.block_size

    @property
    def alignment(self) -> int:
        """Tokens after which a block ends in every layer group."""
        return lcm(*(self.size_of(group) for group in self.kv_groups))

    def blocks_for(self, tokens: int) -> int:
        """The most blocks that one sequence of this many computed tokens may need at once, over all layer groups."""
        tokens += self.beyond
        return self.state_blocks + sum(
            min(-(-tokens // self.size_of(group)), self.most_blocks(group)) * group.groups for group in self.kv_groups
        )

    @property
    def seats(self) -> int:
        """The most sequences that run at once."""
        return min(self.max_num_active_seqs or sys.maxsize, self.max_num_seqs)

    @property
    def seats_argument(self) -> str:
        """The argument that says so."""
        return "max_num_seqs" if self.seats == self.max_num_seqs else "max_num_active_seqs"

    @property
    def token_budget(self) -> int:
        """The most tokens of a step."""
        return min(self.max_num_scheduled_tokens or sys.maxsize, self.max_num_batched_tokens)

    @property
    def budget_argument(self) -> str:
        """The argument that says so."""
        fewer = self.token_budget < self.max_num_batched_tokens
        return "max_num_scheduled_tokens" if fewer else "max_num_batched_tokens"

    @property
    def prefill_cap(self) -> int:
        """The most tokens of one prompt that a step computes, whatever budget is left."""
        cap = self.long_prefill_token_threshold
        if not cap and self.max_num_partial_prefills > 1 and self.max_model_len:
            cap = int(self.max_model_len * 0.04)
        return cap or sys.maxsize

    @property
    def longest_prefill(self) -> int:
        """The most tokens of one prompt that a step must be able to compute where chunked prefill is off."""
        return sys.maxsize if self.rules.lone_prefill_uncut else self.prefill_cap
