"""What a scenario is made of: deployments to compare, prices, and the question they answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import ArgsKwargs

from simulator import catalog
from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu, gpu_from_fields
from simulator.catalog.links import LinkSpec, link_of
from simulator.catalog.models import Model, model_from_fields
from simulator.catalog.own_engine import engine_from_fields
from simulator.catalog.prices import Commitment, Offer
from simulator.catalog.quantizations import Quantization
from simulator.engine.fleet.autoscaler import Autoscaler, most_replicas
from simulator.engine.fleet.faults import ColdStart, Happening, Outage
from simulator.engine.fleet.hand_over import Routing
from simulator.engine.fleet.router import RoundRobin, Router
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.client import FrontEnd
from simulator.latency.host import Host
from simulator.latency.models import LatencySpec, Roofline
from simulator.latency.sampling import Sampling
from simulator.spec import Count, Natural, NonNegative, Positive, spec
from simulator.workload.slo import Slo
from simulator.workload.text_units import Pause
from simulator.workload.workload import Workload


def _named(look_up: Any, expected: str, from_fields: Any = None, *, optional: bool = False) -> BeforeValidator:
    """Turn a written name into the catalog's entry; a mapping is a custom entry where one is allowed."""

    def read(value: Any) -> Any:
        if dataclasses.is_dataclass(value) or (value is None and optional):
            return value
        try:
            if isinstance(value, Mapping) and from_fields is not None:
                return from_fields(dict(value))
            if isinstance(value, str | Path) and str(value):
                return look_up(value)
        except SimulatorError as problem:
            raise ValueError(str(problem)) from None
        raise ValueError(f"must be {expected}, not {value!r:.60}")

    return BeforeValidator(read)


def _quantization(name: str) -> Quantization | None:
    return None if name == "auto" else catalog.quantization(name)


def _foldable(name: str) -> str:
    """The name, if a folder can have it. Raises ValueError where it could not, or would be one somewhere else."""
    if not name.strip() or name.startswith(".") or set(name) & set("/\\") or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(
            f"{name[:60]!r} cannot name a folder; use up to {_LONGEST_NAME} bytes without / and \\, and no dot in front"
        )
    return name


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name[:60]!r} has characters that cannot be printed; write it on one line")
    return name


_LONGEST_NAME = 200
_FEW = 4
Label = Annotated[str, AfterValidator(_printable)]
FolderName = Annotated[Label, AfterValidator(_foldable)]
GpuName = Annotated[Gpu, _named(catalog.gpu, "the name of a GPU, as in `sim catalog gpus`, or its fields", gpu_from_fields)]
_MODEL = "the name of a model, as in `sim catalog models`, or the path of a config.json"
ModelName = Annotated[Model, _named(catalog.model, _MODEL, model_from_fields)]
OwnModelName = Annotated[Model | None, _named(catalog.model, _MODEL, model_from_fields, optional=True)]
QuantizationName = Annotated[
    Quantization | None, _named(_quantization, "a name, as in `sim catalog quantizations`, or auto", optional=True)
]
EngineName = Annotated[Engine, _named(catalog.engine, "an engine and its version, such as vllm-0.19.0", engine_from_fields)]


SEVERAL_POOLS = (
    "requests that pass from one pool to another are not modelled, but for a prefill pool and a "
    "decode pool; write those as `prefill:` and `decode:`, or one pool a deployment"
)


@spec
class Pool(EngineArgs):
    """Equal servers behind one router: `replicas` of them, each on tensor * pipeline * data parallel GPUs.

    `quantization` None takes the checkpoint's own. `link_gb_per_s` is the one-direction bandwidth
    between GPUs where the server's differs from the datasheet, `network` what joins the servers of a
    replica of more GPUs than one has, `host` the processor's part of a step where it was measured.
    `usd_per_gpu_hour` replaces the catalog's price.

    `autoscaler`: what changes the number of replicas, of which there are `replicas` at first.
    `cold_start`: what a start takes; `faults`: outages and roll-outs. A request whose replica dies is
    sent again up to `retries` times while it has no token. One that the autoscaler takes away has
    `drain_s` to finish what it has.
    """

    gpu: GpuName
    quantization: QuantizationName = None
    replicas: Count = 1
    router: Router = Field(default_factory=RoundRobin)
    link_gb_per_s: Positive | None = None
    network: Annotated[LinkSpec, BeforeValidator(link_of)] = Field(default_factory=LinkSpec)
    host: Host = Field(default_factory=Host)
    usd_per_gpu_hour: NonNegative | None = None
    autoscaler: Autoscaler | None = None
    cold_start: ColdStart = Field(default_factory=ColdStart)
    faults: tuple[Happening, ...] = ()
    retries: Natural = 1
    drain_s: Pause = 30.0

    @property
    def changes(self) -> bool:
        """Whether its replicas come and go, and do not just serve from start to end."""
        return self.autoscaler is not None or bool(self.faults)

    @model_validator(mode="after")
    def _befalls_what_exists(self) -> Pool:
        places = most_replicas(self.replicas, self.autoscaler)
        named = [number for each in self.faults if isinstance(each, Outage) for number in each.replicas]
        if unknown := sorted({number for number in named if number >= places}):
            raise ValueError(f"faults: no replica {unknown[0]}; they are numbered 0 to {places - 1}")
        return self

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that one replica occupies."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus(self) -> int:
        """GPUs of the whole pool."""
        return self.replicas * self.gpus_per_replica

    @property
    def instances(self) -> int:
        """Engines that requests are spread over: replicas, each with its data-parallel ones."""
        return self.replicas * self.data_parallel_size

    def engine_args(self) -> EngineArgs:
        """The engine's own arguments, without what stands around the engine."""
        return EngineArgs(**{f.name: getattr(self, f.name) for f in dataclasses.fields(EngineArgs)})


@spec
class Deployment:
    """One configuration under comparison: pools of servers that serve a model, the scenario's where none is named.

    One of a single pool may be written as that pool: `{name: two, gpu: h100-sxm, replicas: 2}`.
    Prompts and answers computed apart are written as two, `prefill: {...}` and `decode: {...}`, with
    the `link` that carries KV from one to the other and the `routing` of requests between them.
    """

    name: Label = ""
    model: OwnModelName = None
    pools: Annotated[tuple[Pool, ...], Field(min_length=1)]
    link: Annotated[LinkSpec | None, BeforeValidator(link_of)] = None
    routing: Routing = Field(default_factory=Routing)

    @model_validator(mode="before")
    @classmethod
    def _written_as_its_only_pool(cls, data: Any) -> Any:
        given = data.kwargs if isinstance(data, ArgsKwargs) else data
        if not isinstance(given, Mapping):
            return data
        if "prefill" in given or "decode" in given:
            return _apart(given)
        stray = [name for name in _BETWEEN if given.get(name) not in (None, Routing())]
        if stray and len(given.get("pools") or ()) != len(("prefill", "decode")):
            raise ValueError(f"{stray[0]} is between a prefill pool and a decode pool; write both")
        own = {name: given[name] for name in ("name", "model", "pools", *_BETWEEN) if name in given}
        within = {name: value for name, value in given.items() if name not in own and name not in _BETWEEN}
        if "pools" not in own:
            return {**own, "pools": [within]}
        if within:
            raise ValueError(f"has pools: write {' and '.join(map(str, within))} in each of them")
        return own

    @property
    def apart(self) -> bool:
        """Whether prompts and answers are computed by pools of their own, the prefill pool first."""
        return self.link is not None

    @property
    def pool(self) -> Pool:
        """The pool that answers: its only one, or the decode pool. Raises NotModelled for several others."""
        if len(self.pools) > 1 and not self.apart:
            raise NotModelled(f"{self.name or 'a deployment'} has {len(self.pools)} pools: {SEVERAL_POOLS}")
        return self.pools[-1]

    @property
    def gpus(self) -> int:
        """GPUs of all its pools."""
        return sum(pool.gpus for pool in self.pools)

    def with_pool(self, **changes: Any) -> Deployment:
        """The deployment with the pool that answers changed."""
        return dataclasses.replace(self, pools=(*self.pools[:-1], dataclasses.replace(self.pool, **changes)))


_BETWEEN = ("link", "routing")


def _apart(given: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment with a prefill and a decode pool, as it is written. Raises ValueError for what does not go with them."""
    if missing := [name for name in ("prefill", "decode") if given.get(name) is None]:
        raise ValueError(f"has no {missing[0]} pool; write both prefill and decode")
    known = {"name", "model", "prefill", "decode", *_BETWEEN}
    if stray := [name for name in given if name not in known]:
        raise ValueError(f"has prefill and decode pools: write {' and '.join(map(str, stray))} in each of them")
    own = {name: given[name] for name in ("name", "model", *_BETWEEN) if name in given}
    return {"link": LinkSpec(), **own, "pools": [given["prefill"], given["decode"]]}


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
class PowerDraw:
    """Watts of one GPU while it idles, computes prompts (alone or beside decodes), and only decodes: as measured.

    None is a guess: the TDP, of which 15 % while it idles. A power cap is not modelled: how much slower a capped GPU computes.
    """

    idle_watts: Positive | None = None
    prefill_watts: Positive | None = None
    decode_watts: Positive | None = None


@spec
class Prices:
    """Where prices come from: dollars per GPU-hour by GPU name, owned hardware, or a provider and commitment of the catalog.

    `offers`: a price list of one's own, which goes before the catalog's; `provider` and `commitment`
    choose in it as they do there. It may stand in a file, under `prices` of the scenario's `catalog`.

    `usd_per_kwh`: what electricity costs where the GPUs stand, the room's own (PUE) included; then the report says what of it a
    million tokens take. It is shown beside the price of a GPU-hour and not added to it: a rented GPU's has it in.

    `power`: watts by what a GPU does, for the energy of `sim horizon`.

    `reserved_usd_per_gpu_hour`, `spot_usd_per_gpu_hour`: by GPU name, what one costs that is taken
    around the clock, and one that may be reclaimed. With either of them a fleet over time is told the
    cheapest mix of reserved, on-demand and spot replicas; at most `spot_at_most` of the replicas there
    are at a time are on spot.
    """

    provider: str | None = None
    commitment: Commitment = "on-demand"
    usd_per_gpu_hour: dict[str, NonNegative] = Field(default_factory=dict)
    offers: tuple[Offer, ...] = ()
    owned: Owned | None = None
    usd_per_kwh: NonNegative | None = None
    reserved_usd_per_gpu_hour: dict[str, NonNegative] = Field(default_factory=dict)
    spot_usd_per_gpu_hour: dict[str, NonNegative] = Field(default_factory=dict)
    spot_at_most: Annotated[float, Field(ge=0, le=1)] = 0.5
    power: PowerDraw = Field(default_factory=PowerDraw)

    def electricity(self) -> float | None:
        """Dollars of a kWh at the GPUs, None where it is not stated."""
        if self.usd_per_kwh is None and self.owned is not None:
            return self.owned.usd_per_kwh * self.owned.pue
        return self.usd_per_kwh


@spec
class Scenario:
    """A question: one model, one workload, one engine version, and the deployments to compare under an SLO."""

    name: FolderName
    description: str = ""
    model: ModelName
    engine: EngineName = Field(default_factory=catalog.engine)
    workload: Workload
    slo: Slo | None = None
    latency: LatencySpec = Field(default_factory=Roofline)
    calibration: Path | None = None
    measured_at: Literal["client", "engine"] = "client"
    frontend: FrontEnd = Field(default_factory=FrontEnd)
    sampling: Sampling = Field(default_factory=Sampling)
    prices: Prices = Field(default_factory=Prices)
    deployments: Annotated[tuple[Deployment, ...], Field(min_length=1)]
    seed: Natural = 0

    def __repr__(self) -> str:
        names = ", ".join(d.name or d.pools[0].gpu.name for d in self.deployments[:_FEW])
        more = f" and {len(self.deployments) - _FEW} more" if len(self.deployments) > _FEW else ""
        return f"<Scenario {self.name}: {self.model.checkpoint or self.model.name} on {self.engine.name}; {names}{more}>"

    @property
    def slos(self) -> dict[str, Slo]:
        """What is promised to each class of the workload, by its name; where none has an SLO of its own, under "" to all."""
        classes = self.workload.classes
        if not any(each.slo for each in classes):
            return {"": self.slo} if self.slo else {}
        return {each.name: slo for each in classes if (slo := each.slo or self.slo)}

    @property
    def promises(self) -> tuple[str, ...]:
        """The terms of the SLO in words, with whose they are."""
        return tuple(f"{name}: {term}" if name else term for name, slo in self.slos.items() for term in slo.sentences())

    def model_of(self, deployment: Deployment) -> Model:
        """The model a deployment serves: its own, or the scenario's."""
        return deployment.model or self.model
