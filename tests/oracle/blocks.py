"""Blocks, the pool they come from, and those that a sequence holds for one group of layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oracle.rules import Group, Rules

Label = tuple[object, int]


@dataclass(eq=False)
class Block:
    label: Label | None = None
    users: int = 0


@dataclass(eq=False)
class Pool:
    """All blocks of a replica; the free ones in the order in which they will be used again."""

    free: list[Block]
    by_label: dict[Label, list[Block]] = field(default_factory=dict)

    def new(self) -> Block:
        block = self.free.pop(0)
        if block.label is not None:
            self.by_label[block.label].remove(block)
            block.label = None
        block.users = 1
        return block

    def touch(self, block: Block) -> None:
        if block.users == 0:
            self.free.remove(block)
        block.users += 1

    def give_back(self, blocks: list[Block], unnamed_first: bool = False) -> None:
        """The first of them is to be used again first; those without a name before all others."""
        for block in blocks:
            block.users -= 1
        idle = [block for block in blocks if block.users == 0]
        if unnamed_first:
            self.free[:0] = [block for block in idle if block.label is None]
            idle = [block for block in idle if block.label is not None]
        self.free += idle

    def register(self, block: Block, label: Label) -> None:
        block.label = label
        self.by_label.setdefault(label, []).append(block)

    def find(self, label: Label) -> Block | None:
        return next(iter(self.by_label.get(label, ())), None)


Held = list[Block | None]


@dataclass(eq=False)
class Layers:
    """One group of layers. Blocks outside its window are None.

    `unit`: tokens between two labels of a request. `alignment`: hits are multiples of it.
    """

    number: int
    spec: Group
    size: int
    unit: int
    alignment: int
    most: float
    pool: Pool
    rules: Rules

    def need(self, tokens: int) -> int:
        return math.ceil(tokens / self.size)

    def outside(self, computed: int) -> int:
        """Blocks that no token after `computed` attends to."""
        window = self.spec.window
        return 0 if window is None else max(0, computed - window + 1) // self.size

    def lacking(self, held: Held, hits: Held, tokens: int, computed: int, gate: bool) -> int:
        """Free blocks that it takes to hold `tokens`; a hit that nobody uses is a free block too."""
        need = self.need(tokens)
        if gate and self.rules.cap_at_admission:
            need = min(need, self.most)
        out = self.outside(computed)
        new = max(need - max(out, len(hits) + len(held)), 0)
        return new + sum(block is not None and block.users == 0 for block in hits[out:])

    def leave(self, held: Held, computed: int) -> None:
        gone = []
        for i in reversed(range(min(self.outside(computed), len(held)))):
            block = held[i]
            if block is None:
                break
            gone.append(block)
            held[i] = None
        self._give_back(gone)

    def adopt(self, hits: Held, computed: int) -> Held:
        out = self.outside(computed)
        for block in hits[out:]:
            if block is not None:
                self.pool.touch(block)
        return [None] * out + hits[out:]

    def extend(self, held: Held, tokens: int) -> None:
        while len(held) < self.need(tokens):
            held.append(self.pool.new())

    def give_back(self, held: Held) -> None:
        self._give_back([block for block in reversed(held) if block is not None])

    def _give_back(self, blocks: list[Block]) -> None:
        in_window = self.rules.unnamed_first_in_windows and self.spec.window is not None
        self.pool.give_back(blocks, self.rules.unnamed_first or in_window)

    # The prefix cache

    def label(self, labels: list[object], i: int) -> Label:
        """The name of block i, which stands for all tokens up to its end."""
        return labels[(i + 1) * self.size // self.unit - 1], self.number

    def name(self, held: Held, labels: list[object], first: int, upto: int) -> int:
        """Name the full blocks that have none yet; how many are dealt with."""
        if self.rules.useless_unnamed:
            upto -= upto % self.alignment
        upto = min(upto, len(labels) * self.unit) // self.size
        for i in range(first, upto):
            block = held[i]
            if block is not None and not self._useless(i):
                self.pool.register(block, self.label(labels, i))
        return max(first, upto)

    def _useless(self, i: int) -> bool:
        """Whether no hit of a multiple of `alignment` tokens reads block i."""
        if self.spec.window is None or not self.rules.useless_unnamed:
            return False
        together, needed = self.alignment // self.size, self.tail()
        if together == 1 and not self.rules.needless_unnamed:
            return False
        return needed < together and i % together < together - needed

    def tail(self) -> int:
        """The blocks before its end that a hit needs."""
        assert self.spec.window is not None
        return math.ceil((self.spec.window - 1) / self.size)

    def cached(self, labels: list[object], tokens: int) -> Held:
        """The longest prefix of at most so many tokens that is cached."""
        most = min(tokens, len(labels) * self.unit) // self.size
        found = [self.pool.find(self.label(labels, i)) for i in range(most)]
        if self.spec.window is None:
            found = found[: found.index(None)] if None in found else found
            return found[: len(found) * self.size // self.alignment * self.alignment // self.size]
        for end in range(most, 0, -1):
            start = max(0, end - max(1, self.tail()))
            if None not in found[start:end] and end * self.size % self.alignment == 0:
                return [None] * start + found[start:end]
        return []
