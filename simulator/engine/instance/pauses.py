"""Pauses: how long those wait for their next token who decode, but not in steps that compute prompts alone."""

from __future__ import annotations

from collections.abc import Callable

from simulator.engine.request import Request


class Pauses:
    """`count` requests that wait for their next token, in groups: (since when, how many, the first order behind them).

    Those who join the batch later stand behind all who were in it, so a request's order tells its group.
    """

    __slots__ = ("count", "groups")

    def __init__(self) -> None:
        self.groups: list[tuple[float, int, int]] = []
        self.count = 0

    def add(self, when: float, decoding: int, behind: int) -> None:
        """Of `decoding` requests, all with orders below `behind`, those that do not wait yet had their last token at `when`."""
        if decoding > self.count:
            self.groups.append((when, decoding - self.count, behind))
            self.count = decoding

    def leave(self, request: Request) -> float | None:
        """Let one out that was decoding; gives when it had its last token, None if it did not wait."""
        for i, (when, number, behind) in enumerate(self.groups):
            if request.order < behind:
                self.groups[i] = (when, number - 1, behind)
                self.count -= 1
                return when
        return None

    def end(self, now: float, write: Callable[[float, int], None]) -> None:
        """All have a token now: write how long each group waited for it, and how many they are."""
        for when, number, _ in self.groups:
            write(now - when, number)
        self.groups.clear()
        self.count = 0
