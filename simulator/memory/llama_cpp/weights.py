"""Weights of a GGUF file, layer by layer: bytes that go to a GPU with the layer, experts apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.catalog.gguf import Mixture, Role, bytes_of
from simulator.catalog.models import GatedDeltaNet, GroupedQueryAttention, LatentAttention, Layer, Model, MoeMlp
from simulator.memory.tensors import Tensor, layer_tensors

_ROLES: dict[str, Role] = {
    "o_proj": "attention_output",
    "up_proj": "feed_forward_up", "shared_up_proj": "feed_forward_up", "experts_up": "feed_forward_up",
    "down_proj": "feed_forward_down", "shared_down_proj": "feed_forward_down", "experts_down": "feed_forward_down",
    "kv_b_proj": "attention_value",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileWeights:
    """Bytes of a file's tensors: the embedding, which stays on the host, the output matrix, and each layer without and with
    its routed experts.

    A model whose embedding is its output matrix too has that copied to the GPU.
    """

    embedding: float
    output: float
    layers: tuple[float, ...]
    experts: tuple[float, ...]

    @property
    def total(self) -> float:
        """Bytes of the whole file's tensors."""
        return self.embedding + self.output + sum(self.layers) + sum(self.experts)


def file_weights(model: Model, mixture: Mixture) -> tuple[FileWeights, bool]:
    """(the weights of a model in this mixture, whether its embedding is its output matrix too).

    Encoders and draft layers are in files of their own and are not counted.
    """
    count = len(model.layers)
    table = model.vocabulary * model.hidden

    def table_bytes(role: Role) -> float:
        return bytes_of(mixture.type_of(role, 0, count, 1.0, 1, routed=False), table, model.hidden)

    tied = model.tied_embeddings
    embedding = table_bytes("output" if tied else "embedding")
    output = 0.0 if tied else table_bytes("output")
    layers, experts = [], []
    for index, layer in enumerate(model.layers):
        own = routed = 0.0
        for tensor in layer_tensors(layer, model.hidden, index):
            amount = sum(_matrix_bytes(part, model, layer, mixture, count) for part in _matrices(tensor, layer, model.hidden))
            if tensor.group == "experts":
                routed += amount
            else:
                own += amount
        layers.append(own)
        experts.append(routed)
    return FileWeights(embedding, output, tuple(layers), tuple(experts)), tied


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Values of one role whose rows have so many values; None where it stays in FP32."""

    role: Role | None
    values: float
    row: int
    layer: int
    routed: bool = False


def _matrices(tensor: Tensor, layer: Layer, hidden: int) -> Iterator[_Matrix]:
    """What a tensor here is in a file, where queries, keys and values stand apart."""
    index = tensor.layer or 0
    if tensor.group in ("norm", "router"):
        yield _Matrix(None, tensor.parameters, 1, index)
    elif tensor.module == "qkv_proj" and tensor.split == "kv_heads":
        keys = _share_of_keys(layer)
        yield _Matrix("attention_key", tensor.parameters * keys, hidden, index)
        yield _Matrix("attention_value", tensor.parameters * (1 - keys), hidden, index)
    elif tensor.module == "qkv_proj":
        yield _Matrix("attention_query", tensor.parameters, hidden, index)
    elif tensor.module == "in_proj_qkvz" and isinstance(layer.mixer, GatedDeltaNet):
        gates = layer.mixer.value_heads * layer.mixer.value_head_dim * hidden
        yield _Matrix("attention_value", tensor.parameters - gates, hidden, index)
        yield _Matrix("other", gates, hidden, index)
    else:
        role = _ROLES.get(tensor.module, "other")
        yield _Matrix(role, tensor.parameters, _row(tensor, layer, hidden), index, tensor.group == "experts")


def _share_of_keys(layer: Layer) -> float:
    mixer = layer.mixer
    if not isinstance(mixer, GroupedQueryAttention) or mixer.key_is_value:
        return 1.0
    return mixer.head_dim / (mixer.head_dim + mixer.value_head_dim)


def _row(tensor: Tensor, layer: Layer, hidden: int) -> int:
    """Values in a row of the matrix: its inputs."""
    mixer, mlp = layer.mixer, layer.mlp
    if tensor.module == "o_proj" and isinstance(mixer, GroupedQueryAttention | LatentAttention):
        return mixer.heads * mixer.value_head_dim
    if tensor.module == "out_proj" and isinstance(mixer, GatedDeltaNet):
        return mixer.value_heads * mixer.value_head_dim
    if tensor.module == "kv_b_proj" and isinstance(mixer, LatentAttention):
        return mixer.kv_lora_rank
    if tensor.module == "experts_down" and isinstance(mlp, MoeMlp):
        return mlp.width
    if tensor.module in ("down_proj", "shared_down_proj"):
        return tensor.units
    return hidden


def _matrix_bytes(matrix: _Matrix, model: Model, layer: Layer, mixture: Mixture, layers: int) -> float:
    if matrix.role is None:
        return bytes_of("f32", matrix.values)
    heads, kv_heads = getattr(layer.mixer, "heads", 1), getattr(layer.mixer, "kv_heads", 0)
    experts = max((mlp.experts for each in model.layers if isinstance(mlp := each.mlp, MoeMlp)), default=1)
    queries = heads / kv_heads if kv_heads else _queries_per_head(model)
    kind = mixture.type_of(matrix.role, matrix.layer, layers, queries, experts, routed=matrix.routed)
    return bytes_of(kind, matrix.values, matrix.row)


def _queries_per_head(model: Model) -> float:
    found = (layer.mixer for layer in model.layers if isinstance(layer.mixer, GroupedQueryAttention))
    return next((mixer.heads / mixer.kv_heads for mixer in found), 1.0)
