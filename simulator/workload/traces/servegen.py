"""ServeGen: requests drawn from its clients, each a file of arrival rates by time and one of length distributions.

`chunk-N-trace.csv` has no header; a line is the start of a window (s), requests per second, their coefficient of variation,
the law of the gaps (Gamma, Weibull, or empty when nothing arrives) and its parameters. `chunk-N-dataset.json` maps window
starts to the probabilities of `input_tokens` and `output_tokens`. Source: Xiang et al., ServeGen, arXiv:2505.09999;
github.com/alibaba/ServeGen.
"""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simulator.errors import MeasurementError
from simulator.files import DATA_BYTES, read_json_object, read_text
from simulator.numbers import LONGEST, MOST, MOST_REQUESTS, finite_number, integer
from simulator.workload.arrivals.gaps import Draw, epochs, gamma_gaps, weibull_gaps, weibull_shape
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.streams import Streams

_LAST_WINDOW_S = 600.0
_LONGEST_S, _MOST_PER_S, _MOST_CV = 1e10, 1e6, 100.0
_NAMES = ("input_tokens", "output_tokens")
Windows = list[tuple[float, float, float, str]]
Pmf = tuple[Ints, Floats]


def servegen_requests(folder: Path, start_s: float, end_s: float | None, streams: Streams) -> Requests:
    """Requests of all clients in a folder, in order of arrival, for the windows from `start_s` to `end_s` of ServeGen's clock.

    Each client has a random stream of its own; its windows are independent renewal processes. Labels are the clients.
    Raises MeasurementError for a folder without chunks, or one that holds something else.
    """
    traces = sorted(
        (path for path in folder.glob("chunk-*-trace.csv") if path.name.split("-")[1].isdecimal()),
        key=lambda path: int(path.name.split("-")[1]),
    )
    if not traces:
        raise MeasurementError(
            f"{folder}: no chunk-N-trace.csv in it; a folder is read as a ServeGen model, such as data/language/m-small"
        )
    columns: list[tuple[Floats, Ints, Ints, Ints]] = []
    for client, path in enumerate(traces):
        own = streams.within(path.name)
        dataset = _dataset(path.with_name(path.name.replace("-trace.csv", "-dataset.json")))
        for begin, times in _arrivals(_windows(path), start_s, end_s, own.of("arrival")):
            prompt, output = _lengths(dataset, begin, len(times), own.within(f"{begin:g}"))
            columns.append((times - start_s, prompt, output, np.full(len(times), client)))
    if not columns:
        raise MeasurementError(
            f"{folder}: no client sends anything from {start_s:g} s to {'the end' if end_s is None else f'{end_s:g} s'}"
        )
    arrival, prompt, output, label = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(arrival, kind="stable")
    names = tuple(path.name.removesuffix("-trace.csv") for path in traces)
    return Requests(
        arrival_s=arrival[order], prompt_tokens=prompt[order], output_tokens=output[order], label=label[order], labels=names
    )


def _windows(path: Path) -> Windows:
    """Start, rate, coefficient of variation and law of each window."""
    windows: Windows = []
    for number, row in enumerate(csv.reader(read_text(path, most=DATA_BYTES).splitlines()), start=1):
        if len(row) < 4:
            raise MeasurementError(f"{path}:{number}: expected start,rate,cv,law,parameters, found {','.join(row)[:60]!r}")
        where = f"{path}:{number}"
        start = finite_number(row[0], f"{where}: start", least=0.0, most=_LONGEST_S)
        rate = finite_number(row[1] or 0, f"{where}: rate", least=0.0, most=_MOST_PER_S)
        cv = finite_number(row[2] or 0, f"{where}: cv", least=0.0, most=_MOST_CV)
        if windows and start <= windows[-1][0]:
            raise MeasurementError(f"{where}: the window at {start:g} s does not follow the one at {windows[-1][0]:g} s")
        windows.append((start, rate, cv, row[3]))
    return windows


def _arrivals(windows: Windows, start_s: float, end_s: float | None, rng: np.random.Generator) -> Iterator[tuple[float, Floats]]:
    """For each window that something arrives in, its start and the arrivals, seconds on ServeGen's clock."""
    ends = [window[0] for window in windows[1:]] + [window[0] + _LAST_WINDOW_S for window in windows[-1:]]
    for (begin, rate, cv, law), end in zip(windows, ends, strict=True):
        low, high = max(begin, start_s), min(end, math.inf if end_s is None else end_s)
        if rate > 0 and law and low < high:
            if (high - low) * rate > MOST_REQUESTS:
                raise MeasurementError(
                    f"the window at {begin:g} s: {(high - low) * rate:.2g} requests; at most {MOST_REQUESTS:,} are drawn"
                )
            times = low + epochs(_gaps(rng, law, cv), None, (high - low) * rate) / rate
            if len(times):
                yield begin, times


def _gaps(rng: np.random.Generator, law: str, cv: float) -> Draw:
    return weibull_gaps(rng, weibull_shape(cv)) if law == "Weibull" else gamma_gaps(rng, cv)


def _dataset(path: Path) -> list[tuple[float, dict[str, Pmf]]]:
    """Window starts, increasing, with the distributions of prompt and output tokens from then on."""
    try:
        raw = read_json_object(path, most=DATA_BYTES, hint="; ServeGen keeps one beside every trace")
    except MeasurementError as problem:
        raise MeasurementError(f"not a ServeGen dataset: {problem}; a Git LFS pointer must be fetched first") from None
    windows = []
    for start, laws in raw.items():
        where = f"{path}: window {start:.40}"
        if not isinstance(laws, dict):
            raise MeasurementError(f"{where}: not a ServeGen dataset; expected lengths by name")
        begin = finite_number(start, where, least=0.0, most=_LONGEST_S)
        windows.append((begin, {name: _pmf(value, f"{where}: {name:.40}") for name, value in laws.items() if name in _NAMES}))
    return sorted((window for window in windows if all(len(pmf[0]) for pmf in window[1].values())), key=lambda window: window[0])


def _pmf(value: Any, where: str) -> Pmf:
    """Lengths and probabilities out of `{length: probability}`, written as text or as JSON."""
    table = _table(value, where) if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise MeasurementError(f"{where}: {value!r:.40} is not a ServeGen dataset; expected {{length: probability}}")
    pairs = sorted(
        (integer(length, where, most=LONGEST), finite_number(p, where, least=0.0, most=MOST)) for length, p in table.items()
    )
    lengths, shares = np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs])
    if len(shares) and shares.sum() <= 0:
        raise MeasurementError(f"{where}: no length has a probability above 0")
    return lengths, shares / shares.sum() if len(shares) else shares


def _table(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise MeasurementError(f"{where}: {text!r:.40} is not a ServeGen dataset; expected {{length: probability}}") from None


def _lengths(dataset: list[tuple[float, dict[str, Pmf]]], begin: float, n: int, streams: Streams) -> tuple[Ints, Ints]:
    """Prompt and output tokens of `n` requests of a window, drawn apart from one another as ServeGen does; at least one each."""
    current = [fields for start, fields in dataset if start <= begin] or [fields for _, fields in dataset[:1]]
    drawn = []
    for name in _NAMES:
        if not current or name not in current[-1]:
            raise MeasurementError(f"no distribution of {name} for the window at {begin:g} s")
        lengths, shares = current[-1][name]
        at = np.searchsorted(np.cumsum(shares), streams.uniform(name, n), side="right")
        drawn.append(np.maximum(lengths[np.minimum(at, len(lengths) - 1)], 1))
    return drawn[0], drawn[1]
