"""What the backward pass needs kept: activations of a layer, and the matrices that LoRA adds beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from simulator.catalog.models import DenseMlp, GroupedQueryAttention, LatentAttention, Layer, Mixer, Mlp, Model
from simulator.errors import NotModelled

Checkpointing = Literal["none", "selective", "per-operation", "full"]
LoraTargets = Literal["query-value", "query-value-output", "attention", "all-linear"]

SOFTMAX_BYTES = 4  # what FlashAttention keeps of a row of scores, in FP32, arXiv:2205.14135


@dataclass(frozen=True, slots=True)
class SavedActivations:
    """Bytes one token leaves behind: what every tensor-parallel rank keeps whole, and what the ranks divide."""

    whole: float = 0.0
    divided: float = 0.0

    def __add__(self, other: SavedActivations) -> SavedActivations:
        return SavedActivations(self.whole + other.whole, self.divided + other.divided)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a run keeps of a layer for its backward pass.

    `value`: bytes of an activation. `norm`: bytes a norm keeps of each hidden element. `scores`: the attention matrix is kept (no
    FlashAttention, and not recomputed). `dropout`: of the block, with its masks. `inputs`: the input of every matmul, because
    its weights are trained, or because it is bitsandbytes' 4-bit matmul, which keeps it even so. `adapters`: LoRA's targets;
    `adapter_copy`: bytes of a copy of each adapted input (a dropped-out one with its mask, or one in FP32), 0 where the branch
    shares the input of the matmul beside it. `gated_widths`: how often a gated MLP keeps its width, the input of its second
    matmul included.
    """

    value: int = 2
    norm: int = 2
    scores: bool = False
    dropout: bool = False
    inputs: bool = True
    adapters: LoraTargets | None = None
    adapter_copy: int = 0
    gated_widths: int = 4

    def of_input(self, *names: str) -> int:
        """Bytes an element of what goes into the matmuls of these names."""
        adapted = [name for name in names if self.adapters and targeted(name, self.adapters)]
        shared = self.value if self.inputs or (adapted and not self.adapter_copy) else 0
        return shared + self.adapter_copy * len(adapted)


def layer_activations(layer: Layer, model: Model, sequence: int, keeping: Keeping) -> SavedActivations:
    """Activations of one layer that one token of a sequence leaves behind, in bytes.

    Inputs of every matmul and of every function that is not linear, as Korthikanti et al. count them: for a plain GPT block with
    dropout this is hidden * (34 + 5 * heads * sequence / hidden). Generalized to KV heads, latent attention, gated MLPs and
    experts (each token is kept once per expert), to frozen weights, which need no input of their matmul, and to LoRA.

    Source: Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, arXiv:2205.05198, section 4.
    Raises NotModelled for recurrent and compressed-attention layers.
    """
    kept = SavedActivations(whole=layer.norms * keeping.norm * model.hidden)
    if layer.mixer is not None:
        kept += _mixer(layer.mixer, model, sequence, keeping)
    if layer.mlp is not None:
        kept += _mlp(layer.mlp, model.hidden, keeping)
    return kept


def _mixer(mixer: Mixer, model: Model, sequence: int, keeping: Keeping) -> SavedActivations:
    value, dropout = keeping.value, keeping.dropout
    if isinstance(mixer, LatentAttention):
        entering = keeping.of_input("query-down" if mixer.q_lora_rank else "query", "latent")
        whole = (entering + dropout) * model.hidden
        whole += value * (mixer.q_lora_rank + mixer.kv_lora_rank + mixer.rope_dim)
        widths = 2 * mixer.heads * (mixer.nope_dim + mixer.rope_dim) + 2 * mixer.heads * mixer.value_head_dim
    elif isinstance(mixer, GroupedQueryAttention):
        whole = (keeping.of_input("query", "key", "value") + dropout) * model.hidden
        queries = mixer.heads * mixer.head_dim * (2 if mixer.gated else 1)
        widths = queries + mixer.kv_heads * (mixer.head_dim + mixer.value_head_dim) + mixer.heads * mixer.value_head_dim
    else:
        raise NotModelled(f"{model.name}: activations of {mixer.kind} layers in training are not modelled")
    # The output of attention is kept by attention itself; an adapter that copies it keeps that too.
    copied = keeping.adapter_copy if keeping.adapters and targeted("output", keeping.adapters) else 0
    matrix = sequence * (value + (1 + value) * dropout)
    scores = matrix if keeping.scores else min(matrix, SOFTMAX_BYTES)
    return SavedActivations(whole, value * widths + mixer.heads * (scores + copied * mixer.value_head_dim))


def _mlp(mlp: Mlp, hidden: int, keeping: Keeping) -> SavedActivations:
    value, dropout = keeping.value, keeping.dropout
    entering = keeping.of_input(*(("gate", "up") if mlp.gated else ("up",)))
    if isinstance(mlp, DenseMlp):
        return SavedActivations((entering + dropout) * hidden, _inside(mlp.width, mlp.gated, keeping))
    inside = mlp.latent or hidden
    routed = mlp.experts_per_token * _inside(mlp.width, mlp.gated, keeping)
    always = _inside(mlp.shared_width + mlp.dense_width, mlp.gated, keeping)
    visits = mlp.experts_per_token * (entering + value) * inside
    return SavedActivations(value * hidden + visits + 4 * mlp.experts, routed + always)


def _inside(width: int, gated: bool, keeping: Keeping) -> float:
    """Gate, its activation, up and their product; without a gate the activation's input and output."""
    nonlinear = (keeping.gated_widths if gated else 2) - 1
    return width * (keeping.value * nonlinear + keeping.of_input("down"))


def kept_per_operation(layer: Layer, model: Model, keeping: Keeping) -> SavedActivations:
    """What per-operation checkpointing keeps of a layer: its input, attention's output, and of the matmuls every second's output.

    Of a dense layer that is the query, the value, the gate and the layer's output. Source: torchtitan's policy of December 2024,
    torchtitan/parallelisms/parallelize_llama.py. Raises NotModelled for layers that are not plain attention with a dense MLP.
    """
    mixer, mlp = layer.mixer, layer.mlp
    if not isinstance(mixer, GroupedQueryAttention) or not isinstance(mlp, DenseMlp):
        raise NotModelled(f"{model.name}: per-operation checkpointing is modelled for attention with a dense MLP only")
    width = mixer.heads * mixer.head_dim
    kept = width + mixer.heads * mixer.value_head_dim + mixer.kv_heads * mixer.value_head_dim + mlp.width
    return SavedActivations(keeping.value * 2 * model.hidden, keeping.value * kept + SOFTMAX_BYTES * mixer.heads)


def targeted(name: str, targets: LoraTargets) -> bool:
    """Whether a matrix of an attention or feed-forward block gets an adapter."""
    match targets:
        case "query-value":
            return name in ("query", "value")
        case "query-value-output":
            return name in ("query", "value", "output")
        case "attention":
            return name not in ("gate", "up", "down")
        case "all-linear":
            return True


def adapter_parameters(layer: Layer, model: Model, rank: int, targets: LoraTargets) -> int:
    """Parameters that LoRA adds to one layer: rank * (inputs + outputs) for each matrix it targets.

    Source: Hu et al., LoRA, arXiv:2106.09685; `all-linear` as in QLoRA, arXiv:2305.14314, and PEFT.
    """
    return rank * sum(count * (inputs + outputs) for count, inputs, outputs in _targeted(layer, model, targets))


def _targeted(layer: Layer, model: Model, targets: LoraTargets) -> Iterator[tuple[int, int, int]]:
    """(how many, inputs, outputs) of the matrices that get an adapter."""
    if layer.mixer is not None:
        matrices = _attention_matrices(layer.mixer, model)
        yield from ((1, *m) for name, m in matrices.items() if targeted(name, targets))
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
