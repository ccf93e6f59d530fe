"""Files to calibrate with: CSV rows of closed loops, and what `vllm bench serve --save-result` writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.errors import MeasurementError, SimulatorError
from simulator.files import DATA_BYTES, read_json_object
from simulator.latency.client import FrontEnd
from simulator.numbers import LONGEST, MOST_REQUESTS, finite_number, integer
from simulator.validation.calibrate import MeasuredPoint
from simulator.validation.measurements import Row, Skipped, read_measurement_table
from simulator.validation.protocols import MeasuredServer, requests_of
from simulator.validation.readers.closed_loop import MANY, closed_loop_server, is_capped, load_of
from simulator.validation.readers.rows import values_in
from simulator.workload.requests import Ints, Requests

_CSV = {"tpot": ("tpot_ms_mean", 1.0), "ttft": ("ttft_ms_mean", 1.0)}


def read_points(paths: Iterable[Path], server: MeasuredServer | None = None) -> tuple[list[MeasuredPoint], list[Skipped]]:
    """The points in CSV files of closed loops and JSON files of `vllm bench serve --save-result`, and the rows left out.

    `server` is what a JSON file was measured on, which it does not say itself.
    """
    points: list[MeasuredPoint] = []
    skipped: list[Skipped] = []
    for path in paths:
        try:
            found, left = _points(path, server)
        except SimulatorError as problem:
            found, left = [], [Skipped(path.name, 0, str(problem))]
        points += found
        skipped += left
    return points, skipped


def _points(path: Path, server: MeasuredServer | None) -> tuple[list[MeasuredPoint], list[Skipped]]:
    if path.suffix.lower() == ".json":
        return [_from_bench(path, server)], []
    table = read_measurement_table(path)
    if missing := MANY.missing(table):
        raise MeasurementError(f"{path.name}: columns missing: {', '.join(name.replace('|', ' or ') for name in missing)}")
    points, skipped = [], []
    for index, row in enumerate(table.rows, start=1):
        try:
            points.append(_from_row(path.name, index, row))
        except SimulatorError as problem:
            skipped.append(Skipped(path.name, index, str(problem)))
    return points, skipped


def _from_row(source: str, index: int, row: Row) -> MeasuredPoint:
    measured = {name: values_in(row, {f"{name}_ms": column}).get(f"{name}_ms") for name, column in _CSV.items()}
    requests, load = load_of(row)
    if isinstance(load, ClosedLoop):
        users: float = load.concurrency
        if is_capped(row, load.concurrency):
            raise MeasurementError("its requests waited for a limit that the row does not state")
    else:
        users = _mean_users(requests, measured["ttft"] or 0.0, measured["tpot"] or 0.0)
    return MeasuredPoint(
        source=source,
        row=index,
        server=closed_loop_server(row)[0],
        requests=requests,
        load=load,
        concurrency=users,
        tpot_ms=measured["tpot"],
        ttft_ms=measured["ttft"],
    )


def _mean_users(requests: Requests, ttft_ms: float, tpot_ms: float) -> float:
    """Requests in the system on average, by Little's law; all of them where they come at once."""
    sojourn_s = (ttft_ms + tpot_ms * (float(requests.output_tokens.mean()) - 1)) / 1e3
    lasted_s = float(requests.arrival_s[-1])
    return max(1.0, len(requests) * sojourn_s / (lasted_s or sojourn_s or 1.0))


def _from_bench(path: Path, server: MeasuredServer | None) -> MeasuredPoint:
    """A point from vLLM's benchmark: mean lengths, or each request's own with --save-detailed."""
    if server is None:
        raise MeasurementError(
            f"{path.name} does not say what it was measured on: give --gpu (and --model, --tensor-parallel-size)"
        )
    told = _json(path)
    requests, users = _lengths(path, told), _users(path, told)
    duration = _positive(path, told, "duration")
    tpot, ttft = _positive(path, told, "mean_tpot_ms"), _positive(path, told, "mean_ttft_ms")
    output = float(requests.output_tokens.mean())
    rate = told.get("request_rate", "inf")
    load: Load = OpenLoop(max_concurrency=users)
    if rate not in ("inf", float("inf")):
        requests = _arriving(requests, finite_number(rate, f"{path.name}: request_rate", above=0.0))
    elif users:
        load = ClosedLoop(concurrency=users)
    mean_users = len(requests) * (ttft + tpot * (output - 1)) / 1e3 / duration
    if isinstance(load, ClosedLoop):
        mean_users = float(load.concurrency)
    asked = str(told.get("endpoint_type") or told.get("backend") or "")
    client = FrontEnd(endpoint="chat" if "chat" in asked else "completions")
    measured = replace(server, client=client)
    return MeasuredPoint(path.name, 1, measured, requests, load, mean_users, tpot, ttft)


def _json(path: Path) -> dict[str, Any]:
    told = read_json_object(path, most=DATA_BYTES)
    if "mean_tpot_ms" not in told:
        raise MeasurementError(f"{path}: not a result of `vllm bench serve --save-result`: it has no mean_tpot_ms")
    return told


def _positive(path: Path, told: dict[str, Any], name: str) -> float:
    return finite_number(told.get(name), f"{path.name}: {name}", above=0.0)


def _lengths(path: Path, told: dict[str, Any]) -> Requests:
    if told.get("input_lens") and told.get("output_lens"):
        prompt, output = (_listed(path, told, name) for name in ("input_lens", "output_lens"))
        if len(prompt) != len(output):
            raise MeasurementError(f"{path.name}: {len(prompt)} input_lens and {len(output)} output_lens; they must be as many")
        answered = (prompt > 0) & (output > 0)
        if not answered.any():
            raise MeasurementError(f"{path.name}: no request of its input_lens and output_lens has both above 0")
        return requests_of(prompt[answered], output[answered])
    total = integer(told.get("completed"), f"{path.name}: completed", least=1, most=MOST_REQUESTS)
    means = (_positive(path, told, name) / total for name in ("total_input_tokens", "total_output_tokens"))
    columns: list[Ints] = [np.full(total, max(1, round(mean)), dtype=np.int64) for mean in means]
    return requests_of(columns[0], columns[1])


def _users(path: Path, told: dict[str, Any]) -> int | None:
    users = told.get("max_concurrency")
    return integer(users, f"{path.name}: max_concurrency", least=1, most=MOST_REQUESTS) if users else None


def _listed(path: Path, told: dict[str, Any], name: str) -> Ints:
    if not isinstance(values := told[name], list):
        raise MeasurementError(f"{path.name}: {name} is {values!r:.40}; it must be a list")
    whole = [integer(value, f"{path.name}: {name}[{at}]", most=LONGEST) for at, value in enumerate(values)]
    return np.array(whole, dtype=np.int64)


def _arriving(requests: Requests, rate: float) -> Requests:
    gaps = np.random.default_rng(0).exponential(1 / rate, len(requests))
    return Requests(arrival_s=np.cumsum(gaps), prompt_tokens=requests.prompt_tokens, output_tokens=requests.output_tokens)
