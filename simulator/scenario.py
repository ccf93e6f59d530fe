"""Scenarios: what someone writes in YAML, validated, with the place of every mistake."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from simulator import catalog
from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu, gpu_from_fields, gpu_to_fields
from simulator.catalog.models import Model
from simulator.catalog.prices import Commitment
from simulator.catalog.quantizations import Quantization
from simulator.document import Document, Location, read_document
from simulator.engine.router import RoundRobin, Router
from simulator.errors import ScenarioError, SimulatorError, did_you_mean, nearest_names
from simulator.latency.models import LatencySpec, Roofline
from simulator.results.slo import Slo
from simulator.spec import Count, Natural, NonNegative, Positive, spec
from simulator.workload.workload import Workload


def _named(look_up: Any, from_fields: Any = None) -> BeforeValidator:
    """Turn a written name into the catalog's entry; a mapping is a custom entry where one is allowed."""

    def read(value: Any) -> Any:
        try:
            if isinstance(value, Mapping) and from_fields is not None:
                return from_fields(dict(value))
            return look_up(value) if isinstance(value, str | Path) else value
        except SimulatorError as problem:
            raise ValueError(str(problem)) from None

    return BeforeValidator(read)


def _quantization(name: str) -> Quantization | None:
    return None if name == "auto" else catalog.quantization(name)


UNKNOWN_FIELD = {"unexpected_keyword_argument", "extra_forbidden"}

GpuName = Annotated[Gpu, _named(catalog.gpu, gpu_from_fields)]
ModelName = Annotated[Model, _named(catalog.model)]
QuantizationName = Annotated[Quantization | None, _named(_quantization)]
EngineName = Annotated[Engine, _named(catalog.engine)]


@spec
class Deployment(EngineArgs):
    """One configuration under comparison: `replicas` copies of the model, each on tensor * pipeline * data parallel GPUs.

    `quantization` None takes the checkpoint's own. `link_gb_per_s` is the one-direction bandwidth between GPUs where the server's
    differs from the datasheet. `usd_per_gpu_hour` replaces the catalog's price.
    """

    name: str = ""
    gpu: GpuName
    model: ModelName | None = None
    quantization: QuantizationName = None
    replicas: Count = 1
    router: Router = Field(default_factory=RoundRobin)
    link_gb_per_s: Positive | None = None
    usd_per_gpu_hour: NonNegative | None = None

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that one replica occupies."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus(self) -> int:
        """GPUs of the whole deployment."""
        return self.replicas * self.gpus_per_replica

    def engine_args(self) -> EngineArgs:
        """The engine's own arguments, without what stands around the engine."""
        return EngineArgs(**{f.name: getattr(self, f.name) for f in dataclasses.fields(EngineArgs)})


@spec
class Owned:
    """Hardware of one's own: dollars of one GPU with its share of the server, years it serves, dollars per kWh, PUE of the room.

    `watts_per_gpu` where it is not the TDP, such as with the server's own power added.
    """

    usd_per_gpu: Positive
    years: Positive
    usd_per_kwh: NonNegative
    pue: Annotated[float, Field(ge=1, le=5)] = 1.3
    watts_per_gpu: Positive | None = None


@spec
class Prices:
    """Where prices come from: dollars per GPU-hour by GPU name, owned hardware, or a provider and commitment of the catalog."""

    provider: str | None = None
    commitment: Commitment = "on-demand"
    usd_per_gpu_hour: dict[str, NonNegative] = Field(default_factory=dict)
    owned: Owned | None = None


@spec
class Scenario:
    """A question: one model, one workload, one engine version, and the deployments to compare under an SLO."""

    name: str
    description: str = ""
    model: ModelName
    engine: EngineName = Field(default_factory=catalog.engine)
    workload: Workload
    slo: Slo | None = None
    latency: LatencySpec = Field(default_factory=Roofline)
    calibration: Path | None = None
    measured_at: str = Field(default="client", pattern="^(client|engine)$")
    prices: Prices = Field(default_factory=Prices)
    deployments: Annotated[tuple[Deployment, ...], Field(min_length=1)]
    seed: Natural = 0

    def model_of(self, deployment: Deployment) -> Model:
        """The model a deployment serves: its own, or the scenario's."""
        return deployment.model or self.model


def load(path: str | Path, settings: Iterable[tuple[str, str]] = ()) -> Scenario:
    """The scenario of a YAML file, with values set over it by dotted path.

    Raises ScenarioError: one line with file, line, column, field, what is wrong and what would be right.
    """
    document = read_document(Path(path))
    for dotted, text in settings:
        document = document.with_value(dotted, text)
    return scenario_of(document)


def scenario_of(document: Document) -> Scenario:
    """Validate a document as a scenario."""
    data = _beside(document.plain(), document.path.parent)
    data.setdefault("name", document.path.stem)
    arguments = _take_engine_arguments(data, document)
    try:
        return TypeAdapter(Scenario).validate_python(_with_defaults(data, arguments))
    except ValidationError as problem:
        raise _explain(document, problem) from None


def _take_engine_arguments(data: dict[str, Any], document: Document) -> dict[str, Any]:
    """Split `engine: {version: ..., max_num_seqs: ...}` into a name, left in `data`, and arguments for all deployments."""
    written = data.get("engine")
    if not isinstance(written, dict):
        return {}
    arguments = {key: value for key, value in written.items() if key != "version"}
    data["engine"] = written.get("version", "vllm")
    try:
        TypeAdapter(EngineArgs).validate_python(arguments)
    except ValidationError as problem:
        raise _explain(document, problem, within=("engine",)) from None
    return arguments


def _with_defaults(data: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    deployments = data.get("deployments")
    if not isinstance(deployments, list):
        return data
    filled = [{**arguments, **d} if isinstance(d, dict) else d for d in deployments]
    return {**data, "deployments": filled}


def _beside(node: Any, folder: Path) -> Any:
    """Make file names that exist beside the scenario absolute, so that a scenario can be run from anywhere."""
    if isinstance(node, dict):
        return {key: _beside_file(key, value, folder) for key, value in node.items()}
    return [_beside(item, folder) for item in node] if isinstance(node, list) else node


def _beside_file(key: str, value: Any, folder: Path) -> Any:
    if key in {"model", "path", "trace", "calibration"} and isinstance(value, str) and not Path(value).exists():
        return str((folder / value).resolve()) if (folder / value).exists() else value
    return _beside(value, folder)


def _explain(document: Document, problem: ValidationError, within: Location = ()) -> ScenarioError:
    """The first mistake of a failed validation as one line; a misspelt field before the field it was meant for."""
    errors = sorted(problem.errors(), key=lambda error: error["type"] not in UNKNOWN_FIELD)
    first, others = errors[0], errors[1:]
    location = document.written((*within, *first["loc"]))
    if first["type"] == "missing":
        location = (*location, str(first["loc"][-1]))
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    more = f" (and {len(others)} more)" if others else ""
    return document.error(location, f"{field or 'scenario'}: {_say(first, location)}{more}")


def _say(error: Any, location: Location) -> str:
    """What is wrong and what would be right, in the words of the reader."""
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return "is missing"
    if kind in UNKNOWN_FIELD:
        known = _fields_at(location[:-1])
        offered = did_you_mean(nearest_names(str(location[-1]), known)) or f"; known: {', '.join(known)}"
        return f"unknown field{offered}"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = (
        "" if isinstance(value, dict | list) or dataclasses.is_dataclass(value) or str(value) in message else f", not {value!r}"
    )
    return message[0].lower() + message[1:] + shown if kind != "value_error" else message


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    return TypeAdapter(Scenario).json_schema()


def _fields_at(location: Location) -> list[str]:
    """The names of the fields that may stand at a location."""
    if location == ("engine",):
        return sorted(["version", *(f.name for f in dataclasses.fields(EngineArgs))])
    return sorted({name for node in _schemas_at(location) for name in node.get("properties", {}) if name != "kind"})


def _schemas_at(location: Location) -> list[dict[str, Any]]:
    """The schema nodes a location leads to; more than one where a union has variants."""
    nodes = _expand(schema())
    for part in location:
        below: list[dict[str, Any]] = []
        for node in nodes:
            step = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
            below += _expand(step) if isinstance(step, dict) else []
        nodes = below or nodes
    return nodes


def _expand(node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _expand(schema()["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    variants = node.get("anyOf", node.get("oneOf"))
    return [n for variant in variants for n in _expand(variant)] if variants else [node]


def dump(scenario: Scenario) -> str:
    """The scenario as YAML with every default filled in; `load` reads it back to an equal scenario."""
    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.dump(_written(scenario), text)
    return text.getvalue()


def _written(value: Any) -> Any:
    """A spec as plain data: catalog entries by name, absent values left out."""
    if isinstance(value, Gpu | Model | Quantization | Engine):
        return _name_or_fields(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _written(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_written(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _name_or_fields(entry: Gpu | Model | Quantization | Engine) -> Any:
    look_up = {Gpu: catalog.gpu, Model: catalog.model, Quantization: catalog.quantization, Engine: catalog.engine}[type(entry)]
    try:
        if look_up(entry.name) == entry:
            return entry.name
    except SimulatorError:
        pass
    return _written(gpu_to_fields(entry)) if isinstance(entry, Gpu) else entry.source
