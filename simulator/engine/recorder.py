"""The log of a simulation: requests and stretches as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Everything that happened.

    `requests`, one row a request in the order of `Requests`: replica (int32, -1 refused), status (int8: 0 finished, 1 refused,
    2 timed out, 3 cancelled), arrival_s, scheduled_s, first_token_s, finish_s (seconds, NaN where it never came), prompt_tokens,
    output_tokens, cached_tokens (prefix hits at first admission), preemptions.

    `stretches`, one row a run of equal steps of one replica, ordered by start: replica, start_s, end_s, steps, sequences (running),
    decoding (those that decode), prefill_tokens (computed by prefill chunks, per step), sampled (tokens emitted per step), waiting, base_s, slope_s
    (step j of the stretch takes base_s + j * slope_s), kv_blocks (used after the stretch), preempted (requests preempted at its start).
    """

    requests: dict[str, Column]
    stretches: dict[str, Column]
    refusals: dict[int, str]

    def __len__(self) -> int:
        return len(self.requests["status"])


FINISHED, REFUSED, TIMED_OUT, CANCELLED = np.int8(0), np.int8(1), np.int8(2), np.int8(3)
