"""What every router and every source keeps."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from support.by_hand import limits, step_time

from simulator.engine.fleet.router import (
    LeastKvUse,
    LeastOutstanding,
    LlmD,
    PowerOfTwoChoices,
    PrefixAffinity,
    Random,
    RoundRobin,
    Router,
    SessionAffinity,
)
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import FINISHED, TIMED_OUT
from simulator.engine.serve import serve
from simulator.latency.client import ApiServer
from simulator.spec import variants
from simulator.workload.requests import BlockHashes, Requests

ROUTERS = (
    RoundRobin(),
    Random(),
    LeastOutstanding(),
    LeastKvUse(),
    PowerOfTwoChoices(),
    SessionAffinity(),
    PrefixAffinity(slack=4, ratio=1.0),
    LlmD(),
)
DRAW = (Random, PowerOfTwoChoices, SessionAffinity, LlmD)
HEEDS_LOAD = tuple(router for router in ROUTERS if not isinstance(router, RoundRobin | Random | SessionAffinity))
SOURCES = (
    OpenLoop(),
    OpenLoop(timeout_s=1.0),
    OpenLoop(max_concurrency=40),
    ClosedLoop(concurrency=40),
    ClosedLoop(concurrency=40, think_s=0.5, timeout_s=1.0),
)


def most_at_once(source):
    """The most requests that a client has under way, None where nothing bounds them."""
    return source.concurrency if isinstance(source, ClosedLoop) else source.max_concurrency


NAME = lambda one: getattr(one, "kind", type(one).__name__)  # noqa: E731

N, REPLICAS = 400, 4
PROMPT_BLOCKS = 8
TIGHT = limits(kv_blocks=200, max_num_seqs=16, max_num_batched_tokens=128, enable_prefix_caching=True)
QUICK, SLOW = step_time(constant=0.02, token_s=0.001), step_time(constant=0.08, token_s=0.004)
EQUAL, MIXED = [(QUICK, TIGHT)] * REPLICAS, [(QUICK, TIGHT), (SLOW, TIGHT)]


def load(seed=1, rate=24.0, prefixes=60):
    """Requests whose prompts of 8 blocks begin with 6 that they share with others, at a rate that EQUAL carries."""
    rng = np.random.default_rng(seed)
    of, own = rng.integers(prefixes, size=N), np.arange(N)
    labels = [
        [*range(10 * p, 10 * p + 6), 10_000 + 2 * i, 10_001 + 2 * i] for p, i in zip(of.tolist(), own.tolist(), strict=True)
    ]
    hashes = BlockHashes(4, np.arange(N + 1) * PROMPT_BLOCKS, np.array(labels).ravel())
    prompts = np.full(N, 4 * PROMPT_BLOCKS)
    return Requests(np.cumsum(rng.exponential(1 / rate, N)), prompts, rng.integers(1, 60, N), hashes=hashes)


def assignment(trace):
    return trace.requests["replica"].tolist()


def assert_nothing_is_lost(trace, requests, replicas):
    """Each request is on one replica, which computed its tokens and nobody else's, and left the system."""
    r, s = trace.requests, trace.stretches
    assert set(assignment(trace)) <= set(range(replicas))
    assert np.isfinite(r["left_s"]).all()
    assert set(r["status"].tolist()) <= {FINISHED, TIMED_OUT}
    for replica in range(replicas):
        here, done = r["replica"] == replica, r["status"] == FINISHED
        sampled = (s["sampled"].astype(int) * s["steps"])[s["replica"] == replica].sum()
        least = requests.output_tokens[here & done].sum()
        assert sampled == least if done[here].all() else least <= sampled <= requests.output_tokens[here].sum()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{NAME(source)}-{SOURCES.index(source)}")
@pytest.mark.parametrize("router", ROUTERS, ids=NAME)
def test_behind_an_api_server_too_nothing_is_lost_and_no_time_runs_backwards(router, source):
    requests, slow = load(), ApiServer(request_s=0.05, prompt_token_s=0.001, chunk_s=0.002)
    trace = serve(requests, EQUAL, router=router, load=source, front_end=slow)
    assert_nothing_is_lost(trace, requests, REPLICAS)
    done = trace.requests["status"] == FINISHED
    way = ("arrival_s", "taken_s", "entered_s", "scheduled_s", "first_token_s", "finish_s")
    times = np.stack([trace.requests[name][done] for name in way])
    assert (np.diff(times, axis=0) >= -1e-9).all()
    most_s = slow.work_s(requests.prompt_tokens, requests.output_tokens)
    for replica in range(REPLICAS):
        here = trace.requests["replica"] == replica
        if not here.any():
            continue
        busy = np.nanmax(trace.requests["left_s"][here]) - np.nanmin(trace.requests["arrival_s"][here])
        assert most_s[here & done].sum() <= busy + 1e-9, "one process does one thing after another"


def test_there_is_an_example_of_every_variant():
    assert {type(router) for router in ROUTERS} == set(variants(Router))
    assert {type(source) for source in SOURCES} == set(variants(Load))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{NAME(source)}-{SOURCES.index(source)}")
@pytest.mark.parametrize("router", ROUTERS, ids=NAME)
def test_every_request_goes_to_one_replica_and_nothing_is_lost(router, source):
    requests = load()
    for replicas in (EQUAL, MIXED, EQUAL[:1]):
        assert_nothing_is_lost(serve(requests, replicas, router=router, load=source), requests, len(replicas))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{NAME(source)}-{SOURCES.index(source)}")
@pytest.mark.parametrize("router", ROUTERS, ids=NAME)
def test_the_same_seed_gives_the_same_run(router, source):
    runs = [serve(load(), EQUAL, router=router, load=source, seed=7) for _ in range(2)]
    assert assignment(runs[0]) == assignment(runs[1])
    assert np.array_equal(runs[0].requests["left_s"], runs[1].requests["left_s"])


def test_only_a_router_that_draws_heeds_the_seed():
    for router in ROUTERS:
        runs = [assignment(serve(load(), EQUAL, router=router, seed=seed)) for seed in (1, 2)]
        assert (runs[0] == runs[1]) == (not isinstance(router, DRAW)), router


@pytest.mark.parametrize("router", ROUTERS, ids=NAME)
def test_equal_replicas_share_a_load_that_they_carry_about_equally(router):
    """Each gets its quarter of the requests, give or take a fifth of it."""
    shares = np.bincount(assignment(serve(load(rate=30.0), EQUAL, router=router)), minlength=REPLICAS) / N
    assert (abs(shares - 1 / REPLICAS) <= 1 / REPLICAS / 5).all(), shares


@pytest.mark.parametrize("router", HEEDS_LOAD, ids=NAME)
def test_a_router_that_heeds_load_sends_less_to_the_slower_of_two_gpus(router):
    """At a load that both carry together: where queues overflow, the KV caches of both are full and tell nothing apart."""
    quick, slow = np.bincount(assignment(serve(load(rate=6.0), MIXED, router=router)), minlength=2)
    assert slow < 0.7 * quick


def test_round_robin_sends_as_much_to_a_slow_gpu_as_to_a_quick_one():
    assert assignment(serve(load(), MIXED, router=RoundRobin())) == [0, 1] * (N // 2)


def test_prefix_affinity_finds_more_in_the_caches_than_taking_turns():
    found = [serve(load(), EQUAL, router=router).requests["cached_tokens"].sum() for router in (PrefixAffinity(), RoundRobin())]
    assert found[0] > 1.2 * found[1]


def test_a_short_common_beginning_holds_nobody_to_one_replica():
    """The same system prompt in front of all, a quarter of each prompt: only a lower threshold crowds them together."""
    labels = np.array([[1, 2, *range(10 * i, 10 * i + 6)] for i in range(1, N + 1)])
    alike = replace(load(), hashes=BlockHashes(4, np.arange(N + 1) * PROMPT_BLOCKS, labels.ravel()))
    spread, crowded = (
        assignment(serve(alike, EQUAL, router=router))[:50] for router in (PrefixAffinity(), PrefixAffinity(threshold=0.2))
    )
    assert len(set(spread)) == REPLICAS
    assert len(set(crowded)) == 1


@pytest.mark.parametrize("source", [s for s in SOURCES if most_at_once(s)], ids=NAME)
def test_no_more_are_ever_in_the_system_than_the_client_allows(source):
    trace = serve(load(rate=60.0), EQUAL, load=source)
    times = np.concatenate([trace.requests["arrival_s"], trace.requests["left_s"]])
    change = np.repeat([1, -1], N)
    inside = np.cumsum(change[np.lexsort((change, times))])
    assert inside.max() == most_at_once(source)


@pytest.mark.parametrize("source", [s for s in SOURCES if not most_at_once(s)], ids=NAME)
def test_an_open_loop_sends_by_the_clock_whatever_happens(source):
    requests = load(rate=60.0)
    assert np.array_equal(serve(requests, EQUAL, load=source).requests["arrival_s"], requests.arrival_s)


@pytest.mark.parametrize("source", [s for s in SOURCES if s.timeout_s is not None], ids=NAME)
def test_nobody_stays_longer_than_the_time_out(source):
    trace = serve(load(rate=60.0), EQUAL, load=source)
    assert (trace.requests["status"] == TIMED_OUT).any()
    stayed = trace.requests["left_s"] - trace.requests["arrival_s"]
    assert stayed.max() <= source.timeout_s * (1 + 1e-9)


def test_a_session_stays_where_it_began():
    requests = replace(load(), previous=np.where(np.arange(N) >= 40, np.arange(N) - 40, -1), think_s=np.full(N, 0.1))
    places = np.array(assignment(serve(requests, EQUAL, router=SessionAffinity())))
    assert (places[40:] == places[:-40]).all()
    assert len(set(places[:40].tolist())) == REPLICAS


def test_a_random_router_is_to_one_of_many_replicas_as_arrivals_at_random():
    """Taking turns evens out arrivals; drawing does not: the mean wait is that of the replica alone at its share."""
    requests = replace(load(rate=30.0), hashes=None)
    waits = [
        np.nanmean((trace := serve(requests, EQUAL, router=router)).requests["scheduled_s"] - trace.requests["arrival_s"])
        for router in (Random(), RoundRobin())
    ]
    assert waits[0] > waits[1]


def test_llm_d_finds_what_its_servers_hold_and_goes_round_a_long_queue():
    found = [serve(load(), EQUAL, router=router).requests["cached_tokens"].sum() for router in (LlmD(), Random())]
    assert found[0] > 1.2 * found[1]


def test_a_bare_name_is_a_router_or_a_preset():
    named = TypeAdapter(Router).validate_python
    assert named("random") == Random()
    assert named("llm-d") == LlmD(queue=2.0, kv_cache=2.0, prefix=3.0)
    assert named("llm-d-load-aware") == LlmD(queue=0.0, kv_cache=0.0, prefix=2.0, load_aware=1.0)
