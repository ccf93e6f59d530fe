"""LoRA slots: what vLLM allocates for adapters when it starts, whichever are loaded later."""

from __future__ import annotations

from collections.abc import Iterable

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import LatentAttention, Model, MoeMlp
from simulator.memory.tensors import Tensor, tensors
from simulator.units import BYTES_OF

# Projections that the engine runs as one: slices of it that have an A of their own.
_INWARD = {
    "qkv_proj": 3, "q_proj": 1, "q_a_proj": 1, "kv_a_proj": 1, "up_proj": 2, "shared_up_proj": 2, "in_proj_qkvz": 2, "in_proj": 2,
    "experts_up": 2,
}  # fmt: skip
_OUTWARD = ("o_proj", "down_proj", "shared_down_proj", "out_proj", "experts_down")


def lora_bytes(model: Model, tensors: Iterable[Tensor], args: EngineArgs) -> float:
    """Bytes on one GPU of the slots for `max_loras` adapters of `max_lora_rank`, over these tensors.

    A projection split over the ranks has its A whole and its B divided, one that sums over them the other way round; with
    fully_sharded_loras both are divided. Tables have slots too. Source: create_lora_weights in vllm/lora/layers (0.19.0); two
    logs of Qwen3-8B on two T4 (0.22.1) load 0.06 GiB more, as this says.
    """
    if not args.enable_lora:
        return 0.0
    values = sum(_values(model, tensor, args) for tensor in tensors)
    return args.max_loras * args.max_lora_rank * values * BYTES_OF[model.dtype]


def adapted(model: Model) -> int:
    """Projections that have an adapter's matrices beside them, those that the engine runs as one counted as one."""
    found = {(t.layer, t.module) for t in tensors(model) if t.layer is not None and t.place != "draft"}
    return sum(module in _INWARD or module in _OUTWARD or module == "q_b_proj" for _, module in found)


def _values(model: Model, tensor: Tensor, args: EngineArgs) -> float:
    """Values of A and B for a rank of one."""
    ranks = args.tensor_parallel_size
    if tensor.group in ("embedding", "lm_head"):
        return float(model.vocabulary + model.hidden)
    if tensor.layer is None or tensor.place == "draft":
        return 0.0
    mixer, mlp = model.layers[tensor.layer].mixer, model.layers[tensor.layer].mlp
    experts = mlp.experts if isinstance(mlp, MoeMlp) and tensor.group == "experts" else 1
    held = experts / (ranks * args.data_parallel_size) if args.enable_expert_parallel and experts > 1 else experts
    divided = 1 if args.enable_expert_parallel and experts > 1 else ranks
    whole = divided if args.fully_sharded_loras else 1
    if tensor.module in _INWARD:
        if tensor.split == "kv_heads" and tensor.module == "qkv_proj":
            return tensor.parameters / model.hidden / divided
        out = tensor.parameters / experts / model.hidden
        return held * (_INWARD[tensor.module] * model.hidden / whole + out / divided)
    if tensor.module in _OUTWARD:
        inside = tensor.parameters / experts / model.hidden
        return held * (inside / divided + model.hidden / whole)
    if tensor.module == "q_b_proj" and isinstance(mixer, LatentAttention):
        return mixer.q_lora_rank / whole + tensor.parameters / mixer.q_lora_rank / divided
    return 0.0
