"""What is said on stderr while a command works."""

import time

import pytest

from simulator.cli import progress
from simulator.cli.progress import counted, verdicts_first


def test_where_stderr_is_no_terminal_a_line_now_and_then_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    with verdicts_first("chat", 3, first=True, quiet=False) as told:
        assert told.done is not None
        told.done("one")
        time.sleep(0.2)
    with counted("sizing", quiet=False) as tell:
        assert tell is not None
        tell(2, 5)
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert "chat: 1 of 3 done, 0 s" in said and "sizing: 2 of 5 done, 0 s" in said


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    with verdicts_first("chat", 3, first=True, quiet=True) as told:
        assert told == (None, None)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_command_that_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with counted("sizing", quiet=False) as tell:
        assert tell is not None
    assert capsys.readouterr().err == ""
