"""What prompts begin with alike: system prompts shared by groups, documents that retrieval puts in front of a question.

A stem is the part of a prompt that other requests may share, cut into segments; a segment's node stands for its content and
for all that comes before it, so equal nodes mean equal prefixes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.numbers import LONGEST, MOST_REQUESTS
from simulator.spec import Count, Natural, NonNegative, Things, spec
from simulator.workload.lengths.discrete import Lengths
from simulator.workload.requests import Floats, Ints
from simulator.workload.streams import Streams

Popularity = Annotated[NonNegative, Field(le=100)]


@dataclass(frozen=True, slots=True, eq=False)
class Stems:
    """For each session, the ends of its segments in tokens, not decreasing, and their nodes; both of shape (sessions,
    segments)."""

    ends: Ints
    nodes: Ints

    @property
    def tokens(self) -> Ints:
        """Tokens of each stem, shape (sessions,)."""
        return self.ends[:, -1]


@spec
class SharedPrefix:
    """Each request starts with the system prompt of its group; the fields are inference-perf's `shared_prefix`.

    The workload's prompt is the question after it (`question_len`). With `num_prompts_per_group` the questions themselves
    come from a fixed stock, sent in turn; without it every question is new. `popularity` is a Zipf exponent over the groups,
    0 for all alike.
    """

    kind: Literal["shared_prefix"] = "shared_prefix"
    num_groups: Things = 1
    system_prompt_len: Lengths
    num_prompts_per_group: Things | None = None
    popularity: Popularity = 0.0

    @model_validator(mode="after")
    def _few_enough(self) -> SharedPrefix:
        if (self.stock() or 0) > MOST_REQUESTS:
            raise ValueError(f"{self.stock():,} prompts in stock; at most {MOST_REQUESTS:,} are told apart")
        return self

    def stock(self) -> int | None:
        """Number of different prompts, or None when every question is new."""
        return None if self.num_prompts_per_group is None else self.num_groups * self.num_prompts_per_group

    def expected(self) -> float:
        """Mean tokens of a stem."""
        return self.system_prompt_len.expected()

    def stems(self, streams: Streams, sessions: Ints) -> Stems:
        """Stems of the sessions with these numbers; a stock is gone through in a shuffled order."""
        lengths = self.system_prompt_len.tokens_at(streams.uniform("system_prompt", self.num_groups))
        if self.num_prompts_per_group is None:
            groups = popular(self.num_groups, self.popularity, streams.uniform_at("group", sessions))
        else:
            order = streams.of("group").permutation(self.num_groups * self.num_prompts_per_group)
            groups = order[sessions % len(order)] // self.num_prompts_per_group
        return Stems(lengths[groups][:, None], groups[:, None])


@spec
class Documents:
    """Retrieval: each request starts with a system prompt and `per_request` different documents out of a store of `documents`.

    `popularity` is a Zipf exponent over the documents. Documents are prefixes only together with all that stands before them, so
    their order counts, as it does for an engine's prefix cache.
    """

    kind: Literal["documents"] = "documents"
    documents: Things
    document_len: Lengths
    per_request: Annotated[Count, Field(le=256)] = 1
    popularity: Popularity = 1.0
    system_prompt_len: Annotated[Natural, Field(le=LONGEST)] = 0

    @model_validator(mode="after")
    def _enough(self) -> Documents:
        if self.per_request > self.documents:
            raise ValueError(f"per_request {self.per_request} exceeds the {self.documents} documents there are")
        return self

    def stock(self) -> int | None:
        """None: every question is new."""
        return None

    def expected(self) -> float:
        """Mean tokens of a stem."""
        return self.system_prompt_len + self.per_request * self.document_len.expected()

    def stems(self, streams: Streams, sessions: Ints) -> Stems:
        """Stems of the sessions with these numbers; a document drawn twice gives way to the next one in the store."""
        lengths = self.document_len.tokens_at(streams.uniform("document", self.documents))
        chosen = np.empty((len(sessions), self.per_request), dtype=np.int64)
        for place in range(self.per_request):
            drawn = popular(self.documents, self.popularity, streams.uniform_at(f"retrieved {place}", sessions))
            while (twice := (chosen[:, :place] == drawn[:, None]).any(axis=1)).any():
                drawn[twice] = (drawn[twice] + 1) % self.documents
            chosen[:, place] = drawn
        system = np.full((len(sessions), 1), self.system_prompt_len, dtype=np.int64)
        ends = np.cumsum(np.hstack([system, lengths[chosen]]), axis=1)
        return Stems(ends, _chained(chosen))


Prefix = Annotated[SharedPrefix | Documents, Field(discriminator="kind")]


def popular(things: int, exponent: float, u: Floats) -> Ints:
    """Which of some things at uniform numbers, shape of `u`: the k-th has a share that falls as k ** -exponent."""
    weights = np.arange(1, things + 1, dtype=float) ** -exponent
    chosen = np.searchsorted(np.cumsum(weights / weights.sum()), u, side="right")
    return np.minimum(chosen, things - 1).astype(np.int64)


def _chained(chosen: Ints) -> Ints:
    """Nodes of the system prompt (0) and of every chain of documents after it, shape (sessions, documents + 1)."""
    nodes = np.zeros((len(chosen), chosen.shape[1] + 1), dtype=np.int64)
    for depth in range(chosen.shape[1]):
        chain = np.stack([nodes[:, depth], chosen[:, depth]], axis=1)
        _, which = np.unique(chain, axis=0, return_inverse=True)
        nodes[:, depth + 1] = nodes.max(initial=0) + 1 + which.reshape(-1)
    return nodes
