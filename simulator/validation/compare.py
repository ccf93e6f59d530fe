"""Comparison: reads files of measurements with the reader each needs, and sums up how far off the predictions are."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from simulator.budget import Budget
from simulator.errors import MeasurementError
from simulator.latency.calibration import Calibration
from simulator.validation.coverage import LEAST, MOST, coverage
from simulator.validation.measured_run import findings_of
from simulator.validation.measurements import Comparison, Findings, Skipped, choose_reader, read_measurement_tables
from simulator.validation.protocols import Bench, MeasuredServer
from simulator.validation.readers import serving as serving
from simulator.validation.readers import startup as startup
from simulator.validation.readers import training as training
from simulator.validation.readers.bench_files import KINDS, Unsaid, read_bench_file
from simulator.validation.readers.startup_log import LOG_KINDS, read_startup_log

READERS = (startup.READER, training.READER, *serving.READERS)
LABELS = ("engine", "model", "gpu", "dtype")


def validate(
    path: Path,
    calibration: Calibration | None = None,
    server: MeasuredServer | None = None,
    unsaid: Unsaid | None = None,
    stated: dict[str, str] | None = None,
    budget: Budget = Budget(),  # noqa: B008
) -> Findings:
    """Everything that a file, or the files of a folder, let us compare; latencies with a calibration where one is given.

    A benchmark tool's own file is compared on `server`, which it does not say; `unsaid` is what else it does not.
    `stated` is what a start-up log leaves open, by the columns of start-up tables. A row whose simulation would cost more than
    the `budget` is skipped.
    A file no reader knows is skipped with the reason. Raises MeasurementError when nothing is left to compare.
    """
    bench = Bench(calibration=calibration, budget=budget)
    if path.suffix.lower() in KINDS and not path.is_dir():
        if server is None:
            raise MeasurementError(f"{path.name} does not say what it was measured on: give --gpu (and --model, --engine, --tp)")
        return findings_of(read_bench_file(path, unsaid), server, bench)
    findings = Findings()
    is_log = path.suffix.lower() in LOG_KINDS and not path.is_dir()
    for table in [read_startup_log(path, stated or {})] if is_log else read_measurement_tables(path):
        try:
            findings.add(choose_reader(table, READERS).compare(table, bench))
        except MeasurementError as problem:
            findings.skipped.append(Skipped(table.source, 0, str(problem)))
    if not findings.comparisons:
        reasons = "; ".join(dict.fromkeys(skip.reason for skip in findings.skipped[:3])) or "there are no rows"
        raise MeasurementError(f"{path}: nothing to compare: {reasons}")
    return findings


def groups(findings: Findings) -> list[dict[str, Any]]:
    """Error of every metric, over all rows, over those that state everything, by file, and by engine, model, GPU and dtype.

    n, then median, mean and p90 of the absolute errors and the median signed one, in percent. `outcome` has the share that is
    right instead.
    """
    members: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for comparison in findings.comparisons:
        members["all", comparison.metric].append(comparison)
        if comparison.stated:
            members["fully stated", comparison.metric].append(comparison)
        members[comparison.source, comparison.metric].append(comparison)
        if comparison.labels:
            members[" · ".join(comparison.labels), comparison.metric].append(comparison)
    return [_summary(group, metric, found) for (group, metric), found in members.items()]


def _summary(group: str, metric: str, found: list[Comparison]) -> dict[str, Any]:
    signed = np.array([comparison.error_percent for comparison in found])
    errors = np.abs(signed)
    head = {"group": group, "metric": metric, "n": len(found)}
    if isinstance(found[0].measured, str):
        return {**head, "right_percent": float(100.0 - errors.mean())}
    return {
        **head,
        "median_percent": float(np.median(errors)),
        "mean_percent": float(errors.mean()),
        "p90_percent": float(np.percentile(errors, 90)),
        "bias_percent": float(np.median(signed)),
    }


def report(findings: Findings) -> dict[str, Any]:
    """The findings as plain data for JSON: `groups`, `coverage` of the bands, `rows`, `skipped`,
    `suspect` rows, and `notes` on the files."""
    rows = [
        {
            "source": c.source,
            "row": c.row,
            "metric": c.metric,
            "measured": c.measured,
            "predicted": c.predicted,
            "error_percent": c.error_percent,
            "stated": c.stated,
            **({} if c.labels is None else dict(zip(LABELS, c.labels, strict=True))),
        }
        for c in findings.comparisons
    ]
    skipped, suspect = (
        [{"source": s.source, "row": s.row, "reason": s.reason} for s in left] for left in (findings.skipped, findings.suspect)
    )
    return {
        "groups": groups(findings),
        "coverage": covered(findings),
        "rows": rows,
        "skipped": skipped,
        "suspect": suspect,
        "notes": findings.notes,
    }


def covered(findings: Findings) -> list[dict[str, Any]]:
    """Of the measured values of each class of error band, how many lie inside it, below and above;
    all together last."""
    classes = coverage(findings.comparisons)
    rows = [
        {
            "class": one.band.name,
            "low": one.band.low,
            "high": one.band.high,
            "n": one.rows,
            "inside_percent": 100 * one.share,
            "below": one.below,
            "above": one.above,
            "holds": one.holds,
        }
        for one in classes
    ]
    total = sum(one.rows for one in classes)
    if not total:
        return []
    inside = sum(one.inside for one in classes)
    below, above = sum(one.below for one in classes), sum(one.above for one in classes)
    every = {"class": "all", "n": total, "inside_percent": 100 * inside / total, "below": below, "above": above}
    return [*rows, {**every, "holds": LEAST <= inside / total <= MOST}]
