"""Reading trace files, sound and broken."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from support.workloads import write_json_lines, write_lines

from simulator.errors import MeasurementError
from simulator.workload.traces.cleaning import record
from simulator.workload.traces.trace_file import TraceFile

HEADER = "arrival_s,input_len,output_len"


def read(path, **how):
    return record(TraceFile(path=str(path), **how))


def csv(tmp_path, *lines, header=HEADER, name="t.csv"):
    return write_lines(tmp_path / name, [header, *lines])


def sound(n):
    return [f"{i},{100 + i},{10 + i}" for i in range(n)]


def refusal(path, **how):
    with pytest.raises(MeasurementError) as told:
        read(path, **how)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(str(path))
    return str(told.value)


def test_requests_come_in_order_from_zero(tmp_path):
    found = read(csv(tmp_path, "7.5,100,10", "8,200,20", "9.25,300,30"))
    assert found.requests.arrival_s.tolist() == [0, 0.5, 1.75]
    assert found.requests.prompt_tokens.tolist() == [100, 200, 300]
    assert found.requests.output_tokens.tolist() == [10, 20, 30]
    assert (found.lines, found.broken, found.format, found.has_times) == (3, 0, "columns", True)


def test_broken_lines_are_counted_and_the_first_five_named_with_their_lines(tmp_path):
    lines = sound(1000)
    for at, text in ((10, "x,1,1"), (20, "20,0,1"), (30, "30,5,-3"), (40, "40,5"), (50, "50,1e99,1"), (60, "60,1.5,1")):
        lines[at] = text
    found = read(csv(tmp_path, *lines))
    assert found.broken == 6
    assert len(found.requests) == 994
    assert found.examples == (
        "line 12: arrival 'x' cannot be read",
        "line 22: prompt of 0 tokens is none",
        "line 32: output of -3 tokens is none",
        "line 42: output None cannot be read",
        "line 52: prompt of 1e+99 tokens is more than 10000000 and cannot be",
    )


def test_more_than_one_percent_of_broken_lines_refuses_unless_told_to_skip_them(tmp_path):
    lines = sound(200)
    lines[3] = lines[5] = lines[9] = "garbage"
    path = csv(tmp_path, *lines)
    told = refusal(path)
    assert "3 of 200 lines cannot be used, more than 1 %: line 5: arrival 'garbage'" in told
    assert "skip_bad: true" in told
    assert len(read(path, skip_bad=True).requests) == 197


def test_one_percent_of_broken_lines_is_tolerated(tmp_path):
    lines = sound(200)
    lines[3] = lines[5] = "garbage"
    assert read(csv(tmp_path, *lines)).broken == 2


def test_blank_lines_are_no_requests_and_keep_the_count_of_lines(tmp_path):
    found = read(csv(tmp_path, "0,1,1", "", "1,2,2", "2,0,2", *["3,3,3"] * 200, ""))
    assert found.lines == 203
    assert found.examples == ("line 5: prompt of 0 tokens is none",)


def test_a_file_of_nothing_but_broken_lines_is_refused_even_when_skipping(tmp_path):
    assert "none of its 2 lines is a request" in refusal(csv(tmp_path, "a,b,c", "d,e,f"), skip_bad=True)


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert "the file is empty" in refusal(path)


def test_a_header_alone_is_refused(tmp_path):
    assert "none of its 0 lines" in refusal(csv(tmp_path))


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.csv")


def test_an_unknown_kind_of_file_is_refused_with_those_that_are_read(tmp_path):
    path = write_lines(tmp_path / "t.xlsx", ["PK"])
    assert ".csv, .csv.gz, .jsonl, .json or .parquet" in refusal(path)


def test_missing_columns_tell_what_was_found_what_is_needed_and_how_to_map_it(tmp_path):
    told = refusal(csv(tmp_path, "0,1,2", header="when,tokens_in,tokens_out"))
    assert (
        "no column of prompt and output tokens; found when, tokens_in, tokens_out; say which it is, such as columns: {prompt:"
        in told
    )


def test_a_column_map_finds_what_has_other_names(tmp_path):
    path = csv(tmp_path, "0,5,7", "2,6,8", header="when,tokens_in,tokens_out")
    found = read(path, columns={"arrival": "when", "prompt": "tokens_in", "output": "tokens_out"}).requests
    assert found.arrival_s.tolist() == [0, 2]
    assert found.output_tokens.tolist() == [7, 8]


def test_a_column_map_that_names_nothing_offers_the_nearest(tmp_path):
    path = csv(tmp_path, "0,5,7", header="when,tokens_in,tokens_out")
    assert "did you mean 'tokens_in'" in refusal(path, columns={"prompt": "token_in", "output": "tokens_out"})


def test_a_label_column_becomes_classes(tmp_path):
    path = csv(tmp_path, "0,5,7,gpt", "1,5,7,llama", "2,5,7,gpt", header=f"{HEADER},model")
    found = read(path, columns={"label": "model"}).requests
    assert (found.labels, found.label.tolist()) == (("gpt", "llama"), [0, 1, 0])


def test_a_packed_file_reads_like_a_plain_one(tmp_path):
    plain = csv(tmp_path, *sound(50))
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(packed).requests.prompt_tokens.tolist() == read(plain).requests.prompt_tokens.tolist()


def test_a_packed_file_that_was_cut_short_is_refused(tmp_path):
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress("\n".join([HEADER, *sound(500)]).encode())[:-20])
    assert "cut short" in refusal(packed)
    packed.write_bytes(b"plain text")
    assert "damaged or cut short" in refusal(packed)


def test_a_stray_quote_breaks_its_own_line_only(tmp_path):
    lines = sound(300)
    lines[7] = '"7,107,17'
    found = read(csv(tmp_path, *lines))
    assert found.examples == ("line 9: arrival '\"7' cannot be read",)
    assert len(found.requests) == 299


def test_times_that_run_backwards_are_refused_at_their_line(tmp_path):
    told = refusal(csv(tmp_path, "0,1,1", "5,1,1", "3,1,1", "6,1,1"))
    assert "times run backwards 1 time, first on line 4, by 2 s" in told
    assert "skip_bad: true" in told


def test_a_few_times_that_run_backwards_are_sorted_and_counted(tmp_path):
    lines = sound(300)
    lines[10], lines[11] = lines[11], lines[10]
    found = read(csv(tmp_path, *lines))
    assert found.unsorted == 1
    assert found.requests.prompt_tokens.tolist() == [100 + i for i in range(300)]


@pytest.mark.parametrize("line", ["{broken", "[1, 2]", "null"])
def test_a_line_that_is_no_json_object_is_counted_among_the_broken(tmp_path, line):
    rows = [
        json.dumps({"timestamp": 1000 * i, "input_length": 600, "output_length": 5, "hash_ids": [0, i + 1]}) for i in range(200)
    ]
    found = read(write_lines(tmp_path / "t.jsonl", [*rows[:50], line, *rows[50:]]))
    assert found.broken == 1
    assert found.examples[0].startswith("line 51: not ")
    assert len(found.requests) == 200
    assert found.requests.hashes.ids.tolist()[:4] == [0, 1, 0, 2]


def test_json_lines_with_none_that_is_an_object_are_refused(tmp_path):
    assert "no line is a JSON object" in refusal(write_lines(tmp_path / "t.jsonl", ["hello", "world"]))


def test_a_sound_and_a_mended_file_give_the_same_requests(tmp_path):
    rows = [
        {"timestamp": 100 * i, "input_length": 20 + i, "output_length": 5, "hash_ids": [0, i + 1][: (20 + i) // 16]}
        for i in range(300)
    ]
    plain = write_json_lines(tmp_path / "a.jsonl", rows)
    mended = write_lines(tmp_path / "b.jsonl", [*(json.dumps(row) for row in rows), "", "oops"])
    a, b = read(plain, block_size=16).requests, read(mended, block_size=16).requests
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert np.array_equal(a.hashes.ids, b.hashes.ids)


def test_numbers_written_as_text_are_numbers(tmp_path):
    rows = [{"timestamp": str(i), "input_length": "30", "output_length": 5} for i in range(30)]
    assert read(write_json_lines(tmp_path / "t.jsonl", rows), time_unit="s").requests.arrival_s.tolist() == list(range(30))


def test_parquet_is_read_by_column_name(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"ts": [0.0, 1.5], "prompt_tokens": [5, 6], "completion_tokens": [7, 8], "other": ["x", "y"]}).write_parquet(
        path
    )
    found = read(path).requests
    assert (found.arrival_s.tolist(), found.prompt_tokens.tolist(), found.output_tokens.tolist()) == ([0, 1.5], [5, 6], [7, 8])


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    assert "not a readable Parquet file" in refusal(path)
    assert "no such file" in refusal(tmp_path / "nowhere.parquet")


def test_conversations_without_token_counts_are_refused_with_what_they_need(tmp_path):
    path = tmp_path / "sharegpt.json"
    path.write_text(
        json.dumps([{"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}])
    )
    assert "or give every turn one of tokens" in refusal(path)


def test_json_without_a_list_of_requests_is_refused(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"mean_ttft_ms": 12.5}))
    assert "no list of requests" in refusal(path)


def test_other_separators_and_a_byte_order_mark_are_understood(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfarrival_s;input_len;output_len\r\n0;5;6\r\n1.5;7;8\r\n")
    assert read(path).requests.prompt_tokens.tolist() == [5, 7]


def test_a_header_that_is_blank_is_refused(tmp_path):
    assert ":1: the first line is blank" in refusal(write_lines(tmp_path / "t.csv", ["", HEADER, "0,1,1"]))


def test_a_packed_file_is_read_by_what_is_in_it_when_its_name_does_not_tell(tmp_path):
    rows = "\n".join(json.dumps({"timestamp": i, "isl": 5, "osl": 6}) for i in range(3))
    path = tmp_path / "log.v2.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    assert len(read(path).requests) == 3


def test_a_file_of_nothing_but_failures_is_refused(tmp_path):
    path = csv(tmp_path, "0,GPT-4,0,0", "1,GPT-4,0,0", header="Timestamp,Model,Request tokens,Response tokens")
    assert "none of its 2 lines is a request; all failed" in refusal(path)


def test_hash_ids_may_be_text(tmp_path):
    rows = [{"timestamp": i, "input_length": 32, "output_length": 5, "hash_ids": ["aa", f"b{i % 2}"]} for i in range(4)]
    plain = read(write_json_lines(tmp_path / "a.jsonl", rows), time_unit="s").requests.hashes
    mended = read(
        write_lines(tmp_path / "b.jsonl", [*(json.dumps(row) for row in rows), "x"]), time_unit="s", skip_bad=True
    ).requests.hashes
    for found in (plain, mended):
        ids = found.ids.reshape(4, 2)
        assert len(set(ids[:, 0])) == 1
        assert ids[0].tolist() == ids[2].tolist() != ids[1].tolist()


def test_hash_ids_in_a_csv_are_lists_in_brackets(tmp_path):
    path = csv(tmp_path, '0,32,5,"[3, 4]"', '1,32,5,"[3, 5]"', header=f"{HEADER},hash_ids")
    assert read(path).requests.hashes.ids.tolist() == [3, 4, 3, 5]
    assert "must be written like [1, 2]" in refusal(csv(tmp_path, '0,32,5,"3 4"', header=f"{HEADER},hash_ids"))


def test_hash_ids_that_are_nothing_are_refused(tmp_path):
    rows = [{"timestamp": i, "input_length": 32, "output_length": 5, "hash_ids": [1, None]} for i in range(4)]
    assert "neither numbers nor text" in refusal(write_json_lines(tmp_path / "t.jsonl", rows), time_unit="s")


def test_hash_ids_are_told_apart_however_large_they_are(tmp_path):
    rows = [{"timestamp": i, "input_length": 32, "output_length": 5, "hash_ids": [7, 1e300 if i else 8]} for i in range(4)]
    ids = read(write_json_lines(tmp_path / "t.jsonl", rows), time_unit="s").requests.hashes.ids.reshape(4, 2)
    assert len(set(ids[:, 0])) == 1
    assert ids[0, 1] != ids[1, 1] == ids[2, 1]
