"""A run as a folder: complete or not there."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.report_fixtures import HARD_CASES, chatbot, one_request

from simulator.errors import SimulatorError
from simulator.results import files
from simulator.results.files import read_run, read_summary, write_run
from simulator.results.summary import FORMAT, from_summary, to_summary

PAGES = {"index.html": "<!doctype html>", "summary.md": "# run"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("case", HARD_CASES)
def test_a_run_reads_back_as_it_was_written(case, tmp_path):
    run = HARD_CASES[case]()
    back = read_run(write_run(run, tmp_path / "run", PAGES))
    assert to_summary(back) == to_summary(run)
    for before, after in zip(run.deployments, back.deployments, strict=True):
        assert (before.trace is None) == (after.trace is None)
        if before.trace is not None and after.trace is not None:
            for name, column in before.trace.requests.items():
                np.testing.assert_array_equal(after.trace.requests[name], column, err_msg=name)


def test_the_folder_holds_the_pages_the_numbers_the_tables_and_the_scenario(tmp_path):
    folder = write_run(chatbot(), tmp_path / "a" / "b", PAGES)
    assert names(folder) == {*PAGES, "summary.json", "requests.parquet", "steps.parquet", "scenario.yaml"}
    assert names(folder.parent) == {"b"}


def test_a_later_run_replaces_an_earlier_one_whole(tmp_path):
    write_run(chatbot(), tmp_path / "run", {**PAGES, "old.txt": "old"})
    write_run(one_request(), tmp_path / "run", PAGES)
    assert "old.txt" not in names(tmp_path / "run")
    assert read_summary(tmp_path / "run").name == "one-request"


def test_a_folder_that_is_no_run_is_not_replaced_unless_forced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(SimulatorError, match="not a run"):
        write_run(one_request(), tmp_path / "mine", PAGES)
    assert names(tmp_path / "mine") == {"thesis.tex"}
    write_run(one_request(), tmp_path / "mine", PAGES, force=True)
    assert "summary.json" in names(tmp_path / "mine")


def test_what_a_killed_process_had_put_aside_comes_back(tmp_path):
    """Killed between putting the earlier run aside and the new one in its place."""
    folder = write_run(chatbot(), tmp_path / "run", PAGES)
    folder.rename(tmp_path / ".run.99999999.old")
    assert read_run(folder).name == "chatbot"
    assert names(tmp_path) == {"run"}


def test_what_killed_processes_left_beside_a_run_goes(tmp_path):
    folder = write_run(chatbot(), tmp_path / "run", PAGES)
    for left in (".run.99999999.old", ".run.99999998.draft"):
        (tmp_path / left).mkdir()
    (tmp_path / f".run.{os.getppid()}.draft").mkdir()
    (tmp_path / ".run.notes.draft").mkdir()
    write_run(one_request(), folder, PAGES)
    assert names(tmp_path) == {"run", f".run.{os.getppid()}.draft", ".run.notes.draft"}


def test_the_earlier_run_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    folder, rename = write_run(chatbot(), tmp_path / "run", PAGES), Path.rename

    def refused(path, target):
        if path.suffix == ".draft":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(SimulatorError, match="Permission denied; choose another place"):
        write_run(one_request(), folder, PAGES)
    assert (read_summary(folder).name, names(tmp_path)) == ("chatbot", {"run"})


def test_of_two_runs_at_once_into_one_folder_the_later_stays_whole(tmp_path, monkeypatch):
    """The other one comes just after the earlier run was put aside."""
    folder, rename, others = tmp_path / "run", Path.rename, [one_request()]
    write_run(chatbot(), folder, PAGES)

    def between(path, target):
        if path.suffix == ".draft" and others:
            other = write_run(others.pop(), tmp_path / "other", PAGES)
            rename(other, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", between)
    write_run(chatbot(), folder, PAGES)
    assert (read_summary(folder).name, names(tmp_path)) == ("chatbot", {"run"})


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_breaks_off_leaves_the_earlier_run_and_nothing_else(tmp_path, monkeypatch, failure):
    write_run(chatbot(), tmp_path / "run", PAGES)

    def breaks(run, folder):
        (folder / "requests.parquet").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(files, "_write_tables", breaks)
    with pytest.raises((SimulatorError, KeyboardInterrupt)):
        write_run(one_request(), tmp_path / "run", PAGES)
    assert names(tmp_path) == {"run"}
    assert read_run(tmp_path / "run").name == "chatbot"


def test_a_full_disk_is_one_line_that_says_so(tmp_path, monkeypatch):
    def full(run, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_tables", full)
    with pytest.raises(SimulatorError, match="No space left on device") as problem:
        write_run(one_request(), tmp_path / "run", PAGES)
    assert "\n" not in str(problem.value)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(SimulatorError, match="it is a file"):
        write_run(one_request(), tmp_path / "run", PAGES)


def test_an_incomplete_run_says_what_is_missing_and_how_to_make_it(tmp_path):
    folder = write_run(one_request(), tmp_path / "run", PAGES)
    (folder / "steps.parquet").unlink()
    with pytest.raises(SimulatorError, match=r"steps.parquet missing; run the scenario again"):
        read_run(folder)
    with pytest.raises(SimulatorError, match="no such folder"):
        read_run(tmp_path / "nowhere")


def test_a_run_of_another_version_says_which_and_to_run_again(tmp_path: Path) -> None:
    folder = write_run(one_request(), tmp_path / "run", PAGES)
    old = {**to_summary(one_request()), "format": 2, "version": "0.1.0"}
    (folder / "summary.json").write_text(json.dumps(old))
    with pytest.raises(SimulatorError) as problem:
        read_run(folder)
    assert str(problem.value) == (
        f"{folder / 'summary.json'}: written by version 0.1.0 in summary format 2, and this version reads {FORMAT}; "
        "run the scenario again with `sim run`"
    )


def test_a_summary_without_a_field_names_it():
    summary = to_summary(one_request())
    del summary["deployments"][0]["verdict"]
    with pytest.raises(SimulatorError, match=r"deployments.0.verdict"):
        from_summary(summary)


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"format": 1}'])
def test_a_broken_summary_is_one_line_with_its_path(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(SimulatorError) as problem:
        read_summary(path)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_broken_table_is_one_line(tmp_path):
    folder = write_run(one_request(), tmp_path / "run", PAGES)
    (folder / "requests.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SimulatorError, match="tables cannot be read"):
        read_run(folder)


@pytest.mark.parametrize("case", HARD_CASES)
def test_a_summary_is_json_without_nan(case):
    text = json.dumps(to_summary(HARD_CASES[case]()), allow_nan=False)
    assert json.loads(text)["format"] == FORMAT
