"""Replaying a trace."""

from __future__ import annotations

from simulator.workload.arrivals import Arrivals
from simulator.workload.requests import Requests
from simulator.workload.streams import Streams
from simulator.workload.tracefile import TraceFile


def trace_rate(trace: TraceFile) -> float:
    raise NotImplementedError


def replay(
    trace: TraceFile,
    arrivals: Arrivals | None,
    requests: int | None,
    duration_s: float | None,
    streams: Streams,
    block_tokens: int,
) -> Requests:
    raise NotImplementedError
