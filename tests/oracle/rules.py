"""What one release of vLLM does and another does not, and arguments that the engine's SchedulerConfig lack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Layers that share blocks: full attention, or a sliding window, in blocks of so many tokens."""

    window: int | None = None
    block_size: int | None = None


@dataclass(frozen=True)
class Rules:
    """The defaults are what the engine does where no release is named.

    `own_blocks`: every full block of a sequence has a name, so that a request which was preempted
    finds its own again.
    `cap_at_admission`: the gate for whole prompts counts no more blocks of a window than a sequence
    ever holds; `cap_counts_steps`: with a budget for each step in flight, not one alone.
    `frees_when_done`: a block leaves a window when the tokens after it are computed, not when they
    are scheduled.
    `unnamed_first`: given back, blocks without a name go to the front of the free ones;
    `unnamed_first_in_windows`: those of windows do.
    `lone_prefill_uncut`: long_prefill_token_threshold does not hold for a request that is alone.
    `skips_one`: where a victim ahead of the request at hand was not in this step, the request
    behind it misses the step.
    `goes_on`: with priorities the pass goes on after a request that was its own victim.
    `useless_unnamed`: where groups differ in block size, blocks are not named that no hit of a
    multiple of all sizes reads; `needless_unnamed`: nor are those of a window of one token.
    `holds_hits`: held back, a request waits even where its prompt is cached but for one token.
    `loads_leave_prompts`: KV from elsewhere takes no blocks that prompts in work will need.
    """

    own_blocks: bool = True
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


@dataclass(frozen=True)
class Arguments:
    """Arguments of `vllm serve` that SchedulerConfig has no field for, and layer groups of other sizes.

    `watermark`: a share of all blocks, in place of SchedulerConfig.watermark_blocks. The queue limits are
    those of a server's front end, over all its ranks: requests not finished, and prompt tokens
    before a first token.
    """

    max_num_scheduled_tokens: int | None = None
    max_num_active_seqs: int | None = None
    long_prefill_token_threshold_adaptive: bool = False
    prefill_schedule_interval: int = 1
    watermark: float | None = None
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    groups: tuple[Group, ...] | None = None


def rules_of(release: str) -> Rules:
    """The rules of a release: its version, "0.19.0" say. Read in the wheels of 0.19.0 to 0.33.0."""
    version = tuple(int(part) for part in release.split(".")[:2])
    return Rules(
        own_blocks=True,
        cap_at_admission=version >= (0, 20),
        cap_counts_steps=version >= (0, 26),
        frees_when_done=version >= (0, 26),
        unnamed_first=version >= (0, 24),
        unnamed_first_in_windows=version >= (0, 23),
        lone_prefill_uncut=version >= (0, 31),
        skips_one=version < (0, 28),
        goes_on=version >= (0, 33),
        useless_unnamed=version >= (0, 22),
        needless_unnamed=version >= (0, 23),
        holds_hits=version == (0, 24),
        loads_leave_prompts=version >= (0, 23),
    )
