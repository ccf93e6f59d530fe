"""StepTime: the seconds of one engine step, as the engine asks for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Sliding-window or chunked layers: they attend to at most `size` tokens of each context.

    `beyond`: seconds more of a step in which any decoding sequence has `size` tokens of context or more, however many have.
    """

    size: int
    per_context: float
    per_pair: float
    beyond: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class AdapterTime:
    """What LoRA adapters add to a step, in seconds.

    `tokens` to one of so many tokens while any adapter runs, shape (max_num_batched_tokens + 1,);
    `each` for every adapter that runs; `swap` for one that is moved into a slot of the GPU's memory,
    and `load` for one that is read from disk before that.
    """

    tokens: NDArray[np.float64]
    each: float = 0.0
    swap: float = 0.0
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class StepWork:
    """What the scheduler put into a step: the context of every decoding sequence, and the prefill chunks.

    A chunk is (tokens computed before it, tokens in it, whether it ends its prompt, so that a token is sampled). `adapters`
    run, and some of them must be swapped in or loaded for it.
    """

    contexts: tuple[int, ...] = ()
    chunks: tuple[tuple[int, int, bool], ...] = ()
    adapters: int = 0
    swaps: int = 0
    loads: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class StepTime:
    """Seconds of a step from what the scheduler put into it.

    t = tokens[T] + sampled[B] + drafted[S] + per_sequence*N + per_context*C + per_pair*P + constant + windows + prompts
        + adapters

    T tokens computed in the step, `verified` of each decoding sequence; N sequences in it; S of them sample (decodes, and
    prompts that finish); B tokens are sampled, `verified` of each decode;
    C summed context of the decoding sequences; P sum over prefill chunks of chunk*(already computed + chunk/2).
    Each window adds per_context * sum(min(context, size)) and per_pair * sum(min(pair term, chunk*size)), and `beyond` once
    where a decoding context reaches its size. A step with prompt chunks adds prompt[T]; `prompt` has the shape of `tokens`, or is
    empty where it is nothing.

    `tokens` has shape (max_num_batched_tokens + 1,), `sampled` shape (max_num_seqs * verified + 1,); both in seconds, finite,
    >= 0. `drafted`, what drafting takes, has shape (max_num_seqs + 1,), or is empty where nothing is drafted. `adapters`: what
    LoRA adapters add, None where none are served.
    """

    tokens: NDArray[np.float64]
    sampled: NDArray[np.float64]
    per_sequence: float
    per_context: float
    per_pair: float
    constant: float
    windows: tuple[Window, ...] = ()
    prompt: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drafted: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    verified: int = 1
    adapters: AdapterTime | None = None

    def seconds(self, step: StepWork) -> float:
        """Seconds of one step, term by term as defined above: what an engine's shortcuts must agree with."""
        ends = sum(ends for _, _, ends in step.chunks)
        tokens = len(step.contexts) * self.verified + sum(chunk for _, chunk, _ in step.chunks)
        sampled = len(step.contexts) * self.verified + ends
        pairs = [(chunk * (before + chunk / 2), chunk) for before, chunk, _ in step.chunks]
        total = float(self.tokens[tokens] + self.sampled[sampled]) + self.constant
        total += self.per_sequence * (len(step.contexts) + len(step.chunks))
        total += self.per_context * sum(step.contexts) + self.per_pair * sum(pair for pair, _ in pairs)
        for window in self.windows:
            total += window.per_context * sum(min(context, window.size) for context in step.contexts)
            total += window.per_pair * sum(min(pair, chunk * window.size) for pair, chunk in pairs)
            total += window.beyond if any(context >= window.size for context in step.contexts) else 0.0
        if step.chunks and len(self.prompt):
            total += float(self.prompt[tokens])
        if len(self.drafted):
            total += float(self.drafted[len(step.contexts) + ends])
        if self.adapters is not None and step.adapters:
            a = self.adapters
            total += float(a.tokens[tokens]) + a.each * step.adapters + a.swap * step.swaps + a.load * step.loads
        return total
