"""Cleaning: from what a trace file holds to a recording, with everything that had to be left out counted and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.errors import MeasurementError
from simulator.numbers import LONGEST
from simulator.text import plural
from simulator.workload.requests import BlockHashes, Floats, Ints, Requests
from simulator.workload.traces.block_hashes import block_size_of, chained, renumbered
from simulator.workload.traces.columns import Layout, layout_of
from simulator.workload.traces.readers import HASHES, LINE, TraceTable, read_trace_table
from simulator.workload.traces.recording import Recording
from simulator.workload.traces.times import as_numbers, seconds_since_first
from simulator.workload.traces.tokenizer import token_counter
from simulator.workload.traces.trace_file import TraceFile

_TOLERATED = 0.01
_LONGEST_S = 1e10  # 300 years
Mask = NDArray[np.bool_]


def record(trace: TraceFile) -> Recording:
    """The recording in a trace file, whole.

    Raises MeasurementError for a file that is missing, empty, cut short, in no known layout, or broken in more than 1 % of
    its lines.
    """
    count = token_counter(Path(trace.tokenizer)) if trace.tokenizer is not None else None
    return _recording(read_trace_table(Path(trace.path), lambda found: layout_of(found, trace), count), trace)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of a file as numbers, which of them are broken (`bad`), and which are failed requests without an answer."""

    frame: pl.DataFrame
    arrival: Floats
    prompt: Floats
    output: Floats
    bad: Mask
    failed: Mask
    reasons: list[tuple[Mask, Callable[[int], str]]]


def _recording(table: TraceTable, trace: TraceFile) -> Recording:
    rows = _judged(table, trace)
    broken = {**table.broken, **{line: _reason(rows.reasons, row) for row, line in _first_lines(rows.frame, rows.bad)}}
    examples = tuple(f"line {line}: {broken[line]}" for line in sorted(broken)[:5])
    count = int(rows.bad.sum()) + len(table.broken)
    lines = rows.frame.height + len(table.broken)
    kept = np.flatnonzero(~rows.bad & ~rows.failed)
    _refuse_broken(trace, count, lines, len(kept), examples)
    order, unsorted = _in_order(trace, rows.arrival[kept], rows.frame[LINE].to_numpy()[kept])
    requests = _requests(rows, kept[order], table.layout, trace)
    has_times, failures = "arrival" in rows.frame.columns, int(rows.failed.sum())
    images = np.nan_to_num(as_numbers(rows.frame["images"])[kept]) if "images" in rows.frame.columns else np.zeros(0)
    seen = int(images.sum()), int((images > 0).sum())
    return Recording(requests, table.layout.format, has_times, lines, count, examples, failures, unsorted, *seen)


def _judged(table: TraceTable, trace: TraceFile) -> _Rows:
    """The rows with what is wrong with them."""
    frame, layout = _without_blank_lines(table.frame), table.layout
    prompt, output, arrival = as_numbers(frame["prompt"]), as_numbers(frame["output"]), np.zeros(frame.height)
    if "arrival" in frame.columns:
        arrival = seconds_since_first(frame["arrival"], layout, trace)
    failed = (output == 0) & np.isfinite(arrival) & layout.drops_failures
    reasons = _reasons(frame, arrival, prompt, output)
    bad = np.logical_or.reduce([mask for mask, _ in reasons]) & ~failed
    return _Rows(frame, arrival, prompt, output, bad, failed, reasons)


def _requests(rows: _Rows, kept: Ints, layout: Layout, trace: TraceFile) -> Requests:
    """The requests of the rows that are kept, in order of arrival from time 0."""
    return Requests(
        arrival_s=rows.arrival[kept] - rows.arrival[kept[0]],
        prompt_tokens=rows.prompt[kept].astype(np.int64),
        output_tokens=rows.output[kept].astype(np.int64),
        **_labels(rows.frame, kept),
        hashes=_hashes(rows.frame, kept, layout, rows.prompt, trace),
    )


def _without_blank_lines(frame: pl.DataFrame) -> pl.DataFrame:
    values = [name for name in frame.columns if name != LINE]
    return frame.filter(pl.any_horizontal(pl.col(values).is_not_null()))


def _reasons(frame: pl.DataFrame, arrival: Floats, prompt: Floats, output: Floats) -> list[tuple[Mask, Callable[[int], str]]]:
    """Each thing that can be wrong with a row: where it is, and how to say it of one."""

    def cell(name: str) -> Callable[[int], str]:
        return lambda row: f"{name} {frame[name][row]!r} cannot be read"

    def size(name: str, values: Floats, what: str) -> Callable[[int], str]:
        return lambda row: f"{name} of {values[row]:g} tokens {what}"

    found: list[tuple[Mask, Callable[[int], str]]] = [
        (~np.isfinite(arrival), cell("arrival")),
        (arrival > _LONGEST_S, lambda row: f"arrival {arrival[row]:g} s after the first; is that the unit?"),
    ]
    for name, values in (("prompt", prompt), ("output", output)):
        found += [
            (~np.isfinite(values), cell(name)),
            (values < 1, size(name, values, "is none")),
            (values > LONGEST, size(name, values, f"is more than {LONGEST} and cannot be")),
            (np.isfinite(values) & (values != np.rint(values)), size(name, values, "is not whole")),
        ]
    return found


def _reason(reasons: list[tuple[Mask, Callable[[int], str]]], row: int) -> str:
    return next(say(row) for mask, say in reasons if mask[row])


def _first_lines(frame: pl.DataFrame, bad: Mask) -> list[tuple[int, int]]:
    """Row and line of the first five bad rows."""
    rows = np.flatnonzero(bad)[:5]
    return [(int(row), int(frame[LINE][int(row)])) for row in rows]


def _refuse_broken(trace: TraceFile, broken: int, lines: int, kept: int, examples: tuple[str, ...]) -> None:
    if kept == 0:
        raise MeasurementError(f"{trace.path}: none of its {lines} lines is a request; {'; '.join(examples) or 'all failed'}")
    if broken > _TOLERATED * lines and not trace.skip_bad:
        raise MeasurementError(
            f"{trace.path}: {broken} of {lines} lines cannot be used, more than 1 %: {'; '.join(examples)}; "
            "mend the file, or leave them out with skip_bad: true"
        )


def _in_order(trace: TraceFile, arrival: Floats, line: Ints) -> tuple[Ints, int]:
    """The order of arrival, and how many requests were earlier than the one above them."""
    back = np.flatnonzero(np.diff(arrival) < 0)
    if len(back) == 0:
        return np.arange(len(arrival)), 0
    if len(back) > _TOLERATED * len(arrival) and not trace.skip_bad:
        at = int(back[0])
        raise MeasurementError(
            f"{trace.path}: times run backwards {plural(len(back), 'time')}, first on line {line[at + 1]}, by "
            f"{arrival[at] - arrival[at + 1]:.6g} s; sort the file by arrival, or have it sorted with skip_bad: true"
        )
    return np.argsort(arrival, kind="stable"), len(back)


def _labels(frame: pl.DataFrame, kept: Ints) -> dict[str, Any]:
    """The columns of Requests that tell classes, where the file does."""
    if "label" not in frame.columns:
        return {}
    names, label = np.unique(frame["label"].cast(pl.String).fill_null("none").to_numpy()[kept], return_inverse=True)
    return {"label": label.astype(np.int64), "labels": tuple(str(name) for name in names)}


def _hashes(frame: pl.DataFrame, kept: Ints, layout: Layout, prompt: Floats, trace: TraceFile) -> BlockHashes | None:
    if HASHES not in frame.columns:
        return None
    lists = _as_lists(frame[HASHES], trace)
    if len(kept) != frame.height or not np.array_equal(kept, np.arange(len(kept))):
        lists = lists[kept]
    listed = lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    exploded = lists.filter(lists.list.len() > 0).explode()
    if exploded.null_count() or not (exploded.dtype.is_numeric() or exploded.dtype == pl.String):
        raise MeasurementError(f"{trace.path}: {layout.hashes} has entries that are neither numbers nor text")
    ids = renumbered((exploded if exploded.dtype.is_integer() else exploded.rank("dense")).cast(pl.Int64).to_numpy())
    size = trace.block_size or layout.block_size or block_size_of(listed, prompt[kept].astype(np.int64), trace.path)
    offsets = np.concatenate([[0], np.cumsum(listed)])
    return BlockHashes(size, offsets, chained(offsets, ids))


def _as_lists(column: pl.Series, trace: TraceFile) -> pl.Series:
    """Hash ids as lists; in a CSV they are written like [1, 2]."""
    if column.dtype != pl.String:
        return column
    try:
        return column.str.json_decode(pl.List(pl.Int64))
    except pl.exceptions.PolarsError:
        raise MeasurementError(f"{trace.path}: hash ids in a CSV must be written like [1, 2]") from None
