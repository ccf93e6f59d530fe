"""Files to calibrate with: CSV rows of closed loops, and what benchmark tools write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from simulator.budget import Budget
from simulator.engine.load import ClosedLoop
from simulator.errors import MeasurementError, SimulatorError
from simulator.validation.calibrate import MeasuredPoint
from simulator.validation.measured_run import point_of, with_stated
from simulator.validation.measurements import Row, Skipped, read_measurement_table
from simulator.validation.protocols import MeasuredServer, afford
from simulator.validation.readers.bench_files import KINDS, Unsaid, read_bench_file
from simulator.validation.readers.closed_loop import MANY, closed_loop_server, load_of, what_ran
from simulator.validation.readers.rows import values_in
from simulator.validation.suspects import cannot_be, contradicted
from simulator.workload.requests import Requests

Found = tuple[list[MeasuredPoint], list[Skipped]]
_CSV = {"tpot": ("tpot_ms_mean", 1.0), "ttft": ("ttft_ms_mean", 1.0)}


def read_points(
    paths: Iterable[Path],
    server: MeasuredServer | None = None,
    unsaid: Unsaid | None = None,
    budget: Budget = Budget(),  # noqa: B008
) -> Found:
    """The points in CSV files of closed loops and result files of benchmark tools, and the rows left out.

    `server` is what a tool's file was measured on, `unsaid` what else it does not say itself.
    A point whose simulation would cost more than the `budget` is left out.
    """
    points: list[MeasuredPoint] = []
    skipped: list[Skipped] = []
    for path in paths:
        try:
            found, left = _points(path, server, unsaid, budget)
        except SimulatorError as problem:
            found, left = [], [Skipped(path.name, 0, str(problem))]
        points += found
        skipped += left
    return points, skipped


def _points(path: Path, server: MeasuredServer | None, unsaid: Unsaid | None, budget: Budget) -> Found:
    if path.suffix.lower() in KINDS:
        return _from_file(path, server, unsaid, budget)
    table = read_measurement_table(path)
    if missing := MANY.missing(table):
        raise MeasurementError(f"{path.name}: columns missing: {', '.join(name.replace('|', ' or ') for name in missing)}")
    points, skipped, doubts = [], [], contradicted(table.rows, what_ran)
    for index, row in enumerate(table.rows, start=1):
        try:
            points.append(_from_row(path.name, index, row, doubts.get(index - 1), budget))
        except SimulatorError as problem:
            skipped.append(Skipped(path.name, index, str(problem)))
    return points, skipped


def _from_row(source: str, index: int, row: Row, suspect: str | None, budget: Budget) -> MeasuredPoint:
    measured = {name: values_in(row, {f"{name}_ms": column}).get(f"{name}_ms") for name, column in _CSV.items()}
    (requests, load), server = load_of(row), closed_loop_server(row)[0]
    afford(requests, budget)
    if suspect := suspect or cannot_be(row, server, len(requests)):
        raise MeasurementError(suspect)
    if isinstance(load, ClosedLoop):
        users: float = load.concurrency
    else:
        users = _mean_users(requests, measured["ttft"] or 0.0, measured["tpot"] or 0.0)
    return MeasuredPoint(
        source=source,
        row=index,
        server=server,
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


def _from_file(path: Path, server: MeasuredServer | None, unsaid: Unsaid | None, budget: Budget) -> Found:
    """Points from the result file of a benchmark tool."""
    if server is None:
        raise MeasurementError(
            f"{path.name} does not say what it was measured on: give --gpu (and --model, --tensor-parallel-size)"
        )
    points, skipped = [], []
    for run in read_bench_file(path, unsaid):
        try:
            point = point_of(run, with_stated(run, server))
            afford(point.requests, budget)
            points.append(point)
        except SimulatorError as problem:
            skipped.append(Skipped(path.name, run.row, str(problem)))
    return points, skipped
