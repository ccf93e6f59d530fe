"""Which LoRA adapter a request asks for."""

from __future__ import annotations

import numpy as np

from simulator.spec import Count, Fraction, NonNegative, Things, spec
from simulator.workload.requests import Floats, Ints


@spec
class Adapters:
    """LoRA adapters that requests ask for: `count` of them, the i-th as popular as i to the power of minus `popularity`.

    `popularity` 0 is all alike, 1 is Zipf's law. `base_share` of the requests ask for the model itself.
    The requests of a session ask for the same one. `rank`: the adapters' own, which must not exceed the
    engine's max_lora_rank; None for one that fits.
    """

    count: Things
    popularity: NonNegative = 0.0
    base_share: Fraction | None = None
    rank: Count | None = None

    def chosen(self, uniform: Floats) -> Ints:
        """The adapter at each of these uniform numbers, 1 to `count`, 0 for the model itself; shape (n,)."""
        base = self.base_share or 0.0
        weights = np.arange(1, self.count + 1, dtype=np.float64) ** -self.popularity
        ends = np.concatenate([[base], base + (1.0 - base) * np.cumsum(weights) / weights.sum()])
        return np.minimum(np.searchsorted(ends, uniform, side="right"), self.count).astype(np.int64)
