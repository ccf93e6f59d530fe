"""Export: a finished run in the formats of other tools, a file a deployment where the format is of
one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import ScenarioError, SimulatorError
from simulator.files import make_folder, write_file
from simulator.planning.manifests import MANIFESTS, manifest
from simulator.results.model import DeploymentResult, RunResult
from simulator.results.notebook import deployments_frame, requests_frame
from simulator.results.writers.bench import bench_result
from simulator.results.writers.llmd import llmd_report
from simulator.results.writers.openmetrics import openmetrics

if TYPE_CHECKING:
    import polars as pl

TOOLS = ("vllm-bench", "llm-d", "openmetrics", "mooncake", "csv", "parquet", *MANIFESTS)
_SUFFIX = {"vllm-bench": ".json", "llm-d": ".yaml", "openmetrics": ".txt", "mooncake": ".jsonl"}


def write_export(
    run: RunResult, form: str, folder: Path, deployments: Sequence[str] = ()
) -> list[Path]:
    """Write a run as one of TOOLS into a folder, all deployments that ran or those named; what was
    written.

    Raises SimulatorError for another format, for a named deployment that has nothing to write, and
    where none has.
    """
    if form not in TOOLS:
        raise SimulatorError(f"unknown format '{form}'; there are {', '.join(TOOLS)}")
    chosen = [run.deployment(name) for name in deployments] or list(run.deployments)
    make_folder(folder)
    if form in ("csv", "parquet"):
        return _tables(run, form, folder)
    if form in ("openmetrics", "mooncake"):
        text = openmetrics(run) if form == "openmetrics" else mooncake(run)
        return [_written(folder / f"{run.name}{_SUFFIX[form]}", text)]
    return _one_each(run, chosen, form, folder, all_must=bool(deployments))


def _one_each(
    run: RunResult,
    chosen: Sequence[DeploymentResult],
    form: str,
    folder: Path,
    *,
    all_must: bool,
) -> list[Path]:
    """A file for each deployment that has something to write."""
    files, refused = [], []
    for d in chosen:
        try:
            text = _of_one(run, d, form)
        except SimulatorError as problem:
            if all_must:
                raise
            refused.append(str(problem))
            continue
        name = f"{_file_name(run, d)}-{form}{_SUFFIX.get(form, '.yaml')}"
        files.append(_written(folder / name, text))
    if not files:
        raise SimulatorError(f"nothing to write as {form}: {'; '.join(refused)}")
    return files


def _of_one(run: RunResult, d: DeploymentResult, form: str) -> str:
    if form == "vllm-bench":
        return json.dumps(bench_result(run, d)) + "\n"
    if form == "llm-d":
        return _yaml(llmd_report(run, d))
    return manifest(run, d, form)


def mooncake(run: RunResult) -> str:
    """The requests of a run as a Mooncake trace, drawn again from its scenario. Raises
    SimulatorError where it cannot be."""
    from simulator.document import Document
    from simulator.planning.bench_command import replayable
    from simulator.scenario import scenario_of
    from simulator.workload.sample import sample
    from simulator.workload.traces.writing import mooncake_trace

    scenario = scenario_of(Document(Path(f"{run.name}.yaml"), run.scenario))
    if not replayable(scenario.workload):
        raise ScenarioError(
            f"{run.name}: its requests come as earlier ones are answered: no trace has their times"
        )
    return mooncake_trace(sample(scenario.workload, run.seed))


def _tables(run: RunResult, form: str, folder: Path) -> list[Path]:
    frames = {"deployments": deployments_frame(run), "requests": requests_frame(run)}
    return [_table(frame, folder / f"{name}.{form}") for name, frame in frames.items()]


def _table(frame: pl.DataFrame, path: Path) -> Path:
    content = io.BytesIO()
    if path.suffix == ".csv":
        _without_formulas(frame).write_csv(content)
    else:
        frame.write_parquet(content)
    return _written(path, content.getvalue())


def _without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Text that a spreadsheet would compute stands behind an apostrophe, as text."""
    import polars as pl

    return frame.with_columns(pl.col(pl.String).str.replace(r"^([=+\-@\t\r\n])", "'$1"))


def _file_name(run: RunResult, d: DeploymentResult) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{run.name}-{d.name}").strip("-.").lower()


def _written(path: Path, content: str | bytes) -> Path:
    try:
        return write_file(path, content)
    except OSError as problem:
        raise SimulatorError(
            f"cannot write {path}: {problem.strerror or problem}; choose another place with --out"
        ) from None


def _yaml(data: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(data, text)
    return text.getvalue()
