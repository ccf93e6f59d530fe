"""Finished rows survive whatever ends the run."""

import json
from pathlib import Path

import pytest

from simulator import __version__
from simulator.errors import SimulatorError
from simulator.planning.machines.finished_points import FILE, FORMAT, FinishedPoints


def test_a_kept_row_is_there_for_the_next_run(tmp_path: Path) -> None:
    FinishedPoints(tmp_path).keep("a", {"x": 1.5, "name": "H100", "none": None})
    assert FinishedPoints(tmp_path).rows == {"a": {"x": 1.5, "name": "H100", "none": None}}


def test_a_number_that_json_does_not_have_is_kept_as_none(tmp_path: Path) -> None:
    kept = FinishedPoints(tmp_path)
    kept.keep("a", {"x": float("inf")})
    assert kept.rows["a"] == FinishedPoints(tmp_path).rows["a"] == {"x": None}


def test_a_line_cut_off_by_a_crash_is_left_out_and_the_next_ones_are_whole(tmp_path: Path) -> None:
    FinishedPoints(tmp_path).keep("a", {"x": 1})
    with (tmp_path / FILE).open("a") as file:
        file.write('{"key": "b", "row": {"x"')
    again = FinishedPoints(tmp_path)
    assert set(again.rows) == {"a"}
    again.keep("c", {"x": 3})
    assert FinishedPoints(tmp_path).rows == {"a": {"x": 1}, "c": {"x": 3}}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ('{"format": 1}', f"written by version 0.1.0 in format 1, and this version reads {FORMAT}"),
        ('{"format": 99, "version": "9.0"}', f"written by version 9.0 in format 99, and this version reads {FORMAT}"),
        ("not JSON", "not the finished points of a sweep"),
        ('["a list"]', "not the finished points of a sweep"),
    ],
)
def test_a_folder_of_another_version_says_which_and_to_run_again(tmp_path: Path, head: str, said: str) -> None:
    (tmp_path / FILE).write_text(head + "\n")
    with pytest.raises(SimulatorError) as problem:
        FinishedPoints(tmp_path)
    assert str(problem.value) == (f"{tmp_path / FILE}: {said}; remove it, or choose another place with --out, and run again")


def test_the_first_line_says_the_format_and_who_wrote_it(tmp_path: Path) -> None:
    FinishedPoints(tmp_path).keep("a", {"x": 1})
    head = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert head == {"format": FORMAT, "version": __version__}


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SimulatorError, match="choose another place with --out"):
        FinishedPoints(tmp_path / "taken")


def test_a_folder_is_made_when_there_is_something_to_keep(tmp_path: Path) -> None:
    kept = FinishedPoints(tmp_path / "a" / "sweep")
    assert list(tmp_path.iterdir()) == []
    kept.keep("a", {"x": 1})
    assert FinishedPoints(tmp_path / "a" / "sweep").rows == {"a": {"x": 1}}
