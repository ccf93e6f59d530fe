"""An error that nobody foresaw is one line too, with exit code 70 and its details in a file."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from polars.exceptions import PanicException

import simulator.cli as command_line
from simulator.cli.faults import FAULT


def test_a_fault_of_the_program_says_so_and_keeps_the_details(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: str) -> None:
        raise ZeroDivisionError("what\nnobody foresaw" + "x" * 5000)

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(command_line, "application", broken)
    monkeypatch.setattr("sys.argv", ["sim", "run", "a.yaml"])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert left.value.code == FAULT == 70
    said = capsys.readouterr().err
    assert said.startswith("error: this is a fault of the program, not of your input (ZeroDivisionError: what nobody foresaw")
    assert said.count("\n") == 1 and len(said) < 700 and "please report it to" in said
    details = Path(re.search(r"the details are in (\S+)", said)[1]).read_text()
    assert "['sim', 'run', 'a.yaml']" in details and "Traceback" in details and "in broken" in details


def test_a_long_message_keeps_its_beginning_and_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line._refuse("file.csv: " + "column " * 1000 + "; use fewer") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: file.csv: column") and said.endswith("; use fewer\n") and len(said) < 700


def test_a_panic_of_a_library_is_a_fault_in_one_line_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def panicking(*_: str) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(command_line, "application", panicking)
    monkeypatch.setattr("sys.argv", ["sim", "run", "a.yaml"])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert left.value.code == FAULT
    assert "not of your input (PanicException: index out of bounds)" in capsys.readouterr().err


STRUCK = """
import os, signal, sys, types
cli = types.ModuleType("simulator.cli")
cli.main = lambda: os.kill(os.getpid(), signal.SIGINT)
sys.modules["simulator.cli"] = cli
signal.signal(signal.SIGINT, signal.default_int_handler)
from simulator.__main__ import start
start()
"""


def test_an_interrupt_before_the_command_line_listens_is_no_traceback():
    left = subprocess.run([sys.executable, "-c", STRUCK], capture_output=True, text=True, check=False)
    assert (left.returncode, left.stderr) == (-signal.SIGINT, "")
