"""Quantizations: in which format each group of tensors is stored, and in which type its matmuls run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

from simulator.catalog import stanzas
from simulator.catalog.gpus import ComputeType, Gpu
from simulator.errors import NotModelled, SimulatorError
from simulator.spec import Natural, Positive, spec

TensorGroup = Literal[
    "embedding",
    "lm_head",
    "norm",
    "attention",
    "mlp",
    "experts",
    "shared_experts",
    "router",
    "mamba",
    "draft",
    "vision",
    "other",
]
Kernel = Literal["fp32", "bf16", "fp8", "fp8_block", "int8", "int8_wo", "int4_wo", "int4_exllama", "nvfp4", "mxfp4", "nf4"]

LINEAR: tuple[TensorGroup, ...] = ("attention", "mlp", "experts", "shared_experts", "mamba", "draft")
_GROUPS: dict[str, tuple[TensorGroup, ...]] = {
    "linear": LINEAR,
    "tables": (*LINEAR, "embedding", "lm_head"),
    "experts": ("experts",),
    "feed_forward": ("mlp", "experts", "shared_experts"),
    "attention_and_mlp": ("attention", "mlp", "experts", "shared_experts"),
    "all": get_args(TensorGroup),
}


@spec
class WeightFormat:
    """How one tensor is stored and multiplied.

    `bits` is what a weight costs with its scales and zeros spread over it: 4 + 16/128 + 4/128 = 4.16 for GPTQ at group size 128.
    `compute` is the type of the matmul on a GPU that has it (else the weights are unpacked to 16 bits: weight-only);
    weight-only formats have `compute` 16-bit everywhere. `kernel` selects the measured efficiencies.
    """

    name: str
    bits: Positive
    compute: ComputeType
    activation_bits: Positive = 16.0
    kernel: Kernel

    @property
    def bytes(self) -> float:
        """Bytes per weight."""
        return self.bits / 8


@spec
class Quantization:
    """Formats by tensor group; a group that is absent stays in the model's own 16-bit type.

    `exceptions` are (layer index, group) pairs left unquantized. `overrides` are formats of one layer's group, or of one of its
    modules ("o_proj"), that differ from `formats`; None leaves it unquantized. A checkpoint names both; they are never guessed.
    `kv_cache_dtype` is what the checkpoint asks of the KV cache, if it does.
    """

    name: str
    aliases: tuple[str, ...] = ()
    formats: dict[TensorGroup, WeightFormat]
    exceptions: frozenset[tuple[Natural, TensorGroup]] = frozenset()
    overrides: dict[tuple[Natural, str], WeightFormat | None] = field(default_factory=dict)
    kv_cache_dtype: Literal["fp8", "nvfp4", "int8"] | None = None
    source: str
    checked: str = ""
    note: str = ""

    def __repr__(self) -> str:
        return f"<Quantization {self.name}>"

    def format(self, group: TensorGroup, layer: int | None = None, module: str = "") -> WeightFormat | None:
        """The format of a tensor group (in one layer, of one module), None where it stays in the model's own type."""
        if layer is None:
            return self.formats.get(group)
        for name in (module, group):
            if (layer, name) in self.overrides:
                return self.overrides[layer, name]
        return None if (layer, group) in self.exceptions else self.formats.get(group)


@dataclass(frozen=True, slots=True)
class RunsAs:
    """How a GPU multiplies weights of a format: the type of the matmul, and whether they are unpacked for it."""

    compute: ComputeType
    weight_only: bool
    note: str = ""


def quantization(name: str | Quantization) -> Quantization:
    """A quantization by any of its names. Raises UnknownName with the nearest ones.

    >>> quantization("w8a8").name, quantization("none").formats["mlp"].bits
    ('int8-w8a8', 16.0)
    """
    return name if isinstance(name, Quantization) else _build(stanzas.find("quantizations", name, "quantization"))


def quantizations() -> tuple[Quantization, ...]:
    """Every quantization of the catalog, in file order."""
    return tuple(_build(name) for name in stanzas.stanzas("quantizations"))


def runs_as(form: WeightFormat | None, gpu: Gpu) -> RunsAs:
    """How a GPU runs a weight format, as vLLM does: natively, weight-only (FP8 Marlin on Ampere), or NotModelled.

    Source: https://docs.vllm.ai/en/stable/features/quantization/ (supported hardware) and its pages on FP8, INT8 and ModelOpt,
    read November 2026.
    """
    sixteen: ComputeType = "bf16" if gpu.computes("bf16") else "fp16"
    if form is None or form.kernel == "bf16":
        if form is not None and form.compute == "fp16":
            return RunsAs("fp16", False)
        return RunsAs(sixteen, False, "" if sixteen == "bf16" else f"{gpu.name} has no bf16: vLLM runs fp16")
    if form.kernel == "fp32":
        return RunsAs("fp32", False)
    if form.kernel == "mxfp4":
        return RunsAs("fp8", False, "activations in mxfp8") if gpu.computes("fp4") else _weight_only(form, gpu, sixteen)
    if form.kernel in ("int8_wo", "int4_wo", "int4_exllama", "nf4"):
        return _weight_only(form, gpu, sixteen)
    if form.kernel == "int8":
        return _int8(gpu)
    return RunsAs(form.compute, False) if gpu.computes(form.compute) else _weight_only(form, gpu, sixteen)


def _int8(gpu: Gpu) -> RunsAs:
    capability = gpu.compute_capability or 0.0
    if gpu.vendor != "nvidia" or not gpu.computes("int8") or not 7.5 <= capability < 10:
        raise NotModelled(
            f"int8 W8A8 does not run on {gpu.name}: vLLM has it for NVIDIA GPUs of capability 7.5 to 9.0; choose fp8 or w8a16"
        )
    return RunsAs("int8", False)


def _weight_only(form: WeightFormat, gpu: Gpu, sixteen: ComputeType) -> RunsAs:
    if gpu.vendor != "nvidia" and form.kernel != "mxfp4":
        raise NotModelled(f"{form.name} does not run on {gpu.name}: vLLM has its kernels for NVIDIA GPUs; choose bf16 or fp8")
    lowest = 7.0 if form.kernel in ("int8_wo", "int4_wo", "int4_exllama", "nf4") else 7.5
    if gpu.vendor == "nvidia" and (gpu.compute_capability or 0.0) < lowest:
        raise NotModelled(
            f"{form.name} needs compute capability {lowest}; {gpu.name} has {gpu.compute_capability}; choose gptq-int4"
        )
    note = (
        ""
        if form.compute in ("bf16", "fp16")
        else f"{gpu.name} has no {form.compute}: weights only, the matmul runs in {sixteen}"
    )
    return RunsAs(sixteen, True, note)


@cache
def _build(name: str) -> Quantization:
    stanza = stanzas.load_entry("quantizations", name)
    if (groups := stanza.get("groups")) not in _GROUPS:
        raise SimulatorError(f"catalog/quantizations: {name} has groups {groups!r}; known: {', '.join(_GROUPS)}")
    return Quantization(**_fields(name, stanza, _GROUPS[groups]))


def _fields(name: str, stanza: dict[str, Any], groups: tuple[TensorGroup, ...]) -> dict[str, Any]:
    kept = {key: value for key, value in stanza.items() if key not in ("weights", "groups", "others")}
    formats = dict.fromkeys(groups, WeightFormat(name=name, **stanza["weights"]))
    for group, other in stanza.get("others", {}).items():
        formats[group] = _build(other).formats[group]
    return {**kept, "name": name, "checked": str(stanza["checked"]), "formats": formats}
