"""Static batching: a batch lasts as long as its longest request, which is what continuous batching was invented against."""

import numpy as np
from analytical.queues import STEP_S, assert_law, replica, run, tokens

from simulator.engine.record import RunRecord
from simulator.workload.requests import Requests

BATCH, BATCHES = 8, 400


def served(seed: int, policy: str) -> tuple[Requests, RunRecord]:
    """All at once, of one prompt token and exponential outputs; a step takes STEP_S whatever is in it."""
    n = BATCH * BATCHES
    outputs = tokens("exponential", np.random.default_rng(seed), n)
    requests = Requests(np.zeros(n), np.ones(n, dtype=np.int64), outputs)
    return requests, run(requests, replica(BATCH, step_s=STEP_S, policy=policy))


def test_batches_follow_each_other_and_each_lasts_as_long_as_its_longest():
    """Exact, request by request: a request ends its own length after its batch began."""
    requests, trace = served(0, "static")
    lengths = requests.output_tokens.reshape(BATCHES, BATCH)
    begins = np.concatenate([[0], np.cumsum(lengths.max(axis=1))[:-1]])
    assert np.allclose(trace.requests["finish_s"], ((begins[:, None] + lengths) * STEP_S).ravel(), rtol=1e-9)


def test_a_batch_of_exponential_lengths_lasts_a_harmonic_number_of_means():
    """E[max of b exponentials] = H_b times the mean, so a static server does 1 / H_b of what a full one does."""
    harmonic = float(np.sum(1 / np.arange(1, BATCH + 1)))
    lasted = np.array([np.nanmax(served(seed, "static")[1].requests["finish_s"]) / BATCHES for seed in range(20)])
    assert_law({"batch": (lasted, harmonic)}, within=0.02)


def test_continuous_batching_keeps_every_place_filled():
    """Exact but for the end: the whole takes the sum of the lengths over the places, and at most the longest more."""
    requests, trace = served(0, "fcfs")
    least = float(requests.output_tokens.sum()) / BATCH * STEP_S
    took = float(np.nanmax(trace.requests["finish_s"]))
    assert least <= took * (1 + 1e-9) <= least + float(requests.output_tokens.max()) * STEP_S
