"""A batch is many servers, or one shared among all: M/M/c, M/G/inf, processor sharing, and what lies between them.

Every law: 1 % chance of a false alarm with fresh seeds, see queues.py.
"""

import numpy as np
from analytical.queues import STEP_S, STEPS, ask, assert_law, occupancy, replica, run, runs, settled, tokens
from analytical.theory import birth_death_mean, erlang_c, little, mginf_mean, mmc_wait, poisson_pmf, ps_response


def test_steps_that_a_full_batch_does_not_slow_down_are_the_servers_of_m_m_c():
    """1 % for six figures together: mean wait, who waits, and how many run, of at most two and four."""

    def figures(servers, rate):
        def one(rng):
            trace = run(ask(rng, rate, 6_500, outputs=tokens("exponential", rng, 6_500)), replica(servers, step_s=STEP_S))
            wait = settled(trace)["wait_s"]
            return wait.mean(), (wait > STEP_S).mean(), occupancy(trace) @ np.arange(servers + 1)

        wait, delayed, running = runs(one).T
        return {
            f"wait, c={servers}": (wait, mmc_wait(rate, 1.0, servers)),
            f"chance of waiting, c={servers}": (delayed, erlang_c(rate, 1.0, servers)),
            f"running, c={servers}": (running, little(rate, 1.0)),
        }

    assert_law(figures(2, 1.0) | figures(4, 2.4), within=0.12)


def test_requests_start_in_order_of_arrival_whatever_the_batch():
    """No chance in it."""
    rng = np.random.default_rng(0)
    trace = run(ask(rng, 7.6, 3_000, outputs=tokens("exponential", rng, 3_000)), replica(8, step_s=STEP_S))
    assert (np.diff(trace.requests["scheduled_s"]) >= 0).all()


def test_without_a_limit_the_number_running_is_poisson_whatever_the_lengths():
    """1 % for nine figures together: mean, mean square about the law's mean, and share of time at it, for three lengths."""
    mean = mginf_mean(4.0, 1.0)

    def figures(law):
        def one(rng):
            trace = run(ask(rng, 4.0, 1_500, outputs=tokens(law, rng, 1_500)), replica(256, step_s=STEP_S))
            assert settled(trace)["wait_s"].max() <= STEP_S * 1.001
            shares = occupancy(trace)
            n = np.arange(len(shares))
            return shares @ n, shares @ (n - mean) ** 2, shares[round(mean)]

        inside, square, at = runs(one).T
        return {
            f"mean, {law}": (inside, mean),
            f"variance, {law}": (square, mean),
            f"share of time at the mean, {law}": (at, poisson_pmf(mean, round(mean))),
        }

    assert_law(figures("fixed") | figures("exponential") | figures("lognormal"), within=0.1)


def test_steps_in_proportion_to_the_batch_share_the_processor_whatever_the_lengths():
    """1 % for five figures together. Only the mean length counts, and a request stays in proportion to its own length."""

    def sojourns(law, lengths=()):
        def one(rng):
            rows = settled(run(ask(rng, 0.5, 1_600, outputs=tokens(law, rng, 1_600)), replica(512, sequence_s=STEP_S)))
            stay, own = rows["sojourn_s"], rows["output_tokens"]
            return [stay[own == length].mean() for length in lengths] or stay.mean()

        return runs(one).T

    laws = ("fixed", "exponential", "lognormal")
    figures = {law: (sojourns(law)[0], ps_response(0.5, 1.0, 1.0)) for law in laws}
    lengths = (STEPS // 2, 11 * STEPS // 2)
    for length, stays in zip(lengths, sojourns("two kinds", lengths), strict=True):
        figures[f"{length} tokens"] = (stays, ps_response(0.5, 1.0, length * STEP_S))
    assert_law(figures, within=0.1)


def test_a_batch_whose_steps_grow_with_it_is_a_birth_death_chain():
    """1 % for three figures together. A step is 0.4 + 0.1 n long; four at most, or no limit, where any lengths will do."""

    def sojourn(law, rate, seqs):
        on = replica(seqs, step_s=0.4 * STEP_S, sequence_s=0.1 * STEP_S)

        def one(rng):
            return settled(run(ask(rng, rate, 1_400, outputs=tokens(law, rng, 1_400)), on))["sojourn_s"].mean()

        return runs(one)[:, 0], birth_death_mean(rate, [n / (0.4 + 0.1 * n) for n in range(1, seqs + 1)]) / rate

    figures = {"four at most": sojourn("exponential", 3.5, 4)}
    figures |= {f"no limit, {law}": sojourn(law, 5.0, 256) for law in ("fixed", "lognormal")}
    assert_law(figures, within=0.1)
