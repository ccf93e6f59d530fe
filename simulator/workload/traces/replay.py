"""Traces as workloads: a recording sliced, thinned, sped up, repeated and clipped, at its own times or at others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import MeasurementError, ScenarioError
from simulator.numbers import MOST_REQUESTS
from simulator.workload.requests import Floats, Ints, Requests
from simulator.workload.streams import Streams
from simulator.workload.traces.block_hashes import gathered, in_blocks
from simulator.workload.traces.recording import Recording
from simulator.workload.traces.servegen import servegen_requests
from simulator.workload.traces.trace_file import TraceFile

if TYPE_CHECKING:
    from simulator.workload.arrivals.steady import Arrivals

_KEPT = 2
_LONGEST = 2**62


def recording(trace: TraceFile, streams: Streams) -> Recording:
    """The whole recording of a trace file, or requests drawn from a ServeGen folder; kept for the next call.

    Raises MeasurementError for what cannot be read.
    """
    path = Path(trace.path)
    if path.is_dir():
        requests = servegen_requests(path, trace.start, trace.end, streams.within("servegen"))
        return Recording(requests, "servegen", has_times=True, lines=len(requests))
    about = path.stat() if path.exists() else None
    plain = replace(trace, start=0.0, end=None, sample=1.0, scale=1.0, repeat=1, max_prompt=None, max_output=None)
    return _kept(plain, (about.st_mtime_ns, about.st_size) if about else (0, 0))


@lru_cache(maxsize=_KEPT)
def _kept(trace: TraceFile, version: tuple[int, int]) -> Recording:
    from simulator.workload.traces.cleaning import record

    return record(trace)


def trace_times(trace: TraceFile) -> Floats:
    """When the requests of a trace come as it is replayed, seconds. A ServeGen folder is drawn with seed 0.

    Raises MeasurementError for what cannot be read or has no times.
    """
    streams = Streams(0)
    source = recording(trace, streams)
    return _selection(trace, _with_times(source, trace), streams).times_s


def replay(
    trace: TraceFile,
    arrivals: Arrivals | None,
    requests: int | None,
    duration_s: float | None,
    streams: Streams,
    block_tokens: int,
) -> Requests:
    """The requests of a trace, at its own times or at those of `arrivals`, until `requests` or `duration_s` is reached.

    At other times they follow in the order of the trace, from its beginning again once it is used up.
    Raises MeasurementError for what cannot be read or has no times, ScenarioError when no request is left.
    """
    source = recording(trace, streams)
    chosen = _selection(trace, source, streams)
    if arrivals is not None and len(chosen.rows):
        times = arrivals.times(streams.of("arrival"), requests if requests or duration_s else len(chosen.rows), duration_s)
        chosen = chosen.cycled(times)
    else:
        _with_times(source, trace)
        last = None if duration_s is None else int(np.searchsorted(chosen.times_s, duration_s, side="right"))
        chosen = chosen.first(len(chosen.rows[:last][:requests]))
    if len(chosen.rows) == 0:
        raise ScenarioError(f"{trace.path}: no request is left of the trace; widen start and end, or raise sample or duration")
    return _requests(trace, source.requests, chosen, block_tokens)


def _with_times(source: Recording, trace: TraceFile) -> Recording:
    if not source.has_times:
        raise MeasurementError(f"{trace.path}: no column of arrival times; say when requests arrive, such as arrivals: 4/s")
    return source


@dataclass(frozen=True, slots=True, eq=False)
class _Selection:
    """Which requests of a recording, when, and in which repetition of it."""

    times_s: Floats
    rows: Ints
    pass_: Ints

    def first(self, n: int) -> _Selection:
        return _Selection(self.times_s[:n], self.rows[:n], self.pass_[:n])

    def cycled(self, times_s: Floats) -> _Selection:
        """The same requests one after another at these times, over and over."""
        at = np.arange(len(times_s))
        again, place = at // len(self.rows), at % len(self.rows)
        return _Selection(times_s, self.rows[place], self.pass_[place] + again * (1 + self.pass_[-1]))


def _selection(trace: TraceFile, source: Recording, streams: Streams) -> _Selection:
    times = source.requests.arrival_s
    drawn = source.format == "servegen"
    start, end = (0.0, math.inf) if drawn else (trace.start, math.inf if trace.end is None else trace.end)
    rows = np.flatnonzero((times >= start) & (times < end)) if source.has_times else np.arange(len(times))
    if trace.sample < 1:
        rows = rows[streams.uniform("trace sample", len(times))[rows] < trace.sample]
    if len(rows) * trace.repeat > MOST_REQUESTS:
        raise MeasurementError(f"{trace.path}: {len(rows) * trace.repeat:,} requests with repeat; at most {MOST_REQUESTS:,}")
    times = times[rows] - start
    period = (source.period_s() if math.isinf(end) else end) - start
    pass_ = np.repeat(np.arange(trace.repeat), len(rows))
    return _Selection((np.tile(times, trace.repeat) + pass_ * period) / trace.scale, np.tile(rows, trace.repeat), pass_)


def _requests(trace: TraceFile, source: Requests, chosen: _Selection, block_tokens: int) -> Requests:
    """The chosen requests with clipped lengths; a repetition has contents of its own, so it finds nothing of the one before
    cached."""
    prompt = np.minimum(source.prompt_tokens[chosen.rows], trace.max_prompt or _LONGEST)
    hashes = None
    if source.hashes is not None:
        ours = in_blocks(gathered(source.hashes, chosen.rows), prompt, block_tokens, trace.path)
        apart = np.repeat(chosen.pass_, np.diff(ours.offsets)) * (1 + int(ours.ids.max(initial=0)))
        hashes = replace(ours, ids=ours.ids + apart)
    return Requests(
        arrival_s=chosen.times_s,
        prompt_tokens=prompt,
        output_tokens=np.minimum(source.output_tokens[chosen.rows], trace.max_output or _LONGEST),
        label=None if source.label is None else source.label[chosen.rows],
        labels=source.labels,
        hashes=hashes,
    )
