"""Disks that are full, folders that cannot be written, are links or are shared, and what is missing around the program."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from faults.commands import COMMANDS, ended, prepared, sim, small_disk, wrong_files, wrong_said

DISKS_KB = (8, 40, 400)
ENVIRONMENTS = {
    "no HOME": {"HOME": "", "XDG_CACHE_HOME": ""},
    "no folder for a cache": {"XDG_CACHE_HOME": "/proc/nowhere", "HOME": "/proc/nowhere"},
    "no folder for temporary files": {"TMPDIR": "/nowhere"},
    "LC_ALL=C": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def _full_disks(folder: Path, times: int, rng: random.Random) -> list[str]:
    wrong = []
    made = _with_run(folder / "made-once")
    for command, words in COMMANDS.items():
        for kilobytes in DISKS_KB:
            here = _beside(made, folder / f"{command}-{kilobytes}")
            with small_disk(here / "out", kilobytes) as mounted:
                if not mounted:
                    return ["no right to mount a small disk: not tried"]
                wrong += [f"{command}, {kilobytes} kB: {w}" for w in wrong_said(*ended(sim(here, words)), (0, 2))]
                wrong += [f"{command}, {kilobytes} kB: {w}" for w in wrong_files(here / "out")]
    return wrong


def _read_only(folder: Path, times: int, rng: random.Random) -> list[str]:
    made, wrong = _with_run(folder / "made-once"), []
    for command, words in COMMANDS.items():
        here = _beside(made, folder / command)
        with small_disk(here / "out", 100, "ro") as mounted:
            if not mounted:
                return ["no right to mount a disk: not tried"]
            code, said = ended(sim(here, words))
        wrong += [f"{command}: {w}" for w in wrong_said(code, said, (2,))]
        named = any(why in said for why in ("ead-only", "ermission"))
        wrong += [] if named else [f"{command}: what is wrong is not named: {said.strip()[:200]}"]
        wrong += wrong_files(here)
    return wrong


def _links(folder: Path, times: int, rng: random.Random) -> list[str]:
    made, wrong = _with_run(folder / "made-once"), []
    for command, words in COMMANDS.items():
        here = _beside(made, folder / command)
        (here / "elsewhere").mkdir()
        (here / "out").symlink_to("elsewhere")
        for _ in range(2):
            wrong += [f"{command}: {w}" for w in wrong_said(*ended(sim(here, words)), (0,))]
        wrong += wrong_files(here)
        if not (here / "out").is_symlink() or not any((here / "elsewhere").iterdir()):
            wrong.append(f"{command}: the link was replaced")
    return wrong


def _two_at_once(folder: Path, times: int, rng: random.Random) -> list[str]:
    made, wrong = _with_run(folder / "made-once"), []
    for command, words in COMMANDS.items():
        here = _beside(made, folder / command)
        both = [sim(here, words) for _ in range(2)]
        for process in both:
            wrong += [f"{command}: {w}" for w in wrong_said(*ended(process), (0,))]
        wrong += [f"{command}: {w}" for w in wrong_files(here)]
    return wrong


def _around(folder: Path, times: int, rng: random.Random) -> list[str]:
    made, wrong = _with_run(folder / "made-once"), []
    for name, env in ENVIRONMENTS.items():
        for command, words in COMMANDS.items():
            here = _beside(made, folder / f"{name}-{command}")
            wrong += [f"{name}, {command}: {w}" for w in wrong_said(*ended(sim(here, words, env)), (0,))]
            wrong += [f"{name}, {command}: {w}" for w in wrong_files(here)]
    return wrong


def _closed_stdout(folder: Path, times: int, rng: random.Random) -> list[str]:
    made, wrong = _with_run(folder / "made-once"), []
    for command, words in COMMANDS.items():
        here = _beside(made, folder / command)
        done = sim(here, words, stdout=subprocess.PIPE)
        assert done.stdout is not None
        done.stdout.close()
        done.stdout = None
        wrong += [f"{command}, a pipe: {w}" for w in wrong_said(*ended(done), (0, 141))]
        closed = sim(here, words, preexec_fn=lambda: os.close(1))
        wrong += [f"{command}, >&-: {w}" for w in wrong_said(*ended(closed), (0, 2, 141))]
        wrong += [f"{command}: {w}" for w in wrong_files(here)]
    return wrong


def _with_run(folder: Path) -> Path:
    made = prepared(folder)
    code, said = ended(sim(made, ("run", "case.yaml", "--no-limits", "--out", "made", "--quiet")))
    assert code == 0, said
    return made


def _beside(made: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(made, to))


FAULTS: dict[str, Callable[[Path, int, random.Random], list[str]]] = {
    "disk full": _full_disks,
    "folder read-only": _read_only,
    "folder a link": _links,
    "two at once": _two_at_once,
    "environment": _around,
    "stdout closed": _closed_stdout,
}
