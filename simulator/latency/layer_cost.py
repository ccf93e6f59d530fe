"""What half a layer costs, before it becomes part of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.latency.gpu_share import GpuShare
from simulator.latency.physics import Array


@dataclass(frozen=True, slots=True)
class Reach:
    """Attention over cached tokens, at most `window` of them: seconds per context token of a decode and per pair."""

    per_context: float
    per_pair: float
    window: int | None = None


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Costs of an attention, recurrence, feed-forward block or mixture of experts on one GPU.

    Arrays run over the table of tokens, in seconds; `moved` in bytes. `small` counts kernels too short to have a size: norms,
    rotary embeddings, activations, cache writes. `recurrent` is the part of attention or recurrence that grows with a step's
    tokens. `tiny_reduces` are all-reduces of a few numbers per token.
    """

    gemm: Array
    experts: Array
    moved: Array
    recurrent: Array
    small: int
    fixed: float = 0.0
    per_sequence: float = 0.0
    reaches: tuple[Reach, ...] = ()
    tiny_reduces: int = 0


def layer_cost(
    r: GpuShare,
    *,
    gemm: Array,
    small: int,
    experts: Array | None = None,
    moved: Array | None = None,
    recurrent: Array | None = None,
    fixed: float = 0.0,
    per_sequence: float = 0.0,
    reaches: tuple[Reach, ...] = (),
    tiny_reduces: int = 0,
) -> LayerCost:
    """A Cost whose norm in front is counted where it is a kernel of its own, and whose absent arrays are zero."""
    nothing = np.zeros_like(r.tokens)
    residual = r.tokens * 8.0 * r.model.hidden  # two vectors read and two written, 16 bits each
    return LayerCost(
        gemm=gemm,
        experts=nothing if experts is None else experts,
        moved=residual if moved is None else residual + moved,
        recurrent=nothing if recurrent is None else recurrent,
        small=small + (0 if r.fused_norms else 1),
        fixed=fixed,
        per_sequence=per_sequence,
        reaches=reaches,
        tiny_reduces=tiny_reduces,
    )
