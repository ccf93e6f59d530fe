"""Run `sim` in this process, as a user's shell would."""

from dataclasses import dataclass

import pytest
from simulator.cli import main


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def sim(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> Finished:
    """Run `sim WORDS...` to its end."""
    monkeypatch.setattr("sys.argv", ["sim", *words])
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    printed = capsys.readouterr()
    return Finished(code, printed.out, printed.err)
