"""Random streams: every column of a workload draws from its own, named after the column.

So the same seed gives the same requests whatever the deployment, a change to the output law leaves arrivals and prompts as
they were, and a longer run begins with the requests of a shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.workload.requests import Floats, Ints


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of a seed, by the name of the column; those below a `scope` are apart from those of other scopes."""

    seed: int
    scope: str = ""

    def within(self, scope: str) -> Streams:
        """The streams of one class of requests."""
        return Streams(self.seed, f"{self.scope}/{scope}")

    def of(self, column: str) -> np.random.Generator:
        """A fresh generator at the start of the column's stream."""
        key = tuple(f"{self.scope}/{column}".encode())
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def uniform(self, column: str, n: int) -> Floats:
        """The first `n` uniform numbers in [0, 1) of a column, shape (n,)."""
        return self.of(column).random(n)

    def uniform_at(self, column: str, rows: Ints) -> Floats:
        """The uniform numbers of the given rows, shape of `rows`: row i has the same one whichever rows are asked for."""
        return self.uniform(column, int(rows.max(initial=-1)) + 1)[rows]
