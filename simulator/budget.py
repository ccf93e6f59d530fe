"""What a simulation may cost: bounds that are told before the work starts, and can be raised."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.errors import SimulatorError
from simulator.numbers import MOST_REQUESTS
from simulator.text import number
from simulator.units import GB

# Bytes that a run takes for each request and each block of a prompt whose content is told, measured on 300,000 requests and on
# 20 million blocks, November 2026: columns, the engine's own state, latencies. And tokens a request for what that one stands for.
_REQUEST_BYTES, _BLOCK_BYTES, _REQUEST_TOKENS = 1_100, 55, 10_000


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests that may be simulated, each of up to 10,000 tokens on average, and bytes that one simulation may take."""

    max_requests: int = MOST_REQUESTS
    max_memory_bytes: float = 6 * GB

    def check(self, requests: float, tokens_each: float, blocks_each: float = 0.0) -> None:
        """Raise SimulatorError for more than is allowed, in words that say how much it would be and what allows it."""
        if requests > self.max_requests:
            raise SimulatorError(
                f"about {requests:,.0f} requests; at most {self.max_requests:,} are simulated unless --max-requests is higher"
            )
        tokens, most = requests * tokens_each, self.max_requests * _REQUEST_TOKENS
        if tokens > most:
            raise SimulatorError(
                f"this would simulate {tokens:.2g} tokens; at most {most:.2g} are simulated unless --max-requests is higher"
            )
        memory = requests * (_REQUEST_BYTES + _BLOCK_BYTES * blocks_each)
        if memory > self.max_memory_bytes:
            raise SimulatorError(
                f"about {requests:,.0f} requests would take {number(memory / GB)} GB of this computer's memory; at most "
                f"{number(self.max_memory_bytes / GB)} GB are taken unless --max-memory is higher"
            )
