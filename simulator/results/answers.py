"""Answers: how many requests got none, why, and whether that is too many.

A request without an answer (refused at the door, timed out, waiting for ever, or never sent as a turn before it got none)
counts as a miss of every limit of its SLO. A deployment whose share of them exceeds what its SLO leaves out (1 % for p99),
MOST_ALLOWED at most, or USUALLY_ALLOWED where there is no SLO, does not carry the traffic, however little those it answers wait.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import CANCELLED, FINISHED, LOST, NEVER_SCHEDULED, REFUSED, TIMED_OUT, RunRecord
from simulator.results.slo import ROUNDING, Bools, Promise, left_out
from simulator.text import share

USUALLY_ALLOWED, MOST_ALLOWED = 0.01, 0.05
_WHY = (
    (REFUSED, "refused"),
    (TIMED_OUT, "timed out"),
    (NEVER_SCHEDULED, "never scheduled"),
    (LOST, "lost"),
    (CANCELLED, "not sent"),
)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Requests of a run that got no answer, of how many; how many for each cause, in words; and whether they are too many.

    `shares`: for each promise, the share of its requests.
    """

    count: int
    of: int
    causes: tuple[str, ...]
    shares: tuple[float, ...]
    too_many: bool

    def __str__(self) -> str:
        """`3% of the requests get no answer (12 of 400): 12 refused, the first because ...`; empty where all got one."""
        if not self.count:
            return ""
        counted = f"{share(self.count / self.of)} of the requests get no answer ({self.count:,} of {self.of:,})"
        return f"{counted}: {'; '.join(self.causes)}"


def unanswered(trace: RunRecord, promises: Sequence[Promise] = ()) -> Unanswered:
    """What came of the requests of a run that got no answer."""
    status = trace.requests["status"]
    lost = status != FINISHED
    causes = tuple(cause for code, word in _WHY for cause in _causes(trace, np.flatnonzero(status == code), word))
    return Unanswered(int(lost.sum()), len(lost), causes, _shares(lost, promises), too_many(lost, promises))


def too_many(lost: Bools, promises: Sequence[Promise]) -> bool:
    """Whether more requests go without an answer, those of `lost`, shape (n,), than their SLO or, without one, custom allows."""
    usual = MOST_ALLOWED if promises else USUALLY_ALLOWED
    allowed = (usual, *(left_out(promise.slo) for promise in promises))
    shares = (_mean(lost), *_shares(lost, promises))
    return any(some > most + ROUNDING for some, most in zip(shares, allowed, strict=True))


def _shares(lost: Bools, promises: Sequence[Promise]) -> tuple[float, ...]:
    return tuple(_mean(lost if p.of is None else lost[p.of]) for p in promises)


def _causes(trace: RunRecord, rows: NDArray[np.int64], word: str) -> list[str]:
    """`12 refused, the first because ...`, for each kind of reason: reasons that differ in their numbers are of one kind."""
    kinds: dict[str, list[str]] = {}
    for row in rows.tolist():
        reason = trace.refusals.get(row, "")
        kinds.setdefault(re.sub(r"\d+", "", reason), []).append(reason)
    return [_cause(reasons, word) for reasons in kinds.values()]


def _cause(reasons: Sequence[str], word: str) -> str:
    first = "the first " if len(set(reasons)) > 1 else ""
    why = f", {first}because {reasons[0]}" if reasons[0] else ""
    return f"{len(reasons):,} {word}{why}"


def _mean(lost: Bools) -> float:
    return float(lost.mean()) if len(lost) else 0.0
