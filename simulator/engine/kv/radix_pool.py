"""The KV blocks of an SGLang instance: those of its radix tree, those of running requests beyond it, and free ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.engine.kv.prefix_tree import with_own
from simulator.engine.kv.radix import Node, RadixTree
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.decoding import DecodeBatch


@dataclass(slots=True, eq=False)
class TreeHold:
    """What a request holds: the nodes down to `node`, which have its first `known` blocks, and what it computed behind them.

    `filled`: the tokens that it had when its prompt was complete.
    """

    node: Node
    known: int
    filled: int = 0


class RadixPool:
    """`free` of `total` blocks hold nothing that a request uses; what the tree holds of them is evicted when they are needed.

    `finds`: what was computed is found again. A waiting request is looked up before it is let in.
    """

    __slots__ = ("batch", "block_size", "finds", "free", "total", "tree")
    gives_back: ClassVar[bool] = False

    def __init__(self, config: SchedulerConfig, batch: DecodeBatch) -> None:
        self.batch = batch
        self.block_size = config.block_size
        self.total = self.free = config.kv_blocks
        self.finds = config.enable_prefix_caching
        self.tree = RadixTree()

    @property
    def unused(self) -> int:
        """Free blocks that hold nothing."""
        return self.free - self.tree.evictable

    def look_up(self, request: Request) -> Node:
        """The node with which the known prefix of a request ends, of all its tokens but the last."""
        return self._match(request, request.known - 1)

    def prefix(self, request: Request) -> int:
        """Tokens of a request that are known, looked up as one that is sorted by them."""
        return self._match(request, request.known).end * self.block_size

    def _match(self, request: Request, tokens: int) -> Node:
        tree, size = self.tree, self.block_size
        if not self.finds:
            return tree.root
        request.path = with_own(request.path, -(-(request.prompt + request.output) // size))
        return tree.match(request.path, tokens // size)

    def locked(self, node: Node) -> int:
        """Blocks that stop being free when a request uses a node."""
        blocks, each = 0, node
        while each.parent is not None:
            if not each.used:
                blocks += each.end - each.first
            each = each.parent
        return blocks

    def hold(self, request: Request, node: Node) -> None:
        """Let a request use what was found."""
        self._lock(node)
        request.kv = TreeHold(node, node.end)

    def _lock(self, node: Node) -> None:
        before = self.tree.evictable
        self.tree.lock(node)
        self.free -= before - self.tree.evictable

    def _unlock(self, node: Node) -> None:
        before = self.tree.evictable
        self.tree.unlock(node)
        self.free += self.tree.evictable - before

    def make_room(self, blocks: int) -> None:
        """Evict until so many blocks are unused, or nothing is left to evict.

        As SGLang does: where fewer are, at least so many are evicted.
        """
        if self.unused < blocks and self.tree.evictable:
            self.tree.evict(blocks)

    def take_prompts(self, needed: int, tokens: int, prompts: int) -> None:
        """Take the blocks of a step of prompts; SGLang makes room for one more of each, unless blocks are tokens."""
        self.make_room(tokens if self.block_size == 1 else -(-tokens // self.block_size) + prompts)
        self.free -= needed

    def take_step(self, needed: int) -> None:
        """Take the blocks of a decode step; SGLang makes room for one of each sequence."""
        self.make_room(self.batch.count)
        self.free -= needed

    def keep(self, request: Request, tokens: int) -> None:
        """Enter the full blocks of the first `tokens` of a running request into the tree."""
        if not self.finds:
            return
        held: TreeHold = request.kv
        end = tokens // self.block_size
        self._enter(request, held.known, end)
        node = self.tree.match(request.path, end)
        self._unlock(held.node)
        self._lock(node)
        held.node, held.known = node, end

    def _enter(self, request: Request, known: int, end: int) -> None:
        """Hand a request's blocks from `known` to `end` to the tree; those that it has already are freed, as all they are now."""
        self.tree.insert(request.path, end)
        self.free += end - known

    def release(self, request: Request, cached: int) -> None:
        """Take all blocks from a request, and enter those of its first `cached` tokens into the tree; 0 for none."""
        held: TreeHold = request.kv
        blocks = -(-request.computed // self.block_size)
        end = held.known
        if self.finds and cached:
            end = max(cached // self.block_size, end)
            self._enter(request, held.known, end)
        self.free += blocks - end
        self._unlock(held.node)
        request.kv = None

    def horizon(self, steps: int) -> int:
        """How many of `steps` even steps, the composed one the first, need nothing evicted and nobody retracted."""
        batch, unused = self.batch, self.unused
        first = batch.ring[batch.step % self.block_size]
        if not self.tree.evictable:
            return batch.steps_within(unused + first, steps)
        spare = unused - batch.count
        if spare < 0:
            return 1
        return min(batch.steps_within(spare + first, steps) + 1, steps)

    def take_following(self, steps: int) -> None:
        """Take the blocks of all but the first of `steps` even steps."""
        self.free -= self.batch.blocks_following(steps)

    def used(self, steps: int) -> int:
        """Blocks in use once `steps` of the even steps have begun."""
        return self.total - self.free + self.batch.blocks_following(steps)
