"""What is in a trace, what a prefix cache finds in it, and the workload that stands for it."""

import math

import numpy as np
import pytest
from support.shared import SHARED, needs_shared
from support.workloads import lengths, workload

from simulator.errors import MeasurementError
from simulator.workload.arrivals.steady import Gamma, Poisson
from simulator.workload.arrivals.varying import Bursts, Stages
from simulator.workload.fit.laws import fitted_arrivals, fitted_lengths, ks_distance
from simulator.workload.fit.prefix_reuse import cached_tokens, common_prefix_blocks, prefix_reuse
from simulator.workload.fit.statistics import dispersion, portrait, spearman
from simulator.workload.fit.workload import fit
from simulator.workload.lengths.continuous import LogNormal, Quantiles
from simulator.workload.lengths.discrete import Empirical, Fixed
from simulator.workload.requests import BlockHashes, Requests
from simulator.workload.sample import sample
from simulator.workload.traces.cleaning import record
from simulator.workload.traces.recording import Recording
from simulator.workload.traces.trace_file import TraceFile


def recording(requests):
    return Recording(requests, "columns", has_times=True, lines=len(requests))


def drawn(**written):
    return sample(workload(**written), 1)


def hashes(size, *lists):
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])])
    return BlockHashes(size, offsets, np.array([block for ids in lists for block in ids]))


def test_ranks_of_ties_are_their_mean():
    assert spearman(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4])) == pytest.approx(
        np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1]
    )
    assert spearman(np.array([1, 1, 1]), np.array([1, 2, 3])) == 0


def test_even_arrivals_have_no_dispersion_and_poisson_ones_have_one():
    assert dispersion(np.arange(1, 1001) * 0.1 - 0.05, 1.0) == 0
    assert dispersion(drawn(requests=40_000).arrival_s, 5.0) == pytest.approx(1, abs=4 * math.sqrt(2 / 2000))


def test_a_portrait_of_known_requests():
    found = portrait(
        recording(
            Requests(
                arrival_s=np.array([0.0, 1, 1, 4]), prompt_tokens=np.array([10, 20, 30, 40]), output_tokens=np.array([4, 3, 2, 1])
            )
        )
    )
    assert (found.requests, found.duration_s, found.rate.mean_per_s) == (4, 4, 0.75)
    assert found.rate.together == pytest.approx(1 / 3)
    assert sum(found.rate.per_s) * found.rate.bin_s == pytest.approx(4)
    assert (found.prompt.mean, found.prompt.least, found.prompt.greatest, found.prompt.total) == (25, 10, 40, 100)
    assert found.spearman == pytest.approx(-1)
    assert found.reuse is None


def test_a_prompt_finds_its_blocks_up_to_the_first_that_is_missing():
    given = hashes(10, [0, 1, 2], [0, 1, 3], [9, 1], [0, 1, 2])
    assert cached_tokens(given, np.array([30, 35, 20, 28]), None) == 20 + 28


def test_the_least_recently_used_block_goes_first_and_a_prefix_outlives_its_ends():
    given = hashes(10, [0, 1, 2], [0, 1, 2])
    assert cached_tokens(given, np.array([30, 30]), 3) == 30
    assert cached_tokens(given, np.array([30, 30]), 2) == 20
    assert cached_tokens(given, np.array([30, 30]), 1) == 10
    pushed_out = hashes(10, [0], [1], [2], [0], [2])
    assert cached_tokens(pushed_out, np.full(5, 10), 2) == 10


def test_reuse_grows_with_the_cache_up_to_one_without_end():
    requests = drawn(prompt=200, prefix={"kind": "documents", "documents": 400, "document_len": 800}, requests=3000)
    found = prefix_reuse(requests)
    shares = [share for _, share in found.by_cache_tokens]
    assert len(shares) >= 1
    assert shares == sorted(shares)
    assert shares[-1] <= found.endless < 0.8
    assert found.distinct_tokens <= 400 * 800


def test_blocks_that_nearly_all_begin_with_are_common():
    assert common_prefix_blocks(hashes(16, *[[0, 1, 2, 10 + i] for i in range(9)], [50]), 0.9) == 3
    assert common_prefix_blocks(hashes(16, *[[0, 1]] * 8, [50], [51]), 0.9) == 0


def test_the_distance_of_two_samples_is_that_of_their_distribution_functions():
    assert ks_distance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4])) == 0
    assert ks_distance(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])) == 0.5
    assert ks_distance(np.array([0, 0]), np.array([1])) == 1


def test_poisson_arrivals_are_fitted_as_such():
    found = fitted_arrivals(drawn(arrivals="4/s", requests=3000).arrival_s)
    assert isinstance(found, Poisson)
    assert found.rate == pytest.approx(4, rel=0.1)


def test_bursty_arrivals_are_fitted_with_their_cv():
    found = fitted_arrivals(drawn(arrivals={"kind": "gamma", "rate": 4, "cv": 2.5}, requests=3000).arrival_s)
    assert isinstance(found, Gamma)
    assert found.cv == pytest.approx(2.5, rel=0.15)


def test_bursts_are_fitted_with_their_rate_and_their_lengths():
    found = fitted_arrivals(drawn(arrivals={"kind": "bursts", "rate": 50, "on": 2, "off": 20}, requests=6000).arrival_s)
    assert isinstance(found, Bursts)
    assert found.rate == pytest.approx(50, rel=0.1)
    assert found.on == pytest.approx(2, rel=0.35)
    assert found.off == pytest.approx(20, rel=0.35)


def test_a_rate_that_changes_is_fitted_in_stages():
    stages = [{"rate": 2, "duration": 300}, {"rate": 10, "duration": 300}]
    found = fitted_arrivals(drawn(arrivals={"kind": "stages", "stages": stages}, requests=None).arrival_s)
    assert isinstance(found, Stages)
    assert found.cv == pytest.approx(1, abs=0.1)
    half = len(found.rates) // 2
    assert np.mean(found.rates[:half]) == pytest.approx(2, rel=0.15)
    assert np.mean(found.rates[half + 1 :]) == pytest.approx(10, rel=0.15)


def test_arrivals_on_a_coarse_clock_are_fitted_by_their_counts():
    times = np.floor(drawn(arrivals="4/s", requests=3000).arrival_s / 3) * 3
    found = fitted_arrivals(times - times[0])
    assert isinstance(found, Gamma)
    assert found.cv == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (256, Fixed),
        ({"kind": "empirical", "values": [10, 20, 500], "weights": [5, 3, 2]}, Empirical),
        ({"kind": "lognormal", "mean": 500, "p95": 1500}, LogNormal),
        ({"kind": "uniform", "min": 10, "max": 900}, Quantiles),
    ],
)
def test_lengths_are_fitted_by_the_simplest_law_that_is_near(written, kind):
    tokens = lengths(written).tokens_at(np.random.default_rng(1).random(20_000))
    law = fitted_lengths(tokens)
    assert isinstance(law, kind)
    assert law.expected() == pytest.approx(tokens.mean(), rel=0.03)
    assert ks_distance(tokens, law.tokens_at(np.random.default_rng(2).random(20_000))) < 0.04


def test_a_fitted_workload_is_near_the_one_that_was_drawn():
    found = fit(recording(drawn(dataset="azure-conversation-2023", correlation=0.3, requests=5000)))
    distances = {d.name: d for d in found.distances}
    assert distances["prompt tokens, mean"].ks < 0.04
    assert distances["output tokens, mean"].ks < 0.04
    assert found.workload.correlation == pytest.approx(0.3, abs=0.05)
    assert found.workload.requests == 5000
    assert found.lost == ()


def test_a_common_system_prompt_is_fitted_and_the_rest_of_the_reuse_said_to_be_lost():
    prefix = {"kind": "shared_prefix", "system_prompt_len": 320}
    alone = fit(recording(drawn(prompt={"kind": "uniform", "min": 50, "max": 900}, prefix=prefix)))
    assert alone.workload.prefix.system_prompt_len == Fixed(tokens=320)
    assert alone.lost == ()
    chats = fit(
        recording(drawn(prompt=300, prefix=prefix, sessions={"kind": "conversation", "turns": 6, "think": 9}, requests=2000))
    )
    assert any("of the prompt tokens were seen before" in loss for loss in chats.lost)


def test_answers_that_hang_on_the_prompt_in_no_simple_way_are_fitted_in_classes():
    requests = drawn(
        prompt={"kind": "uniform", "min": 10, "max": 1009}, output={"kind": "gamma", "mean": 100, "cv": 0.5}, requests=4000
    )
    middle = (requests.prompt_tokens > 400) & (requests.prompt_tokens < 610)
    requests.output_tokens[middle] *= 5
    found = fit(recording(requests))
    assert found.workload.classes[0].name.startswith("prompts up to 1")
    assert found.lost == ()


def test_a_mix_that_changes_is_fitted_with_arrivals_for_each_class():
    short = {"name": "short", "prompt": {"kind": "uniform", "min": 10, "max": 99}, "output": 9}
    long = {"name": "long", "prompt": {"kind": "uniform", "min": 1000, "max": 1999}, "output": 9}
    turns = [{"kind": "stages", "rates": rates, "every": 300} for rates in ([6, 2], [2, 6])]
    classes = [{**short, "arrivals": turns[0]}, {**long, "arrivals": turns[1]}]
    found = fit(recording(sample(workload(classes=classes, arrivals=None, requests=None), 1)))
    early = [np.mean(c.arrivals.rates[: len(c.arrivals.rates) // 2]) for c in found.workload.classes]
    late = [np.mean(c.arrivals.rates[len(c.arrivals.rates) // 2 :]) for c in found.workload.classes]
    assert all(e > 2 * after for e, after in zip(early[:3], late[:3], strict=True))
    assert all(e < after / 2 for e, after in zip(early[-3:], late[-3:], strict=True))


def test_what_cannot_be_fitted_says_so():
    few = Requests(arrival_s=np.arange(5.0), prompt_tokens=np.ones(5, dtype=int), output_tokens=np.ones(5, dtype=int))
    with pytest.raises(MeasurementError, match="nothing to fit: 5 requests"):
        fit(recording(few))
    timeless = Requests(arrival_s=np.zeros(50), prompt_tokens=np.ones(50, dtype=int), output_tokens=np.ones(50, dtype=int))
    with pytest.raises(MeasurementError, match="without times"):
        fit(Recording(timeless, "columns", has_times=False, lines=50))


@needs_shared
def test_the_azure_conversation_trace_is_fitted_closely():
    found = fit(record(TraceFile(path=str(SHARED / "traces/azure_llm_2023_conv.csv"))))
    for distance in found.distances:
        assert distance.ks is None or distance.ks < 0.03, distance
        if "mean" in distance.name or "p99" in distance.name:
            assert distance.fitted == pytest.approx(distance.trace, rel=0.05), distance
    assert all(isinstance(c.arrivals, Stages) for c in found.workload.classes)


@needs_shared
def test_reuse_in_the_mooncake_trace_is_what_a_set_of_blocks_finds():
    requests = record(TraceFile(path=str(SHARED / "traces/mooncake_conversation.jsonl"))).requests
    seen, found = set(), 0
    for i, prompt in enumerate(requests.prompt_tokens.tolist()):
        own = requests.hashes.ids[requests.hashes.offsets[i] : requests.hashes.offsets[i + 1]].tolist()
        found += min(prompt, 512 * sum(block in seen for block in own))
        seen.update(own)
    assert cached_tokens(requests.hashes, requests.prompt_tokens, None) == found
    assert found / requests.prompt_tokens.sum() == pytest.approx(0.374, abs=0.001)


def test_quantiles_are_added_until_the_mean_is_near_too():
    """Five of ten thousand lengths are far above the rest: straight from p98 to p100 a law would be half as long again."""
    tokens = np.sort(np.concatenate([np.repeat(np.arange(100, 149), 200), np.full(195, 149), [150, 151, 152, 2000, 20000]]))
    law = fitted_lengths(tokens, near=0.05)
    assert law.kind == "quantiles"
    assert law.raw_moments()[0] == pytest.approx(tokens.mean(), rel=0.01)
