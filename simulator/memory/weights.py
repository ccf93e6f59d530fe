"""Weights: how many parameters, and how many bytes of them each GPU holds in which format."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from simulator.catalog.engines import EngineArgs
from simulator.catalog.memory_overheads import Mxfp4Kernel
from simulator.catalog.models import LatentAttention, Model, MoeMlp
from simulator.catalog.quantizations import Quantization, TensorGroup, WeightFormat
from simulator.errors import NotModelled
from simulator.memory.lora import lora_bytes
from simulator.memory.tensors import Tensor, tensors
from simulator.units import BYTES_OF

VOCABULARY_PADDING = 64
MIB = 2**20
# Of the bits of MXFP4, those that are values: 4 each, and 8 of scale for 32.
_MXFP4_VALUES = 4 / 4.25


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the fullest GPU of a replica, in bytes, by format ("bf16", "int4-g128", "rope-cache") and by tensor group.

    Both sum to `bytes`. `stage` is the pipeline stage of that GPU.
    """

    bytes: float
    by_format: dict[str, float]
    by_group: dict[str, float]
    stage: int = 0

    def with_part(self, name: str, amount: float) -> Weights:
        """The same with something more beside it."""
        return replace(
            self,
            bytes=self.bytes + amount,
            by_format={**self.by_format, name: amount},
            by_group={**self.by_group, name: amount},
        )


def parameters(model: Model) -> int:
    """Parameters of the language model, without draft layers and vision tower: the number in its name.

    >>> from simulator.catalog.models import model
    >>> parameters(model("llama-3.1-8b"))
    8030261248
    """
    return sum(tensor.parameters for tensor in tensors(model) if tensor.place != "draft" and tensor.group != "vision")


def active_parameters(model: Model) -> int:
    """Parameters that one token is multiplied with: the visited experts only, no embedding table unless it is the lm_head too."""
    table = model.vocabulary * model.hidden if model.tied_embeddings else 0
    return table + sum(tensor.active_parameters for tensor in tensors(model))


def weight_bytes(model: Model, quantization: Quantization | None, args: EngineArgs, mxfp4: Mxfp4Kernel = "marlin") -> Weights:
    """Bytes of weights on the fullest GPU of one replica, with the rotary table that vLLM counts among them.

    `quantization` replaces the checkpoint's own; None keeps that (`model.quantization`), or the model's type where it has none.
    Where the checkpoint's exact bytes are known and its own format runs, they set the total. `mxfp4` runs experts in MXFP4.

    Raises NotModelled where the parallel sizes cannot divide the model.
    """
    check_parallel(model, args)
    format_of = quantization or model.quantization
    stages = [_stage(model, format_of, args, mxfp4, stage) for stage in range(args.pipeline_parallel_size)]
    fullest = max(stages, key=lambda weights: weights.bytes)
    exact = model.checkpoint_bytes if quantization is None or quantization == model.quantization else None
    return _scaled(fullest, exact / _whole_bytes(model, format_of)) if exact else fullest


def check_parallel(model: Model, args: EngineArgs) -> None:
    """Raises NotModelled, in one line, where vLLM would refuse the parallel sizes."""
    tp, pp = args.tensor_parallel_size, args.pipeline_parallel_size
    for layer in model.layers:
        heads = getattr(layer.mixer, "heads", None) or getattr(layer.mixer, "key_heads", None)
        if heads and heads % tp:
            raise NotModelled(
                f"{model.name}: tensor_parallel_size {tp} does not divide its {heads} attention heads",
                field="tensor_parallel_size",
            )
        kv_heads = getattr(layer.mixer, "kv_heads", None)
        if kv_heads and kv_heads % tp and tp % kv_heads:
            raise NotModelled(
                f"{model.name}: tensor_parallel_size {tp} neither divides its {kv_heads} KV heads nor is a multiple of them",
                field="tensor_parallel_size",
            )
    if pp > len(model.layers):
        raise NotModelled(
            f"{model.name}: pipeline_parallel_size {pp} exceeds its {len(model.layers)} layers", field="pipeline_parallel_size"
        )


def stage_of_layer(layers: int, stages: int) -> list[int]:
    """The pipeline stage of each layer: as even as it goes, what is left over to the stages before the last, from the back.

    Source: vLLM vllm/distributed/utils.py, get_pp_indices, read November 2026.

    >>> stage_of_layer(6, 4)
    [0, 1, 1, 2, 2, 3]
    """
    sizes = [layers // stages] * stages
    for extra in range(layers % stages):
        sizes[-(extra + 2)] += 1
    return [stage for stage, size in enumerate(sizes) for _ in range(size)]


def on_one_gpu(tensor: Tensor, args: EngineArgs) -> float:
    """Parameters of a tensor that one GPU of its pipeline stage holds, padding and replication included."""
    tp = args.tensor_parallel_size
    match tensor.split:
        case "replicated":
            return float(tensor.parameters)
        case "tensor":
            return tensor.parameters / tp
        case "kv_heads":
            return tensor.parameters * max(1.0, tensor.units / tp) / tensor.units
        case "vocabulary":
            padded = -(-tensor.units // VOCABULARY_PADDING) * VOCABULARY_PADDING
            return tensor.parameters / tensor.units * padded / tp
        case "experts":
            ranks = tp * args.data_parallel_size
            held = -(-tensor.units // ranks) if args.enable_expert_parallel else tensor.units / ranks
            return tensor.parameters / tensor.units * held


def _stage(model: Model, quantization: Quantization | None, args: EngineArgs, mxfp4: Mxfp4Kernel, stage: int) -> Weights:
    owner = stage_of_layer(len(model.layers), args.pipeline_parallel_size)
    account = _Account()
    if args.mm_encoder_tp_mode == "data":
        model = replace(model, vision_replicated=True)
    elif model.vision_replicated and _is_quantized(quantization):
        model = replace(model, vision_replicated=False)
    for tensor in tensors(model):
        if _is_here(tensor, model, owner, stage, args.pipeline_parallel_size):
            name, bytes_each = stored(model, quantization, tensor)
            account.add(tensor, name, on_one_gpu(tensor, args) * bytes_each * _padding(model, tensor, name, args, mxfp4))
    for index, layer in enumerate(model.layers):
        if owner[index] == stage and isinstance(layer.mixer, LatentAttention):
            account.add_absorbed(layer.mixer, model, args)
    account.add_tables(model, quantization)
    if args.enable_lora:
        here = [t for t in tensors(model) if _is_here(t, model, owner, stage, args.pipeline_parallel_size)]
        account.add_slots(lora_bytes(model, here, args))
    return account.weights(stage)


def _is_quantized(quantization: Quantization | None) -> bool:
    return quantization is not None and any(form.bits < 16 for form in quantization.formats.values())


@dataclass(slots=True)
class _Account:
    """Bytes by format and by group, and by allocation: what a module's tensors take together is one block of memory."""

    by_format: dict[str, float] = field(default_factory=dict)
    by_group: dict[str, float] = field(default_factory=dict)
    blocks: dict[tuple[int | None, str], float] = field(default_factory=dict)

    def add(self, tensor: Tensor, name: str, amount: float) -> None:
        self._count(name, tensor.group, amount)
        if tensor.group not in ("norm", "vision"):
            block = (tensor.layer, tensor.module)
            self.blocks[block] = self.blocks.get(block, 0.0) + amount

    def add_absorbed(self, mixer: LatentAttention, model: Model, args: EngineArgs) -> None:
        """vLLM keeps kv_b_proj a second time in 16 bits, as the two matrices that MLA's decode absorbs."""
        size = mixer.kv_lora_rank * mixer.heads * (mixer.nope_dim + mixer.value_head_dim)
        self._count(model.dtype, "attention", size * BYTES_OF[model.dtype] / args.tensor_parallel_size)

    def add_tables(self, model: Model, quantization: Quantization | None) -> None:
        """Rotary tables, in the type of the unquantized tensors, whole on every GPU."""
        if model.rope_cache_elements:
            vectors = quantization.format("norm") if quantization else None
            each = vectors.bytes if vectors else BYTES_OF[model.dtype]
            self._count("rope-cache", "rope-cache", model.rope_cache_elements * each)

    def add_slots(self, amount: float) -> None:
        """Slots for adapters, in 16 bits."""
        self._count("lora-slots", "lora-slots", amount)

    def _count(self, name: str, group: str, amount: float) -> None:
        self.by_format[name] = self.by_format.get(name, 0.0) + amount
        self.by_group[group] = self.by_group.get(group, 0.0) + amount

    def weights(self, stage: int) -> Weights:
        unused = sum(allocated(amount) - amount for amount in self.blocks.values())
        if unused:
            self._count("allocator", "allocator", unused)
        return Weights(sum(self.by_format.values()), self.by_format, self.by_group, stage)


def allocated(amount: float) -> float:
    """Bytes that PyTorch's caching allocator counts for a tensor.

    From 10 MiB on it takes whole 2 MiB pages and gives back what is left over only if that is more than 1 MiB.
    Source: PyTorch c10/cuda/CUDACachingAllocator.cpp (kMinLargeAlloc, kRoundLarge, kSmallSize), read November 2026.

    >>> allocated(31.5 * 2**20) / 2**20, allocated(24.5 * 2**20) / 2**20
    (32.0, 24.5)
    """
    whole = math.ceil(amount / (2 * MIB)) * 2 * MIB
    return float(whole) if amount >= 10 * MIB and whole - amount <= MIB else amount


def _padding(model: Model, tensor: Tensor, name: str, args: EngineArgs, mxfp4: Mxfp4Kernel) -> float:
    """How much larger vLLM stores MXFP4 experts: Marlin wants hidden in 256s and the expert's width in 128s, TensorRT-LLM and
    AITER both in 256s; the older of Triton's layouts for Hopper has the values, not the scales, in 256s along the depth of each
    matmul (64.4 GiB for gpt-oss-120b, vllm#33155).
    """
    mlp = model.layers[tensor.layer].mlp if tensor.layer is not None and tensor.group == "experts" else None
    if name != "mxfp4" or not isinstance(mlp, MoeMlp):
        return 1.0
    width = mlp.width / (1 if args.enable_expert_parallel else args.tensor_parallel_size * args.data_parallel_size)
    if mxfp4 == "triton-unpadded":
        return _up(width, 64) / width
    hidden = _up(model.hidden, 256) / model.hidden
    if mxfp4 == "triton":
        up, down = hidden * _up(width, 64) / width, _up(width, 256) / width
        padded = (2 * up + down) / 3 if mlp.gated else (up + down) / 2
        return 1 + (padded - 1) * _MXFP4_VALUES
    return hidden * _up(width, 128 if mxfp4 == "marlin" else 256) / width


def _up(size: float, multiple: int) -> float:
    return math.ceil(size / multiple) * multiple


def _is_here(tensor: Tensor, model: Model, owner: list[int], stage: int, stages: int) -> bool:
    match tensor.place:
        case "layer":
            return tensor.layer is not None and owner[tensor.layer] == stage
        case "first":
            return stage == 0 or (tensor.group == "embedding" and model.tied_embeddings and stage == stages - 1)
        case "last":
            return stage == stages - 1
        case "every":
            return True
        case "draft":
            return False


def stored(model: Model, quantization: Quantization | None, tensor: Tensor) -> tuple[str, float]:
    """(name of the format that a tensor is stored in, bytes of one of its parameters)."""
    group: TensorGroup = tensor.group
    form: WeightFormat | None = quantization.format(group, tensor.layer, tensor.module) if quantization else None
    return (form.name, form.bytes) if form else (model.dtype, float(BYTES_OF[model.dtype]))


def _whole_bytes(model: Model, quantization: Quantization | None) -> float:
    return sum(tensor.parameters * stored(model, quantization, tensor)[1] for tensor in tensors(model))


def _scaled(weights: Weights, factor: float) -> Weights:
    """The same account with its tensors scaled to the checkpoint's exact bytes."""
    own = ("rope-cache", "allocator", "lora-slots")

    def scale(parts: dict[str, float]) -> dict[str, float]:
        return {name: amount * (1.0 if name in own else factor) for name, amount in parts.items()}

    by_format, by_group = scale(weights.by_format), scale(weights.by_group)
    return Weights(sum(by_format.values()), by_format, by_group, weights.stage)
