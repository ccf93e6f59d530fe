"""What the backward pass needs kept: activations of a layer, and the matrices that LoRA adds beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from simulator.catalog.models import DenseMlp, GroupedQueryAttention, LatentAttention, Layer, Mixer, Mlp, Model
from simulator.errors import NotModelled

Checkpointing = Literal["none", "selective", "full"]
LoraTargets = Literal["query-value", "attention", "all-linear"]

SOFTMAX_BYTES = 4  # what FlashAttention keeps of a row of scores, in FP32, arXiv:2205.14135


@dataclass(frozen=True, slots=True)
class SavedActivations:
    """Bytes one token leaves behind: what every tensor-parallel rank keeps whole, and what the ranks divide."""

    whole: float = 0.0
    divided: float = 0.0

    def __add__(self, other: SavedActivations) -> SavedActivations:
        return SavedActivations(self.whole + other.whole, self.divided + other.divided)


def layer_activations(layer: Layer, model: Model, sequence: int, value: int, scores: bool, dropout: bool) -> SavedActivations:
    """Activations of one layer that one token of a sequence leaves behind, in bytes; a value has `value` bytes.

    Inputs of every matmul and of every function that is not linear, as Korthikanti et al. count them: for a plain GPT block with
    dropout this is hidden * (34 + 5 * heads * sequence / hidden). `scores`: the attention matrix is kept (no FlashAttention, and
    not recomputed). Generalized to KV heads, latent attention, gated MLPs and experts (each token is kept once per expert).

    Source: Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, arXiv:2205.05198, section 4.
    Raises NotModelled for recurrent and compressed-attention layers.
    """
    kept = SavedActivations(whole=layer.norms * value * model.hidden)
    if layer.mixer is not None:
        kept += _mixer(layer.mixer, model, sequence, value, scores, dropout)
    if layer.mlp is not None:
        kept += _mlp(layer.mlp, model.hidden, value, dropout)
    return kept


def _mixer(mixer: Mixer, model: Model, sequence: int, value: int, scores: bool, dropout: bool) -> SavedActivations:
    whole = value * model.hidden + dropout * model.hidden
    if isinstance(mixer, LatentAttention):
        whole += value * (mixer.q_lora_rank + mixer.kv_lora_rank + mixer.rope_dim)
        widths = 2 * mixer.heads * (mixer.nope_dim + mixer.rope_dim) + 2 * mixer.heads * mixer.value_head_dim
    elif isinstance(mixer, GroupedQueryAttention):
        queries = mixer.heads * mixer.head_dim * (2 if mixer.gated else 1)
        widths = queries + mixer.kv_heads * (mixer.head_dim + mixer.value_head_dim) + mixer.heads * mixer.value_head_dim
    else:
        raise NotModelled(f"{model.name}: activations of {mixer.kind} layers in training are not modelled")
    matrix = sequence * (value + (1 + value) * dropout)
    return SavedActivations(whole, value * widths + mixer.heads * (matrix if scores else min(matrix, SOFTMAX_BYTES)))


def _mlp(mlp: Mlp, hidden: int, value: int, dropout: bool) -> SavedActivations:
    if isinstance(mlp, DenseMlp):
        return SavedActivations(value * hidden + dropout * hidden, _inside(mlp.width, mlp.gated, value))
    inside = mlp.latent or hidden
    routed = mlp.experts_per_token * _inside(mlp.width, mlp.gated, value)
    always = _inside(mlp.shared_width + mlp.dense_width, mlp.gated, value)
    return SavedActivations(value * hidden + mlp.experts_per_token * 2 * value * inside + 4 * mlp.experts, routed + always)


def _inside(width: int, gated: bool, value: int) -> float:
    """Gate, its activation, up and their product; without a gate the activation's input and output."""
    return value * width * (4 if gated else 2)


def adapter_parameters(layer: Layer, model: Model, rank: int, targets: LoraTargets) -> int:
    """Parameters that LoRA adds to one layer: rank * (inputs + outputs) for each matrix it targets.

    Source: Hu et al., LoRA, arXiv:2106.09685; `all-linear` as in QLoRA, arXiv:2305.14314, and PEFT.
    """
    return rank * sum(count * (inputs + outputs) for count, inputs, outputs in _targeted(layer, model, targets))


def _targeted(layer: Layer, model: Model, targets: LoraTargets) -> Iterator[tuple[int, int, int]]:
    """(how many, inputs, outputs) of the matrices that get an adapter."""
    if layer.mixer is not None:
        matrices = _attention_matrices(layer.mixer, model)
        yield from ((1, *m) for name, m in matrices.items() if targets != "query-value" or name in ("query", "value"))
    if targets != "all-linear" or layer.mlp is None:
        return
    mlp, hidden = layer.mlp, model.hidden
    if isinstance(mlp, DenseMlp):
        yield from _mlp_matrices(1, hidden, mlp.width, mlp.gated)
        return
    yield from _mlp_matrices(mlp.experts, mlp.latent or hidden, mlp.width, mlp.gated)
    for width in (mlp.shared_width, mlp.dense_width):
        if width:
            yield from _mlp_matrices(1, hidden, width, mlp.gated)


def _attention_matrices(mixer: Mixer, model: Model) -> dict[str, tuple[int, int]]:
    hidden = model.hidden
    if isinstance(mixer, GroupedQueryAttention):
        matrices = {"query": (hidden, mixer.heads * mixer.head_dim * (2 if mixer.gated else 1))}
        if not mixer.shares_kv:
            matrices["key"] = (hidden, mixer.kv_heads * mixer.head_dim)
            if not mixer.key_is_value:
                matrices["value"] = (hidden, mixer.kv_heads * mixer.value_head_dim)
        return {**matrices, "output": (mixer.heads * mixer.value_head_dim, hidden)}
    if isinstance(mixer, LatentAttention):
        queries = mixer.heads * (mixer.nope_dim + mixer.rope_dim)
        down = {"query-down": (hidden, mixer.q_lora_rank)} if mixer.q_lora_rank else {}
        return {
            **down,
            "query": (mixer.q_lora_rank or hidden, queries),
            "latent": (hidden, mixer.kv_lora_rank + mixer.rope_dim),
            "value": (mixer.kv_lora_rank, mixer.heads * (mixer.nope_dim + mixer.value_head_dim)),
            "output": (mixer.heads * mixer.value_head_dim, hidden),
        }
    raise NotModelled(f"{model.name}: LoRA on {mixer.kind} layers is not modelled")


def _mlp_matrices(count: int, hidden: int, width: int, gated: bool) -> Iterator[tuple[int, int, int]]:
    yield (count * (2 if gated else 1), hidden, width)
    yield (count, width, hidden)
