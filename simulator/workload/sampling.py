"""From a workload to its requests: every column from a random stream of its own, named after the column.

So the same seed gives the same requests whatever the deployment, a change to the output law leaves arrivals and prompts as
they were, and a longer run begins with the requests of a shorter one.
"""

from __future__ import annotations

import numpy as np

from simulator.errors import ScenarioError
from simulator.workload.requests import Floats, Requests
from simulator.workload.workload import Workload


def sample(workload: Workload, seed: int, block_tokens: int = 16) -> Requests:
    """The requests of a workload, in order of arrival.

    `block_tokens` is the block size of the engine, for the hashes of shared prefixes.
    Raises ScenarioError when the duration ends before the first request.
    """
    arrival_s = workload.arrivals.times(stream(seed, "arrival"), workload.requests, workload.duration)
    n = len(arrival_s)
    if n == 0:
        raise ScenarioError("no request arrives before the workload ends; raise the rate, the duration or the number of requests")
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=workload.prompt.tokens_at(uniform(seed, "prompt", n)),
        output_tokens=workload.output.tokens_at(uniform(seed, "output", n)),
    )


def stream(seed: int, column: str) -> np.random.Generator:
    """The random stream of one column: independent of every other column's."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(column.encode())))


def uniform(seed: int, column: str, n: int) -> Floats:
    """Uniform numbers in [0, 1) of a column, shape (n,)."""
    return stream(seed, column).random(n)
