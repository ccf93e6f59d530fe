"""The commands that faults are done to, and what must hold however one ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import yaml

CASE = """\
name: case
model: llama-3.1-8b
engine: {version: vllm-0.19.0, max_model_len: 4096}
latency: {kind: linear, step_ms: 10, token_us: 1}
workload: {arrivals: 4/s, prompt: 100, output: 20, requests: 300}
slo: {ttft_s: 1.0}
prices: {usd_per_gpu_hour: {h100-sxm: 3.0, l40s: 1.0}}
deployments: [{name: one, gpu: l40s}, {name: two, gpu: h100-sxm}]
"""
SWEEP = ("sweep", "case.yaml", "--over", "seed=1,2,3", "--workers", "2", "--out", "out", "--quiet")
COMMANDS = {
    "run": ("run", "case.yaml", "--no-limits", "--out", "out", "--force"),
    "sweep": SWEEP,
    "size": ("size", "case.yaml", "--report", "out/size.html"),
    "report": ("report", "made/case", "--format", "html", "--out", "out/case.html", "--force"),
}
# Python up to 3.12 ends itself by SIGINT where KeyboardInterrupt came up in text that was being compiled, caught or not.
ENDS = {signal.SIGINT: (130,), signal.SIGTERM: (143, 130, -signal.SIGINT), signal.SIGKILL: (-9,)}
TIDY_S = 20.0


def prepared(folder: Path) -> Path:
    """A folder with a scenario, and a finished run of it where one can be made."""
    folder.mkdir(parents=True)
    (folder / "case.yaml").write_text(CASE)
    return folder


def sim(folder: Path, words: Sequence[str], env: Mapping[str, str] | None = None, **how: Any) -> subprocess.Popen[str]:
    """The command started in a folder, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "simulator", *words],
        cwd=folder,
        env=environment() | dict(env or {}),
        stderr=subprocess.PIPE,
        stdout=how.pop("stdout", subprocess.DEVNULL),
        text=True,
        errors="replace",
        start_new_session=True,
        **how,
    )


def environment() -> dict[str, str]:
    """This environment, with the package of this tree in it."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}


def ended(process: subprocess.Popen[str], within_s: float = 300) -> tuple[int, str]:
    """Exit code and stderr of a command; -1000 where it does not end."""
    try:
        _, said = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return -1000, "it did not end"
    return process.returncode, said


def wrong_said(code: int, said: str, codes: Sequence[int]) -> list[str]:
    """What is wrong with how a command ended and what it said."""
    lines = said.strip().splitlines()
    found = [] if code in codes else [f"exit code {code}: {said.strip()[-200:]}"]
    if _of_its_start(said):
        return []
    if "Traceback" in said:
        found.append(f"a traceback: {lines[-1]}")
    elif len(lines) > 3:
        found.append(f"{len(lines)} lines on stderr: {lines[-1]}")
    return found


def _of_its_start(said: str) -> bool:
    """Whether a traceback is of Python's own start, before any code of this package could listen to a signal."""
    ours = re.findall(r"simulator/([\w/]+\.py)", said)
    return "KeyboardInterrupt" in said and "Traceback" in said and set(ours) <= {"__init__.py"}


def wrong_files(folder: Path, *, drafts: bool = True) -> list[str]:
    """Files of a folder that are cut or empty; with `drafts`, those too that should have been tidied up."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            found += [f"left behind: {path.suffix} of {inside.parts[0]}"] if drafts else []
        elif path.is_file() and (why := _cut(path)):
            found.append(f"{path.name}: {why}")
        elif path.is_dir() and path.name == "case" and not (path / "summary.json").exists():
            found.append("a run folder without summary.json")
    return found


def _cut(path: Path) -> str:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix == ".yaml":
            yaml.safe_load(path.read_text("utf-8"))
        elif path.suffix == ".parquet":
            pl.read_parquet(path)
        elif path.suffix == ".html" and not path.read_text("utf-8").rstrip().endswith("</html>"):
            return "cut"
    except Exception as problem:
        return type(problem).__name__
    return "" if path.stat().st_size or path.suffix == ".jsonl" else "empty"


def left_running(group: int) -> list[str]:
    """Processes of a session that are still there after TIDY_S seconds; they are ended."""
    until = time.monotonic() + TIDY_S
    while (alive := list(_of_session(group))) and time.monotonic() < until:
        time.sleep(0.1)
    for process in alive:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return ["a process left running"] if alive else []


def _of_session(session: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)


@contextmanager
def small_disk(at: Path, kilobytes: int, mode: str = "rw") -> Iterator[bool]:
    """A disk of so many kilobytes mounted at a folder, `ro` to be read only; False where this user may not mount."""
    at.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=777,{mode}", "tmpfs", str(at)]
    done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(at)], check=True)
