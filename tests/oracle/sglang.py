"""One replica of SGLang, naive: a list of who decodes, a radix tree of labels, one block at a time.

It follows SGLang's own loop: get_next_batch_to_run, get_new_batch_prefill, PrefillAdder,
update_running_batch, retract_decode and RadixCache of 0.5.6 and 0.5.9. Two things are simpler: a
retracted request keeps the token in flight, and who decodes once more for nothing takes no block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from oracle.server import Item, Server, Step


@dataclass(eq=False)
class Node:
    labels: list[object]
    parent: Node | None
    seen: int = 0
    locks: int = 0
    children: list[Node] = field(default_factory=list)


class Tree:
    """A radix tree; a prefix is a list of labels, one a block."""

    def __init__(self) -> None:
        self.root = Node([], None)
        self.tick = 0

    def now(self) -> int:
        self.tick += 1
        return self.tick

    def match(self, labels: list[object]) -> tuple[Node, int]:
        """The node that the longest known prefix ends with, and how long that is."""
        now, node, length = self.now(), self.root, 0
        while length < len(labels):
            child = next((c for c in node.children if c.labels[0] == labels[length]), None)
            if child is None:
                break
            child.seen = now
            same = 0
            while same < len(child.labels) and labels[length + same : length + same + 1] == [child.labels[same]]:
                same += 1
            length += same
            if same < len(child.labels):
                node = self.split(child, same)
                break
            node = child
        return node, length

    def split(self, node: Node, at: int) -> Node:
        assert node.parent is not None
        front = Node(node.labels[:at], node.parent, self.now(), node.locks, [node])
        node.parent.children[node.parent.children.index(node)] = front
        node.parent, node.labels = front, node.labels[at:]
        return front

    def insert(self, labels: list[object]) -> int:
        """How many of these were known."""
        node, known = self.match(labels)
        if known < len(labels):
            node.children.append(Node(labels[known:], node, self.now()))
        return known

    def nodes(self) -> list[Node]:
        found = [self.root]
        for node in found:
            found += node.children
        return found[1:]

    def evictable(self) -> int:
        return sum(len(node.labels) for node in self.nodes() if not node.locks)

    def lock(self, node: Node | None, by: int) -> None:
        while node is not None and node is not self.root:
            node.locks += by
            node = node.parent

    def evict(self, blocks: int) -> int:
        evicted = 0
        while evicted < blocks:
            leaves = [node for node in self.nodes() if not node.locks and not node.children]
            if not leaves:
                break
            oldest = min(leaves, key=lambda node: node.seen)
            assert oldest.parent is not None
            oldest.parent.children.remove(oldest)
            evicted += len(oldest.labels)
        return evicted


class SglangServer(Server):
    """Composes steps as SGLang does. `reqs` is its running batch, `last` the prompts of the last step, if it had any."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        assert self.limits.sglang is not None
        self.how = self.limits.sglang
        self.size = self.limits.block_size
        self.unused = self.limits.kv_blocks
        self.tree = Tree()
        self.reqs: list[Item] = []
        self.last: list[Item] = []
        self.chunked: Item | None = None
        self.full = False
        self.seen, self.unlooked, self.was_prompts = 0, 0, False
        first = min(Fraction("0.7") * Fraction(str(self.how.schedule_conservativeness)), Fraction(1))
        self.least = first * Fraction("0.14")
        self.ratio, self.fall = first, (first - self.least) / 600
        self.node: dict[Item, Node] = {}
        self.known: dict[Item, int] = {}
        self.filled: dict[Item, int] = {}
        self.to_keep: set[Item] = set()
        self.budget = self.how.chunked_prefill_size

    # Blocks

    def blocks(self, tokens: int) -> int:
        return math.ceil(tokens / self.size)

    def used(self) -> int:
        return self.limits.kv_blocks - self.unused - self.tree.evictable()

    def make_room(self, blocks: int) -> None:
        if self.unused < blocks:
            self.unused += self.tree.evict(blocks)

    def keep(self, item: Item, tokens: int) -> None:
        if not self.limits.enable_prefix_caching:
            return
        labels = item.labels[: tokens // self.size]
        self.unused += self.tree.insert(labels) - self.known[item]
        node, self.known[item] = self.tree.match(labels)
        self.tree.lock(self.node[item], -1)
        self.tree.lock(node, 1)
        self.node[item] = node

    def _register(self, item: Item, tokens: int) -> None:
        """A token of an item has come; if it is that of its prompt, that can be found now."""
        if item in self.to_keep and item.received < item.output:
            self.keep(item, self.filled[item])
        self.to_keep.discard(item)

    def _free(self, item: Item) -> None:
        self.full = self.full and not item.gone
        self.let_go(item, insert=not item.gone)

    def let_go(self, item: Item, insert: bool) -> None:
        computed = item.prompt + item.output - 1 if item.complete else item.computed
        held, known = self.blocks(computed), self.known[item]
        if insert and self.limits.enable_prefix_caching:
            tokens = computed if self.how.caches_answers else self.filled[item]
            labels = item.labels[: tokens // self.size]
            self.unused += self.tree.insert(labels) - known
            known = len(labels)
        self.unused += held - known
        self.tree.lock(self.node[item], -1)
        self.to_keep.discard(item)

    # Steps

    def compose(self, now: float) -> Step | None:
        self.just_preempted = False
        if self.chunked not in self.running:
            self.chunked = None
        if self.chunked is not None:
            self.keep(self.chunked, self.chunked.computed)
        self.reqs = [item for item in self.reqs if not item.gone]
        if self.was_prompts or not self.reqs or self.unlooked >= self.how.recv_interval:
            self.seen, self.unlooked = len(self.waiting), 0
        self.seen = min(self.seen, len(self.waiting))
        self.merge()
        step = self.prompts(now) if self.chunked or (self.seen and not self.full) else None
        self.was_prompts = step is not None
        self.unlooked += not self.was_prompts
        return step or self.decodes()

    def merge(self) -> None:
        last = [item for item in self.last if not item.gone]
        going = [item for item in last if item.received < item.output and item is not self.chunked]
        if len(going) < len(last):
            self.full = False
        if going:
            if not self.reqs:
                self.full = False
            self.reqs += going
        self.last = []

    def prompts(self, now: float) -> Step | None:
        places = self.limits.max_num_seqs - len(self.reqs)
        if places <= 0 and not self.chunked:
            self.full = True
            return None
        if self.how.schedule_policy == "lpm" and self.limits.enable_prefix_caching and self.seen <= 128:
            self.sort_by_prefix()
        reserve = sum((min(r.output - r.received, 4096) * self.ratio for r in self.reqs), Fraction(0))
        taken = 0
        inputs = self.how.max_prefill_tokens
        chunk = self.budget if self.budget is not None else math.inf
        given: dict[Item, int] = {}

        def total_left() -> Fraction:
            return (self.unused + self.tree.evictable()) * self.size - reserve

        def add(item: Item, tokens: int, answer: int) -> None:
            nonlocal reserve, taken, inputs, chunk
            given[item] = tokens
            paged = self.blocks(tokens) * self.size
            reserve += paged + answer
            taken += paged
            inputs -= paged
            chunk -= paged

        new_chunked = None
        if self.chunked is not None:
            item = self.chunked
            lacking = item.known - item.computed
            tokens = min(lacking, chunk, math.floor(total_left()))
            add(item, tokens, 0 if tokens < lacking else min(item.output, 4096))
            new_chunked = item if tokens < lacking else None
        for item in self.waiting[: self.seen]:
            if len(given) >= places:
                self.full = True
            if self.full:
                break
            node, hits = self.find(item, item.known - 1)
            lacking = item.known - hits * self.size
            total = lacking + min(item.output - item.received, 4096)
            if total >= total_left():
                self.full = True
                break
            paged = self.blocks(lacking) * self.size
            if paged >= inputs and given:
                break
            self.tree.lock(node, 1)
            if total >= total_left():
                self.tree.lock(node, -1)
                self.full = True
                break
            if paged > chunk:
                tokens = int(chunk) // self.size * self.size
                if tokens <= 0:
                    self.tree.lock(node, -1)
                    break
                new_chunked = item
            else:
                tokens = lacking
            self.node[item], self.known[item] = node, hits
            item.computed, item.prefilling = hits * self.size, True
            add(item, tokens, 0 if item is new_chunked else min(item.output, 4096))
            if total_left() <= 0 or (self.unused + self.tree.evictable()) * self.size - taken <= 0:
                self.full = True
                break
            if inputs <= 0 or chunk <= 0:
                break
        if not given:
            return None
        for item in given:
            if item in self.waiting:
                self.waiting.remove(item)
                self.seen -= 1
                self.running.append(item)
                if math.isnan(self.log["scheduled"][item.index]):
                    self.log["scheduled"][item.index] = now
                    self.log["cached"][item.index] = item.computed
        self.chunked = new_chunked
        asked = sum(given.values())
        self.make_room(asked if self.size == 1 else self.blocks(asked) + len(given))
        for item, tokens in given.items():
            self.unused -= self.blocks(item.computed + tokens) - self.blocks(item.computed)
            if item is not self.chunked:
                self.filled[item] = item.computed + tokens
                self.to_keep.add(item)
        self.last = list(given)
        return self._step(given)

    def find(self, item: Item, tokens: int) -> tuple[Node, int]:
        if not self.limits.enable_prefix_caching:
            return self.tree.root, 0
        return self.tree.match(item.labels[: tokens // self.size])

    def sort_by_prefix(self) -> None:
        others, last, length = Tree(), [], {}
        seen, unseen = self.waiting[: self.seen], self.waiting[self.seen :]
        for item in seen:
            length[item] = self.find(item, item.known)[1] * self.size
            labels = item.labels[: item.known // self.size]
            if length[item] <= 32:
                if others.match(labels)[1] * self.size >= 32:
                    last.append(item)
                else:
                    others.insert(labels)
        seen.sort(key=lambda item: (item in last, -length[item] if item not in last else 0))
        self.waiting = seen + unseen

    def lacking(self, items: list[Item]) -> int:
        return sum(self.blocks(i.computed + 1) - self.blocks(i.computed) for i in items if not i.complete)

    def decodes(self) -> Step | None:
        before = len(self.reqs)
        if not before:
            return None
        self.reqs = [item for item in self.reqs if item.received < item.output]
        if not self.reqs:
            self.full = False
            self.just_preempted = bool(self.waiting)  # so that it is asked again
            return None
        self.make_room(self.lacking(self.reqs))
        if self.lacking(self.reqs) > self.unused:
            self.retract()
        else:
            self.ratio = max(self.ratio - self.fall, self.least)
        if len(self.reqs) < before:
            self.full = False
        self.make_room(sum(not item.complete for item in self.reqs))
        self.unused -= self.lacking(self.reqs)
        return self._step(dict.fromkeys(self.reqs, 1))

    def retract(self) -> None:
        alive = [item for item in self.reqs if not item.complete]
        alive.sort(key=lambda item: (item.received, -item.prompt), reverse=True)
        count = 0
        while len(alive) > 1 and (not count or self.still_lacking(alive)):
            victim = alive.pop()
            count += 1
            self.let_go(victim, insert=False)
            self.make_room(self.blocks(20 * len(alive)))
            self.reqs.remove(victim)
            self.running.remove(victim)
            victim.computed, victim.prefilling = 0, True
            self.log["preemptions"][victim.index] += 1
            self.waiting.insert(self.seen, victim)
            self.seen += 1
        self.preempted += count
        answered, asked = sum(i.received for i in alive), sum(i.output for i in alive)
        self.ratio = min(Fraction(answered + 20 * len(alive), asked + 1), Fraction(1))

    def still_lacking(self, items: list[Item]) -> bool:
        self.make_room(self.lacking(items))
        return self.lacking(items) > self.unused
