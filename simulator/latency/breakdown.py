"""The parts of a step, each as a StepTime of its own: their sum is the step, and the report draws them apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from simulator.catalog.kernels import AllReduce
from simulator.catalog.models import GatedDeltaNet, Mamba1, Mamba2, MoeMlp
from simulator.catalog.quantizations import runs_as
from simulator.latency import physics
from simulator.latency.attention import mixer_cost
from simulator.latency.feed_forward import mlp_cost
from simulator.latency.gpu_share import GpuShare, distinct_layers
from simulator.latency.interconnect import Ranks, all_to_all, reached
from simulator.latency.layer_cost import LayerCost
from simulator.latency.physics import Array
from simulator.latency.step import StepTime, Window
from simulator.units import US

Costs = list[tuple[LayerCost, int]]
# What sending activations to the next stage reaches of the link, and takes before the first byte: guesses after NCCL's sends.
_PEER_LINK, _PEER_US = 0.7, 20.0
# GPUs whose tokens are gathered whole in front of experts: SGLang's and TensorRT-LLM's published
# runs with more send them to their experts alone.
_GATHERED = 8
# Bytes a logit is read and written with where the largest is taken.
_GREEDY_BYTES = 16.0
# Of what an all-reduce of two cards reaches over PCIe, what gathers of uneven lengths do: Qwen3-30B-A3B on two RTX PRO 6000, data
# parallel with experts, beside Qwen3-32B with tensor parallelism on the same two (LLMServingSim, MIT).
_UNEVEN_OVER_PCIE = 0.5
# How V0's launches and the GPU's work overlap in steps without a graph: the p of a p-norm. Single
# streams of 10,000 tokens of context under vLLM 0.7.2 on H100, 7B to 70B in three formats (Red Hat
# AI model cards). V1's figures were fitted with the longer of the two.
_LAUNCHING = 3.0
# Kernels of a layer that vLLM's compiler fuses unless they are named as custom ops: two norms, and what quantizes the inputs of
# four matmuls.
_OPS_A_LAYER = {"+rms_norm": 2, "+quant_fp8": 4}


def parts(r: GpuShare) -> dict[str, StepTime]:
    """The step time of each part: the GPU's work by kind, the engine's own, launches that no graph covers."""
    costs = layer_costs(r)
    o, nothing = r.overheads, np.zeros_like(r.tokens)
    moved = sum((n * c.moved for c, n in costs), nothing) / (r.kernels.elementwise_bandwidth * r.gpu.memory_bytes_per_s)
    small = sum(n * c.small for c, n in costs)
    gpu = {
        "gemm": step(r, tokens=o.gemm * sum((n * c.gemm for c, n in costs), nothing)),
        "experts": step(r, tokens=o.experts * sum((n * c.experts for c, n in costs), nothing)),
        "attention": _attention(r, costs),
        "all-reduce": step(r, tokens=_all_reduces(r, costs)),
        "small kernels": step(r, tokens=moved, constant=(small * o.kernel_us + _recurrences(r) * o.recurrent_us) * US),
        "head": step(r, sampled=_head(r)),
    }
    gpu = {name: part if name == "all-reduce" else scaled(part, r.kernels.derating) for name, part in gpu.items()}
    waits = 0.0 if r.asynchronous else 1.0
    engine = step(
        r,
        constant=(o.step_us + waits * o.sync_step_us) * US,
        per_sequence=(o.sequence_us + waits * o.sync_sequence_us + math.log2(r.tp) * o.rank_sequence_us) * US,
    )
    if r.pp > 1:
        gpu = {name: _over_stages(r, part) for name, part in gpu.items()} | {"pipeline": _pipeline(r)}
    whole = add((*gpu.values(), engine))
    return {**gpu, "engine": engine, "launches": _launches(r, whole)}


def layer_costs(r: GpuShare) -> Costs:
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
    prompts = [s.prompt for s in every if len(s.prompt)]
    drafted = [s.drafted for s in every if len(s.drafted)]
    return StepTime(
        tokens=np.sum([s.tokens for s in every], axis=0),
        sampled=np.sum([s.sampled for s in every], axis=0),
        per_sequence=sum(s.per_sequence for s in every),
        per_context=sum(s.per_context for s in every),
        per_pair=sum(s.per_pair for s in every),
        constant=sum(s.constant for s in every),
        windows=tuple(_together(w) for w in windows),
        prompt=np.sum(prompts, axis=0) if prompts else np.zeros(0),
        drafted=np.sum(drafted, axis=0) if drafted else np.zeros(0),
        verified=max(s.verified for s in every),
        adapters=next((s.adapters for s in every if s.adapters is not None), None),
    )


def _together(same: Sequence[Window]) -> Window:
    """The sum of windows of one size."""
    context, pair = sum(w.per_context for w in same), sum(w.per_pair for w in same)
    return Window(same[0].size, context, pair, sum(w.beyond for w in same))


def scaled(part: StepTime, factor: float) -> StepTime:
    """A part that takes `factor` times as long."""
    if factor == 1:
        return part
    windows = tuple(Window(w.size, factor * w.per_context, factor * w.per_pair, factor * w.beyond) for w in part.windows)
    return StepTime(
        tokens=factor * part.tokens,
        sampled=factor * part.sampled,
        per_sequence=factor * part.per_sequence,
        per_context=factor * part.per_context,
        per_pair=factor * part.per_pair,
        constant=factor * part.constant,
        windows=windows,
        prompt=factor * part.prompt,
        drafted=factor * part.drafted,
        verified=part.verified,
        adapters=part.adapters,
    )


def step(
    r: GpuShare,
    *,
    tokens: Array | None = None,
    sampled: Array | None = None,
    constant: float = 0.0,
    per_sequence: float = 0.0,
) -> StepTime:
    """A StepTime over a rank's tables, zero but for what is given."""
    by_token = np.zeros_like(r.tokens) if tokens is None else tokens
    by_sample = np.zeros_like(r.sequences) if sampled is None else sampled
    return StepTime(by_token, by_sample, per_sequence, 0.0, 0.0, constant, verified=r.verified)


def _over_stages(r: GpuShare, part: StepTime) -> StepTime:
    """A part of a pipeline's step: `pp` micro-batches are in flight, and each stage has its share of all contexts and pairs.

    The tables of a pipeline's rank already run over the tokens of one micro-batch.
    """
    windows = tuple(Window(w.size, w.per_context / r.pp, w.per_pair / r.pp) for w in part.windows)
    context, pair, sequence = part.per_context / r.pp, part.per_pair / r.pp, part.per_sequence / r.pp
    return replace(part, per_context=context, per_pair=pair, per_sequence=sequence, windows=windows)


def _attention(r: GpuShare, costs: Costs) -> StepTime:
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
        verified=r.verified,
    )


def _all_reduces(r: GpuShare, costs: Costs) -> Array:
    """All-reduces over tensor-parallel ranks, and the exchange with data-parallel ranks in front of and behind experts.

    That gathers the tokens of all ranks and scatters the sums: together the traffic of one all-reduce.
    """
    message = r.tokens * r.model.hidden * 2.0
    total = np.zeros_like(r.tokens)
    if r.tp > 1:
        halves, tiny = sum(n for _, n in costs), sum(n * cost.tiny_reduces for cost, n in costs)
        found = reached(r.ranks(r.tp))
        first_byte = found.nccl_us if found.custom_us is None else found.custom_us
        latency = np.where(r.tokens > 0, r.overheads.all_reduce * first_byte * US, 0.0)
        total = total + halves * _all_reduce(r, r.tp, message) + tiny * latency
    if r.dp > 1:
        total = total + _exchanges(r, costs, message)
    return total


def _all_reduce(r: GpuShare, number: int, message: Array) -> Array:
    """Seconds of an all-reduce by NCCL, or by the one-shot kernel where there is one that is faster."""
    c = reached(r.ranks(number))
    nccl = physics.all_reduce(message, number, _nccl_us(r, c) * US, r.link(c.nccl_link))
    if c.custom_us is None or c.custom_link is None:
        return nccl
    custom_us = c.custom_us * r.overheads.all_reduce
    return np.minimum(nccl, physics.all_reduce(message, number, custom_us * US, r.link(c.custom_link)))


def _nccl_us(r: GpuShare, c: AllReduce) -> float:
    """Microseconds before NCCL's first byte: its own, and what ranks wait for each other, as in the one-shot kernel."""
    first_byte = c.nccl_us if c.custom_us is None else c.custom_us
    return c.nccl_us + (r.overheads.all_reduce - 1) * first_byte


def _exchanges(r: GpuShare, costs: Costs, message: Array) -> Array:
    """Seconds in front of and behind the experts of all layers; `message`: bytes of one rank's tokens.

    All ranks' tokens are gathered and the sums scattered; SGLang and TensorRT-LLM send them to their experts alone where more
    than eight GPUs or several servers hold these, as nobody would run them otherwise.
    """
    mixtures = sum(n for cost, n in costs if cost.experts.any())
    ranks = r.ranks(r.dp, apart=r.tp * r.pp)
    wide = r.tp * r.dp > _GATHERED or ranks.servers > 1
    if not wide or r.engine.family == "vllm":
        return r.overheads.exchange * mixtures * _exchange(r, ranks, r.dp * message)
    found, holders = np.zeros_like(r.tokens), r.ranks(r.tp * r.dp)
    for layer, index, count in distinct_layers(r):
        if isinstance(m := layer.mlp, MoeMlp):
            width = m.latent or r.model.hidden
            sent = r.expert_rates(r.format("experts", index)).activation_bytes * width
            ways = all_to_all(holders, m.experts_per_token, sent, 2.0 * width)
            found = found + count * np.min([first + each * r.tokens for first, each in ways], axis=0)
    return np.where(r.tokens > 0, found, 0.0)


def _exchange(r: GpuShare, ranks: Ranks, message: Array) -> Array:
    """Seconds of an all-gather of every rank's tokens and a reduce-scatter of their sums: two calls of NCCL.

    Lengths differ from rank to rank, so the one-shot kernel never runs, and over PCIe NCCL reaches less of the link. Its constant
    over NVLink is that of a large all-reduce, both halves of it.
    """
    c = reached(ranks)
    pcie = r.gpu.link == "pcie"
    share, calls = (c.nccl_link * _UNEVEN_OVER_PCIE, 2) if pcie else (c.nccl_link, 1)
    return physics.all_reduce(message, r.dp, calls * _nccl_us(r, c) * US, r.link(share))


def _pipeline(r: GpuShare) -> StepTime:
    """Activations handed from stage to stage, one message each.

    Between servers every rank sends its part of them through its own port
    (vllm/distributed/parallel_state.py, read December 2026).
    """
    message = r.tokens * r.model.hidden * 2.0
    stages = max(1, r.gpu.link_domain // r.tp)
    away = -(-r.pp // stages) - 1
    sent = (r.pp - 1 - away) * (message / r.link(_PEER_LINK) + np.where(r.tokens > 0, _PEER_US * US, 0.0))
    if away:
        hop = message / r.tp / r.network.collective_bytes_per_s + np.where(r.tokens > 0, r.network.hop_s, 0.0)
        sent = sent + away * hop
    return step(r, tokens=sent)


def _head(r: GpuShare) -> Array:
    """LM head over this rank's share of the vocabulary, and sampling over all of it."""
    vocabulary = r.model.vocabulary
    reached = r.kernels.sampling_bandwidth * r.gpu.memory_bytes_per_s
    largest = r.sequences * vocabulary * _GREEDY_BYTES / reached
    return r.head(vocabulary / r.tp, r.model.hidden) + largest + r.sampling.seconds(r.sequences, vocabulary, r.engine, reached)


def _compiled_us(r: GpuShare) -> float:
    """Microseconds to launch the compiled pieces of a step: layers, and what experts and collectives add to them."""
    o, layers = r.overheads, r.model.layers
    experts = sum(isinstance(layer.mlp, MoeMlp) for layer in layers)
    apart = sum(_OPS_A_LAYER.get(op, 0) for op in r.custom_ops)
    per_layer = o.launch_layer_us + math.log2(r.tp) * o.launch_rank_us + apart * o.launch_op_us
    return per_layer * len(layers) + o.launch_experts_us * experts


def _eager_layer_us(r: GpuShare) -> float:
    """Microseconds to launch a layer that was not compiled, with what quantizes its inputs where that runs apart."""
    form = r.format("mlp")
    apart = form is not None and not runs_as(form, r.gpu).weight_only
    return r.overheads.eager_layer_us + (r.overheads.eager_quantize_us if apart else 0.0)


def _launches(r: GpuShare, whole: StepTime) -> StepTime:
    """What the GPU waits for the CPU's launches in steps that no CUDA graph covers.

    Those are steps larger than any graph; in V0 also every step with a prompt, and decodes of which one has more context than
    its graphs were captured for. Where V1 launches every layer by itself its one thread also prepares the batch, and nothing
    hides that: what an engine without asynchronous scheduling does between steps comes to the launches.
    """
    launching_us = _compiled_us(r) if r.compiled else _eager_layer_us(r) * len(r.model.layers)
    behind = r.asynchronous and r.engine.generation == "v1" and not r.compiled
    launching = (launching_us + (r.overheads.sync_step_us if behind else 0.0)) * US
    on_gpu = whole.tokens + whole.constant
    if r.engine.generation == "v0":
        gaps = np.asarray(physics.overlap(_LAUNCHING, on_gpu, launching)) - on_gpu
    else:
        gaps = np.maximum(launching - on_gpu - float(whole.sampled[min(1, len(whole.sampled) - 1)]), 0.0)
    covered = np.where(r.tokens > r.largest_graph, 0.0, gaps)
    found = step(r, tokens=gaps - covered, per_sequence=r.overheads.sync_sequence_us * US if behind else 0.0)
    if r.overheads.prompt_layer_us or r.overheads.prompt_on:
        return replace(found, prompt=_prompt_launches(r, on_gpu, gaps - covered))
    if r.engine.generation != "v0":
        return found if r.covers_prompts else replace(found, prompt=covered)
    longer = float(covered[min(1, len(covered) - 1)]) if r.longest_graph else 0.0
    windows = (Window(r.longest_graph, 0.0, 0.0, longer),) if longer else ()
    return replace(found, prompt=covered, windows=windows)


def _recurrences(r: GpuShare) -> int:
    """Layers with a recurrence."""
    return sum(isinstance(layer.mixer, GatedDeltaNet | Mamba1 | Mamba2) for layer in r.model.layers)


def _share_by_picks(r: GpuShare, mlp: MoeMlp) -> float:
    """How much of what experts add to a prompt's launches holds where a token picks as many as here."""
    full = r.overheads.prompt_experts_picked
    return min(max(2 * mlp.experts_per_token / full - 1, 0.0), 1.0) if full else 1.0


def _prompt_launches(r: GpuShare, on_gpu: Array, counted: Array) -> Array:
    """What a step takes longer by that computes prompts, where no graph covers these; `counted` of it stands elsewhere."""
    o, layers = r.overheads, r.model.layers
    launching = (o.prompt_layer_us + math.log2(r.tp) * o.prompt_rank_us) * len(layers)
    launching += o.prompt_experts_us * sum(_share_by_picks(r, layer.mlp) for layer in layers if isinstance(layer.mlp, MoeMlp))
    launching += o.prompt_recurrent_us * _recurrences(r)
    slower = o.prompt_on.get(r.gpu.architecture, 1.0) * on_gpu
    waits = np.maximum(launching * US, slower) - on_gpu
    return np.where(r.tokens > 0, np.maximum(waits - counted, 0.0), 0.0)
