"""Files: a run as a folder that is either complete or not there."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import SimulatorError
from simulator.files import DATA_BYTES, OLD, clear_drafts, draft_of, read_json_object, without_panic
from simulator.numbers import finite_number
from simulator.results.model import RunResult
from simulator.results.summary import from_summary, to_summary
from simulator.results.tables import check_tables, requests_table, stretches_table, trace_of

if TYPE_CHECKING:
    import polars as pl

SUMMARY, REQUESTS, STEPS, SCENARIO = "summary.json", "requests.parquet", "steps.parquet", "scenario.yaml"
_TRIES = 20


def write_run(run: RunResult, folder: Path, pages: Mapping[str, str | bytes], *, force: bool = False) -> Path:
    """Write a run and its pages (file name -> content) to a folder, replacing an earlier run there.

    All or nothing: files are written to a hidden folder beside it, which is renamed at the end. Raises SimulatorError when the
    folder cannot be written, or holds something that is not a run and `force` is not given.
    """
    target = folder.resolve()  # of a folder that is a link, what it leads to is replaced
    clear_drafts(target)
    _check_replaceable(folder, force)
    draft = draft_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        _write_tables(run, draft)
        (draft / SCENARIO).write_text(run.scenario_yaml, "utf-8")
        (draft / SUMMARY).write_text(json.dumps(to_summary(run), indent=1, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
        for name, content in pages.items():
            (draft / name).write_bytes(content.encode() if isinstance(content, str) else content)
        _swap(draft, target)
    except OSError as problem:
        raise SimulatorError(f"cannot write {folder}: {problem.strerror or problem}; choose another place with --out") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def check_writable(folder: Path, *, force: bool = False) -> None:
    """Raise SimulatorError where `write_run` could not make this folder: known before the simulation, not after it."""
    _check_replaceable(folder, force)
    if why := unwritable(folder.absolute().parent):
        raise SimulatorError(f"cannot write {folder}: {why}; choose another place with --out")


def unwritable(folder: Path) -> str:
    """Why no file can be made in a folder, which may have to be made first; "" where one can."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is not a directory"
    return "" if os.access(nearest, os.W_OK) else "no permission to write there"


def read_run(folder: Path) -> RunResult:
    """A run with its traces, as `write_run` left it. Raises SimulatorError saying what is missing and how to make it again."""
    if not folder.exists():
        clear_drafts(folder.resolve())
    missing = [name for name in (SUMMARY, REQUESTS, STEPS) if not (folder / name).is_file()]
    if missing:
        what = "no such folder" if not folder.is_dir() else f"{' and '.join(missing)} missing"
        raise SimulatorError(f"{folder}: {what}; run the scenario again with `sim run` to make it")
    run = read_summary(folder / SUMMARY)
    try:
        requests, steps = _read_parquet(folder / REQUESTS), _read_parquet(folder / STEPS)
        check_tables(requests, steps)
    except Exception as problem:
        raise SimulatorError(
            f"{folder}: the tables cannot be read: {str(problem).splitlines()[0]}; run the scenario again"
        ) from None
    return dataclasses.replace(run, deployments=tuple(_with_trace(d, requests, steps) for d in run.deployments))


def read_summary(path: Path) -> RunResult:
    """A run without its traces, from summary.json or the folder that holds it."""
    path = path / SUMMARY if path.is_dir() else path
    summary = read_json_object(path, SimulatorError, most=DATA_BYTES)
    _check_numbers(summary, str(path))
    try:
        return from_summary(summary)
    except SimulatorError as problem:
        raise SimulatorError(f"{path}: {problem}") from None


def _check_numbers(node: Any, where: str) -> None:
    """Raise SimulatorError for a number that no run can come to."""
    if isinstance(node, dict):
        for key, value in node.items():
            _check_numbers(value, f"{where}: {key}")
    elif isinstance(node, list):
        for value in node:
            _check_numbers(value, where)
    elif isinstance(node, float | int) and not isinstance(node, bool):
        finite_number(node, where, SimulatorError)


def _check_replaceable(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SimulatorError(f"cannot write {folder}: it is a file; choose another place with --out")
    if not force and _holds_something(folder) and not (folder / SUMMARY).is_file() and folder.exists():
        raise SimulatorError(
            f"{folder} holds something that is not a run; choose another place with --out, or --force to replace it"
        )


def _holds_something(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        return folder.is_dir() and any(folder.iterdir())
    return False  # another run is about to put its own there


def _write_tables(run: RunResult, folder: Path) -> None:
    import polars as pl

    traced = [(d, d.trace) for d in run.deployments if d.trace is not None]
    named = pl.lit("").alias("deployment")
    requests = [requests_table(trace).select(pl.lit(d.name).alias("deployment"), pl.all()) for d, trace in traced]
    steps = [stretches_table(trace).select(pl.lit(d.name).alias("deployment"), pl.all()) for d, trace in traced]
    for frames, name in ((requests, REQUESTS), (steps, STEPS)):
        frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame().select(named).clear()
        _write_parquet(frame, folder / name)


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    import polars as pl

    try:
        frame.write_parquet(path, compression_level=1)  # a third of the time of the default, for 2 % larger files
    except pl.exceptions.PolarsError as problem:  # how polars reports a full disk
        raise OSError(str(problem).rsplit(": ", 1)[-1]) from None


def _read_parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    return without_panic(lambda: pl.read_parquet(path))


def _with_trace(deployment: Any, requests: pl.DataFrame, steps: pl.DataFrame) -> Any:
    import polars as pl

    mine = requests.filter(pl.col("deployment") == deployment.name).drop("deployment")
    if mine.is_empty():
        return deployment
    return dataclasses.replace(
        deployment, trace=trace_of(mine, steps.filter(pl.col("deployment") == deployment.name).drop("deployment"))
    )


def _swap(draft: Path, folder: Path) -> None:
    """Put the draft in the folder's place; the earlier one goes only after.

    A process that is killed between the two leaves the earlier one beside: `clear_drafts` of the next brings it back.
    """
    old = draft.with_suffix(OLD)
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            folder.rename(old)
        try:
            draft.rename(folder)
        except BaseException as problem:
            if isinstance(problem, OSError) and problem.errno in (errno.ENOTEMPTY, errno.EEXIST):
                shutil.rmtree(old, ignore_errors=True)  # another run has just put its own there
                continue
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    raise OSError(errno.EBUSY, f"other runs write there all the time, seen {_TRIES} times")
