"""Calibration: factors on step times, fitted to one's own measurements and kept in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.document import Document, parse_yaml
from simulator.errors import MeasurementError, ScenarioError
from simulator.files import read_text
from simulator.latency.step import StepTime, Window
from simulator.spec import Count, NonNegative, Positive, first_mistake, spec

# A step that takes a thousandth or a thousand times as long was another step, or its unit another.
MeasuredFactor = Annotated[Positive, Field(ge=1e-3, le=1e3)]
Percent = Annotated[NonNegative, Field(le=1e3)]

Key = tuple[str, str, str, int, bool, str]


@spec
class DecodeFactor:
    """Measured over predicted time of a decode step of `sequences` sequences; `percent` is its standard error."""

    sequences: Count
    factor: MeasuredFactor
    percent: Percent


@spec
class Factors:
    """What was fitted for one model on one GPU in one format at one parallelism under one release.

    `engine`: family and release without its patch, `vllm-0.19`; empty holds for all.
    Between two `decode` points the factor is interpolated in the logarithm of the sequences; outside them it stays. `prefill`
    scales what prompt tokens add; None leaves that as it is.
    """

    model: str
    gpu: str
    quantization: str
    tensor_parallel_size: Count = 1
    enable_expert_parallel: bool = False
    engine: str = ""
    decode: Annotated[tuple[DecodeFactor, ...], Field(min_length=1, max_length=2)]
    prefill: MeasuredFactor | None = None
    prefill_percent: Percent = 0.0
    rows: Count = 1

    @property
    def key(self) -> Key:
        """What it was fitted for, as `key_of` gives it."""
        named = self.model, self.gpu, self.quantization, self.tensor_parallel_size
        return *named, self.enable_expert_parallel, self.engine


@spec
class Calibration:
    """A calibration file: factors by configuration, and what they were fitted to."""

    source: str
    fitted: str
    factors: tuple[Factors, ...]

    def find(
        self,
        model: Model,
        quantization: Quantization | None,
        gpu: Gpu,
        args: EngineArgs,
        engine: Engine,
    ) -> Factors | None:
        """The factors of a configuration, None where it was not measured under this release."""
        wanted = key_of(model, quantization, gpu, args, engine)
        return next((f for f in self.factors if f.key in (wanted, (*wanted[:-1], ""))), None)


def key_of(model: Model, quantization: Quantization | None, gpu: Gpu, args: EngineArgs, engine: Engine) -> Key:
    """What shares factors: model, GPU, format, tensor and expert parallelism, and the release without its patch."""
    release = ".".join(engine.version.split(".")[:2])
    experts = args.enable_expert_parallel and model.is_moe
    form = format_name(model, quantization)
    return model.name, gpu.name, form, args.tensor_parallel_size, experts, f"{engine.family}-{release}"


def format_name(model: Model, quantization: Quantization | None) -> str:
    """The name that calibrations and reports give a model's number format."""
    return quantization.name if quantization else model.dtype


def apply(step_time: StepTime, factors: Factors | None) -> StepTime:
    """A step time with its factors: decode steps by the number of their tokens, prompt tokens beyond them by `prefill`."""
    if factors is None:
        return step_time
    most = min(max(point.sequences for point in factors.decode), len(step_time.tokens) - 1)
    whole = step_time.tokens + step_time.constant
    by_tokens = _along(factors, whole)
    last = float(by_tokens[most])
    prefill = factors.prefill or 1.0
    tokens = np.where(np.arange(len(whole)) <= most, by_tokens * whole, last * whole[most] + prefill * (whole - whole[most]))
    return replace(
        step_time,
        tokens=np.maximum(tokens, 0.0),
        sampled=decode_factor(factors, np.arange(len(step_time.sampled), dtype=np.float64)) * step_time.sampled,
        per_sequence=last * step_time.per_sequence,
        per_context=last * step_time.per_context,
        per_pair=prefill * step_time.per_pair,
        constant=0.0,
        windows=tuple(Window(w.size, last * w.per_context, prefill * w.per_pair, last * w.beyond) for w in step_time.windows),
        prompt=prefill * step_time.prompt,
        drafted=last * step_time.drafted,
    )


def _along(factors: Factors, whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The decode factor at each number of tokens, from what steps of so many take, shape (n,).

    Between two fitted points the calibrated seconds are a straight line over the predicted ones: they
    follow the steps of the kernels, and what a step takes too long whatever is in it stays the same.
    """
    at = np.arange(len(whole), dtype=np.float64)
    points = sorted(factors.decode, key=lambda point: point.sequences)
    low, high = (min(point.sequences, len(whole) - 1) for point in (points[0], points[-1]))
    if whole[high] <= whole[low]:
        return decode_factor(factors, at)
    first, last = points[0].factor * whole[low], points[-1].factor * whole[high]
    line = first + (last - first) * (whole - whole[low]) / (whole[high] - whole[low])
    inside = np.maximum(line, 0.0) / np.maximum(whole, 1e-12)
    return np.where(at <= low, points[0].factor, np.where(at >= high, points[-1].factor, inside))


def decode_factor(factors: Factors, sequences: NDArray[np.float64]) -> NDArray[np.float64]:
    """The decode factor at numbers of sequences, same shape."""
    points = sorted(factors.decode, key=lambda point: point.sequences)
    at = np.log([point.sequences for point in points])
    return np.exp(np.interp(np.log(np.maximum(sequences, 1.0)), at, np.log([point.factor for point in points])))


def load_calibration(path: Path) -> Calibration:
    """The calibration in a YAML file. Raises MeasurementError in one line where it is not one."""
    text = read_text(path, hint="; `sim calibrate` writes a calibration")
    try:
        document = Document(path, parse_yaml(text, path))
    except ScenarioError as problem:
        raise MeasurementError(str(problem)) from None
    try:
        return TypeAdapter(Calibration).validate_python(document.plain())
    except ValidationError as problem:
        mistake = first_mistake(problem)
        raise MeasurementError(f"{document.where(mistake.location)}: {mistake.place or 'the file'}: {mistake.said}") from None


def dump_calibration(calibration: Calibration) -> str:
    """A calibration as the text of its YAML file; `load` reads it back."""
    from io import StringIO

    from ruamel.yaml import YAML

    text = StringIO()
    YAML().dump(_without_none(TypeAdapter(Calibration).dump_python(calibration, mode="json")), text)
    return text.getvalue()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
