"""The log of a simulation: requests and stretches as columns, and what can be read from them in closed form."""

from __future__ import annotations

import math
import struct
from array import array
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.engine.instance.stretch import Stretch
from simulator.engine.request import Request
from simulator.workload.requests import Requests

Column = NDArray[Any]

FINISHED, REFUSED, TIMED_OUT, CANCELLED, NEVER_SCHEDULED, LOST = (np.int8(code) for code in range(6))


What = Literal["starts", "ready", "drains", "dies", "gone"]


class FleetEvent(NamedTuple):
    """What became of a replica at `when` seconds: it starts, is ready, drains, dies, or is gone; `why` in words."""

    when: float
    replica: int
    what: What
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RunRecord:
    """Everything that happened.

    `requests`, one row a request in the order of `Requests`: replica (int32, -1 refused), status (int8: 0 finished, 1 refused,
    2 timed out, 3 cancelled, 4 never scheduled: it waited when nothing more could happen, 5 lost with its server),
    arrival_s, scheduled_s,
    first_token_s, finish_s, left_s (seconds, NaN where it never came; left: out of the system, finished or not), prompt_tokens,
    output_tokens, cached_tokens (hits at first admission), preemptions, decode_steps (where tokens are drafted: those in which
    all tokens but the first came), follows (int8: 1 where it came once an earlier turn was
    answered).

    `stretches`, one row a run of equal steps of one replica, ordered by start: replica, start_s, end_s, steps, sequences
    (running), decoding (those that decode, one step after their token before), prefill_tokens (computed by prefill chunks, per
    step), sampled (sequences that have tokens of it, per step), waiting, base_s, slope_s (step j of the stretch takes base_s + j
    * slope_s),
    kv_blocks (used in its last step), preempted (requests preempted at its start).

    Where a front end is simulated arrival_s is when a request was sent, first_token_s, finish_s and
    left_s are when the client has it, and there are two columns more: taken_s, when the front end
    began with it, and entered_s, when the engine got it.

    Where a prefill pool hands requests over to a decode pool, `replica` is the decode instance and there are more columns:
    prefill_replica (-1 where its decode instance computed the prompt), prefilled_s, handed_over_s (when the decode pool got
    it), decode_scheduled_s (when it first ran there). `transfers` then has a row a transfer of KV: request, source, sink
    (replicas), begin_s, end_s, bytes; and `link` says how many bytes_per_s all of them together carry from at_s on.

    `gaps_s`: the inter-token latencies that span more than one step, as a preemption makes them. `block_size`: one a replica.
    `events`: what became of the replicas, in order of time, where they do not all serve from start to end;
    `sent_again`: how often requests were sent again whose server died.
    """

    requests: dict[str, Column]
    stretches: dict[str, Column]
    refusals: dict[int, str]
    gaps_s: Column = field(default_factory=lambda: np.zeros(0))
    block_size: tuple[int, ...] = (16,)
    events: tuple[FleetEvent, ...] = ()
    sent_again: int = 0
    transfers: dict[str, Column] = field(default_factory=dict)
    link: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.requests["status"])

    @property
    def tokens_a_step(self) -> float:
        """Tokens that a decode step gives a sequence in the mean: all but the first over the steps that they take."""
        steps = self.requests.get("decode_steps")
        if steps is None:
            return 1.0
        left = self.requests["output_tokens"] - 1
        drawn = int(steps[left > 0].sum())
        return float(left.sum()) / drawn if drawn else 1.0

    @property
    def emitted(self) -> Column:
        """Tokens that come of each step of a stretch, shape (stretches,); where tokens are drafted, in the mean of the run."""
        sampled, more = self.stretches["sampled"], self.tokens_a_step - 1.0
        return np.asarray(sampled + self.stretches["decoding"] * more) if more else sampled

    def with_frontend(self, seconds: Column) -> RunRecord:
        """As clients see it whose first tokens come later by so much, shape (n,), than they leave here."""
        return replace(self, requests={**self.requests, "frontend_s": seconds})


_PLANNED = np.dtype(
    [
        *((name, "<f8") for name in ("start_s", "base_s", "slope_s")),
        *((name, "<i4") for name in ("sequences", "decoding", "prefill_tokens", "sampled", "waiting", "preempted")),
    ]
)
_ENDED = np.dtype([("steps", "<i4"), ("kv_blocks", "<i4")])
planned_step, ended_step = struct.Struct("<3d6i"), struct.Struct("<2i")
sampled_at, steps_ended = struct.Struct("<3d12xi8x"), struct.Struct("<i4x")
"""Of the same rows: start, base, slope and how many sampled; and how many steps."""
pack_planned, pack_ended = planned_step.pack, ended_step.pack
_pack_times, _TIMES_AT = struct.Struct("<2d").pack_into, 8
_NEVER = math.nan
_ROWS_AT_ONCE = 1 << 16


def _seldom_written(count: int, dtype: type[np.generic]) -> Any:
    """A column of zeros of which most stay so: memory that nobody writes to is not taken."""
    return np.zeros(count, dtype).data


class Log:
    """The stretches of one replica, a packed row each: what is known when it is planned, and what when it has ended."""

    __slots__ = ("ended", "planned")

    def __init__(self) -> None:
        self.planned, self.ended = bytearray(), bytearray()

    def restate(self, base: float, slope: float) -> None:
        """Replace the step time of the stretch planned last."""
        _pack_times(self.planned, len(self.planned) - _PLANNED.itemsize + _TIMES_AT, base, slope)

    def end(self, now: float) -> None:
        """Keep the steps that have ended by now; the replica makes no more."""
        rows = len(self.ended) // _ENDED.itemsize
        while rows:
            rows -= 1
            start, base, slope = planned_step.unpack_from(self.planned, rows * _PLANNED.itemsize)[:3]
            steps, kv_blocks = ended_step.unpack_from(self.ended, rows * _ENDED.itemsize)
            done = Stretch(start, base, slope, steps).ended(now)
            del self.ended[rows * _ENDED.itemsize :]
            if done:
                self.ended += pack_ended(done, kv_blocks)
                rows += 1
                break
        del self.planned[rows * _PLANNED.itemsize :]


class Transfers:
    """KV sent from instance to instance, a row a transfer; times in the engine's own unit."""

    __slots__ = ("amount", "begun", "ended", "request", "sink", "source")

    def __init__(self) -> None:
        self.request, self.source, self.sink = array("q"), array("i"), array("i")
        self.begun, self.ended, self.amount = array("d"), array("d"), array("d")

    def add(self, request: int, source: int, sink: int, begins: float, amount: float) -> int:
        """Note one that begins then; gives its row."""
        for column, value in ((self.request, request), (self.source, source), (self.sink, sink)):
            column.append(value)
        self.begun.append(begins)
        self.ended.append(_NEVER)
        self.amount.append(amount)
        return len(self.amount) - 1

    def columns(self, scale: float) -> dict[str, Column]:
        """The log as columns, in seconds and bytes."""
        return {
            "request": np.array(self.request, np.int64),
            "source": np.array(self.source, np.int32),
            "sink": np.array(self.sink, np.int32),
            "begin_s": np.array(self.begun) * scale,
            "end_s": np.array(self.ended) * scale,
            "bytes": np.array(self.amount),
        }


class Recorder:
    """The log while the simulation runs: an array a column, a `Log` a replica; times in the engine's own unit.

    `left` is when a request left that has `failed`; nothing is read from it where one has not.
    """

    __slots__ = (
        "arrival",
        "cached",
        "failed",
        "finish",
        "first_token",
        "gaps",
        "left",
        "logs",
        "preemptions",
        "refusals",
        "replica",
        "scheduled",
    )

    def __init__(self, count: int) -> None:
        never = array("d", [_NEVER])
        self.arrival, self.scheduled, self.first_token, self.finish = (never * count for _ in range(4))
        self.replica = array("i", [-1]) * count
        self.failed = array("b", [0]) * count
        self.left = _seldom_written(count, np.float64)
        self.cached, self.preemptions = (_seldom_written(count, np.int32) for _ in range(2))
        self.gaps = array("d")
        self.refusals: dict[int, str] = {}
        self.logs: list[Log] = []

    def log(self) -> Log:
        """The log of the next replica."""
        self.logs.append(Log())
        return self.logs[-1]

    def gap(self, request: Request, now: float) -> None:
        """Write the time since the last token of a request that did not get one in every step, if it had one."""
        if request.token_at is not None:
            self.gaps.append(now - request.token_at)
            request.token_at = None

    def gaps_of(self, seconds: float, requests: int) -> None:
        """Write a time between two tokens that so many requests had."""
        self.gaps.extend([seconds] * requests)

    def has_left(self, request: Request) -> bool:
        """Whether a request finished or failed."""
        return bool(self.failed[request.index]) or not math.isnan(self.finish[request.index])

    def fail(self, request: Request, now: float, status: np.int8) -> None:
        """Write that a request left the system without having finished."""
        index = request.index
        self.left[index] = now
        self.failed[index] = int(status)
        self.preemptions[index] = request.preemptions
        if self.first_token[index] > now:
            self.first_token[index] = _NEVER

    def forget_step_in_work(self, request: Request, now: float) -> None:
        """Take back what was written of a request whose server dies now, unless it has had a token."""
        index = request.index
        if not self.first_token[index] <= now:
            self.scheduled[index] = self.first_token[index] = _NEVER
            self.cached[index], self.replica[index] = 0, -1

    def has_token(self, request: Request) -> bool:
        """Whether a request had its first token."""
        return not math.isnan(self.first_token[request.index])

    def keep_waiting(self, request: Request, reason: str) -> None:
        """Write that a request waits for ever, and why."""
        self.failed[request.index] = int(NEVER_SCHEDULED)
        self.left[request.index] = _NEVER
        self.refusals[request.index] = reason
        self.preemptions[request.index] = request.preemptions

    def record(self, requests: Requests, tick_s: float | None, block_size: tuple[int, ...]) -> RunRecord:
        """The log as columns, in seconds."""
        scale = 1.0 if tick_s is None else tick_s
        times = ("arrival", "scheduled", "first_token", "finish")
        columns: dict[str, Column] = {f"{name}_s": as_seconds(np.frombuffer(getattr(self, name)), scale) for name in times}
        finished, failed = ~np.isnan(columns["finish_s"]), np.frombuffer(self.failed, np.int8)
        columns["left_s"] = columns["finish_s"]
        if failed.any():
            left = as_seconds(np.asarray(self.left), scale)
            columns["left_s"] = np.where(finished, columns["finish_s"], np.where(failed, left, _NEVER))
        columns["status"] = np.where(finished, FINISHED, np.where(failed, failed, CANCELLED)).astype(np.int8)
        columns |= {"replica": np.frombuffer(self.replica, np.int32)}
        columns |= {"prompt_tokens": requests.prompt_tokens, "output_tokens": requests.output_tokens}
        columns |= {"cached_tokens": np.asarray(self.cached), "preemptions": np.asarray(self.preemptions)}
        follows = np.zeros(len(requests), np.int8) if requests.previous is None else (requests.previous >= 0).astype(np.int8)
        columns |= {"follows": follows}
        if requests.decode_steps is not None:
            columns |= {"decode_steps": requests.decode_steps}
        refusals = self.refusals | {
            index: "the turn before it did not finish" if follows[index] else "its client waits for requests that never finish"
            for index in np.flatnonzero(columns["status"] == CANCELLED).tolist()
        }
        return RunRecord(columns, self._stretches(scale), refusals, np.frombuffer(self.gaps) * scale, block_size)

    def _stretches(self, scale: float) -> dict[str, Column]:
        logs = self.logs or [Log()]
        planned = _joined([np.frombuffer(log.planned, _PLANNED) for log in logs])
        ended = _joined([np.frombuffer(log.ended, _ENDED) for log in logs])
        end = np.empty(len(planned))
        for first in range(0, len(planned), _ROWS_AT_ONCE):
            at = slice(first, first + _ROWS_AT_ONCE)
            steps = ended["steps"][at].astype(np.int64)
            start, base, slope = (planned[name][at] for name in ("start_s", "base_s", "slope_s"))
            end[at] = Stretch(start, base, slope, steps).until(steps)
        rows = [len(log.ended) // _ENDED.itemsize for log in logs]
        columns: dict[str, Column] = {"replica": np.zeros(len(planned), np.int32)}
        if len(rows) > 1:
            columns["replica"] = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
        columns |= {name: part[name] for part in (planned, ended) for name in part.dtype.names or ()}
        if len(rows) > 1:
            order = np.argsort(planned["start_s"], kind="stable")
            end, columns = end[order], {name: column[order] for name, column in columns.items()}
        columns |= {name: as_seconds(columns[name], scale) for name in ("start_s", "base_s", "slope_s")}
        return columns | {"end_s": as_seconds(end, scale)}


def _joined(parts: list[Column]) -> Column:
    """The parts in one; a single one is not copied."""
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def as_seconds(ticks: Column, scale: float) -> Column:
    """Times in seconds; what already is in seconds is not copied."""
    return ticks if scale == 1.0 else ticks * scale


def inter_token_latencies(record: RunRecord) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Every inter-token latency of a run, in seconds, as values and how often each occurred; both shape (m,), not sorted.

    One entry a step with decoding sequences, and one a gap that a preemption made: exact, without a row per token.
    """
    columns = record.stretches
    rows = np.flatnonzero(columns["decoding"] > 0)
    end = int(columns["steps"][rows].sum(dtype=np.int64))
    values, weights = np.empty(end + len(record.gaps_s)), np.ones(end + len(record.gaps_s), dtype=np.int64)
    values[end:] = record.gaps_s
    filled = 0
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        steps = columns["steps"][some].astype(np.int64)
        nth = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
        at = slice(filled, filled := filled + len(nth))
        values[at] = np.repeat(columns["base_s"][some], steps) + nth * np.repeat(columns["slope_s"][some], steps)
        weights[at] = np.repeat(columns["decoding"][some], steps)
    return values, weights


def timeline(record: RunRecord, points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Requests `running` and `waiting` and `kv_blocks` in use at each of `points` (seconds), over all replicas.

    Read from the closed form of each stretch; inside a stretch KV use grows by a block per sequence and block_size steps, so
    it is exact to one block a sequence.
    """
    running, kv_blocks = np.zeros(len(points)), np.zeros(len(points))
    for replica, block_size in enumerate(record.block_size):
        mine = record.stretches["replica"] == replica
        rows = {name: column[mine] for name, column in record.stretches.items()}
        if not len(rows["start_s"]):
            continue
        at = np.searchsorted(rows["start_s"], points, side="right") - 1
        inside = (at >= 0) & (points < rows["end_s"][at])
        span = rows["end_s"][at] - rows["start_s"][at]
        left = rows["steps"][at] * (rows["end_s"][at] - points) / np.where(span > 0, span, 1.0)
        growth = record.tokens_a_step * rows["decoding"][at] * np.maximum(left - 1.0, 0.0) / block_size
        running += np.where(inside, rows["sequences"][at], 0)
        kv_blocks += np.where(inside, np.maximum(rows["kv_blocks"][at] - growth, 0.0), 0.0)
    inside_system = _counted(record.requests["arrival_s"], points) - _counted(record.requests["left_s"], points)
    return {"running": running, "waiting": np.maximum(inside_system - running, 0.0), "kv_blocks": kv_blocks}


def _counted(times: Column, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of `times` lie at or before each point; NaN never does."""
    return np.searchsorted(np.sort(times[~np.isnan(times)]), points, side="right").astype(np.float64)
