"""A Dask cluster of local processes whose workers die, whose scheduler goes, or whose worker has another version."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.commands import SWEEP, ended, environment, prepared, sim, wrong_files, wrong_said

POINTS = ("sweep", "case.yaml", "--over", f"seed={','.join(map(str, range(1, 25)))}", "--out", "out", "--quiet")


@contextmanager
def _cluster(folder: Path, env: dict[str, str] | None = None) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler with two workers, and the processes: the scheduler first."""
    log, dask = folder / "scheduler.log", [sys.executable, "-m", "dask"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "start_new_session": True}
    running: list[subprocess.Popen[bytes]] = []
    with log.open("wb") as said:
        line = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        running.append(subprocess.Popen(line, stderr=said, env=environment(), **quiet))  # type: ignore[call-overload]
    try:
        while not (found := re.search(r"Scheduler at:\s+(\S+)", log.read_text())):
            time.sleep(0.2)
        for _ in range(2):
            line = [*dask, "worker", found[1], "--nthreads", "1", "--no-dashboard"]
            how = {**quiet, "stderr": subprocess.DEVNULL, "env": environment() | (env or {})}
            running.append(subprocess.Popen(line, **how))  # type: ignore[call-overload]
        yield found[1], running
    finally:
        for process in reversed(running):
            for by in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, by)
                    process.wait(10)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def _struck(folder: Path, *, scheduler: bool) -> list[str]:
    here = prepared(folder / "case")
    with _cluster(folder) as (address, running):
        process = sim(here, (*POINTS, "--cluster", address))
        until = time.monotonic() + 120
        kept = here / "out" / "case-sweep" / "points.jsonl"
        while time.monotonic() < until and process.poll() is None and not (kept.exists() and kept.stat().st_size > 500):
            time.sleep(0.1)
        os.killpg(running[0 if scheduler else 1].pid, signal.SIGKILL)
        wrong = wrong_said(*ended(process, 120), (2, 0) if scheduler else (0,))
    return wrong + wrong_files(here)


def _worker_killed(folder: Path, times: int, rng: random.Random) -> list[str]:
    return _struck(folder, scheduler=False)


def _scheduler_gone(folder: Path, times: int, rng: random.Random) -> list[str]:
    return _struck(folder, scheduler=True)


def _another_version(folder: Path, times: int, rng: random.Random) -> list[str]:
    here = prepared(folder / "case")
    shutil.copytree(Path(__file__).resolve().parents[2] / "simulator", folder / "other" / "simulator")
    with (folder / "other" / "simulator" / "units.py").open("a") as changed:
        changed.write("\n# another version\n")
    with _cluster(folder, {"PYTHONPATH": str(folder / "other")}) as (address, _):
        code, said = ended(sim(here, (*SWEEP[:4], "--out", "out", "--cluster", address)), 120)
    wrong = wrong_said(code, said, (2,))
    return wrong if "this very version" in said else [*wrong, f"the version is not named: {said.strip()[:200]}"]


FAULTS: dict[str, Callable[[Path, int, random.Random], list[str]]] = {
    "Dask worker killed": _worker_killed,
    "Dask scheduler gone": _scheduler_gone,
    "Dask worker of another version": _another_version,
}
