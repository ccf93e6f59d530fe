"""GPUs: what a datasheet and the driver say of one card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError

from simulator.catalog import stanzas
from simulator.errors import ScenarioError, SimulatorError, did_you_mean, nearest_names
from simulator.spec import Count, Positive, first_mistake, spec
from simulator.units import GB, GIB, TFLOPS


def _known_architecture(name: str) -> str:
    if name in stanzas.stanzas("architectures"):
        return name
    near = did_you_mean(nearest_names(name, stanzas.stanzas("architectures")))
    raise ValueError(f"'{name}' is not in catalog/data/architectures.yaml{near}")


Architecture = Annotated[str, AfterValidator(_known_architecture)]
ComputeType = Literal["fp32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"]


@spec
class Gpu:
    """One GPU. Memory as the driver reports it (torch's total); dense FLOP/s, without sparsity and with FP32 accumulation.

    `link_bytes_per_s` is the one-direction bandwidth to a peer GPU over `link`; for PCIe cards it is what the
    slot allows and a server's topology may give less, so a deployment can override it. `peer_access`: whether the driver lets
    cards read each other's memory over PCIe; without it their traffic goes through the host's memory. `bridge_bytes_per_s` is
    what an NVLink bridge between two cards gives in one direction, where the card takes one. `link_domain`: how many GPUs `link`
    joins, those of one server or of a rack; beyond them traffic takes the network.
    `unstated`: fields that a card of one's own leaves out; what they hold stands in only where memory is asked.
    """

    name: str
    aliases: tuple[str, ...] = ()
    vendor: Literal["nvidia", "amd", "intel"] = "nvidia"
    architecture: Architecture
    compute_capability: Positive | None = None
    memory_bytes: Count
    memory_bytes_per_s: Positive
    flops: dict[ComputeType, Positive]
    link: Literal["nvlink", "pcie", "infinity-fabric"]
    link_bytes_per_s: Positive
    peer_access: bool = True
    bridge_bytes_per_s: Positive | None = None
    link_domain: Count = 8
    tdp_watts: Positive
    source: str
    checked: str
    note: str = ""
    unstated: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Gpu {self.name}: {self.memory_bytes / GIB:.2f} GiB>"

    def computes(self, dtype: ComputeType) -> bool:
        """Whether the tensor cores have the type; without it a quantized weight is only stored in it."""
        return dtype in self.flops


def gpu(name: str | Gpu) -> Gpu:
    """A GPU by any of its names, one with other figures as `rtx-4090,memory_gib=24`, or one's own as `memory_gib=24,name=mine`.

    Under WSL torch reports all of a card's memory, 24.0 GiB of an RTX 4090 where it is 23.52 on Linux.

    Raises UnknownName with the nearest names, SimulatorError for a name of several cards, ScenarioError for fields of one's own
    that cannot be.

    >>> gpu("NVIDIA H100 80GB HBM3").name
    'h100-sxm'
    """
    if isinstance(name, Gpu):
        return name
    if "=" in name:
        return gpu_from_fields(_written(name))
    if stanzas.key(name) in _SEVERAL and "quadro" not in name.lower():
        meant = ", ".join(_SEVERAL[stanzas.key(name)])
        raise SimulatorError(f"'{name}' may be any of several GPUs; write which: {meant}")
    return _build(stanzas.find("gpus", name, "GPU"))


# Names that the vendor gave to cards of several generations, by `stanzas.key`.
_SEVERAL = {"rtx6000": ("quadro-rtx-6000", "rtx-6000-ada", "rtx-pro-6000-workstation", "rtx-pro-6000-server")}


def _written(text: str) -> dict[str, Any]:
    """The fields of `memory_gib=24,name=mine`; of `rtx-4090,memory_gib=24` those of the card, and what is other in it."""
    head, _, rest = text.partition(",")
    fields: dict[str, Any] = {}
    if "=" not in head:
        fields, text = gpu_to_fields(gpu(head.strip())), rest
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            fields[name] = float(value)
        except ValueError:
            fields[name] = value
    return fields


def require_rates(card: Gpu) -> None:
    """Raises ScenarioError naming the fields that a card of one's own lacks where its speed or power is asked."""
    if card.unstated:
        raise ScenarioError(
            f"GPU {card.name}: {', '.join(card.unstated)} missing: memory needs memory_gib alone, times and costs need them too "
            "(*_gb_per_s in GB/s, tflops by type)"
        )


def gpus() -> tuple[Gpu, ...]:
    """Every GPU of the catalog, in file order."""
    return tuple(_build(name) for name in stanzas.stanzas("gpus"))


def gpu_from_fields(fields: Mapping[str, Any]) -> Gpu:
    """A GPU of one's own, in the units of the catalog file: GiB, GB/s, TFLOP/s, watts.

    `memory_gib` is required; the compute capability is else the least of the architecture's cards
    in the catalog. `architecture`, `memory_gb_per_s`, `tflops`, `link`, `link_gb_per_s` and
    `tdp_watts` are required where times are asked (`require_rates`); until then a stand-in has
    them.
    Raises ScenarioError naming the field that is missing, unknown or impossible.
    """
    name = fields.get("name", "of your own")
    if unknown := [field for field in fields if field not in _FIELDS]:
        raise ScenarioError(f"GPU {name}: unknown field '{unknown[0]}'{did_you_mean(nearest_names(unknown[0], _FIELDS))}")
    if "memory_gib" not in fields:
        raise ScenarioError(f"GPU {name}: memory_gib missing: what the driver reports, in GiB")
    unstated = tuple(field for field in _STAND_IN if field not in fields)
    whole = {"name": name, "source": "given by the user", "checked": "", **_STAND_IN, **fields}
    _refuse_non_numbers(str(name), whole)
    whole.setdefault("compute_capability", _least_capability(whole["architecture"]))
    try:
        return Gpu(**_si(whole), unstated=unstated)
    except ValidationError as problem:
        raise ScenarioError(f"GPU {name}: {first_mistake(problem)}") from None


def own_gpu_fields() -> tuple[str, ...]:
    """The names of the fields that a GPU of one's own may have."""
    return tuple(_FIELDS)


def gpu_to_fields(card: Gpu) -> dict[str, Any]:
    """The fields that `gpu_from_fields` reads back to an equal GPU."""
    given = {field: unit for field, unit in _UNITS.items() if getattr(card, field) is not None}
    units = {written: getattr(card, field) / unit for field, (written, unit) in given.items()}
    same = {field: getattr(card, field) for field in _FIELDS if field in Gpu.__dataclass_fields__}
    tera = {dtype: rate / TFLOPS for dtype, rate in card.flops.items()}
    everything = {**same, **units, "tflops": tera}
    return {k: v for k, v in everything.items() if v is not None and k not in card.unstated}


def _least_capability(architecture: object) -> float | None:
    known = (card.compute_capability for card in gpus() if card.architecture == architecture)
    return min((capability for capability in known if capability is not None), default=None)


# What a card of one's own is taken for where only its memory counts: nothing of it is printed or timed.
_STAND_IN: Mapping[str, Any] = {
    "architecture": "ampere",
    "memory_gb_per_s": 1.0,
    "tflops": {"fp16": 1.0, "bf16": 1.0, "int8": 1.0},
    "link": "pcie",
    "link_gb_per_s": 1.0,
    "tdp_watts": 1.0,
}
_FIELDS = (
    "name",
    "memory_gib",
    *_STAND_IN,
    "aliases",
    "vendor",
    "compute_capability",
    "peer_access",
    "bridge_gb_per_s",
    "link_domain",
    "source",
    "checked",
    "note",
)
_UNITS: Mapping[str, tuple[str, float]] = {
    "memory_bytes": ("memory_gib", GIB),
    "memory_bytes_per_s": ("memory_gb_per_s", GB),
    "link_bytes_per_s": ("link_gb_per_s", GB),
    "bridge_bytes_per_s": ("bridge_gb_per_s", GB),
}


def _refuse_non_numbers(name: str, fields: Mapping[str, Any]) -> None:
    if not isinstance(fields["tflops"], Mapping) or not fields["tflops"]:
        raise ScenarioError(f"GPU {name}: tflops must give dense TFLOP/s by type, such as {{fp16: 989, fp8: 1979}}")
    stated = {unit: fields[unit] for unit, _ in _UNITS.values() if unit in fields}
    numbers = {**stated, **{f"tflops.{k}": v for k, v in fields["tflops"].items()}}
    for field, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ScenarioError(f"GPU {name}: {field} must be a number above 0, not {value!r}")


@cache
def _build(name: str) -> Gpu:
    return Gpu(name=name, **_si(stanzas.load_entry("gpus", name)))


def _si(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Datasheet units (GiB, GB/s, TFLOP/s) to SI."""
    f = dict(fields)
    for field, (written, unit) in _UNITS.items():
        if f.get(written) is not None:
            f[field] = f.pop(written) * unit
    f["memory_bytes"] = round(f["memory_bytes"])
    f["flops"] = {dtype: tera * TFLOPS for dtype, tera in f.pop("tflops").items()}
    f["checked"] = str(f["checked"])
    return f
