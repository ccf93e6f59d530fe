"""Summary: a RunResult as data that JSON holds, and back."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.errors import SimulatorError
from simulator.results.model import RunResult
from simulator.spec import first_mistake

FORMAT = 4
_DIGITS = 8


def to_summary(run: RunResult) -> dict[str, Any]:
    """Everything but the traces as plain data: floats to 8 significant digits, None where a number does not exist."""
    bare = dataclasses.replace(run, deployments=tuple(dataclasses.replace(d, trace=None) for d in run.deployments))
    summary: dict[str, Any] = {"format": FORMAT, **_plain(dataclasses.asdict(bare))}
    for deployment in summary["deployments"]:
        del deployment["trace"]
    return summary


def from_summary(summary: dict[str, Any]) -> RunResult:
    """The run that `to_summary` was given, without its traces. Raises SimulatorError for another format or a missing field."""
    found = summary.get("format")
    if found != FORMAT:
        writer = summary.get("version", "unknown")
        raise SimulatorError(
            f"written by version {writer} in summary format {found!r}, and this version reads {FORMAT}; "
            "run the scenario again with `sim run`"
        )
    try:
        return _adapter().validate_python({key: value for key, value in summary.items() if key != "format"})
    except ValidationError as problem:
        mistake = first_mistake(problem)
        raise SimulatorError(f"summary: {mistake.place}: {mistake.said.lower()}; run the scenario again") from None


def as_stored(run: RunResult) -> RunResult:
    """The run with its numbers as a file holds them, traces kept: what is drawn of it is what is drawn of it read again."""
    stored = from_summary(to_summary(run))
    pairs = zip(stored.deployments, run.deployments, strict=True)
    return dataclasses.replace(stored, deployments=tuple(dataclasses.replace(new, trace=old.trace) for new, old in pairs))


@cache
def _adapter() -> TypeAdapter[RunResult]:
    return TypeAdapter(RunResult)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else str(value)
