"""Quantizations: in which format each group of tensors is stored, and in which type its matmuls run."""

from __future__ import annotations

from typing import Literal

from simulator.catalog.gpus import ComputeType
from simulator.spec import Natural, NonNegative, Positive, spec

TensorGroup = Literal["embedding", "lm_head", "norm", "attention", "mlp", "experts", "shared_experts", "router", "mamba", "draft", "vision", "other"]
Kernel = Literal["fp32", "bf16", "fp8", "fp8_block", "int8", "int8_wo", "int4_wo", "nvfp4", "mxfp4", "nf4"]


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

    `exceptions` are (layer index, group) pairs left unquantized; `embedding_bits` etc. are never guessed.
    `kv_cache_dtype` is what the checkpoint asks of the KV cache, if it does. `overhead_bytes` is what the format adds besides.
    """

    name: str
    aliases: tuple[str, ...] = ()
    formats: dict[TensorGroup, WeightFormat]
    exceptions: frozenset[tuple[Natural, TensorGroup]] = frozenset()
    kv_cache_dtype: Literal["fp8", "nvfp4", "int8"] | None = None
    overhead_bytes: NonNegative = 0.0
    source: str
    checked: str = ""
    note: str = ""

    def format(self, group: TensorGroup, layer: int | None = None) -> WeightFormat | None:
        """The format of a tensor group (in one layer), None where it stays in the model's own type."""
        return None if layer is not None and (layer, group) in self.exceptions else self.formats.get(group)


def quantization(name: str | Quantization) -> Quantization:
    """A quantization by any of its names."""
    raise NotImplementedError


def quantizations() -> tuple[Quantization, ...]:
    """Every quantization of the catalog, in file order."""
    raise NotImplementedError
