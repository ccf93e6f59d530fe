"""Request: one request on its way through the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.engine.kv.block_runs import BlockRun
from simulator.engine.kv.prefix_tree import NOTHING, Branch, Path

if TYPE_CHECKING:
    from simulator.engine.kv.grouped_cache import Block


@dataclass(slots=True, eq=False)
class Request:
    """What the scheduler knows of a request.

    While it decodes, its context is not stored: it is the decoding step's number plus `offset` (see decoding.py), and
    `computed` and `generated` are those of the moment it began to decode. `order` is its place among the running, -1 before it
    ever ran; `stalled`, it decodes but not in this step; `leaving`, it has all its tokens and holds its blocks for one step
    more; `left`, its client has it or gave up; `token_at`, when its last token came, if the next one is not due a step later.
    `path` tells what its leading blocks hold (prefix_tree.py). With a prefix cache (prefix_cache.py) it is so of the first
    `named` blocks; the first `registered` can be found by others and are in `held`, and while it decodes and fills more of them,
    the next is on the branch `growing`.
    """

    index: int
    prompt: int
    output: int
    arrived: float
    priority: int = 0
    path: Path = NOTHING

    generated: int = 0
    computed: int = 0
    order: int = -1
    started: bool = False
    decoding: bool = False
    stalled: bool = False
    leaving: bool = False
    left: bool = False
    preemptions: int = 0
    token_at: float | None = None
    named: int = field(init=False)
    registered: int = field(init=False)
    growing: Branch | None = field(init=False)
    pinned: bool = field(init=False)
    moved_at: int = field(init=False)
    offset: int = field(init=False)
    last_step: int = field(init=False)
    held: list[tuple[BlockRun, int]] = field(init=False)
    rows: list[list[Block | None]] = field(init=False)

    @property
    def known(self) -> int:
        """Tokens whose values are known: the prompt and what was generated. All must be in the KV cache to get the next."""
        return self.prompt + self.generated
