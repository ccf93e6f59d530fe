"""SIGINT, SIGTERM and SIGKILL at random moments of every command that writes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from faults.commands import COMMANDS, ENDS, SWEEP, ended, left_running, prepared, sim, wrong_files, wrong_said


def _struck(folder: Path, times: int, rng: random.Random, *, command: str, by: signal.Signals) -> list[str]:
    made = prepared(folder / "made-once")
    code, said = ended(sim(made, ("run", "case.yaml", "--no-limits", "--out", "made", "--quiet")))
    assert code == 0, said
    began = time.monotonic()
    clean = _copy(made, folder / "clean")
    assert ended(sim(clean, COMMANDS[command]))[0] == 0
    lasts = time.monotonic() - began
    wrong = []
    for at in range(times):
        here = _copy(made, folder / str(at))
        process = sim(here, COMMANDS[command])
        time.sleep(rng.uniform(0, 1.1 * lasts))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, by) if by == signal.SIGINT else process.send_signal(by)
        wrong += wrong_said(*ended(process, 60), (0, *ENDS[by], -by))
        wrong += left_running(process.pid)
        wrong += wrong_files(here, drafts=by != signal.SIGKILL)
        if command == "sweep":
            wrong += _resumed(here, clean)
        shutil.rmtree(here)
    return wrong


def _copy(made: Path, to: Path) -> Path:
    return Path(shutil.copytree(made, to))


def _resumed(here: Path, clean: Path) -> list[str]:
    code, said = ended(sim(here, SWEEP))
    if code:
        return [f"resumed: {said.strip()[-200:]}"]
    ours, theirs = (next(where.rglob("sweep.parquet")).read_bytes() for where in (here, clean))
    return [] if ours == theirs else ["a resumed sweep has other bytes"]


FAULTS: dict[str, Callable[[Path, int, random.Random], list[str]]] = {
    f"{by.name} of {command}": partial(_struck, command=command, by=by) for command in COMMANDS for by in ENDS
}
