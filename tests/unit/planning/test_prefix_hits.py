"""Prefix hits in closed form: worked by hand, and against the prefix cache of the engine."""

from pathlib import Path

import numpy as np
import pytest
from support.planning_fixtures import small

from simulator.planning.capacity import probes
from simulator.planning.capacity.prefix_hits import prefix_hits
from simulator.planning.capacity.probes import answered_by, full_server
from simulator.planning.capacity.replicas import OPTIMISM
from simulator.planning.capacity.search import queueing_point
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import load
from simulator.workload.requests import BlockHashes, Requests
from simulator.workload.sample import sample


def _requests(ids: list[list[int]], prompt: int, output: int = 10, **columns: np.ndarray) -> Requests:
    n, offsets = len(ids), np.cumsum([0, *map(len, ids)])
    hashes = BlockHashes(16, offsets, np.concatenate(ids).astype(np.int64))
    return Requests(np.zeros(n), np.full(n, prompt), np.full(n, output), hashes=hashes, **columns)


def test_a_shared_prompt_is_found_by_all_but_the_first_and_held_once() -> None:
    """Four blocks of 16 shared, 36 tokens of its own and half of ten: 400 tokens hold 64 once and 41 for each of eight."""
    found = prefix_hits(_requests([[0, 1, 2, 3]] * 1000, 100), 400.0, 16, 1.0)
    assert found.tokens.tolist() == [0, *[64] * 999]
    assert found.sequences == pytest.approx((400 - 64) / 41, rel=0.02)


def test_what_comes_back_after_the_cache_has_turned_over_is_not_found() -> None:
    """Ten prompts in turn, of 96 tokens and half of ten of their own: 500 tokens hold fewer than ten, 1,200 hold all."""
    turns = [[10 * turn + block for block in range(6)] for turn in range(10)] * 20
    assert not prefix_hits(_requests(turns, 101), 500.0, 16, 1.0).tokens.any()
    assert prefix_hits(_requests(turns, 101), 1_200.0, 16, 1.0).tokens[10:].tolist() == [96] * 190
    assert prefix_hits(_requests(turns, 101), 500.0, 16, 1.0, endless=True).tokens[10:].tolist() == [96] * 190


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    found = prefix_hits(_requests([[0, 1]] * 3, 32), 1e6, 16, 1.0)
    assert found.tokens.tolist() == [0, 16, 16]


@pytest.mark.parametrize(("rate", "hit"), [(0.1, True), (10.0, False)])
def test_while_a_user_thinks_others_come_in_between(rate: float, hit: bool) -> None:
    """Each conversation has a second turn 50 s after its first; the requests in between fill the cache."""
    ids = [[100 * talk + block for block in range(6)] for talk in range(100) for _ in range(2)]
    previous = np.where(np.arange(200) % 2, np.arange(200) - 1, -1)
    think = np.where(np.arange(200) % 2, 50.0, 0.0)
    found = prefix_hits(_requests(ids, 101, previous=previous, think_s=think), 3_000.0, 16, rate)
    assert bool(found.tokens[1::2].all()) is hit
    assert not found.tokens[::2].any()


SHARED = "prefix: {kind: shared_prefix, num_groups: 4, system_prompt_len: 2000}"
DOCUMENTS = "prefix: {kind: documents, documents: 400, document_len: 800, per_request: 2, popularity: 0.7}"
TALKS = "sessions: {kind: conversation, turns: 5, think: 10}"


@pytest.mark.parametrize(
    ("shared", "near"), [(SHARED, 0.25), (DOCUMENTS, 0.25), (f"{SHARED}\n  {TALKS}", 0.5)], ids=["groups", "documents", "talks"]
)
def test_the_ceiling_is_near_the_queueing_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str, near: float
) -> None:
    """Without hits it would be a third to an eighth of it. Talks come and go more unevenly than is assumed."""
    changes = (("arrivals:", f"{shared}\n  arrivals:"), ("token_us: 1}", "token_us: 50}"), ("requests: 400", "requests: 3000"))
    monkeypatch.setattr(probes, "WHOLE", 10_000)
    scenario = load(small(tmp_path, *changes))
    fleet = plan_fleet(scenario, scenario.deployments[1])
    requests = sample(scenario.workload, scenario.seed)
    full, best = full_server(fleet.server, requests), full_server(fleet.server, requests, at_best=True)
    asked = probes.probes(fleet, scenario.workload, full, scenario.seed)
    found = queueing_point(asked.mixed, full.requests_per_s).value
    assert full.requests_per_s == pytest.approx(found, rel=near)
    assert best.requests_per_s > found / OPTIMISM


def test_what_is_refused_is_no_work_of_the_ceiling(tmp_path: Path) -> None:
    """Half of the prompts are too long: the full server is asked for twice the rate of what it answers."""
    classes = "classes: [{name: a, prompt: 100, output: 20}, {name: b, prompt: 4090, output: 20}]"
    scenario = load(small(tmp_path, ("prompt: 100\n  output: 20", classes), ("requests: 400", "requests: 4000")))
    plain = load(small(tmp_path, name="plain.yaml"))
    fleet = plan_fleet(scenario, scenario.deployments[1])
    requests = sample(scenario.workload, scenario.seed)
    alone = full_server(fleet.server, sample(plain.workload, plain.seed))
    assert answered_by(fleet.server, requests).prompt_tokens.max() == 100
    assert full_server(fleet.server, requests).requests_per_s == pytest.approx(2 * alone.requests_per_s, rel=0.05)
