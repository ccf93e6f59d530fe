"""Drawing requests: streams, mixtures, sessions and shared prefixes, worked by hand."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from support.workloads import workload

from simulator.errors import ScenarioError
from simulator.workload.draw import correlated, draw_kinds, draw_lone, draw_rows, draw_sessions
from simulator.workload.fit.statistics import spearman
from simulator.workload.sample import sample
from simulator.workload.streams import Streams

SPREAD = {"kind": "lognormal", "mean": 300, "p95": 900}


def blocks(requests, i):
    """The hash ids of one request."""
    return requests.hashes.ids[requests.hashes.offsets[i] : requests.hashes.offsets[i + 1]].tolist()


def columns(requests):
    """The columns that are there, as lists."""
    return {
        f.name: getattr(requests, f.name).tolist()
        for f in dataclasses.fields(requests)
        if isinstance(getattr(requests, f.name), np.ndarray)
    }


def test_the_same_seed_gives_the_same_requests_and_another_seed_others():
    spec = workload(prompt=SPREAD, output=SPREAD)
    assert columns(sample(spec, 1)) == columns(sample(spec, 1))
    assert columns(sample(spec, 1)) != columns(sample(spec, 2))


def test_the_block_size_of_a_deployment_changes_nothing_but_the_hashes():
    spec = workload(
        prefix={"kind": "shared_prefix", "system_prompt_len": 64}, sessions={"kind": "conversation", "turns": 3, "think": 1}
    )
    assert columns(sample(spec, 1, block_tokens=16)) == columns(sample(spec, 1, block_tokens=32))


@pytest.mark.parametrize(
    ("change", "untouched"),
    [
        ({"output": 77}, ("arrival_s", "prompt_tokens")),
        ({"prompt": 77}, ("arrival_s", "output_tokens")),
        ({"arrivals": {"kind": "constant", "rate": 1}}, ("prompt_tokens", "output_tokens")),
        ({"requests": 500}, ("arrival_s", "prompt_tokens", "output_tokens")),
    ],
)
def test_every_column_has_a_stream_of_its_own(change, untouched):
    before = columns(sample(workload(prompt=SPREAD, output=SPREAD), 3))
    after = columns(sample(workload(**({"prompt": SPREAD, "output": SPREAD} | change)), 3))
    for name in untouched:
        assert after[name] == before[name][: len(after[name])]


def test_streams_of_different_columns_are_not_correlated():
    drawn = np.array([Streams(5).uniform(name, 20_000) for name in ("arrival", "prompt", "output", "turns", "class")])
    off_diagonal = np.corrcoef(drawn)[~np.eye(len(drawn), dtype=bool)]
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(20_000)


def test_a_row_has_the_same_uniform_number_whichever_rows_are_asked_for():
    all_rows = Streams(1).uniform("x", 10)
    assert Streams(1).uniform_at("x", np.array([7, 2, 2])).tolist() == all_rows[[7, 2, 2]].tolist()


@pytest.mark.parametrize("asked", [-0.9, -0.3, 0.4, 0.8, 1.0])
def test_prompt_and_output_have_the_rank_correlation_that_was_asked(asked):
    drawn = sample(workload(prompt=SPREAD, output={"kind": "gamma", "mean": 200, "cv": 1}, correlation=asked, requests=20_000), 1)
    assert spearman(drawn.prompt_tokens, drawn.output_tokens) == pytest.approx(asked, abs=4 / np.sqrt(20_000))


def test_correlated_numbers_stay_uniform():
    u, v = np.random.default_rng(1).random((2, 20_000))
    assert np.histogram(correlated(u, v, 0.7), np.linspace(0, 1, 11))[0] == pytest.approx(2000, abs=4 * np.sqrt(1800))


def test_classes_get_their_shares_labels_and_priorities():
    spec = workload(
        classes=[
            {"name": "chat", "share": 3, "prompt": 10, "output": 5},
            {"name": "batch", "prompt": 500, "output": 9, "priority": 7},
        ],
        requests=10_000,
    )
    drawn = sample(spec, 1)
    assert drawn.labels == ("chat", "batch")
    assert (drawn.label == 1).mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 10_000))
    assert set(drawn.prompt_tokens[drawn.label == 1]) == {500}
    assert drawn.priority[drawn.label == 1].tolist() == [7] * int((drawn.label == 1).sum())
    assert set(drawn.priority[drawn.label == 0]) == {0}


def test_requests_that_stand_alone_are_drawn_as_sessions_of_one_turn_are():
    spec = workload(
        classes=[
            {"name": "chat", "share": 3, "prompt": SPREAD, "output": SPREAD},
            {"name": "batch", "prompt": SPREAD, "output": 9, "correlation": 0.5},
        ],
    )
    mix, streams = spec.mix(), Streams(1)
    kind = draw_kinds(mix, streams, (1 << 16) + 3)
    rows = draw_rows(mix, draw_sessions(mix, kind, streams), streams, None)
    prompt, output = draw_lone(mix, kind, streams)
    assert prompt.tolist() == rows.prompt.tolist()
    assert output.tolist() == rows.output.tolist()


def test_drawing_requests_that_stand_alone_takes_little_more_memory_than_their_columns():
    spec = workload(prompt=10, output=5, requests=200_000)
    sample(spec, 1)
    tracemalloc.start()
    drawn = sample(spec, 1)
    peak = tracemalloc.get_traced_memory()[1] / len(drawn)
    tracemalloc.stop()
    assert peak < 50.0


def test_a_class_can_come_at_times_of_its_own():
    day = {"name": "day", "prompt": 10, "output": 5, "arrivals": {"kind": "stages", "rates": [8, 0], "every": 500}}
    night = {"name": "night", "prompt": 20, "output": 5, "arrivals": {"kind": "stages", "rates": [0, 2], "every": 500}}
    spec = workload(classes=[day, night], arrivals=None, requests=None)
    drawn = sample(spec, 1)
    assert spec.mean_rate() == 5
    assert spec.at_rate(10).mean_rate() == 10
    assert (np.diff(drawn.arrival_s) >= 0).all()
    assert (drawn.label == (drawn.arrival_s > 500)).all()
    assert len(drawn) == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert len(sample(dataclasses.replace(spec, requests=7), 1)) == 7


def test_shares_are_of_requests_though_one_class_comes_in_sessions():
    chat = {"name": "chat", "prompt": 10, "output": 5, "sessions": {"kind": "conversation", "turns": 5, "think": 1}}
    drawn = sample(workload(classes=[chat, {"name": "single", "prompt": 10, "output": 5}], requests=20_000), 1)
    assert (drawn.label == 0).mean() == pytest.approx(0.5, abs=0.03)
    assert len(drawn) / drawn.arrival_s[-1] == pytest.approx(4, rel=0.05)


def test_a_conversation_carries_all_that_was_said():
    spec = workload(
        prompt=100,
        output=10,
        sessions={"kind": "conversation", "turns": 3, "think": "5s", "think_cv": 0, "followup": 20},
        requests=7,
    )
    drawn = sample(spec, 1)
    assert drawn.prompt_tokens.tolist() == [100, 130, 160, 100, 130, 160, 100]
    assert drawn.previous.tolist() == [-1, 0, 1, -1, 3, 4, -1]
    assert drawn.think_s.tolist() == [0, 5, 5, 0, 5, 5, 0]
    assert drawn.arrival_s[0] == drawn.arrival_s[2] < drawn.arrival_s[3]


def test_later_turns_find_the_blocks_of_earlier_ones():
    spec = workload(prompt=100, output=10, sessions={"kind": "conversation", "turns": 3, "think": 1, "followup": 20}, requests=6)
    drawn = sample(spec, 1)
    first, second, third = (blocks(drawn, i) for i in range(3))
    assert len(first) == 110 // 16
    assert len(second) == 140 // 16
    assert second[: len(first)] == first
    assert third == second
    assert not set(first) & set(blocks(drawn, 3))


def test_an_agent_adds_tool_results_and_stops_before_its_context_is_full():
    spec = workload(
        prompt=100,
        output=10,
        sessions={"kind": "agent", "steps": 50, "tool_pause": 1, "tool_result": 40, "max_context": 260},
        requests=8,
    )
    drawn = sample(spec, 1)
    assert drawn.prompt_tokens.tolist() == [100, 150, 200, 250, 100, 150, 200, 250]
    assert drawn.previous.tolist() == [-1, 0, 1, 2, -1, 4, 5, 6]


def test_a_first_turn_stays_though_it_exceeds_the_context():
    spec = workload(
        prompt=500, output=10, sessions={"kind": "conversation", "turns": 3, "think": 1, "max_context": 100}, requests=3
    )
    assert sample(spec, 1).prompt_tokens.tolist() == [500, 500, 500]


def test_think_times_have_the_mean_and_spread_that_were_asked():
    spec = workload(sessions={"kind": "conversation", "turns": 2, "think": 10, "think_cv": 0.5}, requests=40_000)
    later = sample(spec, 1).think_s[1::2]
    assert later.mean() == pytest.approx(10, abs=4 * 5 / np.sqrt(20_000))
    assert later.std() == pytest.approx(5, rel=0.05)


def test_requests_of_a_group_share_its_system_prompt_in_full_blocks():
    drawn = sample(
        workload(prompt=30, prefix={"kind": "shared_prefix", "num_groups": 2, "system_prompt_len": 70}, requests=50), 1
    )
    assert set(drawn.prompt_tokens) == {100}
    seen = {tuple(blocks(drawn, i)) for i in range(50)}
    assert sorted(seen) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_a_stock_of_prompts_is_sent_in_turn_with_the_same_lengths_and_blocks():
    prefix = {"kind": "shared_prefix", "num_groups": 3, "num_prompts_per_group": 2, "system_prompt_len": 64}
    drawn = sample(workload(prompt=SPREAD, output=SPREAD, prefix=prefix, requests=18), 1)
    assert drawn.prompt_tokens[:6].tolist() == drawn.prompt_tokens[6:12].tolist()
    assert drawn.output_tokens[:6].tolist() == drawn.output_tokens[6:12].tolist()
    assert [blocks(drawn, i) for i in range(6)] == [blocks(drawn, i) for i in range(12, 18)]
    assert len(blocks(drawn, 0)) == drawn.prompt_tokens[0] // 16
    groups = sorted(blocks(drawn, i)[0] for i in range(6))
    assert groups[0::2] == groups[1::2]
    assert len({tuple(blocks(drawn, i)) for i in range(6)}) == 6


def test_documents_are_shared_only_after_the_same_documents_in_the_same_order():
    prefix = {"kind": "documents", "documents": 4, "document_len": 32, "per_request": 2, "system_prompt_len": 16}
    drawn = sample(workload(prompt=8, prefix=prefix, requests=200), 1)
    assert set(drawn.prompt_tokens) == {88}
    lists = [blocks(drawn, i) for i in range(200)]
    assert {len(found) for found in lists} == {5}
    assert len({found[0] for found in lists}) == 1
    assert len({tuple(found[:3]) for found in lists}) == 4
    assert len({tuple(found) for found in lists}) == 12
    assert all(a[3:] != b[3:] for a in lists for b in lists if a[1] != b[1])


def test_popular_documents_come_more_often():
    prefix = {"kind": "documents", "documents": 10, "document_len": 16, "popularity": 1.0}
    drawn = sample(workload(prompt=8, prefix=prefix, requests=20_000), 1)
    counts = np.sort(np.bincount([blocks(drawn, i)[0] for i in range(len(drawn))]))[::-1]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.1)
    assert counts[0] / counts[4] == pytest.approx(5, rel=0.15)


def test_two_classes_never_share_a_prefix():
    prefix = {"kind": "shared_prefix", "system_prompt_len": 64}
    both = [{"name": name, "prompt": 10, "output": 5, "prefix": prefix} for name in ("a", "b")]
    drawn = sample(workload(classes=both, requests=100), 1)
    ids = [{block for i in np.flatnonzero(drawn.label == k) for block in blocks(drawn, i)} for k in (0, 1)]
    assert not ids[0] & ids[1]


def test_a_closed_loop_may_think_for_varying_times():
    loop = {"kind": "closed_loop", "concurrency": 4, "think": 3}
    assert sample(workload(arrivals=loop), 1).think_s is None
    varied = sample(workload(arrivals=loop | {"think_cv": 1}, requests=20_000), 1).think_s
    assert varied.mean() == pytest.approx(3, abs=4 * 3 / np.sqrt(20_000))


def test_plain_requests_have_no_columns_that_they_do_not_need():
    drawn = sample(workload(), 1)
    assert (drawn.priority, drawn.label, drawn.previous, drawn.think_s, drawn.hashes, drawn.labels) == (None,) * 5 + (("all",),)


def test_a_workload_that_ends_before_its_first_request_says_what_would_help():
    with pytest.raises(ScenarioError, match="raise the rate, the duration"):
        sample(workload(arrivals={"kind": "constant", "rate": 0.1}, duration="1s"), 1)
