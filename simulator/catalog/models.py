"""Language models, layer by layer: what decides weight bytes, KV bytes and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.catalog import stanzas
from simulator.catalog.quantizations import Quantization
from simulator.errors import NotInCatalog, SimulatorError, UnknownName
from simulator.spec import Count, Natural, spec


@spec
class GroupedQueryAttention:
    """Softmax attention; MHA when kv_heads = heads, MQA when 1. Sizes are the whole model's, before any split.

    `window`: tokens that a sliding layer sees; `chunk`: tokens of a chunked-local layer (Llama 4); at most one is set.
    `shares_kv`: the layer reads the KV cache of an earlier layer and has no K and V of its own.
    `key_is_value`: one projection serves as K and V (Gemma 4 global layers); both are still cached.
    `gated`: the query projection is twice as wide and half of it gates the output (Qwen3-Next).
    `index_heads`, `index_dim`, `index_top_k`: a sparse-attention indexer (MiniMax-M3), 0 without one; top_k in tokens.
    """

    kind: Literal["gqa"] = "gqa"
    heads: Count
    kv_heads: Count
    head_dim: Count
    value_head_dim: Count
    window: Count | None = None
    chunk: Count | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    query_key_norm: bool = False
    gated: bool = False
    sinks: bool = False
    shares_kv: bool = False
    key_is_value: bool = False
    index_heads: Natural = 0
    index_dim: Natural = 0
    index_top_k: Natural = 0


@spec
class LatentAttention:
    """Multi-head latent attention (DeepSeek, Kimi): one latent of kv_lora_rank + rope_dim per token, not split by TP.

    `index_heads`, `index_dim`, `index_top_k`: the sparse-attention indexer of DeepSeek-V3.2, 0 without one; a layer that reuses
    the choice of an earlier one (GLM-5.2) has index_top_k and no index_heads.
    """

    kind: Literal["mla"] = "mla"
    heads: Count
    q_lora_rank: Natural = 0
    kv_lora_rank: Count
    nope_dim: Count
    rope_dim: Count
    value_head_dim: Count
    index_heads: Natural = 0
    index_dim: Natural = 0
    index_top_k: Natural = 0


@spec
class CompressedAttention:
    """DeepSeek-V4 attention: one shared key-value head, seen in full over `window` tokens and compressed beyond it.

    Every `ratio` tokens leave one compressed entry of `head_dim` in the cache; ratio 0 keeps only the window. Where `index_heads`
    is not 0, an indexer picks `index_top_k` of the compressed entries and caches `index_dim` values for each of them.
    """

    kind: Literal["csa"] = "csa"
    heads: Count
    head_dim: Count
    rope_dim: Count
    q_lora_rank: Count
    o_lora_rank: Count
    o_groups: Count
    window: Count
    ratio: Natural = 0
    index_heads: Natural = 0
    index_dim: Natural = 0
    index_top_k: Natural = 0


@spec
class Mamba1:
    """A Mamba-1 block (Jamba): a fixed state per sequence of inner * state_size, and a convolution state.

    `inner_norms`: norms on the time step and on both state projections.
    """

    kind: Literal["mamba1"] = "mamba1"
    inner: Count
    state_size: Count
    conv_kernel: Count
    time_step_rank: Count
    inner_norms: bool = False
    conv_bias: bool = True
    bias: bool = False
    state_dtype: Literal["fp32", "bf16"] = "bf16"


@spec
class Mamba2:
    """A Mamba-2 block: a fixed state per sequence of heads * head_dim * state_size, and a convolution state.

    `state_dtype` is what the checkpoint asks of the first; the convolution state has the model's type.
    """

    kind: Literal["mamba2"] = "mamba2"
    heads: Count
    head_dim: Count
    state_size: Count
    groups: Count
    conv_kernel: Count
    conv_bias: bool = True
    bias: bool = False
    state_dtype: Literal["fp32", "bf16"] = "bf16"


@spec
class GatedDeltaNet:
    """Gated linear attention (Qwen3-Next, Qwen3.5): a fixed state per sequence of value_heads * key_dim * value_dim.

    `gate_rank`: the bottleneck that decay and output gate come out of (Kimi Delta Attention); 0 where they are projected.
    """

    kind: Literal["gdn"] = "gdn"
    key_heads: Count
    value_heads: Count
    key_head_dim: Count
    value_head_dim: Count
    conv_kernel: Count
    gate_rank: Natural = 0
    state_dtype: Literal["fp32", "bf16"] = "bf16"


Mixer = Annotated[
    GroupedQueryAttention | LatentAttention | CompressedAttention | Mamba1 | Mamba2 | GatedDeltaNet,
    Field(discriminator="kind"),
]


@spec
class DenseMlp:
    """Feed-forward block; gated has three matrices of hidden * width, plain has two."""

    kind: Literal["dense"] = "dense"
    width: Count
    gated: bool = True
    bias: bool = False


@spec
class MoeMlp:
    """Mixture of experts. Every expert is stored, `experts_per_token` are computed.

    `shared_width`: summed width of the experts every token visits. `dense_width`: a dense MLP beside the experts (Gemma 4).
    `latent`: width the experts work in when it is not the hidden size (Nemotron 3 latent MoE), 0 when it is.
    """

    kind: Literal["moe"] = "moe"
    experts: Count
    experts_per_token: Count
    width: Count
    gated: bool = True
    bias: bool = False
    shared_width: Natural = 0
    shared_gate: bool = False
    dense_width: Natural = 0
    router_bias: bool = False
    latent: Natural = 0


Mlp = Annotated[DenseMlp | MoeMlp, Field(discriminator="kind")]


@spec
class Layer:
    """One transformer block; either half may be absent (Nemotron-H has them apart). `norms`: vectors of hidden size."""

    mixer: Mixer | None = None
    mlp: Mlp | None = None
    norms: Natural = 2


@spec
class VisionEncoder:
    """What decides the memory of encoding images: sizes of its layers, and of the largest item that it takes.

    `hidden` and `width` are its layers', `patch_values` the pixels of a patch in three colors. `patches` and `tokens` are those
    of the largest item (an image, or a video where that is larger), before and after merging; `outputs` the values that one token
    of it hands to the language model; `pixels` of an image, for one token. `modalities`: what it encodes.
    """

    hidden: Count
    width: Count
    gated: bool = False
    patch_values: Natural = 0
    patches: Count
    tokens: Count
    outputs: Count
    pixels: Natural = 0
    modalities: tuple[Literal["image", "video", "audio"], ...] = ("image",)


@spec
class Model:
    """A decoder-only language model as its checkpoint defines it.

    `layers` are in order, so a pipeline stage is a slice. `draft_layers` are multi-token-prediction heads, stored in the
    checkpoint and loaded only for speculative decoding. `vision_parameters` are an encoder's, loaded beside the language
    model, and `vision` what encoding takes; `vision_replicated`: vLLM does not divide it (Mistral's own format; converted and
    quantized checkpoints are divided).
    `dtype` is that of the unquantized tensors. `checkpoint_bytes` is the index file's total_size where known.
    `original_position`: positions before LongRoPE, with which vLLM starts from 0.12 on where no max_model_len is given.
    `draft_other_parameters` are the projections, norms and tables of the draft layers.
    `rope_cache_elements`: cos and sin values that vLLM keeps beside the weights, in the model's type, on every rank.
    `checkpoint`: the name or path it was asked by, which is what a server is started with; it says nothing of the shapes.
    """

    name: str
    architecture: str
    hidden: Count
    vocabulary: Count
    layers: tuple[Layer, ...]
    tied_embeddings: bool
    max_position: Count
    original_position: Count | None = None
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    quantization: Quantization | None = None
    draft_layers: tuple[Layer, ...] = ()
    draft_other_parameters: Natural = 0
    vision_parameters: Natural = 0
    vision_replicated: bool = False
    vision: VisionEncoder | None = None
    other_parameters: Natural = 0
    rope_cache_elements: Natural = 0
    checkpoint_bytes: Count | None = None
    approximations: tuple[str, ...] = ()
    source: str
    checkpoint: str = field(default="", compare=False, repr=False)

    def __repr__(self) -> str:
        form = self.quantization.name if self.quantization else self.dtype
        return f"<Model {self.checkpoint or self.name}: {len(self.layers)} layers, {form}>"

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(isinstance(layer.mlp, MoeMlp) for layer in self.layers)

    @property
    def is_hybrid(self) -> bool:
        """Whether any layer keeps a recurrent state instead of keys and values."""
        return any(isinstance(layer.mixer, Mamba1 | Mamba2 | GatedDeltaNet) for layer in self.layers)


def model(name: str | Path | Model) -> Model:
    """A model by any of its names, or read from a config.json (the file, or the folder that holds it).

    A repository's name may say how the weights are stored (`Qwen/Qwen3-8B-FP8`): that is then the model's quantization.
    Raises UnknownName with the nearest names; ConfigError where a config.json cannot be understood.

    >>> model("meta-llama/Llama-3.1-8B-Instruct").name, model("Qwen/Qwen3-8B-AWQ").quantization.name
    ('llama-3.1-8b', 'awq-int4')
    """
    if isinstance(name, Model):
        return name
    if is_path(name):
        from simulator.catalog import hf_config

        return replace(hf_config.read(name), checkpoint=str(name))
    return _named(str(name))


@cache
def _named(name: str) -> Model:
    from simulator.catalog import hub
    from simulator.catalog.checkpoints import checkpoint

    try:
        found, stored = checkpoint(name)
    except UnknownName as unknown:
        if not hub.is_repository(name):
            raise
        if not hub.is_installed():
            raise NotInCatalog(f"{unknown}; {hub.WITHOUT}") from None
        return replace(hub.fetch(name), checkpoint=name)
    if stored is not None:
        return replace(found, quantization=stored, checkpoint=name)
    return found if name == found.name else replace(found, checkpoint=name)


_DTYPES: dict[str, Literal["bf16", "fp16", "fp32"]] = {
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "float16", "half"), "fp16"),
    **dict.fromkeys(("fp32", "float32", "float"), "fp32"),
}


def model_from_fields(fields: Mapping[str, Any]) -> Model:
    """A model by its name or path, loaded in another type: `{name: Qwen/Qwen3-8B, dtype: float16}`.

    Raises SimulatorError for other fields and types, and as `model` does.
    """
    if unknown := [key for key in fields if key not in ("name", "dtype")]:
        raise SimulatorError(f"unknown field '{unknown[0]}' of a model; it has name and dtype")
    if not isinstance(name := fields.get("name"), str):
        raise SimulatorError("a model's fields need its name, as in {name: Qwen/Qwen3-8B, dtype: float16}")
    found = model(name)
    if (dtype := fields.get("dtype", "auto")) == "auto":
        return found
    if dtype not in _DTYPES:
        raise SimulatorError(f"dtype: {dtype!r} is not known; a model is loaded in {', '.join(_DTYPES)} or auto")
    return replace(found, dtype=_DTYPES[dtype])


def model_to_fields(entry: Model) -> Any:
    """What `model` or `model_from_fields` reads back to an equal model: a name, a path, or those with a type.

    Raises SimulatorError for one that was made by hand.
    """
    for name in (entry.checkpoint, entry.name):
        try:
            found = model(name) if name else None
        except SimulatorError:
            continue
        if found == entry:
            return name
        if found is not None and replace(found, dtype=entry.dtype) == entry:
            return {"name": name, "dtype": entry.dtype}
    raise SimulatorError(
        f"the model {entry.name} is in no catalog and was read from no config.json: save its config.json and name its path"
    )


def catalog_model(name: str) -> Model:
    """The catalog's entry for a name. Raises UnknownName with the nearest ones."""
    return _build(stanzas.find("models", name, "model"))


def is_path(name: str | Path) -> bool:
    """Whether a name means a file: it ends in .json, or there is a config.json in the folder of that name."""
    return isinstance(name, Path) or name.endswith(".json") or Path(name, "config.json").is_file()


def models() -> tuple[Model, ...]:
    """Every model of the catalog, in file order."""
    return tuple(_build(name) for name in stanzas.stanzas("models"))


@cache
def _build(name: str) -> Model:
    from simulator.catalog import hf_config

    stanza = stanzas.load_entry("models", name)
    return hf_config.build(name, stanza["config"], source=f"{stanza['source']} ({stanza['checked']})")
