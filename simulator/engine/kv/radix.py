"""The radix tree of SGLang: what the KV cache holds of prompts and answers, node by node, and in which order it is evicted.

A node holds the blocks that follow on its parent's and were cached at once. It is split where a look-up or a new entry
departs from it. Nodes that a request uses are locked, with all above them. Others are evicted whole, a leaf at a time, the
one looked at longest ago first.

Source: SGLang 0.5.6 to 0.5.9, python/sglang/srt/mem_cache/radix_cache.py (match_prefix, insert, evict, inc_lock_ref).
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from simulator.engine.kv.prefix_tree import Branch, Path, branch_at


class Node:
    """The blocks from `first` to `end` of a path, `used` so many times by requests at it or below it."""

    __slots__ = ("alive", "children", "end", "first", "parent", "path", "seen", "used")

    def __init__(self, parent: Node | None, path: Path, first: int, end: int, seen: int) -> None:
        self.parent = parent
        self.path = path
        self.first = first
        self.end = end
        self.seen = seen
        self.used = 0
        self.alive = True
        self.children: dict[Branch, Node] = {}


def blocks_in_common(one: Path, other: Path) -> int:
    """Leading blocks of two paths that hold the same."""
    common = 0
    for (branch, upto), (same, until) in zip(one, other, strict=False):
        if branch is not same:
            break
        common = min(upto, until)
        if upto != until:
            break
    return common


class RadixTree:
    """Nodes below `root`; `evictable` blocks are in those that nobody uses."""

    __slots__ = ("evictable", "leaves", "root", "ticks")

    def __init__(self) -> None:
        self.root = Node(None, (), 0, 0, 0)
        self.evictable = 0
        self.ticks = count(1)
        self.leaves: list[tuple[int, int, Node]] = []

    def match(self, path: Path, most: int) -> Node:
        """The node with which the longest known prefix of at most `most` blocks ends, now looked at."""
        return self._walk(path, most, next(self.ticks))

    def insert(self, path: Path, end: int) -> int:
        """Enter the first `end` blocks of a path; gives how many of them were known."""
        seen = next(self.ticks)
        node = self._walk(path, end, seen)
        known = node.end
        if known < end:
            branch = branch_at(path, known)
            assert branch is not None
            node.children[branch] = leaf = Node(node, path, known, end, next(self.ticks))
            self.evictable += end - known
            self._note(leaf)
        return known

    def _walk(self, path: Path, most: int, seen: int) -> Node:
        node = self.root
        while node.end < most:
            branch = branch_at(path, node.end)
            child = node.children.get(branch) if branch is not None else None
            if child is None:
                break
            child.seen = seen
            end = min(blocks_in_common(child.path, path), child.end, most)
            if end < child.end:
                node = self._split(child, end)
                self._note(child)
                break
            self._note(child)
            node = child
        return node

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two; gives the front part."""
        parent = node.parent
        assert parent is not None
        front = Node(parent, node.path, node.first, at, next(self.ticks))
        front.used = node.used
        branch, rear = branch_at(node.path, node.first), branch_at(node.path, at)
        assert branch is not None and rear is not None
        parent.children[branch] = front
        front.children[rear] = node
        node.parent, node.first = front, at
        return front

    def lock(self, node: Node) -> None:
        """Let a request use a node, and all above it."""
        each: Node | None = node
        while each is not None and each is not self.root:
            if not each.used:
                self.evictable -= each.end - each.first
            each.used += 1
            each = each.parent

    def unlock(self, node: Node) -> None:
        """Let it use them no longer."""
        each: Node | None = node
        while each is not None and each is not self.root:
            each.used -= 1
            if not each.used:
                self.evictable += each.end - each.first
                self._note(each)
            each = each.parent

    def evict(self, blocks: int) -> int:
        """Evict leaves until at least so many blocks are free, or none is left; gives how many are."""
        evicted = 0
        while evicted < blocks and self.leaves:
            seen, _, node = heappop(self.leaves)
            if seen != node.seen or not node.alive or node.used or node.children:
                continue
            parent, branch = node.parent, branch_at(node.path, node.first)
            assert parent is not None and branch is not None
            evicted += node.end - node.first
            node.alive = False
            del parent.children[branch]
            if parent is not self.root:
                self._note(parent)
        self.evictable -= evicted
        return evicted

    def _note(self, node: Node) -> None:
        """Queue a node for eviction if it is a leaf that nobody uses."""
        if not node.used and not node.children:
            heappush(self.leaves, (node.seen, next(self.ticks), node))
