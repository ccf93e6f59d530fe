"""The queue of a scheduler that serves by priority, with the methods of the deque that the other one uses."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from simulator.engine.request import Request


def priority_key(request: Request) -> tuple[int, float, int]:
    """What is smaller goes first, and is preempted last."""
    return request.priority, request.arrived, request.index


class Queue(Protocol):
    """Those who wait: a deque, or the queue by priority."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Request]: ...

    def __getitem__(self, index: int, /) -> Request: ...

    def append(self, request: Request, /) -> None:
        """Let a request wait."""

    def appendleft(self, request: Request, /) -> None:
        """Let one wait at the front."""

    def popleft(self) -> Request:
        """Take the first."""

    def remove(self, request: Request, /) -> None:
        """Take out one."""

    def clear(self) -> None:
        """Take out all."""


class PriorityQueue:
    """Waiting requests by (priority, arrival); there is no front to be put back at."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, float, int, Request]] = []

    def __len__(self) -> int:
        return len(self.heap)

    def __iter__(self) -> Iterator[Request]:
        return (entry[-1] for entry in self.heap)

    def __getitem__(self, index: int) -> Request:
        return self.heap[index][-1]

    def append(self, request: Request) -> None:
        """Let a request wait."""
        heappush(self.heap, (*priority_key(request), request))

    appendleft = append

    def popleft(self) -> Request:
        """Take the first."""
        return heappop(self.heap)[-1]

    def remove(self, request: Request) -> None:
        """Take out one."""
        self.heap.remove((*priority_key(request), request))
        heapify(self.heap)

    def clear(self) -> None:
        """Take out all."""
        self.heap.clear()
