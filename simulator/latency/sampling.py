"""Sampling: what a step does to its logits besides taking the largest."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.catalog.engines import Engine
from simulator.catalog.samplers import samplers
from simulator.latency.physics import Array
from simulator.spec import Natural, NonNegative, spec
from simulator.units import US

# Bytes a logit of 32 bits is read and written with where a token is drawn: division by the temperature 8, softmax 12, noise 4,
# division by it 12, largest 4.
_DRAWN_BYTES = 40.0
SAMPLING_NOT_MODELLED = ("repetition_penalty", "presence_penalty", "frequency_penalty", "min_p", "logprobs", "n", "seed")


@spec
class Sampling:
    """How answers are sampled. Temperature 0 is greedy: the largest logit, whatever the others say.

    vLLM from 0.8 on takes what a request leaves open from the checkpoint's generation_config.json, where Qwen3 has
    temperature 0.6, top_k 20 and top_p 0.95; `vllm bench serve` asked for greedy answers until 0.14 and leaves it open since.
    What a release does for top-k and top-p differs tenfold (`catalog/data/samplers.yaml`).

    `top_k` 0 and `top_p` 1 keep every token.
    """

    temperature: NonNegative = 0.0
    top_k: Natural = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn, not just the largest taken."""
        return self.temperature > 0

    @property
    def cut(self) -> bool:
        """Whether the vocabulary is cut by top-k or top-p before a token is drawn."""
        return self.drawn and (self.top_k > 0 or self.top_p < 1)

    def seconds(self, sequences: Array, vocabulary: int, engine: Engine, bytes_per_s: float) -> Array:
        """Seconds of a step by its sequences, beyond what greedy answers take; `bytes_per_s` is what passes over logits reach.

        Raises NotModelled for an engine whose top-k and top-p are not known.
        """
        logits = sequences * vocabulary
        total = logits * (_DRAWN_BYTES / bytes_per_s if self.drawn else 0.0)
        if not self.cut:
            return np.asarray(total)
        cut = np.zeros_like(sequences)
        for sampler in samplers(engine):
            seconds = sampler.fixed_us * US + logits * sampler.logit_bytes / bytes_per_s
            cut = np.where(sequences >= sampler.least_sequences, seconds, cut)
        return np.asarray(total + cut)
