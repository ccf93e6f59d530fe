"""Frames: the rows that charts draw, thinned so that a page stays small and no peak is lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.results.model import CurvePoint, DeploymentResult
from simulator.results.slo import PromisedLatency

Floats = NDArray[np.float64]
MOST_POINTS, ALL_POINTS = 1200, 7200
_LEAST_SHARE = 0.1
_SHARES = np.unique(np.concatenate([np.linspace(0, 1, 101), [0.995, 0.999]]))
CURVE = (
    "requests_per_s",
    "output_tokens_per_s",
    "tpot_p50_s",
    "running_mean",
    "waiting_mean",
    "kv_use_mean",
)


def promised_columns(deployments: Sequence[DeploymentResult]) -> tuple[PromisedLatency, ...]:
    """The latencies at their promised percentiles, the same for all deployments, as their place
    among the columns says."""
    return next((d.promised for d in deployments if d.promised), ())


def thin(times: Floats, values: Floats, most: int) -> tuple[Floats, Floats]:
    """At most `most` of the points: of each equal span of time the first, the last, the smallest and the largest.

    >>> t = np.arange(1000.0); y = np.zeros(1000); y[777] = 9.0
    >>> float(thin(t, y, 40)[1].max())
    9.0
    """
    if len(times) <= most:
        return times, values
    spans = max(most // 4, 1)
    bucket = np.minimum(((times - times[0]) / (times[-1] - times[0]) * spans).astype(np.int64), spans - 1)
    ends = np.flatnonzero(np.diff(bucket, append=spans))
    starts = np.concatenate([[0], ends[:-1] + 1])
    by_value = np.lexsort((values, bucket))
    kept = np.unique(np.concatenate([starts, ends, by_value[starts], by_value[ends]]))
    return times[kept], values[kept]


def level(trace: RunRecord, column: str) -> tuple[Floats, Floats]:
    """A quantity of the stretches, summed over replicas, as the corners of a step function: times, and values from then on."""
    s = trace.stretches
    amounts = s[column].astype(np.float64)
    times, changes = np.concatenate([s["end_s"], s["start_s"]]), np.concatenate([-amounts, amounts])
    order = np.argsort(times, kind="stable")
    times, values = times[order], np.cumsum(changes[order])
    last = np.diff(times, append=np.inf) > 1e-9
    moved = np.diff(values[last], prepend=np.nan) != 0
    return times[last][moved], values[last][moved]


def ecdf(values: Floats) -> tuple[Floats, Floats]:
    """The values that given shares of a sample do not exceed, and those shares."""
    known = values[np.isfinite(values)]
    return (np.quantile(known, _SHARES), _SHARES) if len(known) else (np.empty(0), np.empty(0))


def points_each(deployments: int) -> int:
    """Points a time series may have, so that all of a panel's together stay below ALL_POINTS."""
    return min(MOST_POINTS, ALL_POINTS // max(deployments, 1))


def curve_rows(deployments: Sequence[DeploymentResult]) -> list[dict[str, Any]]:
    """One row a deployment and offered rate, with dollars and tokens per GPU and user; null where
    not steady. The promised latency at place i has the columns `mediani`, `valuei`, `lowi` and
    `highi`.

    Rates far below the queueing point, which a search for the SLO capacity may have tried, show nothing and are left out.
    """
    return [{"d": i, **_curve_row(d, point)} for i, d in enumerate(deployments) for point in _by_rate(d) if _in_view(d, point)]


def segments(deployments: Sequence[DeploymentResult]) -> list[dict[str, Any]]:
    """One row a deployment and span of rates between two points of its curve: `r0`, `r1`, and each
    quantity x there, `x_0`, `x_1`.

    It begins at rate 0, where nothing is done and latencies are at most those of the first point, and ends with a span of no
    known end, past the last point.
    """
    rows = []
    for i, d in enumerate(deployments):
        points = [_curve_row(d, point) for point in _by_rate(d)]
        if not points:
            continue
        idle = {
            **points[0],
            "rate": 0.0,
            "requests_per_s": 0.0,
            "output_tokens_per_s": 0.0,
            "running_mean": 0.0,
            "waiting_mean": 0.0,
            "kv_use_mean": 0.0,
        }
        names = [*CURVE, *(f"{each}{place}" for place in range(len(d.promised)) for each in ("median", "value"))]
        for low, high in zip([idle, *points], [*points, None], strict=True):
            ends = {f"{name}_0": low.get(name) for name in names}
            ends |= {f"{name}_1": high.get(name) if high else None for name in names}
            queueing = d.queueing_point.value if d.queueing_point else None
            rows.append({"d": i, "r0": low["rate"], "r1": high["rate"] if high else 1e9, "queueing": queueing, **ends})
    return rows


def _in_view(d: DeploymentResult, point: CurvePoint) -> bool:
    return d.queueing_point is None or point.rate_per_s >= _LEAST_SHARE * d.queueing_point.value


def _by_rate(d: DeploymentResult) -> list[CurvePoint]:
    return sorted(d.curve, key=lambda point: point.rate_per_s)


def _curve_row(d: DeploymentResult, point: CurvePoint) -> dict[str, Any]:
    hourly = d.cost.usd_per_hour if d.cost else None
    output = point.output_tokens_per_s
    return {
        "rate": point.rate_per_s,
        **{name: getattr(point, name) for name in CURVE},
        **{
            f"{name}{place}": getattr(each, name)
            for place, each in enumerate(point.promised)
            for name in ("median", "value", "low", "high")
        },
        "goodput_per_s": point.goodput_per_s,
        "per_gpu": output / d.gpus,
        "per_user": 1 / point.tpot_p50_s if point.tpot_p50_s else None,
        "usd": hourly / 3600 / output * 1e6 if hourly is not None and output else None,
    }


def as_csv(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """Rows as CSV, numbers to 5 significant digits, null as nothing: a third of the size of JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([_short(row.get(name)) for name in fields] for row in rows)
    return text.getvalue()


def _short(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.5g}" if np.isfinite(value) else None
    return value
