"""What a client sees besides the engine: HTTP, tokenizing and the way back, added to the time to the first token."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.spec import NonNegative, spec
from simulator.units import MS, US


@spec
class FrontEnd:
    """TTFT at the client = TTFT in the engine + fixed + so much per prompt token, per concurrent request and per decode step.

    Defaults: what single requests to vLLM 0.30 see, Qwen3-8B on one H100, 128 to 8,192 prompt tokens (silybench-data, November
    2026). Open loops of inference-perf have the same, whatever their concurrency, and AccelMark's about that at low rates.
    """

    fixed_ms: NonNegative = 5.5
    prompt_token_us: NonNegative = 4.4
    concurrent_ms: NonNegative = 0.0
    decode_steps: NonNegative = 0.0

    def seconds(self, prompt_tokens: ArrayLike, concurrency: float, decode_step_s: float) -> NDArray[np.float64]:
        """Seconds to add to each request's time to first token, shape of `prompt_tokens`.

        `concurrency` is the mean number of requests in the engine, `decode_step_s` its mean decode step.
        """
        constant = self.fixed_ms * MS + self.concurrent_ms * MS * concurrency + self.decode_steps * decode_step_s
        return np.asarray(constant + self.prompt_token_us * US * np.asarray(prompt_tokens, dtype=np.float64))
