"""Rows of serving measurements: what configuration a row states, and how a prediction is put beside its values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError

from simulator.catalog.engines import Engine, EngineArgs, engine
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.catalog.releases import vllm_on
from simulator.errors import MeasurementError, SimulatorError
from simulator.latency.calibration import format_name
from simulator.latency.error_bands import LoadRegime
from simulator.latency.sampling import Sampling
from simulator.numbers import MOST, integer
from simulator.spec import first_mistake
from simulator.validation.measurements import Comparison, Findings, MeasurementTable, Row, Skipped, number_in, text, whole_in
from simulator.validation.protocols import Bench, MeasuredServer

_COUNTS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size")
_SWITCHES = ("enforce_eager", "enable_prefix_caching", "enable_chunked_prefill", "async_scheduling")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# A latency in milliseconds below this was written in seconds.
_LEAST_MS = 0.05


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted metrics of one row by name, the server they are of and how loaded it was, and
    whether the row states all they rest on. `suspect`: why its figures cannot be what it says."""

    values: Mapping[str, float]
    server: MeasuredServer
    load: LoadRegime
    stated: bool = True
    suspect: str | None = None


def compare_rows(
    table: MeasurementTable,
    predict: Callable[[Row, Bench], Prediction],
    measured: Callable[[Row], Mapping[str, float]],
    bench: Bench | None = None,
) -> Findings:
    """Every row's measured values beside the predicted ones. Rows that cannot be are skipped with the reason.

    Suspect rows are compared, listed with the reason, and do not count among those that state everything.
    """
    findings, bench = Findings(), bench or Bench()
    for index, row in enumerate(table.rows, start=1):
        try:
            if not (values := measured(row)):
                raise MeasurementError("the row has no measured value")
            ours = predict(row, bench)
            findings.comparisons += beside(table.source, index, values, ours)
            findings.suspect += [Skipped(table.source, index, ours.suspect)] if ours.suspect else []
        except SimulatorError as problem:
            findings.skipped.append(Skipped(table.source, index, str(problem)))
    return findings


def beside(source: str, row: int, values: Mapping[str, float], ours: Prediction) -> list[Comparison]:
    """Comparisons of the metrics that are both measured and predicted."""
    labels, setting = labels_of(ours.server), ours.server.setting
    both = ((name, value, ours.values[name]) for name, value in values.items() if name in ours.values)
    return [
        Comparison(source, row, name, value, predicted, ours.stated and not ours.suspect, labels, setting, ours.load)
        for name, value, predicted in both
    ]


def labels_of(server: MeasuredServer) -> tuple[str, str, str, str]:
    """Engine, model, GPU and dtype of a server, as reports group rows."""
    form = format_name(server.model, server.quantization)
    return f"{server.engine.family} {server.engine.version}", server.model.name, server.gpu.name, form


def values_in(row: Row, columns: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    """Measured values by metric, from (column, factor) pairs; blank columns are left out.

    Raises MeasurementError for a value that its unit cannot have.
    """
    found = {}
    for metric, (column, factor) in columns.items():
        if (value := number_in(row, column)) is None:
            continue
        if not 0 < value < float("inf"):
            raise MeasurementError(f"column {column}: {value:g} cannot be; a measured value is above 0")
        if metric.split("_")[1] == "ms" and value * factor < _LEAST_MS:
            raise MeasurementError(f"column {column}: {value * factor:g} ms cannot be; was it written in seconds?")
        found[metric] = value * factor
    return found


def count(row: Row, *names: str, most: int = MOST) -> int:
    """A column that must hold a whole number from 1 to `most`. Raises MeasurementError."""
    return integer(text(row, *names).replace(",", ""), f"column {names[0]}", least=1, most=most)


def engine_arguments(row: Row) -> dict[str, Any]:
    """Engine arguments that a row states, in columns of vLLM's names. Raises MeasurementError for a value they cannot have."""
    found: dict[str, Any] = {name: count(row, name) for name in _COUNTS if text(row, name)}
    found |= {name: _yes_or_no(row, name) for name in _SWITCHES if text(row, name)}
    if (share := number_in(row, "gpu_memory_utilization")) is not None:
        found["gpu_memory_utilization"] = share
    if text(row, "kv_cache_dtype"):
        found["kv_cache_dtype"] = text(row, "kv_cache_dtype")
    return found


def sampling_of(row: Row) -> Sampling:
    """How the answers of a row were sampled: columns temperature, top_k and top_p; greedy where they are blank.

    Raises MeasurementError for a value they cannot have.
    """
    given: dict[str, Any] = {name: number_in(row, name) for name in ("temperature", "top_p") if text(row, name)}
    given |= {"top_k": whole_in(row, "top_k", least=0)} if text(row, "top_k") else {}
    try:
        return Sampling(**given)
    except ValidationError as problem:
        name = str((mistake := first_mistake(problem)).location[0])
        raise MeasurementError(f"column {name}: {given.get(name)!r:.40} cannot be: {mistake.said}") from None


def measured_args(**given: Any) -> EngineArgs:
    """Engine arguments from a measurement. Raises MeasurementError for a value that they cannot have."""
    try:
        return EngineArgs(**given)
    except ValidationError as problem:
        name = str((mistake := first_mistake(problem)).location[0])
        raise MeasurementError(f"{name}: {given.get(name)!r:.40} cannot be: {mistake.said}") from None


def _yes_or_no(row: Row, name: str) -> bool:
    written = text(row, name).lower()
    if written not in _WORDS:
        raise MeasurementError(f"column {name}: {written!r} is neither true nor false")
    return _WORDS[written]


def engine_of(row: Row, assumed: str) -> tuple[Engine, bool]:
    """The engine of a row, and whether the row states its version; a nightly build is the vLLM of its day."""
    family = text(row, "engine").lower() or "vllm"
    written = text(row, "engine_version")
    found = None if "nightly" in written else re.search(r"\d+\.\d+(\.\d+)?", written)
    if found is not None:
        return engine(f"{family} {found[0]}"), True
    day = day_of(row) if family == "vllm" else None
    return engine(f"{family} {vllm_on(day) if day else assumed}"), False


def day_of(row: Row) -> date | None:
    """The day of a measurement, from column `measured`; None where it is blank. Raises MeasurementError."""
    if not (written := text(row, "measured")):
        return None
    try:
        return date.fromisoformat(written[:10])
    except ValueError:
        raise MeasurementError(f"column measured: {written!r} is not a date such as 2026-03-28") from None


def measured_quantization(name: str, base: Model) -> Quantization | None:
    """The named quantization; the checkpoint's own where that computes in the same type, or where no name is given."""
    named = quantization(name) if name else None
    own = base.quantization
    if named is None or own is None:
        return named or own
    types = [{form.compute for form in q.formats.values()} for q in (named, own)]
    return own if types[0] & types[1] else named
