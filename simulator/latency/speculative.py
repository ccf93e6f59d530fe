"""What drafting adds to a step: the drafter's passes, one for each token that is drafted.

The first pass runs over all tokens of the step, so that the drafter has its own KV of them; each
further one over a token of every sequence. Each looks at its KV, samples, and is started by the
engine's processor.

Source: vLLM 0.19 to 0.33, vllm/v1/spec_decode/eagle.py and llm_base_proposer.py `propose`,
medusa.py, ngram_proposer.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.errors import NotModelled
from simulator.latency.breakdown import add, parts, step
from simulator.latency.gpu_share import GpuShare, gpu_share
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.speculative import Drafter, drafter_of
from simulator.units import US

# A guess: what the processor takes to start a pass beside launching its layers, as a share of what
# it takes beside a whole step. vLLM builds attention metadata anew for each pass.
_STARTING = 0.5
# A guess: searching a prompt for the last tokens, a sequence. numba on one thread.
_SEARCH_US = 5.0


def drafter(target: Target) -> StepTime:
    """What drafting adds to a step. Raises NotModelled for what has no model."""
    args, r = target.args, gpu_share(target)
    if args.pipeline_parallel_size > 1:
        raise NotModelled("speculative decoding over pipeline stages")
    found = drafter_of(target.model, args)
    sequences = np.arange(args.max_num_seqs + 1, dtype=np.float64)
    if found is None:
        searching = 0.0 if args.spec_method == "ngram_gpu" else _SEARCH_US * US
        return replace(step(r), drafted=searching * sequences)
    if args.spec_method == "medusa":
        return replace(
            step(r), drafted=_heads(r, found, sequences) + np.where(sequences > 0, r.overheads.step_us * _STARTING * US, 0.0)
        )
    return _passes(target, r, found, sequences)


def _heads(r: GpuShare, found: Drafter, sequences: np.ndarray) -> np.ndarray:
    """Seconds of heads that each see the last hidden states of every sequence."""
    rows = replace(r, tokens=sequences)
    hidden = r.model.hidden
    return np.asarray(found.projections * rows.plain_gemm(hidden, hidden) + rows.plain_gemm(found.vocabulary / r.tp, hidden))


def _passes(target: Target, r: GpuShare, found: Drafter, sequences: np.ndarray) -> StepTime:
    """Seconds of as many passes as tokens are drafted."""
    args, count = target.args, target.args.spec_tokens
    of_drafter = _share(target, r, found)
    kernels = {name: part for name, part in parts(of_drafter).items() if name not in ("engine", "launches", "head")}
    one = add(kernels.values())
    rows = sequences.astype(np.int64)
    head = _head(of_drafter, found, sequences)
    on_gpu = np.where(rows > 0, one.tokens[rows] + head + one.constant, 0.0)
    waiting = 0.0 if r.asynchronous else _starting(of_drafter)
    projecting = np.zeros_like(r.tokens) if found.whole else _projecting(of_drafter, found)
    further = np.maximum(on_gpu + projecting[rows], np.where(rows > 0, waiting, 0.0))
    return replace(
        one,
        tokens=one.tokens + projecting,
        sampled=np.zeros_like(r.sequences),
        drafted=(count - 1) * further + head,
        per_sequence=count * one.per_sequence,
        per_context=count * one.per_context,
        constant=one.constant + waiting,
        windows=tuple(replace(w, per_context=count * w.per_context) for w in one.windows),
        verified=args.decode_length,
    )


def _starting(r: GpuShare) -> float:
    """Seconds in which the processor starts a pass, while the GPU waits for it where nothing runs ahead."""
    return (_STARTING * r.overheads.step_us + len(r.model.layers) * r.overheads.launch_layer_us) * US


def _projecting(r: GpuShare, found: Drafter) -> np.ndarray:
    """Seconds of bringing hidden states and embeddings together in front of a draft layer."""
    return np.asarray(found.projections / len(found.layers) * r.plain_gemm(r.model.hidden, r.model.hidden))


def _share(target: Target, r: GpuShare, found: Drafter) -> GpuShare:
    """One GPU's share of the drafter: one layer a pass of a model's own, all of a model that drafts."""
    if found.whole:
        of_model = replace(target, model=found.model, quantization=found.model.quantization)
        return replace(gpu_share(of_model), verified=1)
    model = replace(target.model, layers=found.layers[:1])
    quantization = None if found.note else target.quantization
    return replace(r, model=model, quantization=quantization, verified=1)


def _head(r: GpuShare, found: Drafter, sequences: np.ndarray) -> np.ndarray:
    """Seconds in which the drafter's head picks a token for each sequence."""
    rows = replace(r, sequences=sequences)
    vocabulary = found.vocabulary or found.model.vocabulary
    picking = sequences * vocabulary * 8.0 / (r.kernels.sampling_bandwidth * r.gpu.memory_bytes_per_s)
    return np.asarray(rows.head(vocabulary / r.tp, r.model.hidden) + picking)
