"""Run `sim` in this process, as a user's shell would."""

from dataclasses import dataclass
from pathlib import Path

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
    monkeypatch.setattr("simulator.cli.progress.EVERY_S", 3600.0)  # a slow machine says no more
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    printed = capsys.readouterr()
    return Finished(code, printed.out, printed.err)


SMALL = """\
name: case
model: llama-3.1-8b
engine: {version: vllm-0.19.0, max_model_len: 4096}
workload:
  arrivals: {kind: poisson, rate: 4/s}
  prompt: 200
  output: 20
  requests: 50
slo: {ttft_s: 1.0}
deployments:
  - name: one
    gpu: rtx-4090
"""
"""A scenario that runs in a moment."""


def written(folder: Path, *changes: tuple[str, str]) -> str:
    """The path of case.yaml in a folder: SMALL with (right, changed) pairs of text replaced."""
    text = SMALL
    for right, changed in changes:
        assert right in text
        text = text.replace(right, changed)
    path = folder / "case.yaml"
    path.write_text(text)
    return str(path)
