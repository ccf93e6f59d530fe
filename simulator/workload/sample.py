"""From a workload to its requests.

Every column draws from a random stream of its own (`streams`), so the same seed gives the same requests whatever the deployment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import ScenarioError
from simulator.workload.arrivals.gaps import gamma_gaps
from simulator.workload.arrivals.steady import AllAtOnce, Arrivals, ClosedLoopArrivals, Recorded
from simulator.workload.draw import DrawnRows, DrawnSessions, Mix, draw_kinds, draw_lone, draw_rows, draw_sessions
from simulator.workload.prompts.hashes import stream_hashes
from simulator.workload.prompts.prefixes import Stems
from simulator.workload.requests import BlockHashes, Floats, Ints, Requests
from simulator.workload.streams import Streams
from simulator.workload.traces.replay import replay
from simulator.workload.workload import Workload


def sample(workload: Workload, seed: int, block_tokens: int = 16) -> Requests:
    """The requests of a workload, in order of arrival; the turns of a session stand together, at the time of its first.

    `block_tokens` is the block size of the engine, for the hashes of shared prefixes.
    Raises ScenarioError when the workload ends before its first request, MeasurementError for a trace that cannot be read.
    """
    streams = Streams(seed)
    if workload.trace is not None:
        return replay(workload.trace, workload.arrivals, workload.requests, workload.duration, streams, block_tokens)
    mix = workload.mix()
    starts, kinds = _starts(workload, streams)
    has_turns, has_stems = any(c.sessions for c in mix), any(c.prefix for c in mix)
    if not (has_turns or has_stems or any(c.adapters for c in mix)):
        prompt, output = draw_lone(mix, kinds, streams)
        return Requests(
            arrival_s=starts,
            prompt_tokens=prompt,
            output_tokens=output,
            think_s=_loop_think(workload.closed_loop, streams, len(kinds)),
            **_of_classes(workload, kinds),
        )
    sessions = draw_sessions(mix, kinds, streams)
    rows = draw_rows(mix, sessions, streams, workload.requests)
    kind = sessions.kind[rows.session]
    adapter = _adapters(mix, sessions, streams)
    return Requests(
        arrival_s=starts[rows.session],
        prompt_tokens=rows.prompt,
        output_tokens=rows.output,
        previous=np.where(rows.turn > 0, np.arange(len(kind)) - 1, -1) if has_turns else None,
        think_s=rows.think_s if has_turns else _loop_think(workload.closed_loop, streams, len(kind)),
        hashes=_hashes(sessions, rows, block_tokens, adapter) if has_turns or has_stems else None,
        adapter=None if adapter is None else adapter[rows.session],
        **_of_classes(workload, kind),
    )


def _of_classes(workload: Workload, kind: Ints) -> dict[str, Any]:
    """The columns of requests that tell their classes."""
    mix = workload.mix()
    priorities = [traffic.priority for traffic in mix]
    return {
        "priority": np.array(priorities, dtype=np.int64)[kind] if any(priorities) else None,
        "label": kind if workload.classes else None,
        "labels": tuple(traffic.name for traffic in mix),
    }


def _adapters(mix: Mix, sessions: DrawnSessions, streams: Streams) -> Ints | None:
    """The LoRA adapter of each session, 0 for none; classes have different ones. None where no class has any."""
    if not any(c.adapters for c in mix):
        return None
    chosen, before = np.zeros(len(sessions.kind), dtype=np.int64), 0
    for index, traffic in enumerate(mix):
        if traffic.adapters is not None:
            own = np.flatnonzero(sessions.kind == index)
            drawn = traffic.adapters.chosen(streams.within(traffic.name).uniform_at("adapter", sessions.number[own]))
            chosen[own] = np.where(drawn > 0, drawn + before, 0)
            before += traffic.adapters.count
    return chosen


def _starts(workload: Workload, streams: Streams) -> tuple[Floats, Ints]:
    """Start time and class of each session; at most as many sessions as requests are asked for."""
    mix, at_most = workload.mix(), workload.requests
    if workload.apart:
        parts = [_times(workload, c.arrivals, c.mean_turns(), streams.within(c.name)) for c in mix]
        times, kinds = np.concatenate(parts), np.repeat(np.arange(len(mix)), [len(part) for part in parts])
        order = np.argsort(times, kind="stable")[:at_most]
        times, kinds = times[order], kinds[order]
    else:
        times = _times(workload, workload.arrivals, workload.mean_turns(), streams)
        kinds = draw_kinds(mix, streams, len(times))
    if len(times) == 0:
        raise ScenarioError("no request arrives before the workload ends; raise the rate, the duration or the number of requests")
    return times, kinds


def _times(workload: Workload, arrivals: Arrivals | None, turns: float, streams: Streams) -> Floats:
    """Start times of sessions with this many turns each, seconds."""
    assert arrivals is not None
    if turns != 1 and not isinstance(arrivals, AllAtOnce | Recorded):
        arrivals = arrivals.scaled(1 / turns)
    return arrivals.times(streams.of("arrival"), workload.requests, workload.duration)


def _loop_think(loop: ClosedLoopArrivals | None, streams: Streams, n: int) -> Floats | None:
    """Seconds that a closed loop's user thinks before each request, where they vary."""
    if loop is None or loop.think == 0 or loop.think_cv == 0:
        return None
    return loop.think * gamma_gaps(streams.of("think"), loop.think_cv)(n)


def _hashes(sessions: DrawnSessions, rows: DrawnRows, block_tokens: int, adapter: Ints | None) -> BlockHashes:
    """Hashes of the blocks that another request may have: a session's last turn lists only what came before it.

    What one LoRA adapter computed is not found with another.
    """
    goes_on = np.append(rows.session[1:] == rows.session[:-1], False)
    ends = np.where(goes_on, rows.prompt + rows.output, rows.said)
    repeated = (sessions.stock[rows.session] >= 0) & (rows.turn == 0)
    ends = np.where(repeated, np.maximum(ends, rows.prompt), ends)
    stems = _with_stock(sessions, rows, repeated)
    if adapter is not None:
        stems = Stems(stems.ends, stems.nodes + adapter[:, None] * (stems.nodes.max(initial=0) + 1))
    return stream_hashes(stems, rows.session, ends, block_tokens)


def _with_stock(sessions: DrawnSessions, rows: DrawnRows, repeated: NDArray[np.bool_]) -> Stems:
    """The stems, with the first prompt of a stock as one more segment."""
    if not repeated.any():
        return sessions.stems
    ends = np.hstack([sessions.stems.ends, sessions.stems.tokens[:, None]])
    nodes = np.hstack([sessions.stems.nodes, sessions.stems.nodes[:, -1:]])
    at = rows.session[repeated]
    ends[at, -1] = rows.prompt[repeated]
    nodes[at, -1] = nodes.max() + 1 + sessions.kind[at] * (sessions.stock.max() + 1) + sessions.stock[at]
    return Stems(ends, nodes)
