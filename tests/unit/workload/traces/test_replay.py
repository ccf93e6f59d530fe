"""Replaying a trace: sliced, thinned, sped up, repeated, clipped, and at other times."""

import json

import numpy as np
import pytest
from support.workloads import workload, write_json_lines, write_lines

from simulator.errors import MeasurementError, ScenarioError
from simulator.workload.sample import sample
from simulator.workload.streams import Streams
from simulator.workload.traces.servegen import servegen_requests


@pytest.fixture
def path(tmp_path):
    rows = [{"timestamp": 1000 * i, "input_length": 100 + i, "output_length": 10 + i, "hash_ids": [0, i + 1]} for i in range(100)]
    return str(write_json_lines(tmp_path / "t.jsonl", [{**row, "input_length": 600 + row["input_length"]} for row in rows]))


def replayed(path, seed=1, block_tokens=16, requests=None, duration=None, arrivals=None, **how):
    return sample(
        workload(trace={"path": path, **how}, requests=requests, duration=duration, arrivals=arrivals), seed, block_tokens
    )


def test_a_trace_is_replayed_as_it_is_whatever_the_seed(path):
    for seed in (1, 2):
        found = replayed(path, seed)
        assert found.arrival_s.tolist() == list(range(100))
        assert found.prompt_tokens.tolist() == list(range(700, 800))
        assert found.output_tokens.tolist() == list(range(10, 110))


def test_a_slice_starts_at_its_own_beginning(path):
    found = replayed(path, start="10s", end="20s")
    assert found.arrival_s.tolist() == list(range(10))
    assert found.prompt_tokens.tolist() == list(range(710, 720))


def test_a_scale_of_two_is_twice_as_fast(path):
    assert replayed(path, scale="2x").arrival_s.tolist() == [i / 2 for i in range(100)]


def test_a_repetition_begins_one_mean_gap_after_the_last_request(path):
    found = replayed(path, repeat=2)
    assert found.arrival_s.tolist() == list(range(200))
    assert found.prompt_tokens.tolist() == 2 * list(range(700, 800))


def test_a_repeated_slice_begins_when_the_slice_ends(path):
    assert replayed(path, end="2.5s", repeat=2).arrival_s.tolist() == [0, 1, 2, 2.5, 3.5, 4.5]


def test_a_repetition_finds_nothing_of_the_one_before(path):
    found = replayed(path, repeat=2)
    half = found.hashes.offsets[100]
    assert not set(found.hashes.ids[:half]) & set(found.hashes.ids[half:])


def test_a_sample_keeps_a_share_that_only_the_seed_decides(path):
    kept = replayed(path, sample=0.5).prompt_tokens
    assert 30 <= len(kept) <= 70
    assert kept.tolist() == replayed(path, sample=0.5, scale=3).prompt_tokens.tolist()
    assert kept.tolist() != replayed(path, 2, sample=0.5).prompt_tokens.tolist()


def test_lengths_are_clipped_and_hashes_with_them(path):
    found = replayed(path, max_prompt=720, max_output=50)
    assert found.prompt_tokens.max() == 720
    assert found.output_tokens.max() == 50
    assert np.diff(found.hashes.offsets).tolist() == [min(700 + i, 720) // 16 for i in range(100)]


def test_requests_and_duration_end_it_and_the_first_to_be_reached_counts(path):
    assert len(replayed(path, requests=30, duration=50)) == 30
    assert len(replayed(path, requests=80, duration=50)) == 51


def test_other_arrivals_take_the_requests_in_order_and_over_again(path):
    found = replayed(path, arrivals={"kind": "constant", "rate": 10}, requests=150)
    assert found.arrival_s == pytest.approx(0.1 * np.arange(1, 151))
    assert found.prompt_tokens.tolist() == [700 + i % 100 for i in range(150)]
    again = found.hashes.offsets[100]
    assert not set(found.hashes.ids[:again]) & set(found.hashes.ids[again:])


@pytest.mark.parametrize("arrivals", ["4/s", {"kind": "all_at_once"}, {"kind": "closed_loop", "concurrency": 5}])
def test_other_arrivals_without_an_end_take_the_trace_once(path, arrivals):
    assert len(replayed(path, arrivals=arrivals)) == 100


def test_the_times_of_a_trace_can_be_had_alone(path):
    found = sample(workload(arrivals={"kind": "recorded", "trace": {"path": path, "scale": 2}}, requests=None), 1)
    assert found.arrival_s.tolist() == [i / 2 for i in range(100)]
    assert set(found.prompt_tokens) == {100}


def test_hashes_come_in_blocks_of_the_engine(path):
    found = replayed(path, block_tokens=32)
    assert found.hashes.block_tokens == 32
    assert np.diff(found.hashes.offsets).tolist() == [(700 + i) // 32 for i in range(100)]
    assert found.hashes.ids[0] == found.hashes.ids[found.hashes.offsets[1]]


def test_a_slice_with_nothing_in_it_says_what_would_help(path):
    with pytest.raises(ScenarioError, match="widen start and end"):
        replayed(path, start="1h")


def test_a_file_without_times_needs_arrivals(tmp_path):
    path = str(write_lines(tmp_path / "t.csv", ["input_len,output_len", "5,6", "7,8"]))
    with pytest.raises(MeasurementError, match="no column of arrival times; say when requests arrive"):
        replayed(path)
    with pytest.raises(MeasurementError, match="no column of arrival times"):
        workload(trace=path).mean_rate()
    assert replayed(path, arrivals="4/s", requests=3).prompt_tokens.tolist() == [5, 7, 5]


def test_a_file_that_changed_is_read_again(tmp_path):
    path = write_lines(tmp_path / "t.csv", ["arrival_s,input_len,output_len", "0,5,6"])
    assert replayed(str(path)).prompt_tokens.tolist() == [5]
    write_lines(path, ["arrival_s,input_len,output_len", "0,5,6", "1,77,6"])
    assert replayed(str(path)).prompt_tokens.tolist() == [5, 77]


@pytest.fixture
def servegen(tmp_path):
    for client, rate in ((0, 2), (1, 0.5)):
        write_lines(
            tmp_path / f"chunk-{client}-trace.csv",
            [f"0,{rate},1.0,Gamma,1.0,0.5", "600,0,,,,", f"1200,{2 * rate},1.5,Weibull,0.7,0.4"],
        )
        pmf = {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{0: 0.5, 3: 0.5}"}
        (tmp_path / f"chunk-{client}-dataset.json").write_text(
            json.dumps({"0": pmf, "1200": {**pmf, "input_tokens": "{50: 1.0}"}})
        )
    return tmp_path


def test_servegen_clients_are_drawn_window_by_window(servegen):
    found = servegen_requests(servegen, 0, None, Streams(1))
    counts = np.histogram(found.arrival_s, [0, 600, 1200, 1800])[0]
    assert counts[0] == pytest.approx(1500, abs=4 * np.sqrt(1500))
    assert counts[1] == 0
    assert counts[2] == pytest.approx(3000, abs=4 * 1.5 * np.sqrt(3000))
    early = found.arrival_s < 600
    assert (found.prompt_tokens[early] == 20).mean() == pytest.approx(0.75, abs=0.05)
    assert set(found.prompt_tokens[~early]) == {50}
    assert set(found.output_tokens) == {1, 3}
    assert (found.label == 0).mean() == pytest.approx(0.8, abs=0.05)


def test_a_servegen_folder_is_a_trace_with_a_slice_and_a_seed(servegen):
    one, other = (replayed(str(servegen), seed, start="20min") for seed in (1, 2))
    assert one.arrival_s[0] < 10
    assert set(one.prompt_tokens) == {50}
    assert one.arrival_s.tolist() != other.arrival_s.tolist()
    assert one.arrival_s.tolist() == replayed(str(servegen), 1, start="20min").arrival_s.tolist()


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match="no chunk-N-trace.csv"):
        replayed(str(tmp_path))


@pytest.mark.parametrize("content", ["version https://git-lfs.github.com/spec/v1", '{"0": {"input_tokens": "oops"}}'])
def test_a_servegen_dataset_that_cannot_be_read_is_refused(servegen, content):
    (servegen / "chunk-1-dataset.json").write_text(content)
    with pytest.raises(MeasurementError, match="not a ServeGen dataset"):
        replayed(str(servegen))


def test_a_broken_servegen_window_is_refused_at_its_line(servegen):
    write_lines(servegen / "chunk-0-trace.csv", ["0,1,1,Gamma,1,1", "noon,1,1,Gamma,1,1"])
    with pytest.raises(MeasurementError, match="chunk-0-trace.csv:2: start: 'noon' is not a number"):
        replayed(str(servegen))
