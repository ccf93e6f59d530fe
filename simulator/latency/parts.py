"""The parts of a step, each as a StepTime of its own: their sum is the step, and the report draws them apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.costs import Cost, mixer_cost, mlp_cost
from simulator.latency.physics import Array
from simulator.latency.rank import Rank, distinct_layers
from simulator.latency.step import StepTime, Window
from simulator.units import US


def parts(r: Rank) -> dict[str, StepTime]:
    """The step time of each part: gemm, experts, attention, all-reduce, small kernels, head, engine."""
    costs = layer_costs(r)
    o, nothing = r.overheads, np.zeros_like(r.tokens)
    moved = sum((n * c.moved for c, n in costs), nothing) / (r.kernels.elementwise_bandwidth * r.gpu.memory_bytes_per_s)
    small = sum(n * c.small for c, n in costs)
    return {
        "gemm": _step(r, tokens=o.gemm * sum((n * c.gemm for c, n in costs), nothing)),
        "experts": _step(r, tokens=o.experts * sum((n * c.experts for c, n in costs), nothing)),
        "attention": _attention(r, costs),
        "all-reduce": _step(r, tokens=_all_reduces(r)),
        "small kernels": _step(r, tokens=moved, constant=small * o.kernel_us * US),
        "head": _step(r, sampled=_head(r)),
        "engine": _step(r, constant=o.step_us * US, per_sequence=o.sequence_us * US),
    }


def layer_costs(r: Rank) -> list[tuple[Cost, int]]:
    """The cost of every half layer that differs from the others, and how many there are of it."""
    halves = [(half(r, layer, index), count) for layer, index, count in distinct_layers(r) for half in (mixer_cost, mlp_cost)]
    return [(cost, count) for cost, count in halves if cost is not None]


def add(steps: Iterable[StepTime]) -> StepTime:
    """The sum of step times over the same tables."""
    every = tuple(steps)
    return StepTime(
        tokens=np.sum([s.tokens for s in every], axis=0),
        sampled=np.sum([s.sampled for s in every], axis=0),
        per_sequence=sum(s.per_sequence for s in every),
        per_context=sum(s.per_context for s in every),
        per_pair=sum(s.per_pair for s in every),
        constant=sum(s.constant for s in every),
        windows=tuple(w for s in every for w in s.windows),
    )


def _attention(r: Rank, costs: list[tuple[Cost, int]]) -> StepTime:
    o = r.overheads.attention
    sizes = sorted({c.window for c, _ in costs if c.window})
    every = [(c, n * o) for c, n in costs]
    return _step(
        r,
        tokens=sum((n * c.prefill for c, n in every), np.zeros_like(r.tokens)),
        constant=sum(n * c.fixed for c, n in every),
        per_sequence=sum(n * c.per_sequence for c, n in every),
        per_context=sum(n * c.per_context for c, n in every if not c.window),
        per_pair=sum(n * c.per_pair for c, n in every if not c.window),
        windows=tuple(_window(size, every) for size in sizes),
    )


def _window(size: int, costs: list[tuple[Cost, float]]) -> Window:
    seen = [(c, n) for c, n in costs if c.window == size]
    return Window(size, sum(n * c.per_context for c, n in seen), sum(n * c.per_pair for c, n in seen))


def _all_reduces(r: Rank) -> Array:
    if r.tp == 1:
        return np.zeros_like(r.tokens)
    if r.tp not in r.kernels.all_reduce:
        raise NotModelled(f"no all-reduce over {r.tp} GPUs is modelled; known: {', '.join(map(str, r.kernels.all_reduce))}")
    c = r.kernels.all_reduce[r.tp]
    message = r.tokens * r.model.hidden * 2.0
    custom = physics.all_reduce(message, r.tp, c.custom_us * US, c.custom_link * r.link_bytes_per_s)
    nccl = physics.all_reduce(message, r.tp, c.nccl_us * US, c.nccl_link * r.link_bytes_per_s)
    halves = sum((layer.mixer is not None) + (layer.mlp is not None) for layer in r.model.layers)
    return np.asarray(r.overheads.all_reduce * halves * np.minimum(custom, nccl))


def _head(r: Rank) -> Array:
    """LM head over this rank's share of the vocabulary, and sampling over all of it."""
    vocabulary = r.model.vocabulary
    logits = physics.gemm(r.sequences, vocabulary / r.tp, r.model.hidden, r.gemm_rates(r.format("lm_head")))
    return logits + r.sequences * vocabulary * 16.0 / (r.kernels.sampling_bandwidth * r.gpu.memory_bytes_per_s)


def _step(r: Rank, **given: object) -> StepTime:
    """A StepTime of zeros but for what is given."""
    absent = {"tokens": np.zeros_like(r.tokens), "sampled": np.zeros_like(r.sequences), "constant": 0.0}
    rates = {"per_sequence": 0.0, "per_context": 0.0, "per_pair": 0.0}
    return StepTime(**{**absent, **rates, **given})  # type: ignore[arg-type]
