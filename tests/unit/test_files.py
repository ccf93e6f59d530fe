"""Files from outside are read within bounds, and files of ours are whole or not there."""

import gzip
import json
import os
import stat
from pathlib import Path

import pytest
from polars.exceptions import PanicException

from simulator.errors import ConfigError, MeasurementError
from simulator.files import DEEPEST, parse_json, read_csv_rows, read_json, read_text, without_panic, write_file


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: é".encode("latin-1"), r"x\.txt:1:4: cannot be read as UTF-8 text; save the file as UTF-8$"),
        ("a".encode("utf-16"), r"save the file as UTF-8 \(it looks like UTF-16\)"),
        (b"x" * 101, "larger than 100 bytes"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_text(tmp_path / "x.txt", ConfigError, most=100)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(MeasurementError, match="/dev/zero: larger than"):
        read_text(Path("/dev/zero"))


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(MeasurementError, match="cannot be read"):
        read_text(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "f: not data that can be read: it is nested too deeply"),
        ("[" * 50_000, "f: not JSON that can be read: it is nested too deeply"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        ("{", "f:1:2: not JSON: expecting"),
    ],
)
def test_json_beyond_what_can_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(MeasurementError, match=said):
        parse_json(text, "f")


def test_a_whole_number_of_many_digits_is_as_other_readers_of_json_have_it() -> None:
    assert parse_json("[" + "9" * 400 + ", 1e3, 7]", "f") == [float("inf"), 1e3, 7]


def test_data_as_deep_as_allowed_is_read() -> None:
    text = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(parse_json(text, "f")) == text


def test_rows_of_a_csv_are_stripped_and_short_ones_lack_their_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa , b\n 1 ,2,3\n4\n")
    assert read_csv_rows(tmp_path / "a.csv") == (("a", "b"), ({"a": "1", "b": "2"}, {"a": "4"}))


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.txt"
    write_file(file, "one")
    file.chmod(0o640)
    write_file(file, b"two")
    assert file.read_text() == "two" and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(file.parent) == ["a.txt"]


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "new"


def test_what_is_no_file_is_written_to_as_it_is(tmp_path: Path) -> None:
    write_file(Path("/dev/null"), "x")
    assert not Path("/dev/null").is_file()


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".a.txt.999999999.draft", tmp_path / f".a.txt.{os.getppid()}.draft"
    dead.write_text("half")
    alive.write_text("half")
    write_file(tmp_path / "a.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == [alive.name, "a.txt"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_file(file, "new")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_packed_trace_is_unpacked_to_no_more_than_can_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.workload.traces import readers

    monkeypatch.setattr(readers, "DATA_BYTES", 1000)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as packed:
        packed.write(b"arrival,prompt_tokens,output_tokens\n" + b"0,1,1\n" * 1000)
    with pytest.raises(MeasurementError, match="unpacked it is larger than 1,000 bytes"):
        readers.read_trace_table(tmp_path / "a.csv.gz", lambda names: pytest.fail("not read"))


def test_a_trace_of_more_lines_than_requests_can_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.workload.traces import readers

    monkeypatch.setattr(readers, "MOST_REQUESTS", 10)
    (tmp_path / "a.csv").write_text("arrival,prompt_tokens,output_tokens\n" + "0,1,1\n" * 10)
    with pytest.raises(MeasurementError, match="11 lines; at most 10 are read"):
        readers.read_trace_table(tmp_path / "a.csv", lambda names: pytest.fail("not read"))


def test_a_panic_of_a_library_over_a_damaged_file_is_an_error_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def read() -> None:
        os.write(2, b"thread 'x' panicked at parquet.rs:1")
        raise PanicException("left == right failed\nleft: 0")

    with pytest.raises(OSError, match="^damaged: left == right failed$"):
        without_panic(read)
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"
    assert without_panic(lambda: 7) == 7
