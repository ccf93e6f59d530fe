"""max_num_seqs=1: a single server. M/D/1, M/G/1, priorities, and disciplines that a mean cannot tell apart.

Every law: 1 % chance of a false alarm with fresh seeds, see queues.py.
"""

import numpy as np
import pytest
from analytical.queues import SCV, STEP_S, ask, assert_law, misses, replica, run, runs, settled, tokens
from analytical.theory import md1_wait, mg1_lifo_wait_square, mg1_wait, mg1_wait_square, priority_waits

from simulator.engine.serve import serve
from simulator.latency.client import ApiServer


def test_steps_of_one_length_wait_as_in_m_d_1():
    """1 % for both loads together."""

    def wait(load):
        return runs(lambda rng: settled(run(ask(rng, load, 4_000), replica(1, step_s=1.0)))["wait_s"].mean())

    assert_law({f"load {load}": (wait(load), md1_wait(load, 1.0)) for load in (0.5, 0.8)}, within=0.1)


def test_prompts_of_any_length_wait_as_in_m_g_1():
    """1 % for the three lengths together. Service is prefill, in chunks of at most 10,000 tokens."""

    def wait(law):
        def one(rng):
            asked = ask(rng, 0.5, 5_000, prompts=tokens(law, rng, 5_000))
            return settled(run(asked, replica(1, token_s=STEP_S)))["wait_s"].mean()

        return runs(one)

    laws = ("exponential", "lognormal", "two kinds")
    assert_law({law: (wait(law), mg1_wait(0.5, 1.0, SCV[law])) for law in laws}, within=0.1)


def test_requests_wait_for_the_api_server_as_in_m_d_1():
    """1 % for both loads together. The engine behind it has room for all and takes next to nothing."""

    def wait(load):
        def one(rng):
            requests = ask(rng, load, 4_000)
            trace = serve(requests, [replica(1_000, step_s=1e-6)], front_end=ApiServer(request_s=1.0))
            waits = trace.requests["taken_s"] - trace.requests["arrival_s"]
            return waits[len(waits) // 10 :].mean()

        return runs(one)

    assert_law({f"load {load}": (wait(load), md1_wait(load, 1.0)) for load in (0.5, 0.8)}, within=0.1)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_every_wait_is_what_lindleys_recursion_says(phase):
    """No chance in it: a request waits for what the one before it waited and took, less the time between them."""
    rng = np.random.default_rng(0)
    lengths = tokens("exponential", rng, 2_000)
    asked = {"prefill": {"prompts": lengths}, "decode": {"outputs": lengths}}[phase]
    on = {"prefill": replica(1, token_s=STEP_S), "decode": replica(1, step_s=STEP_S)}[phase]
    trace = run(ask(rng, 0.9, len(lengths), **asked), on)
    waits = [0.0]
    for gap, length in zip(np.diff(trace.requests["arrival_s"]), lengths, strict=False):
        waits.append(max(waits[-1] + length * STEP_S - gap, 0.0))
    np.testing.assert_allclose(trace.requests["scheduled_s"] - trace.requests["arrival_s"], waits, atol=1e-6)


def test_last_come_first_served_passes_the_mean_and_fails_the_mean_square():
    """1 % for each discipline's two figures, 2 % in all. The later, the more urgent: that is a queue of the same mean wait."""

    def figures(policy):
        def one(rng):
            asked = ask(rng, 0.5, 5_000, priority=-np.arange(5_000))
            wait = settled(run(asked, replica(1, step_s=1.0, policy=policy)))["wait_s"]
            return wait.mean(), (wait**2).mean()

        return runs(one).T

    mean = md1_wait(0.5, 1.0)
    first, last = mg1_wait_square(0.5, 1.0, 0.0, 1.0), mg1_lifo_wait_square(0.5, 1.0, 0.0, 1.0)
    fcfs, lifo = figures("fcfs"), figures("priority")
    assert_law({"mean": (fcfs[0], mean), "mean square": (fcfs[1], first)}, within=0.1)
    assert_law({"mean": (lifo[0], mean), "mean square": (lifo[1], last)}, within=0.15)
    assert misses({"mean": (lifo[0], mean), "mean square": (lifo[1], first)}).keys() == {"mean square"}
    assert misses({"mean": (fcfs[0], mean), "mean square": (fcfs[1], last)}).keys() == {"mean square"}


def test_urgent_requests_wait_as_cobham_says():
    """1 % for both classes together. 0.3 urgent requests a second of 0.5 s among 0.15 of 3 s."""
    classes = [(0.3, 0.5, 0.0), (0.15, 3.0, 0.0)]

    def one(rng):
        urgent = rng.random(3_000) < 0.3 / 0.45
        prompts = np.where(urgent, 5_000, 30_000)
        asked = ask(rng, 0.45, 3_000, prompts=prompts, priority=1 - urgent)
        rows = settled(run(asked, replica(1, token_s=STEP_S, policy="priority")))
        return [rows["wait_s"][rows["prompt_tokens"] == length].mean() for length in (5_000, 30_000)]

    waits = runs(one).T
    assert_law(dict(zip(("urgent", "others"), zip(waits, priority_waits(classes), strict=True), strict=True)), within=0.1)
