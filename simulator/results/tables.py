"""Tables: the trace of a simulation as latency columns and polars frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import FINISHED, RunRecord
from simulator.errors import SimulatorError

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
LABEL = "label"
"""The column of a trace that holds the class of each request, by its place in the scenario."""
LATENCIES = ("queue_s", "ttft_s", "tpot_s", "e2e_s")
STATUSES = ("finished", "refused", "timed out", "cancelled", "never scheduled", "lost")


def with_labels(trace: RunRecord, label: NDArray[Any] | None) -> RunRecord:
    """The trace with the class of each request, shape (n,), where the workload has classes."""
    return trace if label is None else dataclasses.replace(trace, requests={**trace.requests, LABEL: label})


def latencies(trace: RunRecord) -> dict[str, Floats]:
    """Seconds each request waited and ran: `queue_s`, `ttft_s`, `tpot_s`, `e2e_s`, each of shape (n,), NaN where undefined.

    TTFT and E2E include `frontend_s` where the trace has it. TPOT is NaN for a request of one token; all are NaN for a
    request that did not finish.
    """
    r = trace.requests
    finished = r["status"] == FINISHED
    gaps = np.where(r["output_tokens"] > 1, r["output_tokens"] - 1, np.nan)
    frontend = r.get("frontend_s", 0.0)
    columns = {
        "queue_s": r["scheduled_s"] - r.get("entered_s", r["arrival_s"]),
        "ttft_s": r["first_token_s"] - r["arrival_s"] + frontend,
        "tpot_s": (r["finish_s"] - r["first_token_s"]) / gaps,
        "e2e_s": r["finish_s"] - r["arrival_s"] + frontend,
    }
    for column in columns.values():
        column[~finished] = np.nan
    return columns


def requests_table(trace: RunRecord) -> pl.DataFrame:
    """One row a request, in order of arrival: the engine's columns, `status` and `refusal` in words, and the latencies."""
    import polars as pl

    columns: dict[str, Any] = {name: column for name, column in trace.requests.items() if name != "status"}
    status = pl.Series("status", STATUSES, dtype=pl.String).gather(pl.Series(trace.requests["status"], dtype=pl.UInt32))
    refusal = pl.Series(
        "refusal", [trace.refusals.get(i) for i in range(len(trace))] if trace.refusals else None, dtype=pl.String
    )
    frame = pl.DataFrame({**columns, **latencies(trace)}).with_columns(pl.col(pl.Float64).fill_nan(None), status)
    return frame.with_columns(refusal if trace.refusals else pl.lit(None, dtype=pl.String).alias("refusal"))


def stretches_table(trace: RunRecord) -> pl.DataFrame:
    """One row a run of equal steps, in order of start: the engine's columns, and the replica's `block_size`.

    After them, with replica -1, one row an inter-token latency that a preemption stretched: its seconds are `base_s`.
    """
    import polars as pl

    sizes = np.asarray(trace.block_size, dtype=np.int64)[trace.stretches["replica"]]
    steps = pl.DataFrame({**trace.stretches, "block_size": sizes})
    gaps = pl.DataFrame({"base_s": trace.gaps_s}).with_columns(replica=pl.lit(-1, dtype=steps.schema["replica"]))
    return pl.concat([steps, gaps], how="diagonal")


def check_tables(requests: pl.DataFrame, steps: pl.DataFrame) -> None:
    """Raise SimulatorError where the tables of a run do not have the columns and values that this version writes."""
    for frame, name, known in ((requests, "requests", _REQUESTS), (steps, "steps", _STEPS)):
        for column, kind in known.items() if frame.height else ():
            if column not in frame.columns:
                raise SimulatorError(f"the table of {name} has no column {column}")
            _check_column(frame[column], f"the table of {name}: column {column}", kind)
    if requests.height and (odd := set(requests["status"].unique()) - set(STATUSES)):
        raise SimulatorError(f"the table of requests: status {next(iter(odd))!r:.40} is not known")


def _check_column(values: pl.Series, where: str, kind: str) -> None:
    known = {
        "text": str(values.dtype) == "String",
        "seconds": values.dtype.is_float(),
        "count": values.dtype.is_integer() and not values.null_count(),
        "count, or none": values.dtype.is_integer(),  # of a row that is no stretch but a gap
    }
    if not known[kind]:
        raise SimulatorError(f"{where} is {values.dtype}, and not {kind}")
    if kind == "text" or values.is_empty() or values.null_count() == len(values):
        return
    found = values.drop_nulls()
    if kind == "seconds" and not found.is_finite().all():
        raise SimulatorError(f"{where} has values that are not finite")
    least, most = found.min(), found.max()
    if least < _LEAST.get(kind, -1) or most > (_MOST_SECONDS if kind == "seconds" else _MOST_COUNT):  # type: ignore[operator]
        raise SimulatorError(f"{where} has values from {least!r} to {most!r}, which cannot be")


_TIMES = ("arrival_s", "scheduled_s", "first_token_s", "finish_s", "left_s", *LATENCIES)
_COUNTS = ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions", "follows", "replica")
_STEP_COUNTS = ("sequences", "decoding", "prefill_tokens", "sampled", "waiting", "preempted", "steps", "kv_blocks", "block_size")
_REQUESTS = {
    **dict.fromkeys(("deployment", "status", "refusal"), "text"),
    **dict.fromkeys(_TIMES, "seconds"),
    **dict.fromkeys(_COUNTS, "count"),
}
_STEPS = {
    "deployment": "text",
    **dict.fromkeys(("start_s", "base_s", "slope_s", "end_s"), "seconds"),
    "replica": "count",
    **dict.fromkeys(_STEP_COUNTS, "count, or none"),
}
_LEAST, _MOST_SECONDS, _MOST_COUNT = {"seconds": -1e12}, 1e15, 2**53


def trace_of(requests: pl.DataFrame, steps: pl.DataFrame) -> RunRecord:
    """The trace that `requests_table` and `stretches_table` were made from."""
    import polars as pl

    codes = requests["status"].replace_strict(dict(zip(STATUSES, range(len(STATUSES)), strict=True)), return_dtype=pl.Int8)
    derived = {"status", "refusal", *LATENCIES}
    whose = [name for name in requests.columns if not _of_others(requests[name])]
    columns = {name: _numpy(requests[name]) for name in whose if name not in derived}
    refusals = {i: reason for i, reason in enumerate(requests["refusal"]) if reason is not None}
    stretches = steps.filter(pl.col("replica") >= 0)
    sizes = dict(stretches.select("replica", "block_size").unique().iter_rows())
    replicas = max(sizes, default=0) + 1
    return RunRecord(
        {**columns, "status": codes.to_numpy()},
        {name: _numpy(stretches[name]) for name in stretches.columns if name != "block_size"},
        refusals,
        steps.filter(pl.col("replica") < 0)["base_s"].to_numpy(),
        tuple(sizes.get(replica, next(iter(sizes.values()), 16)) for replica in range(replicas)),
    )


def _of_others(column: pl.Series) -> bool:
    """Whether a column only stands there because other deployments of the run have it."""
    return 0 < len(column) == column.null_count() and column.name.startswith(_OF_SOME)


_OF_SOME = ("prefill", "handed_over", "decode_scheduled", "decode_steps")


def rows_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of one row a mapping, its column types read from all of them."""
    import polars as pl

    return pl.DataFrame(list(rows), infer_schema_length=None)


def _numpy(series: pl.Series) -> NDArray[Any]:
    filled = series.fill_null(float("nan")) if series.dtype.is_float() else series
    return filled.to_numpy()
