"""Requests: the columns of what is asked, drawn before the clock starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BlockHashes:
    """Content identity of each request's leading blocks of `block_tokens` tokens, prompt first, then output.

    Request i owns ids[offsets[i]:offsets[i + 1]]; equal id, equal content and equal prefix. Blocks beyond the listed
    ones have content of their own. `offsets` has shape (n + 1,).
    """

    block_tokens: int
    offsets: Ints
    ids: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """One column an attribute, shape (n,), in order of arrival.

    `arrival_s` seconds, not decreasing (ignored by a closed loop). `prompt_tokens`, `output_tokens` >= 1. Smaller `priority`
    goes first. `label` indexes `labels`, the workload classes. A request with `previous[i]` >= 0 is a later turn: it arrives
    `think_s[i]` after that request finished, and its `arrival_s` is not used. `decode_steps`: steps in which all its output
    tokens but the first come, where tokens are drafted and several may come of a step; None where each takes a step.
    `adapter`: the LoRA adapter of each, 0 for none; None where no request has any.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints | None = None
    label: Ints | None = None
    labels: tuple[str, ...] = ("all",)
    previous: Ints | None = None
    think_s: Floats | None = None
    hashes: BlockHashes | None = None
    decode_steps: Ints | None = None
    adapter: Ints | None = None

    def __len__(self) -> int:
        return len(self.prompt_tokens)
