"""The parts of a step, each as a StepTime of its own: their sum is the step, and the report draws them apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.costs import Cost
from simulator.latency.mixers import mixer_cost
from simulator.latency.mlps import mlp_cost
from simulator.latency.physics import Array
from simulator.latency.rank import Rank, distinct_layers
from simulator.latency.step import StepTime, Window
from simulator.units import US

Costs = list[tuple[Cost, int]]


def parts(r: Rank) -> dict[str, StepTime]:
    """The step time of each part: the GPU's work by kind, the engine's own, launches that no graph covers, decodes apart."""
    costs = layer_costs(r)
    o, nothing = r.overheads, np.zeros_like(r.tokens)
    moved = sum((n * c.moved for c, n in costs), nothing) / (r.kernels.elementwise_bandwidth * r.gpu.memory_bytes_per_s)
    small = sum(n * c.small for c, n in costs)
    gpu = {
        "gemm": step(r, tokens=o.gemm * sum((n * c.gemm for c, n in costs), nothing)),
        "experts": step(r, tokens=o.experts * sum((n * c.experts for c, n in costs), nothing)),
        "attention": _attention(r, costs),
        "all-reduce": step(r, tokens=_all_reduces(r, costs)),
        "small kernels": step(r, tokens=moved, constant=small * o.kernel_us * US),
        "head": step(r, sampled=_head(r)),
    }
    waits = 0.0 if r.asynchronous else 1.0
    engine = step(
        r,
        constant=(o.step_us + waits * o.sync_step_us) * US,
        per_sequence=(o.sequence_us + waits * o.sync_sequence_us) * US,
    )
    whole = add((*gpu.values(), engine))
    return {**gpu, "engine": engine, "launches": step(r, tokens=_launch_gaps(r, whole)), "decode apart": _decode_apart(r, whole)}


def layer_costs(r: Rank) -> Costs:
    """The cost of every half layer that differs from the others, and how many there are of it."""
    found: Costs = []
    for layer, index, count in distinct_layers(r):
        if layer.mixer is not None:
            found.append((mixer_cost(r, layer.mixer, index), count))
        if layer.mlp is not None:
            found.append((mlp_cost(r, layer.mlp, index), count))
    return found


def add(steps: Iterable[StepTime]) -> StepTime:
    """The sum of step times over the same tables."""
    every = tuple(steps)
    sizes = sorted({w.size for s in every for w in s.windows})
    windows = [[w for s in every for w in s.windows if w.size == size] for size in sizes]
    return StepTime(
        tokens=np.sum([s.tokens for s in every], axis=0),
        sampled=np.sum([s.sampled for s in every], axis=0),
        per_sequence=sum(s.per_sequence for s in every),
        per_context=sum(s.per_context for s in every),
        per_pair=sum(s.per_pair for s in every),
        constant=sum(s.constant for s in every),
        windows=tuple(Window(w[0].size, sum(x.per_context for x in w), sum(x.per_pair for x in w)) for w in windows),
    )


def step(
    r: Rank,
    *,
    tokens: Array | None = None,
    sampled: Array | None = None,
    constant: float = 0.0,
    per_sequence: float = 0.0,
) -> StepTime:
    """A StepTime over a rank's tables, zero but for what is given."""
    by_token = np.zeros_like(r.tokens) if tokens is None else tokens
    by_sample = np.zeros_like(r.sequences) if sampled is None else sampled
    return StepTime(by_token, by_sample, per_sequence, 0.0, 0.0, constant)


def _attention(r: Rank, costs: Costs) -> StepTime:
    scale = r.overheads.attention
    reaches = [(reach, n * scale) for c, n in costs for reach in c.reaches]
    windows = sorted({reach.window for reach, _ in reaches if reach.window})
    by_size = [(size, [(reach, n) for reach, n in reaches if reach.window == size]) for size in (None, *windows)]
    sums = [
        Window(size or 0, sum(n * x.per_context for x, n in some), sum(n * x.per_pair for x, n in some)) for size, some in by_size
    ]
    return StepTime(
        tokens=sum((n * scale * c.recurrent for c, n in costs), np.zeros_like(r.tokens)),
        sampled=np.zeros_like(r.sequences),
        per_sequence=sum(n * scale * c.per_sequence for c, n in costs),
        per_context=sums[0].per_context,
        per_pair=sums[0].per_pair,
        constant=sum(n * scale * c.fixed for c, n in costs),
        windows=tuple(sums[1:]),
    )


def _all_reduces(r: Rank, costs: Costs) -> Array:
    if r.tp == 1:
        return np.zeros_like(r.tokens)
    if r.tp not in r.kernels.all_reduce:
        raise NotModelled(f"no all-reduce over {r.tp} GPUs is modelled; known: {', '.join(map(str, r.kernels.all_reduce))}")
    c = r.kernels.all_reduce[r.tp]
    message = r.tokens * r.model.hidden * 2.0
    custom = physics.all_reduce(message, r.tp, c.custom_us * US, r.link(c.custom_link))
    nccl = physics.all_reduce(message, r.tp, c.nccl_us * US, r.link(c.nccl_link))
    halves, tiny = sum(n for _, n in costs), sum(n * cost.tiny_reduces for cost, n in costs)
    latency = np.where(r.tokens > 0, c.custom_us * US, 0.0)
    return np.asarray(r.overheads.all_reduce * (halves * np.minimum(custom, nccl) + tiny * latency))


def _head(r: Rank) -> Array:
    """LM head over this rank's share of the vocabulary, and sampling over all of it."""
    vocabulary = r.model.vocabulary
    logits = physics.gemm(r.sequences, vocabulary / r.tp, r.model.hidden, r.gemm_rates(r.format("lm_head")))
    return logits + r.sequences * vocabulary * 16.0 / (r.kernels.sampling_bandwidth * r.gpu.memory_bytes_per_s)


def _launch_gaps(r: Rank, whole: StepTime) -> Array:
    """Seconds that the GPU waits for the CPU's launches in steps larger than any CUDA graph."""
    per_layer = r.overheads.launch_layer_us if r.compiled else r.overheads.eager_layer_us
    launching = per_layer * len(r.model.layers) * US
    return np.where(r.tokens > r.largest_graph, np.maximum(launching - whole.tokens - whole.constant, 0.0), 0.0)


def _decode_apart(r: Rank, whole: StepTime) -> StepTime:
    """A decode step of its own beside each prefill step, where the engine does not mix them: V0 without chunked prefill.

    Steps of more tokens than max_num_seqs are taken to hold a prompt.
    """
    apart = whole.tokens[min(1, len(whole.tokens) - 1)] + whole.constant
    return step(r, tokens=np.where(r.separate_prefill & (r.tokens >= len(r.sequences)), apart, 0.0))
