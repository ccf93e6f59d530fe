"""Sweeps: one scenario over a grid of settings, a row for each point and deployment; interrupted,
it goes on where it stopped."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.budget import Budget
from simulator.document import Document, parse_yaml, read_document
from simulator.errors import ScenarioError, SimulatorError, did_you_mean, nearest_names
from simulator.files import write_file
from simulator.planning.axes import Axis, axis
from simulator.planning.deployment import examine
from simulator.planning.machines.fingerprint import fingerprint
from simulator.planning.machines.finished_points import FinishedPoints
from simulator.planning.machines.pool import Machine, Processes, WorkerLost, each
from simulator.planning.run import named
from simulator.results.model import DeploymentResult
from simulator.results.tables import rows_table
from simulator.scenario import Scenario, dumped, scenario_of
from simulator.workload.sample import sample

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]
PARQUET = "sweep.parquet"
MOST_POINTS = 20_000


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One row to compute: the document with the settings of the point, which deployment of it, and
    how."""

    document: Document
    settings: tuple[tuple[str, str], ...]
    deployment: int
    seed: int | None
    limits: bool
    budget: Budget = Budget()  # noqa: RUF009

    def key(self) -> str:
        """What the row depends on; equal keys, equal rows."""
        data = {"name": self.document.path.stem, **self.document.plain()}
        data["deployments"] = [data["deployments"][self.deployment]]
        return fingerprint(
            {"scenario": data, "seed": self.seed, "limits": self.limits}, self.document.path.parent
        )


def sweep(
    path: str | Path | Scenario,
    axes: Sequence[Axis | str] = (),
    *,
    settings: Iterable[tuple[str, str]] = (),
    seed: int | None = None,
    limits: bool = False,
    folder: Path | None = None,
    machine: Machine | None = None,
    progress: Callable[[int, int], None] | None = None,
    budget: Budget = Budget(),  # noqa: B008
) -> pl.DataFrame:
    """A tidy frame: one row for each combination of the axes' values and each deployment, in the
    order of the grid.

    `path`: a scenario file, or a scenario. Axes are as `axis` gives them or as it reads them;
    without any, there is one point. `limits` also searches queueing point and SLO capacity of each
    row. With a `folder`, finished rows are kept there by what they depend on and not computed
    again, and the frame is written as Parquet. A point that fails is a row with `status` failed and
    its reason. `progress` is told rows done and rows in all; rows that are the same are computed
    once.

    Raises ScenarioError for an axis none of whose values makes a scenario, SimulatorError for a
    folder of another version.
    """
    base = _base(path, settings, budget)
    points = _points(
        base, [axis(a) if isinstance(a, str) else a for a in axes], seed, limits, budget
    )
    keys = [point.key() for point in points]
    finished = FinishedPoints(folder) if folder else None
    found = _rows(dict(zip(keys, points, strict=True)), finished, machine, progress or _silent)
    frame = _table(
        [{**_axis_columns(point), **found[key]} for point, key in zip(points, keys, strict=True)],
        finished,
    )
    if folder:
        _write(frame, folder / PARQUET)
    return frame


def _table(rows: list[Row], finished: FinishedPoints | None) -> pl.DataFrame:
    """The rows as a frame. Raises SimulatorError where rows that were kept are not like those
    computed now."""
    import polars as pl

    try:
        return rows_table(rows)
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as problem:
        if finished is None:
            raise
        raise _unlike(finished, problem) from None


def _unlike(finished: FinishedPoints, problem: Exception) -> SimulatorError:
    why = str(problem).splitlines()[0]
    said = f"its rows are not like those of this version ({why}); remove it"
    return SimulatorError(f"{finished.path}: {said}")


def _write(frame: pl.DataFrame, path: Path) -> None:
    content = io.BytesIO()
    frame.write_parquet(content)
    try:
        write_file(path, content.getvalue())
    except OSError as problem:
        raise SimulatorError(
            f"cannot write {path}: {problem.strerror or problem}; choose another place with --out"
        ) from None


def _rows(
    points: dict[str, GridPoint],
    finished: FinishedPoints | None,
    machine: Machine | None,
    progress: Callable[[int, int], None],
) -> dict[str, Row]:
    """The row of each point by its key: those that are kept, and the others computed and kept."""
    found = {key: row for key, row in finished.rows.items() if key in points} if finished else {}
    missing = {key: point for key, point in points.items() if key not in found}
    progress(len(found), len(points))
    for key, row, final in _computed(missing, machine or Processes(at_most=max(1, len(missing)))):
        found[key] = row
        if finished and final:
            finished.keep(key, row)
        progress(len(found), len(points))
    return found


def _silent(done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _base(
    path: str | Path | Scenario, settings: Iterable[tuple[str, str]], budget: Budget
) -> Document:
    document = dumped(path) if isinstance(path, Scenario) else read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    scenario_of(document, budget)
    return Document(document.path, document.plain(), document.settings)


def _points(
    base: Document, axes: Sequence[Axis], seed: int | None, limits: bool, budget: Budget
) -> list[GridPoint]:
    """The points of the grid, in its order."""
    grid = [a for a in axes if a.path != "deployments"]
    _check_size(grid)
    chosen = _deployments(base, [a for a in axes if a.path == "deployments"])
    _check_axes(base, grid, budget)
    points = []
    for values in itertools.product(*(a.values for a in grid)):
        settings = tuple((a.path, value) for a, value in zip(grid, values, strict=True))
        document = base
        for dotted, text in settings:
            document = document.with_value(dotted, text)
        points += [GridPoint(document, settings, index, seed, limits, budget) for index in chosen]
    return points


def _check_size(grid: Sequence[Axis]) -> None:
    """Raises ScenarioError for more than MOST_POINTS combinations."""
    combinations = math.prod(len(a.values) for a in grid)
    if combinations > MOST_POINTS:
        most = f"at most {MOST_POINTS:,} are gone over at once"
        raise ScenarioError(f"--over: {combinations:,} combinations of values; {most}")


def _check_axes(base: Document, grid: Sequence[Axis], budget: Budget) -> None:
    """Raises ScenarioError for a path that is given twice, or has no value that can be."""
    paths: set[str] = set()
    for asked in grid:
        if asked.path in paths:
            once = "write all its values in one, as a,b,c"
            raise ScenarioError(f"--over {asked.path}: given twice; {once}")
        paths.add(asked.path)
        _check_axis(base, asked, budget)


def _deployments(base: Document, axes: list[Axis]) -> list[int]:
    """Which deployments of the scenario to go over: all, or those named."""
    names = [d.name for d in named(scenario_of(base).deployments)]
    wanted = [name for a in axes for name in a.values]
    return [_place(name, names) for name in wanted] or list(range(len(names)))


def _place(name: str, names: Sequence[str]) -> int:
    """Where a deployment stands. Raises ScenarioError where none has the name."""
    if name in names:
        return names.index(name)
    known = f"; there are {', '.join(map(repr, names))}; quote one with a comma"
    offered = did_you_mean(nearest_names(name, names)) or known
    raise ScenarioError(f"--over deployments={name}: no deployment of that name{offered}")


def _check_axis(base: Document, asked: Axis, budget: Budget) -> None:
    """An axis none of whose values makes a scenario is a mistake in the axis; a single bad value is
    a failed row."""
    problem: SimulatorError | None = None
    for value in asked.values:
        try:
            scenario_of(base.with_value(asked.path, value, "--over"), budget)
        except SimulatorError as error:
            problem = problem or error
        else:
            return
    if problem is not None:
        raise problem


def _axis_columns(point: GridPoint) -> Row:
    """The point's settings as columns, numbers as numbers."""
    return {path: _cell(parse_yaml(text, Path(path))) for path, text in point.settings}


def _cell(value: Any) -> int | float | bool | str:
    return value if isinstance(value, int | float | bool) else str(value)


def _computed(missing: dict[str, GridPoint], machine: Machine) -> Iterator[tuple[str, Row, bool]]:
    """Key, row, and whether it is final: what failed because a worker died or by a bug of ours is
    worth another try."""
    keys = list(missing)
    for index, outcome in each(compute, [missing[key] for key in keys], machine):
        key, error = keys[index], outcome.error
        row = outcome.value() if error is None else _failed(missing[key], error)
        yield key, row, error is None or _is_final(error)


def _is_final(error: Exception) -> bool:
    return isinstance(error, SimulatorError) and not isinstance(error, WorkerLost)


def compute(point: GridPoint) -> Row:
    """The row of a point."""
    scenario = scenario_of(point.document, point.budget)
    scenario = dataclasses.replace(
        scenario, seed=scenario.seed if point.seed is None else point.seed
    )
    deployment = named(scenario.deployments)[point.deployment]
    requests = sample(scenario.workload, scenario.seed)
    return {
        **row_of(examine(scenario, deployment, requests, curve=point.limits), scenario),
        "status": "done",
    }


def row_of(d: DeploymentResult, scenario: Scenario) -> Row:
    """A deployment's result as one flat row."""
    return {
        "scenario": scenario.name,
        "deployment": d.name,
        "gpu": d.gpu,
        "gpus": d.gpus,
        "replicas": d.replicas,
        "rate_per_s": scenario.workload.mean_rate(),
        "verdict": d.verdict,
        "reason": d.reason,
        "slo_met": d.slo_met,
        "slo_strain": _strain(d),
        "standing": d.standing,
        "kv_tokens": d.memory.kv_tokens if d.memory else None,
        "binds": d.binding.resource if d.binding else None,
        **_limits_row(d),
        "usd_per_hour": d.cost.usd_per_hour if d.cost else None,
        "usd_per_million_output_tokens": d.cost.usd_per_million_output_tokens if d.cost else None,
        **(d.metrics or {}),
    }


def _limits_row(d: DeploymentResult) -> Row:
    point, capacity = d.queueing_point, d.slo_capacity
    return {
        "queueing_point_per_s": point.value if point else None,
        "recovers_below_per_s": d.recovers_below_per_s,
        "slo_capacity_per_s": capacity.value if capacity else None,
    }


def _strain(d: DeploymentResult) -> float | None:
    """The latency that comes nearest to its limit, as a share of it; None without limits, and where
    the queue grows."""
    if not d.steady:
        return None
    return max(
        (each.value / each.limit for each in d.promised if each.limit and each.value is not None),
        default=None,
    )


def _failed(point: GridPoint, error: Exception) -> Row:
    said = str(error)
    if not isinstance(error, SimulatorError):
        said = f"internal error, {type(error).__name__}: {error}"
    return {"deployment": _written_name(point), "status": "failed", "reason": said}


def _written_name(point: GridPoint) -> str:
    """The deployment as its document names it, which may be none that can be read."""
    written = point.document.plain()["deployments"][point.deployment]
    if not isinstance(written, dict):
        return str(written)
    return str(written.get("name", f"deployments.{point.deployment}"))
